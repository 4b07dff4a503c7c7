//! How much memory the process holds.

/// Bytes of memory that the process has resident, where the system tells.
#[cfg(target_os = "linux")]
pub(crate) fn resident_bytes() -> Option<u64> {
    let pages: u64 = std::fs::read_to_string("/proc/self/statm").ok()?.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn resident_bytes() -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn touched_memory_is_counted() {
        const BYTES: usize = 64 << 20;
        let before = super::resident_bytes().unwrap();
        let touched = std::hint::black_box(vec![1_u8; BYTES]);
        let after = super::resident_bytes().unwrap();
        assert!(after >= before + BYTES as u64 / 2, "{before} to {after}");
        drop(touched);
    }
}
