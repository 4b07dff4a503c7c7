//! The primitives under the model checker: loom's, in the shape of the ones in production.

pub use loom::cell::UnsafeCell;
pub use loom::sync::Arc;
pub use std::sync::OnceLock;
pub use loom::sync::atomic::{AtomicBool, AtomicPtr, AtomicU32, AtomicU64, Ordering, fence};

/// Whether `FANFARE_MUTANT` names this ordering, fence or step. Read once: one process tests one mutant.
pub fn mutant(name: &str) -> bool {
    static MUTANT: std::sync::OnceLock<Option<String>> = std::sync::OnceLock::new();
    MUTANT.get_or_init(|| std::env::var("FANFARE_MUTANT").ok()).as_deref() == Some(name)
}

/// Threads, and the parking of them.
pub mod thread {
    pub use loom::thread::{Thread, current, park, yield_now};

    /// Time does not pass in a model, so a bounded sleep may last for ever: no model relies on the bound.
    pub fn park_timeout(_: std::time::Duration) {
        park();
    }
}

/// In a model a spin is a yield: another thread has to move.
pub fn spin_loop() {
    loom::thread::yield_now();
}

/// Nothing to ask of a cache in a model.
pub fn prefetch<T>(_: &T) {}

/// Padding means nothing in a model.
#[derive(Debug, Default)]
pub struct CachePadded<T>(T);

impl<T> CachePadded<T> {
    /// The value, not padded.
    pub fn new(value: T) -> Self {
        CachePadded(value)
    }
}

impl<T> std::ops::Deref for CachePadded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// Loom's mutex, without poisoning.
#[derive(Debug)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

/// The guard of [`Mutex`].
pub type MutexGuard<'a, T> = loom::sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    /// A mutex holding `value`.
    pub fn new(value: T) -> Self {
        Mutex(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().expect("a model that panics is over")
    }
}
