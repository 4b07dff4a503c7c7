//! What all handles of a presence share.

use super::diff::{Batch, Diff, Presences, Present, present};
use super::replication::Replication;
use super::rooms::signal::Signal;
use super::rooms::table::Table;
use crate::engine::error::TopicError;
use crate::pubsub::PubSub;
use crate::sync::{Arc, AtomicU64, Mutex, Ordering};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// What is fixed when a presence is made.
#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) diff_period: Duration,
    pub(crate) diff_metas_max: usize,
    pub(crate) state_metas_max: usize,
    pub(crate) key_bytes_max: usize,
    pub(crate) meta_bytes_max: usize,
    pub(crate) topic_metas_max: usize,
}

type Fetch = Box<dyn Fn(&str, &mut Batch) + Send + Sync>;

type HandleDiff = Box<dyn FnMut(&str, &Diff) + Send>;

type HandleMetas = Box<dyn FnMut(&str, &Diff, &[Present]) + Send>;

/// Code of users that takes part in telling.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) fetch: Option<Fetch>,
    pub(crate) diff: Option<Mutex<HandleDiff>>,
    pub(crate) metas: Option<Mutex<HandleMetas>>,
}

impl Hooks {
    pub(crate) fn are_there(&self) -> bool {
        self.fetch.is_some() || self.diff.is_some() || self.metas.is_some()
    }
}

/// What all handles of a presence share, and its thread.
pub(crate) struct PresenceShared {
    pub(crate) table: Arc<Table>,
    /// With other nodes.
    pub(crate) replication: Option<Replication>,
    pub(crate) signal: Arc<Signal>,
    pub(crate) pubsub: PubSub,
    pub(crate) options: Options,
    pub(crate) hooks: Hooks,
    pub(crate) counters: PresenceCounters,
}

/// What the handles have. Its drop ends the thread.
pub(crate) struct Handle {
    pub(crate) shared: Arc<PresenceShared>,
    #[cfg(fanfare_stepped)]
    pub(crate) sealer: Mutex<super::sealer::Sealer>,
}

#[cfg(fanfare_stepped)]
impl super::Presence {
    /// Does on the calling thread what the sealer would in a round for a flush: ends the epoch of each room, and tells
    /// what it came to. No sealer has a thread here, so [`flush`](Self::flush) and [`shutdown`](Self::shutdown) wait
    /// for ever.
    #[doc(hidden)]
    pub fn step(&self) {
        self.0.sealer.lock().step(false);
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.signal.stop();
        #[cfg(fanfare_stepped)]
        self.sealer.lock().step(true);
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PresenceShared { table, options, .. } = &*self.shared;
        f.debug_struct("Presence").field("topics", &table.len()).field("options", options).finish_non_exhaustive()
    }
}

/// What is counted. Relaxed: each number says nothing of another.
#[derive(Debug, Default)]
pub(crate) struct PresenceCounters {
    pub(crate) joins: AtomicU64,
    pub(crate) leaves: AtomicU64,
    pub(crate) diffs: AtomicU64,
    pub(crate) states: AtomicU64,
    pub(crate) states_encoded: AtomicU64,
    pub(crate) panics: AtomicU64,
}

impl PresenceCounters {
    pub(crate) fn add(&self, counter: &AtomicU64, count: usize) {
        counter.fetch_add(count as u64, Ordering::Relaxed);
    }
}

/// What a presence has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Topics on which somebody is present, or was until a moment ago.
    pub topics: usize,
    /// Metas that came, of all ended epochs. Who came and went within one is not counted.
    pub joins: u64,
    /// Metas that went.
    pub leaves: u64,
    /// Diffs that were published to somebody.
    pub diffs: u64,
    /// States that were given to somebody.
    pub states: u64,
    /// States that were encoded for that.
    pub states_encoded: u64,
    /// Panics in hooks and in those who took states.
    pub panics: u64,
}

impl PresenceShared {
    pub(crate) fn check_topic(&self, topic: &str) -> Result<(), TopicError> {
        self.pubsub.engine().config.check_topic(topic)
    }

    pub(crate) fn stats(&self) -> Stats {
        let PresenceCounters { joins, leaves, diffs, states, states_encoded, panics } = &self.counters;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Stats {
            topics: self.table.len(),
            joins: load(joins),
            leaves: load(leaves),
            diffs: load(diffs),
            states: load(states),
            states_encoded: load(states_encoded),
            panics: load(panics),
        }
    }

    pub(crate) fn list_fetched(&self, topic: &str, list: &Presences) -> Vec<(Present, Map<String, Value>)> {
        let mut batch = Batch::of(present(list.snapshot.iter()).iter());
        if let Some(fetch) = &self.hooks.fetch {
            fetch(topic, &mut batch);
        }
        batch.into_parts()
    }
}
