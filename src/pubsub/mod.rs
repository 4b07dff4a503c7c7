//! The engine as it is embedded: [`PubSub`], [`Topic`] handles, broadcasts.

pub(crate) mod builder;
pub(crate) mod topic;

use self::builder::PubSubBuilder;
use self::topic::Topic;
use crate::cluster::link::{ClusterStats, To};
use crate::engine::config::Config;
use crate::engine::error::{BroadcastError, ConfigError, TopicError};
use crate::engine::outcome::Outcome;
use crate::engine::shutdown::ShutdownReport;
use crate::engine::stats::Stats;
use crate::engine::worker::barrier::Barrier;
use crate::engine::worker::item::Item;
use crate::engine::worker::places::SubscriberId;
use crate::engine::{Engine, Owner, outbox, publish};
use crate::message::dispatch::Dispatcher;
use crate::message::payload::{Event, Payload};
use crate::protocol::sleep::fence_before_notify;
use crate::subscriber::builder::SubscriberBuilder;
use crate::sync::{Arc, Parker};
use std::time::{Duration, Instant};

/// A fan-out engine. Handles are cheap to clone; when the last one is dropped the engine delivers what it has accepted
/// and ends, as with [`shutdown`](PubSub::shutdown) without a deadline.
///
/// # Order
///
/// A broadcast reaches exactly those who are subscribed when it is called: everybody whose `subscribe` had returned
/// before, nobody whose `subscribe` is called after it returned; concurrent calls may go either way. Each subscriber
/// sees the messages of one publisher on one topic in publishing order.
///
/// # Delivery
///
/// In memory and at most once: a message that was accepted reaches the mailbox or the handler of every member, unless
/// the engine is shut down with a deadline that passes first; what a full mailbox does is its subscriber's choice
/// ([`Overflow`](crate::Overflow)). Nothing is kept for those who subscribe later.
#[derive(Clone)]
pub struct PubSub {
    owner: Arc<Owner>,
}

impl PubSub {
    /// An engine with the default configuration.
    ///
    /// # Errors
    ///
    /// [`ConfigError::Spawn`], if the system gives no more threads.
    pub fn new() -> Result<PubSub, ConfigError> {
        PubSub::builder().build()
    }

    /// Decides how an engine is made.
    pub fn builder() -> PubSubBuilder {
        PubSubBuilder::default()
    }

    pub(crate) fn start(config: Config) -> Result<PubSub, ConfigError> {
        Owner::start(config).map(|owner| PubSub { owner })
    }

    pub(crate) fn upgrade(engine: &Arc<Engine>) -> Option<PubSub> {
        engine.owner.lock().upgrade().map(|owner| PubSub { owner })
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.owner.engine
    }

    /// Decides how a subscriber is made.
    pub fn subscriber(&self) -> SubscriberBuilder {
        SubscriberBuilder::new(self.engine().clone())
    }

    /// A handle of a topic, which need not exist before. Broadcasts through it look nothing up.
    ///
    /// # Errors
    ///
    /// [`TopicError`]: the name is not within the limits.
    pub fn topic(&self, name: &str) -> Result<Topic, TopicError> {
        Topic::new(self.engine(), name)
    }

