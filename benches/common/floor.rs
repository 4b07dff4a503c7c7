//! The floor under all fan-out into mailboxes: one ring of 8 handles in a 64-byte line per subscriber, and nothing
//! else.
//!
//! Two threads walk one half of the lines each, writing a handle into each. There is no list, no topic, no reader to
//! wake, no count: what an engine costs above this is what its features cost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::Latch;

const SLOTS: u64 = 8;
const THREADS: usize = 2;

#[repr(align(64))]
struct Line {
    head: AtomicU64,
    tail: AtomicU64,
    slots: [AtomicU32; SLOTS as usize],
}

impl Line {
    fn new() -> Self {
        Line { head: AtomicU64::new(0), tail: AtomicU64::new(0), slots: [const { AtomicU32::new(0) }; SLOTS as usize] }
    }

    /// Puts `handle` in; if the ring is full, takes the oldest out first, as a reader might be doing.
    #[inline]
    fn put(&self, handle: u32) {
        let tail = self.tail.load(Ordering::Relaxed);
        let head = self.head.load(Ordering::Acquire);
        if tail - head >= SLOTS {
            let _ = self.head.compare_exchange(head, head + 1, Ordering::AcqRel, Ordering::Relaxed);
        }
        self.slots[(tail % SLOTS) as usize].store(handle, Ordering::Relaxed);
        self.tail.store(tail + 1, Ordering::Release);
    }
}

/// See the module's text.
pub(crate) struct Floor {
    halves: [Arc<[Line]>; THREADS],
    threads: Vec<JoinHandle<()>>,
    latch: Arc<Latch>,
    stop: Arc<AtomicBool>,
}

impl Floor {
    /// So many rings, and the threads that walk them, each on a processor of its own if `pinned`.
    pub(crate) fn new(rings: usize, pinned: bool) -> Self {
        let half = |index: usize| (0..(rings + index) / THREADS).map(|_| Line::new()).collect();
        let halves: [Arc<[Line]>; THREADS] = [half(0), half(1)];
        let (latch, stop) = (Arc::new(Latch::new()), Arc::new(AtomicBool::new(false)));
        let spawn = |(index, half): (usize, &Arc<[Line]>)| {
            let (half, latch, stop) = (half.clone(), latch.clone(), stop.clone());
            std::thread::spawn(move || {
                if pinned {
                    pin(index);
                }
                let mut handle = 0;
                loop {
                    std::thread::park();
                    if stop.load(Ordering::Acquire) {
                        return;
                    }
                    handle += 1;
                    half.iter().for_each(|line| line.put(handle));
                    latch.count_down(1);
                }
            })
        };
        let threads = halves.iter().enumerate().map(spawn).collect();
        Floor { halves, threads, latch, stop }
    }

    /// Writes a handle into each ring. Returns the time until both threads are done, stamped by the later one.
    pub(crate) fn walk(&self) -> Duration {
        self.latch.set(THREADS);
        let begin = Instant::now();
        self.threads.iter().for_each(|thread| thread.thread().unpark());
        self.latch.wait().duration_since(begin)
    }

    /// Takes out what is in the rings.
    pub(crate) fn drain(&self) {
        for line in self.halves.iter().flat_map(|half| half.iter()) {
            let tail = line.tail.load(Ordering::Acquire);
            let read: u32 = (0..SLOTS as usize).map(|slot| line.slots[slot].load(Ordering::Relaxed) & 1).sum();
            std::hint::black_box(read);
            line.head.store(tail, Ordering::Release);
        }
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            thread.join().unwrap();
        }
    }
}

/// Pins the calling thread as the engine pins its worker of that number.
pub(crate) fn pin(index: usize) {
    #[cfg(target_os = "linux")]
    {
        use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
        // The main thread's: one that is pinned hands its own processor down to those it starts.
        let allowed = sched_getaffinity(Some(rustix::process::getpid())).unwrap();
        let processors: Vec<usize> = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu)).collect();
        let mut one = CpuSet::new();
        one.set(processors[index % processors.len()]);
        sched_setaffinity(None, &one).unwrap();
    }
    #[cfg(not(target_os = "linux"))]
    let _ = index;
}
