//! The engine as it is embedded: [`PubSub`], [`Topic`] handles, broadcasts.

mod config;
mod dispatch;
mod error;
mod publish;
mod shutdown;
mod stats;
#[cfg(fanfare_stepped)]
mod stepped;

pub(crate) use config::Config;
pub use config::{Builder, Idle, Wait};
pub use dispatch::{Dispatch, Dispatcher, SubscriptionRef};
pub use error::{BroadcastError, ConfigError, Rejected, SubscribeError, TopicError};
pub use publish::Outcome;
pub(crate) use publish::{ForClients, TaskError};
pub use shutdown::ShutdownReport;
pub use stats::{Stats, WorkerStats};

use crate::cluster::{ClusterStats, Link, To};
use crate::message::{Event, Payload};
use crate::subscriber::SubscriberBuilder;
use crate::sync::{Arc, Mutex, Parker, Weak, thread};
use crate::topic::{Entry, Table, state};
use crate::worker::barrier::Barrier;
use crate::worker::gate::Gate;
use crate::worker::sleep::fence_before_notify;
use crate::worker::{Item, SubscriberId, Worker};
use shutdown::Ending;
use std::time::Instant;

/// What all handles of an engine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) topics: Table,
    pub(crate) workers: Box<[Worker]>,
    pub(crate) gate: Gate,
    pub(crate) ending: Ending,
    /// To other nodes.
    pub(crate) link: Option<Arc<Link>>,
    /// The handle that keeps the engine running, for handlers that ask for it.
    owner: Mutex<Weak<Owner>>,
}

/// Keeps the engine running. Its drop shuts the engine down.
#[derive(Debug)]
struct Owner {
    engine: Arc<Shared>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

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
#[derive(Debug, Clone)]
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
    pub fn builder() -> Builder {
        Builder::default()
    }

    pub(crate) fn start(config: Config) -> Result<PubSub, ConfigError> {
        let link = config.cluster.clone().map(|cluster| Link::new(cluster, &config.node));
        let (entries, weight) = (config.inbox_entries_max, config.inbox_weight_max);
        let engine = Arc::new(Shared {
            topics: Table::new(),
            workers: (0..config.workers).map(|index| Worker::new(index, entries, weight)).collect(),
            gate: Gate::new(64),
            ending: Ending::new(),
            link,
            owner: Mutex::new(Weak::new()),
            config,
        });
        let mut threads = Vec::new();
        let threaded = if cfg!(fanfare_stepped) { 0 } else { engine.workers.len() };
        for index in 0..threaded {
            match crate::worker::run::spawn(engine.clone(), index) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that run find the gate closed, and end.
                    shutdown::abandon(&engine, threads);
                    return Err(ConfigError::Spawn(error));
                }
            }
        }
        if let Some(Err(error)) = engine.link.as_ref().map(|link| link.start(&engine)) {
            shutdown::abandon(&engine, threads);
            return Err(ConfigError::Cluster(error));
        }
        let owner = Arc::new(Owner { engine: engine.clone(), threads: Mutex::new(threads) });
        *engine.owner.lock() = Arc::downgrade(&owner);
        Ok(PubSub { owner })
    }

    pub(crate) fn upgrade(engine: &Arc<Shared>) -> Option<PubSub> {
        engine.owner.lock().upgrade().map(|owner| PubSub { owner })
    }

    pub(crate) fn engine(&self) -> &Arc<Shared> {
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
        let engine = self.engine().clone();
        engine.config.check_topic(name)?;
        let entry = engine.topics.begin_use(name, state::State::add_handle, Arc::clone);
        Ok(Topic { entry, engine })
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
        self.engine().topics.look_up(topic, |entry| entry.map_or(0, |entry| entry.state.subscriptions() as usize))
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
        if crate::worker::outbox::on_worker() {
            return Err(BroadcastError::OnWorker);
        }
        let Some(pass) = engine.gate.enter(crate::sync::thread_hint::number()) else {
            return Err(BroadcastError::Closed);
        };
        let parker = Parker::new();
        let barrier = Arc::new(Barrier::new(engine.workers.len() as u32, &parker));
        for worker in &engine.workers {
            let lane = &worker.lane;
            let item = Item::Barrier { barrier: barrier.clone(), position: lane.log.position() };
            if let Err(item) = lane.inbox.push(item, 0)
                && !lane.push_waiting(&engine.gate, item, 0)
            {
                return Err(BroadcastError::Closed);
            }
            fence_before_notify();
            worker.wake_if_asleep();
        }
        drop(pass);
        // A worker that is ending closes its log first and drains its inbox after: either it finds the barrier there,
        // or we find the log closed.
        if engine.workers.iter().any(|worker| worker.lane.log.lock().state().closed) {
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

    /// Counters and depths, as of now.
    pub fn stats(&self) -> Stats {
        Stats::of(self.engine())
    }
}

/// A handle of a topic: broadcasts that look nothing up. It keeps the topic's entry, not the engine, alive.
#[derive(Debug)]
pub struct Topic {
    entry: Arc<Entry>,
    engine: Arc<Shared>,
}

impl Topic {
    /// Its name.
    pub fn name(&self) -> &str {
        self.entry.name()
    }

    pub(crate) fn entry(&self) -> &Arc<Entry> {
        &self.entry
    }

    pub(crate) fn engine(&self) -> &Arc<Shared> {
        &self.engine
    }

    /// As [`PubSub::broadcast`].
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn broadcast(&self, event: impl Into<Event>, payload: impl Into<Payload>) -> Result<Outcome, BroadcastError> {
        // Before anything is converted: without members this is all there is to do.
        if self.entry.state.workers() == 0 && self.engine.link.is_none() {
            return self.engine.to_nobody();
        }
        self.engine.publish_to(&self.entry).everywhere().send(event.into(), payload.into())
    }

    /// As [`PubSub::broadcast_from`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn broadcast_from(
        &self,
        from: SubscriberId,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine.publish_to(&self.entry).everywhere().from(from).send(event.into(), payload.into())
    }

    /// As [`PubSub::try_broadcast`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn try_broadcast(
        &self,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine.publish_to(&self.entry).everywhere().no_wait().send(event.into(), payload.into())
    }

    /// As [`PubSub::broadcast_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn broadcast_with(
        &self,
        dispatcher: std::sync::Arc<dyn Dispatcher>,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine.publish_to(&self.entry).dispatcher(dispatcher).send(event.into(), payload.into())
    }

    /// As [`PubSub::subscriber_count`].
    pub fn subscriber_count(&self) -> usize {
        self.entry.state.subscriptions() as usize
    }
}

impl Clone for Topic {
    fn clone(&self) -> Self {
        let begun = self.entry.state.add_handle();
        debug_assert!(begun, "a topic with a handle is not retired");
        Topic { entry: self.entry.clone(), engine: self.engine.clone() }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.entry.state.drop_handle() {
            self.engine.topics.remove(&self.entry);
        }
    }
}
