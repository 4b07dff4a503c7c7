//! The primitives in production: std's atomics and threads, parking_lot's locks, crossbeam's padding.

pub use crossbeam_utils::CachePadded;
pub use parking_lot::{Condvar, Mutex, MutexGuard};
pub use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};
pub use std::sync::{Arc, OnceLock, Weak};

/// Threads, and the parking of them.
pub mod thread {
    pub use std::thread::{Builder, JoinHandle, Thread, available_parallelism, current, park, park_timeout, yield_now};
}

/// Tells the processor that this is a spin loop.
pub fn spin_loop() {
    std::hint::spin_loop();
}

/// An `UnsafeCell` with the access methods that the model checker's cell has.
#[derive(Debug)]
pub struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

impl<T> UnsafeCell<T> {
    /// A cell holding `value`.
    pub const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    /// Calls `f` with a pointer to read through. Dereferencing it is subject to the usual aliasing rules.
    #[inline(always)]
    pub fn with<R>(&self, f: impl FnOnce(*const T) -> R) -> R {
        f(self.0.get())
    }

    /// Calls `f` with a pointer to write through. Dereferencing it is subject to the usual aliasing rules.
    #[inline(always)]
    pub fn with_mut<R>(&self, f: impl FnOnce(*mut T) -> R) -> R {
        f(self.0.get())
    }
}

/// Asks the processor to have the lines of `value` in its cache soon, to be written. A hint: it reads and writes
/// nothing.
///
/// For writing, since a line that comes from another processor's cache to be read must be asked for a second time when
/// it is written.
#[inline(always)]
pub fn prefetch<T>(value: &T) {
    for offset in (0..size_of::<T>()).step_by(64) {
        prefetch_line(std::ptr::from_ref(value).addr() + offset);
    }
}

/// As [`prefetch`], of the line with that address, which may be of memory that is not there any more.
#[inline(always)]
pub fn prefetch_line(address: usize) {
    // SAFETY: a prefetch has no architectural effect, whatever the address. Every x86-64 processor decodes it: those
    // without the feature, which the intrinsic would have to be compiled for, do nothing.
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    unsafe {
        std::arch::asm!("prefetchw [{}]", in(reg) address, options(nostack, preserves_flags, nomem));
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = address;
}

/// Numbers that differ from thread to thread, to spread threads over counters and workers.
pub mod thread_hint {
    use super::{AtomicU32, Ordering};
    use std::cell::Cell;

    static THREADS: AtomicU32 = AtomicU32::new(0);

    thread_local! {
        static NUMBER: Cell<u32> = const { Cell::new(u32::MAX) };
        static TURN: Cell<u32> = const { Cell::new(u32::MAX) };
    }

    /// The calling thread's number: from 0, in the order in which threads first asked.
    #[inline]
    pub fn number() -> usize {
        NUMBER.with(|number| {
            if number.get() == u32::MAX {
                number.set(THREADS.fetch_add(1, Ordering::Relaxed) & 0xFFFF);
            }
            number.get() as usize
        })
    }

    /// Counts up with each call of this thread, starting at its number: a turn of its own.
    pub fn next() -> usize {
        TURN.with(|turn| {
            let next = if turn.get() == u32::MAX { number() as u32 } else { turn.get() };
            turn.set(next.wrapping_add(1) & 0x7FFF_FFFF);
            next as usize
        })
    }
}

/// A number that was never given before in this process.
pub fn unique_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Relaxed: the numbers must differ, nothing more.
    NEXT.fetch_add(1, Ordering::Relaxed)
}
