//! The control handle: what a subscriber is subscribed to, from any thread.

use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::engine::error::SubscribeError;
use crate::engine::worker::item::Op;
use crate::engine::worker::places::SubscriberId;
use crate::engine::worker::shared::Worker;
use crate::message::dispatch::Metadata;
use crate::protocol::sleep::fence_before_notify;
use crate::protocol::topic_lifecycle::TopicLifecycle;
use crate::pubsub::topic::Topic;
use crate::sync::Arc;
use crate::topic::table::TopicEntry;
use std::any::Any;

/// Log entries after which a sleeping worker is woken to apply them.
pub(crate) const LOG_WAKE: usize = 4096;

/// Subscribes and unsubscribes a subscriber. Cheap to clone; it keeps neither the subscriber nor the engine alive.
#[derive(Clone)]
pub struct Control {
    engine: Arc<Engine>,
    id: SubscriberId,
}

impl Control {
    pub(crate) fn new(engine: Arc<Engine>, id: SubscriberId) -> Self {
        Control { engine, id }
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.engine.workers[self.id.worker as usize]
    }

    /// Who the subscriber is.
    pub fn id(&self) -> SubscriberId {
        self.id
    }

    /// Subscribes to a topic. Every broadcast called after this returned is delivered; none that had returned before
    /// this was called is. A second subscription to the same topic means a second delivery of each message.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: the topic's name is not within the limits, the subscriber has as many subscriptions as it
    /// may, or it or the engine is closed.
    pub fn subscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        self.subscribe_inner(topic, None)
    }

    /// Subscribes to a topic, with something for [`Dispatcher`](crate::Dispatcher)s to see.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    pub fn subscribe_with<T: Any + Send + Sync>(&self, topic: &str, metadata: T) -> Result<(), SubscribeError> {
        self.subscribe_inner(topic, Some(Arc::new(metadata)))
    }

    /// Subscribes to the topic of a handle, without looking its name up.
    ///
    /// # Errors
    ///
    /// As [`subscribe`](Self::subscribe).
    ///
    /// # Panics
    ///
    /// If the handle is of another engine.
    pub fn subscribe_to(&self, topic: &Topic) -> Result<(), SubscribeError> {
        assert!(Arc::ptr_eq(&self.engine, topic.engine()), "the topic is of another engine");
        let begun = topic.entry().lifecycle.add_subscription();
        debug_assert!(begun, "a topic with a handle is not retired");
        self.append(topic.entry(), None)
    }

    /// Subscribes as [`subscribe_with`](Self::subscribe_with), and drops the metadata as soon as the subscription ends,
    /// also when that is since the subscriber was dropped while its worker sleeps.
    pub(crate) fn subscribe_watched<T: Any + Send + Sync>(
        &self,
        topic: &str,
        metadata: T,
    ) -> Result<(), SubscribeError> {
        let SubscriberId { place, generation, .. } = self.id;
        {
            let mut guard = self.worker().remote.control_log.lock();
            // Another tenant must not be watched in its place; the subscription itself finds that out as well.
            if guard.state().close_reason(place, generation).is_none() {
                guard.state().watch(place);
            }
        }
        self.subscribe_with(topic, metadata)
    }

    fn subscribe_inner(&self, topic: &str, metadata: Option<Metadata>) -> Result<(), SubscribeError> {
        self.engine.config.check_topic(topic)?;
        self.engine.topics.begin_use(topic, TopicLifecycle::add_subscription, |entry| self.append(entry, metadata))
    }

    /// Appends the subscription that the topic already counts.
    fn append(&self, topic: &Arc<TopicEntry>, metadata: Option<Metadata>) -> Result<(), SubscribeError> {
        let SubscriberId { place, generation, .. } = self.id;
        let worker = self.worker();
        let mut guard = worker.remote.control_log.lock();
        let state = guard.state();
        let error = if state.closed {
            Some(SubscribeError::Closed)
        } else if state.close_reason(place, generation).is_some() {
            Some(SubscribeError::SubscriberClosed)
        } else if !state.add_subscription(place, self.engine.config.subscriptions_max) {
            Some(SubscribeError::TooManySubscriptions { max: self.engine.config.subscriptions_max })
        } else {
            None
        };
        if let Some(error) = error {
            drop(guard);
            if topic.lifecycle.drop_subscriptions(1) {
                self.engine.topics.remove(topic);
            }
            return Err(error);
        }
        // The bit and the entry, both under the lock (`topic_lifecycle`, I3).
        let entry = topic.lifecycle.show(worker.index).then(|| topic.clone());
        let waiting = guard.append(Op::Subscribe { topic: topic.number(), entry, place, metadata });
        drop(guard);
        self.wake_for(waiting);
        Ok(())
    }

    /// Wakes the worker when the log has grown long: now and then, not for each entry.
    fn wake_for(&self, waiting: usize) {
        if waiting.is_multiple_of(LOG_WAKE) {
            fence_before_notify();
            self.worker().wake_if_asleep();
        }
    }

    /// Ends every subscription of this subscriber to a topic; without any it does nothing. Nothing that is published
    /// after this returned arrives; what is in the mailbox already stays there.
    ///
    /// # Errors
    ///
    /// [`SubscribeError::SubscriberClosed`] and [`SubscribeError::Closed`].
    pub fn unsubscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        // Within the look: the entry that was found keeps its number until the log has it. Whatever comes to have that
        // number later is subscribed to behind this in the log.
        self.engine.topics.look_up(topic, |entry| {
            let SubscriberId { place, generation, worker } = self.id;
            let mut guard = self.worker().remote.control_log.lock();
            if guard.state().closed {
                return Err(SubscribeError::Closed);
            }
            if guard.state().close_reason(place, generation).is_some() {
                return Err(SubscribeError::SubscriberClosed);
            }
            // Without an entry, or without our bit in it, there is no subscription: ours would have set it.
            if let Some(entry) = entry.filter(|entry| entry.lifecycle.workers() & 1 << worker != 0) {
                let waiting = guard.append(Op::Unsubscribe { topic: entry.number(), place });
                drop(guard);
                self.wake_for(waiting);
            }
            Ok(())
        })
    }

    /// Closes the subscriber: it gets nothing that is published after this returned. The reader of a mailbox can read
    /// what is in it, and then finds [`CloseReason::Dropped`]; a handler's `on_close` is called on its worker.
    pub fn close(&self) {
        let SubscriberId { place, generation, .. } = self.id;
        let worker = self.worker();
        let mut guard = worker.remote.control_log.lock();
        if guard.state().closed {
            return;
        }
        if place.kind == 0 {
            // The place stays its reader's.
            if !guard.state().close(place, generation, CloseReason::Dropped) {
                return;
            }
            guard.append(Op::End { place, reason: CloseReason::Dropped });
        } else {
            if !guard.state().leave(place, generation, CloseReason::Dropped) {
                return;
            }
            guard.append(Op::Remove { place, generation });
        }
        drop(guard);
        fence_before_notify();
        worker.wake_if_asleep();
    }

    /// Why the subscriber is closed, or `None` if it is not.
    pub fn close_reason(&self) -> Option<CloseReason> {
        let SubscriberId { place, generation, .. } = self.id;
        let mut guard = self.worker().remote.control_log.lock();
        let state = guard.state();
        let shutdown = state.closed.then_some(CloseReason::Shutdown);
        state.close_reason(place, generation).or(shutdown)
    }
}

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Control").field("id", &self.id).finish_non_exhaustive()
    }
}
