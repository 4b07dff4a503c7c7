//! Making subscribers.

use super::conflate;
use super::control::Control;
use super::handler::{Handler, HandlerSubscriber};
use super::reader::{Mailbox, Subscriber};
use crate::engine::Engine;
use crate::engine::contract::Overflow;
use crate::engine::error::SubscribeError;
use crate::engine::worker::item::Op;
use crate::engine::worker::members::Place;
use crate::engine::worker::places::SubscriberId;
use crate::message::body::Message;
use crate::protocol::ring::{INLINE, Policy};
use crate::sync::{Arc, AtomicU32, Ordering, thread_hint};
use std::hash::Hash;

/// Decides how a subscriber is made. From [`PubSub::subscriber`](crate::PubSub::subscriber).
#[derive(Debug)]
#[must_use = "a builder makes nothing until it is told what to make"]
pub struct SubscriberBuilder {
    engine: Arc<Engine>,
    capacity: usize,
    overflow: Overflow,
    worker: Option<usize>,
}

impl SubscriberBuilder {
    pub(crate) fn new(engine: Arc<Engine>) -> Self {
        SubscriberBuilder { engine, capacity: INLINE, overflow: Overflow::default(), worker: None }
    }

    /// How many unread messages the mailbox holds, exactly. The default, 8, is the cheapest: such a mailbox is one
    /// cache line.
    pub fn capacity(mut self, messages: usize) -> Self {
        self.capacity = messages;
        self
    }

    /// What happens when the mailbox is full. The default drops the oldest and says so.
    pub fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }

    /// The worker on which it lives, by number. By default subscribers are spread evenly; those made on a worker's
    /// thread live there.
    pub fn worker(mut self, worker: usize) -> Self {
        self.worker = Some(worker);
        self
    }

    /// Makes a subscriber with a mailbox.
    ///
    /// # Errors
    ///
    /// [`SubscribeError`]: the capacity is not within the limits, there is no such worker, the worker is full, or the
    /// engine is closed.
    pub fn build(self) -> Result<Subscriber, SubscribeError> {
        self.check_capacity()?;
        let worker = self.pick()?;
        let me = &self.engine.workers[worker];
        let mut guard = me.remote.control_log.lock();
        if guard.state().closed {
            return Err(SubscribeError::Closed);
        }
        let (index, generation) = guard.state().take(0);
        let place = Place { kind: 0, index };
        let (Some(line), Some(_)) = (me.lines.grow(index), me.cold.grow(index)) else {
            // The place is past what its worker can hold; it stays taken, so this is found at once the next time.
            return Err(SubscribeError::TooManySubscribers);
        };
        let policy = match self.overflow {
            Overflow::DropOldest => Policy::DropOldest,
            Overflow::DropNewest => Policy::DropNewest,
            Overflow::Close => Policy::Close,
        };
        line.reset(self.capacity, policy);
        let refused = &me.cold(index).refused;
        if refused.load(Ordering::Relaxed) != 0 {
            refused.store(0, Ordering::Relaxed);
        }
        let wide = (self.capacity > INLINE).then(|| {
            let slots: Arc<[AtomicU32]> = (0..self.capacity.next_power_of_two()).map(|_| AtomicU32::new(0)).collect();
            guard.append(Op::Wide { index, slots: slots.clone() });
            slots
        });
        drop(guard);
        let id = SubscriberId { place, generation, worker: worker as u16 };
        Ok(Subscriber::new(Mailbox::ring(Control::new(self.engine, id), wide)))
    }

    /// Makes a subscriber whose mailbox keeps the latest message of each key: a new one takes the place of the unread
    /// one of the same key. A new key in a full mailbox drops the oldest key, and the reader finds
    /// [`RecvError::Lagged`](crate::RecvError). The capacity is in keys.
    ///
    /// The key function runs on the worker; a panic in it closes this subscriber alone, with
    /// [`CloseReason::Panicked`](crate::CloseReason).
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn conflate_by<K, F>(self, key: F) -> Result<Subscriber, SubscribeError>
    where
        K: Hash + Eq + Clone + Send + 'static,
        F: FnMut(&Message) -> K + Send + 'static,
    {
        self.check_capacity()?;
        let worker = self.pick()?;
        let (queue, sink) = conflate::new(key, self.capacity);
        let handler = HandlerSubscriber::new(&self.engine, worker, sink)?;
        Ok(Subscriber::new(Mailbox::conflating(queue, handler)))
    }

    /// Makes a subscriber whose messages go to a handler on its worker, without a mailbox.
    ///
    /// # Errors
    ///
    /// As [`build`](Self::build).
    pub fn handler<H: Handler>(self, handler: H) -> Result<HandlerSubscriber, SubscribeError> {
        let worker = self.pick()?;
        HandlerSubscriber::new(&self.engine, worker, handler)
    }

    fn check_capacity(&self) -> Result<(), SubscribeError> {
        let max = self.engine.config.mailbox_capacity_max;
        if self.capacity == 0 || self.capacity > max {
            return Err(SubscribeError::Capacity { given: self.capacity, max });
        }
        Ok(())
    }

    fn pick(&self) -> Result<usize, SubscribeError> {
        let workers = self.engine.workers.len();
        match self.worker {
            Some(worker) if worker < workers => Ok(worker),
            Some(worker) => Err(SubscribeError::NoSuchWorker { given: worker, workers }),
            None => Ok(crate::engine::outbox::worker_of(&self.engine).unwrap_or_else(|| thread_hint::next() % workers)),
        }
    }
}
