//! The count of references to a message, kept in bulk.
//!
//! A publisher starts the count with a *bias* for each worker that gets the message. A worker delivers without touching
//! the count and, after its walk, subtracts what it did not use: bias minus deliveries. A reader subtracts what it has
//! read, many at a time where it can. So a broadcast to a million costs a handful of atomic operations.
//!
//! - I1. The count is never below the references that exist: a worker's bias is larger than any number of deliveries,
//!   and it is taken away only after the walk.
//! - I2. Whoever brings the count to zero sees all that the others did with the message (release on each subtraction,
//!   an acquire fence at zero), and alone frees it.
//!
//! Model: `loom-tests/tests/refs.rs`.

use crate::sync::{AtomicU64, Ordering, fence, mutated};

/// What each worker gets: more than it can ever deliver.
pub const BIAS: u64 = 1 << 40;

/// A count of references. See the module's text.
#[derive(Debug)]
pub struct Refs(AtomicU64);

impl Refs {
    /// A count that starts at `count`, for models: in production counts lie in a slab and are [`set`](Self::set).
    #[cfg(fanfare_loom)]
    pub fn new(count: u64) -> Self {
        Refs(AtomicU64::new(count))
    }

    /// Sets the count of a message that nobody else knows.
    pub fn set(&self, count: u64) {
        // Relaxed: what hands the message on publishes it.
        self.0.store(count, Ordering::Relaxed);
    }

    /// Adds references, by someone who has one.
    pub fn add(&self, count: u64) {
        // Relaxed: the caller's own reference keeps the message alive.
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// Takes references away. `true` for the one who took the last: it must free the message.
    #[inline]
    #[must_use]
    pub fn sub(&self, count: u64) -> bool {
        if count == 0 {
            return false;
        }
        // Pairs with the fence of whoever reaches zero (I2).
        let before = self.0.fetch_sub(count, crate::sync::ord!("refs.release", Release));
        debug_assert!(before >= count, "more references given back than there were");
        if before != count {
            return false;
        }
        if !mutated!("refs.acquire") {
            fence(Ordering::Acquire);
        }
        true
    }
}
