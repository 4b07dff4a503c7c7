//! Handlers: subscribers whose callback runs on their worker, the cheapest delivery there is.
//!
//! Handlers of one type lie in one slab of their worker, in chunks of contiguous slots, so that a walk calls one
//! function on neighbouring state. A panic is caught: it ends that handler alone. One guard around a run of calls,
//! resumed behind the one that panicked, costs next to nothing.

use super::control::Control;
use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::engine::error::{BroadcastError, SubscribeError};
use crate::engine::outcome::Outcome;
use crate::engine::worker::handlers::{Handlers, NewHandler, Run};
use crate::engine::worker::item::Op;
use crate::engine::worker::members::Place;
use crate::engine::worker::places::SubscriberId;
use crate::engine::worker::shared::{Worker, WorkerCounters};
use crate::message::body::Message;
use crate::message::payload::{Event, Payload};
use crate::pubsub::PubSub;
use crate::sync::Arc;
use std::any::{Any, TypeId};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a handler subscriber does with its messages.
///
/// Every closure `FnMut(&Message, &mut Context<'_>)` is one. Callbacks run on the subscriber's worker, one at a time
/// and in order; while one runs, everything else on that worker waits, so they must not block.
///
/// A panic in `on_message` ends this handler alone: it is dropped, its subscriptions go, the panic is counted in
/// [`Stats::panics`](crate::Stats) and its [`Control::close_reason`] says `Panicked`.
pub trait Handler: Send + 'static {
    /// A message of a topic that it is subscribed to.
    fn on_message(&mut self, message: &Message, context: &mut Context<'_>);

    /// It has ended, for this reason, and is dropped next. Not called after a panic of its own.
    fn on_close(&mut self, reason: CloseReason) {
        let _ = reason;
    }
}

impl<F: FnMut(&Message, &mut Context<'_>) + Send + 'static> Handler for F {
    fn on_message(&mut self, message: &Message, context: &mut Context<'_>) {
        self(message, context);
    }
}

/// What a handler may do while it runs.
///
/// Its broadcasts never wait: what does not fit into an inbox goes to the worker's own outbox, in order, and if that
/// is full too the call returns [`BroadcastError::Full`].
#[derive(Debug)]
pub struct Context<'a> {
    engine: &'a Arc<Engine>,
    me: &'a Worker,
    place: Place,
    generation: u32,
    close: bool,
}

impl Context<'_> {
    /// Who this handler is.
    pub fn id(&self) -> SubscriberId {
        SubscriberId { place: self.place, generation: self.generation, worker: self.me.index as u16 }
    }

    /// A control handle of this handler.
    pub fn control(&self) -> Control {
        Control::new(self.engine.clone(), self.id())
    }

    /// As [`PubSub::broadcast`].
    ///
    /// # Errors
    ///
    /// As there, and [`BroadcastError::Full`].
    pub fn broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine.publish(topic).everywhere().send(event.into(), payload.into())
    }

    /// As [`PubSub::broadcast_from`], from this handler.
    ///
    /// # Errors
    ///
    /// As there, and [`BroadcastError::Full`].
    pub fn broadcast_from_self(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.engine.publish(topic).everywhere().from(self.id()).send(event.into(), payload.into())
    }

    /// Subscribes this handler to a topic. It takes effect behind all broadcasts that were called before.
    ///
    /// # Errors
    ///
    /// As [`Control::subscribe`].
    pub fn subscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        self.control().subscribe(topic)
    }

    /// Ends this handler's subscriptions to a topic. It takes effect behind all broadcasts that were called before.
    ///
    /// # Errors
    ///
    /// As [`Control::unsubscribe`].
    pub fn unsubscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        self.control().unsubscribe(topic)
    }

    /// Ends this handler once the callback returns.
    pub fn close(&mut self) {
        self.close = true;
    }

    /// The engine, unless its last handle has gone and it is shutting down.
    pub fn pubsub(&self) -> Option<PubSub> {
        PubSub::upgrade(self.engine)
    }
}

/// A handler, and the generation of its place.
pub(crate) struct New<H> {
    /// The handler.
    pub handler: H,
    /// The generation.
    pub generation: u32,
}

impl<H: Handler> NewHandler for New<H> {
    fn slab(&self) -> Box<dyn Handlers> {
        Box::new(Slab::<H>(Vec::new()))
    }

    fn put(self: Box<Self>, slab: &mut dyn Handlers, index: u32) {
        let slab = slab.as_any().downcast_mut::<Slab<H>>().expect("a kind is a type");
        let New { handler, generation } = *self;
        slab.make(index);
        slab.0[index as usize / CHUNK][index as usize % CHUNK] = HandlerSlot { generation, handler: Some(handler) };
    }
}

/// Slots in a chunk.
const CHUNK: usize = 1024;

