//! The baton: the right to write a worker's lists and mailboxes.
//!
//! A lock word that is only ever tried, never waited for. The worker holds it while it executes and gives it back while
//! it idles, so that a publisher may deliver in place to the few mailboxes of a small topic and save the wake of the
//! worker.
//!
//! - I1. Between an acquire that succeeded and the release by the same guard nobody else has access to the value.
//! - I2. What one holder did is seen by the next: the release store pairs with the acquiring compare-and-swap.
//!
//! Model: `loom-tests/tests/baton.rs`.

use crate::sync::{AtomicU32, Ordering, UnsafeCell, ord};

const FREE: u32 = 0;
const HELD: u32 = 1;

/// A value and the right to it. See the module's text.
pub struct Baton<T> {
    /// Swapped to `HELD` by whoever takes the baton, stored `FREE` by it alone.
    word: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the value is reached by one thread at a time (I1), so sending it is all that sharing does.
unsafe impl<T: Send> Sync for Baton<T> {}
// SAFETY: a baton owns its value.
unsafe impl<T: Send> Send for Baton<T> {}

/// The baton, held. Gives it back when dropped.
#[derive(Debug)]
pub struct BatonGuard<'a, T>(&'a Baton<T>);

impl<T> Baton<T> {
    /// A free baton for `value`.
    pub fn new(value: T) -> Self {
        Baton { word: AtomicU32::new(FREE), value: UnsafeCell::new(value) }
    }

    /// Whether it is free, as a hint.
    #[inline]
    pub fn is_free(&self) -> bool {
        self.word.load(Ordering::Relaxed) == FREE
    }

    /// Takes the baton if it is free.
    #[inline]
    pub fn try_take(&self) -> Option<BatonGuard<'_, T>> {
        // The load first: a taken baton is then refused without writing its line.
        if self.word.load(Ordering::Relaxed) != FREE {
            return None;
        }
        // Pairs with the store in `drop` (I2).
        self.word
            .compare_exchange(FREE, HELD, ord!("baton.take", Acquire), Ordering::Relaxed)
            .ok()
            .map(|_| BatonGuard(self))
    }
}

impl<T> BatonGuard<'_, T> {
    /// Calls `f` with the value.
    #[inline]
    pub fn with<R>(&mut self, f: impl FnOnce(&mut T) -> R) -> R {
        self.0.value.with_mut(|value| {
            // SAFETY: I1: this guard is the only one, and it is borrowed mutably for the call.
            f(unsafe { &mut *value })
        })
    }
}

impl<T> Drop for BatonGuard<'_, T> {
    fn drop(&mut self) {
        // Pairs with the compare-and-swap in `try_take` (I2).
        self.0.word.store(FREE, ord!("baton.give", Release));
    }
}

impl<T> std::fmt::Debug for Baton<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Baton").field("held", &(self.word.load(Ordering::Relaxed) == HELD)).finish_non_exhaustive()
    }
}
