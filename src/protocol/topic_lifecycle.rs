//! Who uses a topic: its handles, its subscriptions, and the workers that have members of it.
//!
//! - I1. `counts` holds handles in its low half and subscriptions in its high half. A subscription counts from its
//!   `subscribe` call until its worker has removed it.
//! - I2. A topic that nobody uses is retired: one compare-and-swap from 0 to `RETIRED`, by whoever brought it to 0.
//!   From then on it gains no user: every attempt sees the flag, takes itself back, and the caller looks the name up
//!   again, after it has made sure that the retired entry is out of the table. So a subscription is never put into an
//!   entry that broadcasts can no longer find.
//! - I3. The bit of a worker is set by each subscribe in the critical section of the control log in which it appends
//!   its entry; it is cleared under the same lock, by the worker, when it has no member of the topic and no entry waits
//!   in the log. So a broadcast called after a subscribe returned sees the bit. A bit may stay set for a while without
//!   members: such a broadcast finds nobody there. The subscribe that sets it brings the topic along, and the worker
//!   keeps the topic until it clears the bit: the entries of all others need but the topic's number, which saves each
//!   the two changes of a shared count.
//!
//! Models: `loom-tests/tests/topic_lifecycle_retire.rs` (I2), `control_log.rs` (I3).

use crate::sync::{AtomicU64, Ordering, mutated};

const HANDLE: u64 = 1;
const SUBSCRIPTION: u64 = 1 << 32;
const RETIRED: u64 = 1 << 31;

/// Most workers of an engine: one bit each.
pub const WORKERS_MAX: usize = 64;

/// See the module's text.
#[derive(Debug)]
pub struct TopicLifecycle {
    /// Changed by everyone who begins or ends a use (I1, I2).
    counts: AtomicU64,
    /// One bit a worker (I3). Read by publishers.
    workers: AtomicU64,
}

impl TopicLifecycle {
    /// A topic with one handle or one subscription: its creator's.
    pub fn new() -> Self {
        TopicLifecycle { counts: AtomicU64::new(0), workers: AtomicU64::new(0) }
    }

    fn add(&self, use_: u64) -> bool {
        // Relaxed, as all changes of this word: a retired entry is seen as such, and the retirer's compare-and-swap
        // sees this use, by the one order of changes to one word. Nothing is published by it: entries are counted by
        // `Arc`.
        let before = self.counts.fetch_add(use_, Ordering::Relaxed);
        if before & RETIRED != 0 && !mutated!("topic_lifecycle.ignore_retired") {
            self.counts.fetch_sub(use_, Ordering::Relaxed);
            return false;
        }
        true
    }

    fn sub(&self, use_: u64) -> bool {
        let before = self.counts.fetch_sub(use_, Ordering::Relaxed);
        debug_assert!(before >= use_);
        if before != use_ {
            return false;
        }
        if mutated!("topic_lifecycle.retire_without_claim") {
            self.counts.store(RETIRED, Ordering::Relaxed);
            return true;
        }
        self.counts.compare_exchange(0, RETIRED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Begins to use it by a handle. `false`: it is retired, look it up again.
    pub fn add_handle(&self) -> bool {
        self.add(HANDLE)
    }

    /// Ends the use by a handle. `true`: it is retired now, and the caller must take it out of the table.
    #[must_use]
    pub fn drop_handle(&self) -> bool {
        self.sub(HANDLE)
    }

    /// Begins to use it by a subscription. `false`: it is retired, look it up again.
    pub fn add_subscription(&self) -> bool {
        self.add(SUBSCRIPTION)
    }

    /// Ends the use by `count` subscriptions. `true`: it is retired now, and the caller must take it out of the table.
    #[must_use]
    pub fn drop_subscriptions(&self, count: u64) -> bool {
        count != 0 && self.sub(count * SUBSCRIPTION)
    }

    /// Whether it is retired.
    pub fn is_retired(&self) -> bool {
        self.counts.load(Ordering::Relaxed) & RETIRED != 0
    }

    /// Subscriptions, those included that their workers have yet to apply.
    pub fn subscriptions(&self) -> u64 {
        self.counts.load(Ordering::Relaxed) >> 32
    }

    /// The workers that may have members.
    #[inline]
    pub fn workers(&self) -> u64 {
        // Relaxed: the bit of a subscribe that returned before is seen by coherence, and its entry in the log likewise,
        // when the position is read after this. Of one that has not returned either may be missed.
        self.workers.load(Ordering::Relaxed)
    }

    /// Sets a worker's bit. Under the lock of its log (I3). Returns whether it was clear.
    pub fn show(&self, worker: usize) -> bool {
        let bit = 1 << worker;
        // Relaxed: the bit changes only under the lock that the caller holds. Saves writing the line for each member.
        let was_clear = self.workers.load(Ordering::Relaxed) & bit == 0;
        if was_clear {
            self.workers.fetch_or(bit, Ordering::Relaxed);
        }
        was_clear
    }

    /// Clears a worker's bit. Under the lock of its log, with no entry waiting (I3).
    pub fn hide(&self, worker: usize) {
        // Relaxed: as in `show`.
        self.workers.fetch_and(!(1 << worker), Ordering::Relaxed);
    }
}

impl Default for TopicLifecycle {
    fn default() -> Self {
        TopicLifecycle::new()
    }
}
