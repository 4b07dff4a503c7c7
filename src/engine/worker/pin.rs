//! Pinning a worker's thread to a processor.

/// Pins the calling thread to the `index`th of the processors that it may run on, counted round. Returns whether it
/// did: only on Linux, and only if the kernel agrees. A thread that could not be pinned runs anywhere.
pub(crate) fn pin(index: usize) -> bool {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        // The numbers come from the mask: a container's processors need not start at 0.
        let Ok(allowed) = sched_getaffinity(None) else { return false };
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        if processors.is_empty() {
            return false;
        }
        let mut one = CpuSet::new();
        one.set(processors[index % processors.len()]);
        sched_setaffinity(None, &one).is_ok()
    }
    #[cfg(not(target_os = "linux"))]
    {
        let _ = index;
        false
    }
}
