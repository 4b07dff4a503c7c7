//! Deciding how an engine is made.

use super::PubSub;
use crate::cluster::Cluster;
use crate::engine::config::{Config, Idle, Wait};
use crate::engine::error::ConfigError;
use crate::engine::publish::IN_PLACE_MEMBERS_MAX;
use crate::engine::worker::shared::weight_of;
use crate::protocol::ring::CAPACITY_MAX;
use crate::protocol::topic_lifecycle::WORKERS_MAX;
use crate::sync::thread;

/// Decides how an engine is made. From [`PubSub::builder`]; [`build`](Self::build) checks everything.
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until it is built"]
pub struct PubSubBuilder {
    workers: usize,
    pin: bool,
    idle: Idle,
    wait: Wait,
    inbox_entries_max: usize,
    inbox_deliveries_max: u64,
    topic_bytes_max: usize,
    mailbox_capacity_max: usize,
    subscriptions_max: u32,
    in_place: Option<u64>,
    node: String,
    cluster: Option<std::sync::Arc<dyn Cluster>>,
}

impl Default for PubSubBuilder {
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        PubSubBuilder {
            workers: processors.min(WORKERS_MAX),
            pin: false,
            idle: Idle::default(),
            wait: Wait::default(),
            inbox_entries_max: 1024,
            inbox_deliveries_max: 1 << 25,
            topic_bytes_max: 1024,
            mailbox_capacity_max: 1 << 16,
            subscriptions_max: 1 << 20,
            in_place: None,
            node: "local".to_owned(),
            cluster: None,
        }
    }
}

impl PubSubBuilder {
    /// Worker threads, from 1 to 64. The default is one per processor.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// Whether each worker is pinned to a processor. Off by default; it pays only where each worker has one to itself.
    /// On systems without pinning it does nothing.
    pub fn pin(mut self, pin: bool) -> Self {
        self.pin = pin;
        self
    }

    /// What an idle worker does.
    pub fn idle(mut self, idle: Idle) -> Self {
        self.idle = idle;
        self
    }

    /// What a worker sleeps in.
    pub fn wait(mut self, wait: Wait) -> Self {
        self.wait = wait;
        self
    }

    /// Broadcasts that may wait in the inbox of a worker: a power of two, from 2 to a million. The default is 1,024.
    pub fn inbox_entries_max(mut self, entries: usize) -> Self {
        self.inbox_entries_max = entries;
        self
    }

    /// Deliveries that the broadcasts in a worker's inbox may stand for: from 64 to 2^35. An empty inbox takes a
    /// broadcast of any size. The default, 33 million, is about a tenth of a second of work.
    pub fn inbox_deliveries_max(mut self, deliveries: u64) -> Self {
        self.inbox_deliveries_max = deliveries;
        self
    }

    /// Longest name of a topic, in bytes of UTF-8: from 1 to a mebibyte. The default is 1,024.
    pub fn topic_bytes_max(mut self, bytes: usize) -> Self {
        self.topic_bytes_max = bytes;
        self
    }

    /// Greatest capacity of a mailbox, in messages: from 1 to 16 million. The default is 65,536.
    pub fn mailbox_capacity_max(mut self, messages: usize) -> Self {
        self.mailbox_capacity_max = messages;
        self
    }

    /// Most subscriptions of one subscriber: at least 1. The default is a million.
    pub fn subscriptions_max(mut self, subscriptions: u32) -> Self {
        self.subscriptions_max = subscriptions;
        self
    }

    /// Most members of a topic to whose mailboxes a publisher delivers itself when their workers idle, which saves
    /// waking these: from 0, for never, to 4,096.
    ///
    /// By default it does so where that costs it less than waking the workers, as measured on the way, which comes to
    /// a few hundred members for each worker that sleeps; and a publisher that sends many in a row wakes them.
    pub fn in_place_members_max(mut self, members: u64) -> Self {
        self.in_place = Some(members);
        self
    }

    /// The name of this node. The default is `local`.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// Other nodes, to which broadcasts go as well. Each must have a [`node`](Self::node) name of its own. The module
    /// [`cluster`](crate::cluster) has what is promised.
    pub fn cluster(mut self, cluster: impl Cluster) -> Self {
        self.cluster = Some(std::sync::Arc::new(cluster));
        self
    }

    /// Checks it all, and starts the engine.
    ///
    /// # Errors
    ///
    /// [`ConfigError`]: an option is not within its bounds, or the system gives no more threads.
    pub fn build(self) -> Result<PubSub, ConfigError> {
        let within = |option, given: u64, min, max| {
            if (min..=max).contains(&given) { Ok(()) } else { Err(ConfigError::OutOfRange { option, given, min, max }) }
        };
        within("workers", self.workers as u64, 1, WORKERS_MAX as u64)?;
        within("inbox_entries_max", self.inbox_entries_max as u64, 2, 1 << 20)?;
        if !self.inbox_entries_max.is_power_of_two() {
            let next = self.inbox_entries_max.next_power_of_two() as u64;
            let (given, min) = (self.inbox_entries_max as u64, next / 2);
            // The nearest powers of two on both sides.
            return Err(ConfigError::OutOfRange {
                option: "inbox_entries_max, a power of two,",
                given,
                min,
                max: next,
            });
        }
        within("inbox_deliveries_max", self.inbox_deliveries_max, 64, 1 << 35)?;
        within("topic_bytes_max", self.topic_bytes_max as u64, 1, 1 << 20)?;
        within("mailbox_capacity_max", self.mailbox_capacity_max as u64, 1, CAPACITY_MAX as u64)?;
        within("subscriptions_max", self.subscriptions_max.into(), 1, u32::MAX.into())?;
        within("in_place_members_max", self.in_place.unwrap_or(0), 0, IN_PLACE_MEMBERS_MAX)?;
        if self.node.is_empty() {
            return Err(ConfigError::EmptyNode);
        }
        PubSub::start(Config {
            workers: self.workers,
            pin: self.pin,
            idle: self.idle,
            wait: self.wait,
            inbox_entries_max: self.inbox_entries_max,
            inbox_weight_max: weight_of(self.inbox_deliveries_max),
            topic_bytes_max: self.topic_bytes_max,
            mailbox_capacity_max: self.mailbox_capacity_max,
            subscriptions_max: self.subscriptions_max,
            in_place: self.in_place,
            node: self.node,
            cluster: self.cluster,
        })
    }
}
