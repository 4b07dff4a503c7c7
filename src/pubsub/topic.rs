//! Handles of topics.

use crate::engine::Engine;
use crate::engine::error::{BroadcastError, TopicError};
use crate::engine::outcome::Outcome;
use crate::engine::worker::places::SubscriberId;
use crate::message::dispatch::Dispatcher;
use crate::message::payload::{Event, Payload};
use crate::protocol::topic_lifecycle::TopicLifecycle;
use crate::sync::Arc;
use crate::topic::table::TopicEntry;

/// A handle of a topic: broadcasts that look nothing up. It keeps the topic's entry, not the engine, alive.
pub struct Topic {
    entry: Arc<TopicEntry>,
    engine: Arc<Engine>,
}

impl Topic {
    pub(crate) fn new(engine: &Arc<Engine>, name: &str) -> Result<Topic, TopicError> {
        engine.config.check_topic(name)?;
        let entry = engine.topics.begin_use(name, TopicLifecycle::add_handle, Arc::clone);
        Ok(Topic { entry, engine: engine.clone() })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        self.entry.name()
    }

    pub(crate) fn entry(&self) -> &Arc<TopicEntry> {
        &self.entry
    }

    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// As [`PubSub::broadcast`](crate::PubSub::broadcast).
    ///
    /// # Errors
    ///
    /// As there.
    #[inline]
    pub fn broadcast(&self, event: impl Into<Event>, payload: impl Into<Payload>) -> Result<Outcome, BroadcastError> {
        // Before anything is converted: without members this is all there is to do.
        if self.entry.lifecycle.workers() == 0 && self.engine.link.is_none() {
            return self.engine.to_nobody();
        }
        self.engine.publish_to(&self.entry).everywhere().send(event.into(), payload.into())
    }

    /// As [`PubSub::broadcast_from`](crate::PubSub::broadcast_from).
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

    /// As [`PubSub::try_broadcast`](crate::PubSub::try_broadcast).
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

    /// As [`PubSub::broadcast_with`](crate::PubSub::broadcast_with).
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

    /// As [`PubSub::subscriber_count`](crate::PubSub::subscriber_count).
    pub fn subscriber_count(&self) -> usize {
        self.entry.lifecycle.subscriptions() as usize
    }
}

impl Clone for Topic {
    fn clone(&self) -> Self {
        let begun = self.entry.lifecycle.add_handle();
        debug_assert!(begun, "a topic with a handle is not retired");
        Topic { entry: self.entry.clone(), engine: self.engine.clone() }
    }
}

impl Drop for Topic {
    fn drop(&mut self) {
        if self.entry.lifecycle.drop_handle() {
            self.engine.topics.remove(&self.entry);
        }
    }
}

impl std::fmt::Debug for Topic {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Topic")
            .field("name", &self.name())
            .field("subscriptions", &self.subscriber_count())
            .finish_non_exhaustive()
    }
}