    /// Broadcasts to every subscriber of a topic. Returns when the message is on its way to each worker that has some,
    /// not when it is delivered; the time that takes does not depend on their number. Waits while an inbox is full; on
    /// a worker's own thread it never waits.
    ///
    /// # Errors
    ///
    /// [`BroadcastError::Topic`], [`BroadcastError::Closed`], and on a worker's thread [`BroadcastError::Full`].
    pub fn broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).everywhere().send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), but not to `from`, on none of its subscriptions.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_from(
        &self,
        from: SubscriberId,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).everywhere().from(from).send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), but never waits: if an inbox that it needs is full, nobody gets the message,
    /// and it comes back. Once begun it finishes: should other publishers take the room between the look and the push,
    /// it waits the moment that the worker needs to make some.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast), and [`BroadcastError::Full`] with what was to be sent.
    pub fn try_broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).everywhere().no_wait().send(event.into(), payload.into())
    }

    /// As [`local_broadcast`](Self::local_broadcast), with a [`Dispatcher`] that decides for each subscription. It runs
    /// on the workers. It is code of this process, so it can't go to other nodes.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn broadcast_with(
        &self,
        dispatcher: std::sync::Arc<dyn Dispatcher>,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).dispatcher(dispatcher).send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), to subscribers of this node only.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn local_broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).send(event.into(), payload.into())
    }

    /// As [`broadcast_from`](Self::broadcast_from), to subscribers of this node only.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast).
    pub fn local_broadcast_from(
        &self,
        from: SubscriberId,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine().publish(topic).from(from).send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), to subscribers of the node of that name only. A cluster does not know whether
    /// there is one: what is for nobody is lost.
    ///
    /// # Errors
    ///
    /// As [`broadcast`](Self::broadcast), and [`BroadcastError::NoSuchNode`] without a cluster, for every name but this
    /// node's own.
    pub fn direct_broadcast(
        &self,
        node: &str,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        if node == self.node() {
            return self.local_broadcast(topic, event, payload);
        }
        let engine = self.engine();
        let Some(link) = &engine.link else { return Err(BroadcastError::NoSuchNode(node.to_owned())) };
        let (event, payload) = (event.into(), payload.into());
        engine.config.check_topic(topic)?;
        engine.to_nobody()?;
        let bytes = publish::wire_bytes(topic, &event, &payload)?;
        Ok(link.broadcast(To::Node(node), topic, &event, bytes, false))
    }

    /// What has gone between this node and the others; `None` without a cluster.
    pub fn cluster_stats(&self) -> Option<ClusterStats> {
        self.engine().link.as_ref().map(|link| link.stats())
    }

    /// The name of this node.
    pub fn node(&self) -> &str {
        &self.engine().config.node
    }

    /// How many workers there are.
    pub fn workers(&self) -> usize {
        self.engine().workers.len()
    }

    /// Subscriptions to a topic. One counts from when `subscribe` is called until its worker has removed it, shortly
    /// after the unsubscribe or the drop; after [`flush`](Self::flush) those are counted out too.
    pub fn subscriber_count(&self, topic: &str) -> usize {
        self.engine().topics.look_up(topic, |entry| entry.map_or(0, |entry| entry.lifecycle.subscriptions() as usize))
    }

    /// The names of all topics that have a subscription or a handle, in no order. Looks at every topic.
    pub fn topics(&self) -> Vec<String> {
        self.engine().topics.names()
    }

    /// Waits until everything that was accepted before has been delivered, and every subscribe, unsubscribe and drop
    /// before has been applied. Returns when the last worker came to that point. What handlers publish meanwhile is
    /// not waited for.
    ///
    /// # Errors
    ///
    /// [`BroadcastError::Closed`], also if the engine is shut down meanwhile with a deadline that passes; on a
    /// worker's thread [`BroadcastError::OnWorker`], since it would wait for itself.
    pub fn flush(&self) -> Result<Instant, BroadcastError> {
        let engine = self.engine();
        if outbox::on_worker() {
            return Err(BroadcastError::OnWorker);
        }
        let Some(pass) = engine.gate.enter(crate::sync::thread_hint::number()) else {
            return Err(BroadcastError::Closed);
        };
        let parker = Parker::new();
        let barrier = Arc::new(Barrier::new(engine.workers.len() as u32, &parker));
        for worker in &engine.workers {
            let remote = &worker.remote;
            let item = Item::Barrier { barrier: barrier.clone(), position: remote.control_log.position() };
            if let Err(item) = remote.inbox.push(item, 0)
                && !remote.push_waiting(&engine.gate, item, 0)
            {
                return Err(BroadcastError::Closed);
            }
            fence_before_notify();
            worker.wake_if_asleep();
        }
        drop(pass);
        // A worker that is ending closes its log first and drains its inbox after: either it finds the barrier there,
        // or we find the log closed.
        if engine.workers.iter().any(|worker| worker.remote.control_log.lock().state().closed) {
            return Err(BroadcastError::Closed);
        }
        loop {
            if barrier.is_abandoned() {
                return Err(BroadcastError::Closed);
            }
            if let Some(at) = barrier.reached() {
                return Ok(at);
            }
            parker.wait(None);
        }
    }

    /// Shuts the engine down. Calls from outside get `Closed` at once; handlers may publish until everything accepted
    /// has been delivered, or until `deadline` has passed. Then every subscriber is closed with
    /// [`CloseReason::Shutdown`](crate::CloseReason): what is in a mailbox can still be read. Waits for the workers to
    /// end: past the deadline, for a second at most.
    ///
    /// # Errors
    ///
    /// On a worker's thread it only starts the shutdown, and returns [`BroadcastError::OnWorker`].
    pub fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, BroadcastError> {
        let deadline = Instant::now().checked_add(deadline);
        self.owner.shut_down(deadline).ok_or(BroadcastError::OnWorker)
    }

    /// Lets each worker work on the calling thread, until none has anything left to do.
    #[doc(hidden)]
    #[cfg(fanfare_stepped)]
    pub fn step(&self) {
        crate::engine::stepped::step(self.engine());
    }

    /// Counters and depths, as of now.
    pub fn stats(&self) -> Stats {
        Stats::of(self.engine())
    }
}

impl std::fmt::Debug for PubSub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PubSub")
            .field("node", &self.node())
            .field("workers", &self.workers())
            .field("topics", &self.engine().topics.len())
            .finish_non_exhaustive()
    }
}
