//! How a presence is made, and what its handles share.

use super::diff::{Batch, Diff, Present};
use super::error::BuildError;
use super::replication::{Gossiping, Replication};
use super::rooms::signal::Signal;
use super::rooms::table::Table;
use super::sealer::Sealer;
use super::shared::{Handle, Hooks, Options, PresenceCounters, PresenceShared};
use super::{GossipOptions, Presence};
use crate::pubsub::PubSub;
use crate::sync::{Arc, Mutex, thread};
use std::fmt;
use std::time::Duration;

/// The longest [`diff_period`](Builder::diff_period): a day.
pub const DIFF_PERIOD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// Decides how a [`Presence`] is made.
pub struct Builder {
    options: Options,
    hooks: Hooks,
    gossiping: Gossiping,
}

impl Default for Builder {
    fn default() -> Self {
        let options = Options {
            diff_period: Duration::from_millis(100),
            diff_metas_max: 1_000,
            state_metas_max: 10_000,
            key_bytes_max: 255,
            meta_bytes_max: 16 << 10,
            // A slot has 32 bits, and one of them names none.
            topic_metas_max: u32::MAX as usize - 1,
        };
        let gossiping = Gossiping { goodbye: true, ..Gossiping::default() };
        Builder { options, hooks: Hooks::default(), gossiping }
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("options", &self.options).finish_non_exhaustive()
    }
}

impl Builder {
    /// The least time between two diffs of a topic, and the longest that a change waits for its diff: 100 ms. The first
    /// change after a quiet time does not wait. At most [`DIFF_PERIOD_MAX`].
    pub fn diff_period(mut self, period: Duration) -> Self {
        self.options.diff_period = period;
        self
    }

    /// Metas in one diff: 1,000. A diff of more is told in several messages, first all joins, then all leaves.
    pub fn diff_metas_max(mut self, metas: usize) -> Self {
        self.options.diff_metas_max = metas;
        self
    }

    /// Metas in one state, or in one page of it: 10,000. Of more than these, who asks for the state gets the first page
    /// and the counts.
    pub fn state_metas_max(mut self, metas: usize) -> Self {
        self.options.state_metas_max = metas;
        self
    }

    /// Bytes of a key: 255.
    pub fn key_bytes_max(mut self, bytes: usize) -> Self {
        self.options.key_bytes_max = bytes;
        self
    }

    /// Bytes of a meta's JSON, without the refs: 16 KiB.
    pub fn meta_bytes_max(mut self, bytes: usize) -> Self {
        self.options.meta_bytes_max = bytes;
        self
    }

    /// Metas that may be present on one topic: as many as a number of 32 bits can count.
    pub fn topic_metas_max(mut self, metas: usize) -> Self {
        self.options.topic_metas_max = metas.min(u32::MAX as usize - 1);
        self
    }

    /// Adds data to what is told, such as a user's name: `fetch` gets a topic and all keys of one diff or one state,
    /// and puts fields beside their metas. One query for each batch, not for each subscriber.
    ///
    /// It runs on a thread of its own, where it may block; the diffs and states of the topic wait for it, and so may
    /// those of one topic in 64. A panic in it is caught and counted; that batch is told without.
    pub fn fetch(mut self, fetch: impl Fn(&str, &mut Batch) + Send + Sync + 'static) -> Self {
        self.hooks.fetch = Some(Box::new(fetch));
        self
    }

    /// Calls `handle` with each diff, after it was published, in the order of each topic. One call at a time; it runs
    /// where [`fetch`](Self::fetch) does.
    pub fn handle_diff(mut self, handle: impl FnMut(&str, &Diff) + Send + 'static) -> Self {
        self.hooks.diff = Some(Mutex::new(Box::new(handle)));
        self
    }

    /// Calls `handle` with each epoch's diff as a whole, and with the metas that each key in it has at the epoch's end.
    /// Otherwise as [`handle_diff`](Self::handle_diff).
    pub fn handle_metas(mut self, handle: impl FnMut(&str, &Diff, &[Present]) + Send + 'static) -> Self {
        self.hooks.metas = Some(Mutex::new(Box::new(handle)));
        self
    }

    /// How nodes gossip, on an engine with a [`cluster`](crate::PubSubBuilder::cluster). All nodes should have the
    /// same.
    pub fn gossip(mut self, options: GossipOptions) -> Self {
        self.gossiping.options = options;
        self
    }

    /// Whether other nodes are told when this presence ends in order, so that all who are present here leave at once:
    /// yes. Without it they leave after [`down_period`](GossipOptions::down_period), as after a crash.
    pub fn goodbye(mut self, goodbye: bool) -> Self {
        self.gossiping.goodbye = goodbye;
        self
    }

    /// Starts it, on an engine.
    ///
    /// # Errors
    ///
    /// [`BuildError`].
    pub fn start(self, pubsub: &PubSub) -> Result<Presence, BuildError> {
        let Builder { options, hooks, gossiping } = self;
        for (value, name) in [
            (options.diff_metas_max, "diff_metas_max"),
            (options.state_metas_max, "state_metas_max"),
            (options.topic_metas_max, "topic_metas_max"),
        ] {
            if value == 0 {
                return Err(BuildError::Zero(name));
            }
        }
        if options.diff_period > DIFF_PERIOD_MAX {
            return Err(BuildError::PeriodTooLong(options.diff_period));
        }
        let signal = Signal::new();
        let table = Arc::new(Table::new(&signal));
        let replication = match &pubsub.engine().link {
            Some(link) => Some(Replication::start(link, pubsub.node(), table.clone(), &gossiping)?),
            None => None,
        };
        let shared = Arc::new(PresenceShared {
            table,
            replication,
            signal,
            pubsub: pubsub.clone(),
            options,
            hooks,
            counters: PresenceCounters::default(),
        });
        let sealer = Sealer::new(shared.clone());
        let spawn = || thread::Builder::new().name("fanfare-sealer".to_owned()).spawn(move || sealer.run());
        let started = if cfg!(fanfare_stepped) { Ok(()) } else { spawn().map(drop) };
        if let Err(error) = started {
            shared.replication.iter().for_each(Replication::stop);
            return Err(BuildError::Spawn(error));
        }
        #[cfg(fanfare_stepped)]
        let sealer = Mutex::new(Sealer::new(shared.clone()));
        Ok(Presence(Arc::new(Handle {
            shared,
            #[cfg(fanfare_stepped)]
            sealer,
        })))
    }
}
