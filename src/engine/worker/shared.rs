//! The parts that a worker and its callers share: mailboxes, counters, the way to it.

use super::core::Core;
use super::item::{Item, Op};
use super::places::Places;
use crate::protocol::inbox::Inbox;
use crate::protocol::remote;
use crate::protocol::ring::Line;
use crate::sync::{AtomicU64, CachePadded, Mutex, Ordering, StableVec};
use std::task::Waker;

/// A remote of this engine.
pub(crate) type Remote = remote::Remote<Item, Op, Places, Core>;

/// What of a mailbox is not looked at for each delivery.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// The reader's waker, while it waits.
    pub waker: Mutex<Option<Waker>>,
    /// Messages refused by a full mailbox. Written by the worker, read by the reader.
    pub refused: AtomicU64,
}

/// Counters, each written by whoever holds the baton and read by anyone.
#[derive(Debug, Default)]
pub(crate) struct WorkerCounters {
    /// Deliveries: messages put into mailboxes, calls of handlers.
    pub delivered: AtomicU64,
    /// Messages that mailboxes evicted or refused.
    pub dropped: AtomicU64,
    /// Handlers that panicked.
    pub panics: AtomicU64,
    /// Broadcasts delivered in place by their publisher.
    pub in_place: AtomicU64,
    /// Subscriptions applied.
    pub subscriptions: AtomicU64,
}

impl WorkerCounters {
    /// Adds to a counter that only the caller writes.
    pub(crate) fn add(counter: &AtomicU64, count: u64) {
        // Relaxed: the baton orders the writers; readers want a recent value.
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// Everything shared of one worker.
pub(crate) struct Worker {
    /// Its number.
    pub index: usize,
    /// The way to it.
    pub remote: Remote,
    /// Its mailboxes.
    pub lines: StableVec<Line>,
    /// What goes with them.
    pub cold: StableVec<Cold>,
    /// Its counters.
    pub counters: CachePadded<WorkerCounters>,
    /// Wakes of the worker by others.
    pub wakes: AtomicU64,
}

/// Deliveries that count as one unit of an inbox's weight, so that small topics weigh nothing and are bounded by
/// entries.
const WEIGHT_UNIT: u64 = 64;

/// What so many deliveries weigh in an inbox.
pub(crate) fn weight_of(deliveries: u64) -> u32 {
    u32::try_from(deliveries / WEIGHT_UNIT).unwrap_or(u32::MAX).min(1 << 29)
}

/// Most mailboxes of one worker.
pub(crate) const MAILBOXES_MAX: usize = 1 << 26;

impl Worker {
    /// A worker that nobody has reached yet.
    pub(crate) fn new(index: usize, entries_max: usize, weight_max: u32) -> Self {
        Worker {
            index,
            remote: Remote::new(Inbox::new(entries_max, weight_max), Places::default(), Core::new()),
            lines: StableVec::new(MAILBOXES_MAX),
            cold: StableVec::new(MAILBOXES_MAX),
            counters: CachePadded::new(WorkerCounters::default()),
            wakes: AtomicU64::new(0),
        }
    }

    /// A mailbox's line, known to exist.
    #[inline(always)]
    pub(crate) fn line(&self, index: u32) -> &Line {
        self.lines.get(index).expect("a place that was taken has a line")
    }

    /// What goes with a mailbox's line, known to exist.
    pub(crate) fn cold(&self, index: u32) -> &Cold {
        self.cold.get(index).expect("a place that was taken has its cold part")
    }

    /// Wakes the worker if it sleeps. After a fence.
    pub(crate) fn wake_if_asleep(&self) {
        if self.remote.wake_if_asleep() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker").field("index", &self.index).finish_non_exhaustive()
    }
}