struct HandlerSlot<H> {
    generation: u32,
    handler: Option<H>,
}

struct Slab<H>(Vec<Box<[HandlerSlot<H>]>>);

impl<H: Handler> Slab<H> {
    fn make(&mut self, index: u32) {
        while self.0.len() <= index as usize / CHUNK {
            self.0.push((0..CHUNK).map(|_| HandlerSlot { generation: 0, handler: None }).collect());
        }
    }

    #[inline(always)]
    fn slot(&mut self, index: u32) -> Option<&mut HandlerSlot<H>> {
        self.0.get_mut(index as usize / CHUNK).map(|chunk| &mut chunk[index as usize % CHUNK])
    }

    /// Calls handlers from `next` on, until the end or a panic.
    fn call(&mut self, run: &Run<'_>, next: &mut usize, calls: &mut u64) {
        let place = Place { kind: run.kind, index: 0 };
        let mut context = Context { engine: run.engine, me: run.me, place, generation: 0, close: false };
        while let Some(&index) = run.places.get(*next) {
            *next += 1;
            if index == run.skip {
                continue;
            }
            // An empty slot is a handler that has ended and whose subscriptions are about to go.
            let Some(HandlerSlot { generation, handler: Some(handler) }) = self.slot(index) else { continue };
            context.place.index = index;
            context.generation = *generation;
            handler.on_message(run.message, &mut context);
            *calls += 1;
            if std::mem::take(&mut context.close) {
                self.end_one(run, index, CloseReason::Dropped);
            }
        }
    }

    /// Ends a handler from within a walk: it is dropped now, its subscriptions go with the log.
    fn end_one(&mut self, run: &Run<'_>, index: u32, reason: CloseReason) {
        let Some(slot) = self.slot(index) else { return };
        let generation = slot.generation;
        let Some(mut handler) = slot.handler.take() else { return };
        let place = Place { kind: run.kind, index };
        let mut guard = run.me.remote.control_log.lock();
        if guard.state().leave(place, generation, reason) {
            guard.append(Op::Remove { place, generation });
        }
        drop(guard);
        // A panic in there is the handler's last.
        let _ = catch_unwind(AssertUnwindSafe(move || {
            if reason != CloseReason::Panicked {
                handler.on_close(reason);
            }
            drop(handler);
        }));
    }
}

impl<H: Handler> Handlers for Slab<H> {
    fn run(&mut self, run: &Run<'_>) -> u64 {
        let (mut next, mut calls) = (0, 0);
        while next < run.places.len() {
            // After a panic the handler that it left half changed is dropped, and nothing else was shared.
            let caught = catch_unwind(AssertUnwindSafe(|| self.call(run, &mut next, &mut calls)));
            if caught.is_err() {
                WorkerCounters::add(&run.me.counters.panics, 1);
                self.end_one(run, run.places[next - 1], CloseReason::Panicked);
            }
        }
        calls
    }

    fn remove(&mut self, index: u32, reason: CloseReason) {
        if let Some(mut handler) = self.slot(index).and_then(|slot| slot.handler.take()) {
            // A panic in there is the handler's last.
            let _ = catch_unwind(AssertUnwindSafe(move || {
                handler.on_close(reason);
                drop(handler);
            }));
        }
    }

    fn end(&mut self, reason: CloseReason) {
        for index in 0..(self.0.len() * CHUNK) as u32 {
            self.remove(index, reason);
        }
    }

    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// A handler's own end of a subscription: dropping it ends the handler.
#[derive(Debug)]
pub struct HandlerSubscriber {
    control: Control,
}

impl HandlerSubscriber {
    pub(crate) fn new<H: Handler>(engine: &Arc<Engine>, worker: usize, handler: H) -> Result<Self, SubscribeError> {
        let me = &engine.workers[worker];
        let mut guard = me.remote.control_log.lock();
        if guard.state().closed {
            return Err(SubscribeError::Closed);
        }
        let kind = guard.state().handler_kind(TypeId::of::<H>()).ok_or(SubscribeError::TooManySubscribers)?;
        let (index, generation) = guard.state().take(kind);
        let place = Place { kind, index };
        guard.append(Op::Handler { place, handler: Box::new(New { handler, generation }) });
        drop(guard);
        let id = SubscriberId { place, generation, worker: worker as u16 };
        Ok(HandlerSubscriber { control: Control::new(engine.clone(), id) })
    }

    /// A control handle for others to use.
    pub fn control(&self) -> Control {
        self.control.clone()
    }
}

impl std::ops::Deref for HandlerSubscriber {
    type Target = Control;
    fn deref(&self) -> &Control {
        &self.control
    }
}

impl Drop for HandlerSubscriber {
    fn drop(&mut self) {
        self.control.close();
    }
}
