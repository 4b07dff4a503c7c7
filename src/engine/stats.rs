//! Counters and depths.

use super::Engine;
use crate::sync::{AtomicU64, Ordering};

/// What an engine has done, and what waits in it. Read without stopping anything: the numbers are of about one moment.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Broadcasts from outside the workers that were accepted and had subscribers.
    pub published: u64,
    /// Messages put into mailboxes, and calls of handlers that returned.
    pub delivered: u64,
    /// Messages that full mailboxes evicted or refused.
    pub dropped: u64,
    /// Panics of handlers and dispatchers.
    pub panics: u64,
    /// Broadcasts that their publisher delivered itself, since the worker idled.
    pub in_place: u64,
    /// Times that a sleeping worker was woken.
    pub wakes: u64,
    /// Subscriptions, as far as applied.
    pub subscriptions: u64,
    /// Topics.
    pub topics: u64,
    /// By worker.
    pub workers: Vec<WorkerStats>,
}

/// One worker of [`Stats`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WorkerStats {
    /// Broadcasts that wait in its inbox.
    pub inbox: u32,
    /// Messages that it delivered.
    pub delivered: u64,
    /// Messages that its mailboxes evicted or refused.
    pub dropped: u64,
    /// Subscriptions, as far as applied.
    pub subscriptions: u64,
    /// Times that it was woken.
    pub wakes: u64,
    /// What waking it costs its waker, in nanoseconds: a running mean over the last ten or so. By default, that is what
    /// [in place](crate::PubSubBuilder::in_place_members_max) is weighed against.
    pub wake_ns: u32,
    /// Whether it sleeps.
    pub sleeps: bool,
}

impl Stats {
    pub(crate) fn of(engine: &Engine) -> Stats {
        let mut stats =
            Stats { published: engine.gate.published(), topics: engine.topics.len() as u64, ..Stats::default() };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        for worker in &engine.workers {
            let counters = &worker.counters;
            let one = WorkerStats {
                inbox: worker.remote.inbox.len(),
                delivered: read(&counters.delivered),
                dropped: read(&counters.dropped),
                subscriptions: read(&counters.subscriptions),
                wakes: read(&worker.wakes),
                wake_ns: worker.remote.wake_cost.nanoseconds(),
                sleeps: worker.remote.sleep.is_sleeping(),
            };
            stats.delivered += one.delivered;
            stats.dropped += one.dropped;
            stats.subscriptions += one.subscriptions;
            stats.wakes += one.wakes;
            stats.panics += read(&counters.panics);
            stats.in_place += read(&counters.in_place);
            stats.workers.push(one);
        }
        stats
    }
}
