//! The walk itself: one message to a run of members.
//!
//! Mailboxes are written in batches of [`BATCH`]: first all rings, each looked up and prefetched a batch ahead; then
//! one fence; then a look at each line, still in the cache, for readers that wait. So a fence and the ready words cost
//! a fraction of a nanosecond a delivery. A look-up is three loads that depend on each other: one of them, and not
//! three, made full rings a tenth faster (`fan_out`, beside the floor); with batches of 64 drained ones were slower by
//! 5 %.
//!
//! Not a reference is counted on the way: the deliveries are tallied and the message's count is settled once at the
//! walk's end. Evicted messages are nearly always the same old one, so they are given back by runs.

use super::handlers::{Handlers, Run};
use super::item::Op;
use super::members::{List, Place};
use super::shared::{Worker, WorkerCounters};
use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::message::body::Bias;
use crate::message::dispatch::{Dispatch, Metadata, SubscriptionRef};
use crate::message::references::References;
use crate::protocol::notify::{ARMED, ENDED, GONE, Notify, fence_before_fire};
use crate::protocol::ready::Gather;
use crate::protocol::ring::{Delivery, INLINE, Line, Policy};
use crate::sync::{Arc, AtomicU32, Ordering, prefetch, wake_caught};
use smallvec::SmallVec;
use std::cell::Cell;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// The slots of mailboxes larger than their line, by place.
pub(crate) type Wide = HashMap<u32, Arc<[AtomicU32]>, crate::hash::Fast>;

/// Mailboxes in a batch.
const BATCH: usize = 32;
/// The lines of a batch.
type Lines<'a> = SmallVec<[&'a Line; BATCH]>;

/// What a walk came to.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    /// Messages put into mailboxes and calls of handlers.
    pub delivered: u64,
    /// References to the message that mailboxes now hold.
    pub references: u64,
    /// Messages evicted or refused.
    pub dropped: u64,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.references += other.references;
        self.dropped += other.dropped;
    }
}

/// What a worker gathers while it walks.
#[derive(Debug, Default)]
pub(crate) struct Walker {
    gather: Gather,
    /// Wakers to call when the baton has been given back.
    pub wakers: Vec<Waker>,
    /// Mailboxes that were closed by this walk, whose subscriptions are to be ended.
    pub overflowed: Vec<u32>,
    /// The message evicted last, and how often in a row.
    evicted: (u32, u64),
    /// References to give back when the baton has been given back: the last one of a message drops its payload, which
    /// may run code of users.
    released: Vec<References>,
}

/// What is left to do once the baton has been given back.
#[derive(Debug, Default)]
pub(crate) struct Afterwards {
    wakers: Vec<Waker>,
    released: Vec<References>,
    /// What subscriptions that ended carried.
    pub metadata: Vec<Metadata>,
}

thread_local! {
    /// Empty, with the memory of a publisher's deliveries in place: those allocate nothing.
    static KEPT: Cell<Afterwards> = Cell::default();
}

impl Afterwards {
    /// An empty one, with the memory of this thread's last.
    #[inline]
    pub(crate) fn take() -> Self {
        KEPT.try_with(Cell::take).unwrap_or_default()
    }

    /// Does what is left to do, and keeps the memory for this thread's next.
    #[inline]
    pub(crate) fn run_and_keep(mut self) {
        self.run();
        // While a thread ends there is nothing to keep it in.
        let _ = KEPT.try_with(|kept| kept.set(self));
    }

    /// Wakes readers, gives references back and drops metadata. Keeps its memory for the next time.
    pub(crate) fn run(&mut self) {
        self.wakers.drain(..).for_each(wake_caught);
        drop_caught(&mut self.released);
        drop_caught(&mut self.metadata);
    }
}

/// Moves all of `from`, by an exchange where that is enough.
#[inline]
pub(crate) fn hand_over<T>(from: &mut Vec<T>, to: &mut Vec<T>) {
    if from.is_empty() {
        return;
    }
    if to.is_empty() { std::mem::swap(from, to) } else { to.append(from) }
}

/// Drops values whose drop may run code of users. A panic in one must not keep the others, nor end the worker.
fn drop_caught<T>(values: &mut Vec<T>) {
    while !values.is_empty() {
        // The one that panics has been taken out before; nothing else is touched.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            while let Some(value) = values.pop() {
                drop(value);
            }
        }));
    }
}

impl Walker {
    /// Ends a slice: ready bits are set, waiting sets found, evicted messages given back.
    pub(crate) fn finish_slice(&mut self) {
        let wakers = &mut self.wakers;
        // SAFETY: words were added since the worker last applied an entry of its log: it calls this before it applies
        // one (`core`, I3), and between slices.
        unsafe { self.gather.flush(|waker| wakers.push(waker)) };
        self.flush_evicted();
    }

    #[inline]
    fn evict(&mut self, (handle, count): (u32, u64)) {
        if count > 0 && self.evicted.0 != handle {
            self.flush_evicted();
            self.evicted.0 = handle;
        }
        self.evicted.1 += count;
    }

    fn flush_evicted(&mut self) {
        let (handle, count) = std::mem::take(&mut self.evicted);
        if count > 0 {
            // SAFETY: they were evicted from rings, by us alone.
            self.released.push(unsafe { References::from_handle(handle, count) });
        }
    }

    /// Notes references to be given back.
    pub(crate) fn give_back(&mut self, references: References) {
        self.released.push(references);
    }

    /// Adds what is left to do to `afterwards`.
    #[inline]
    pub(crate) fn hand_over(&mut self, afterwards: &mut Afterwards) {
        hand_over(&mut self.wakers, &mut afterwards.wakers);
        hand_over(&mut self.released, &mut afterwards.released);
    }

    /// Gives back the messages that the reader of a mailbox has left.
    pub(crate) fn drain(&mut self, line: &Line, wide: Option<&[AtomicU32]>) {
        let slots = wide.unwrap_or(line.inline());
        let mut handles = [0; BATCH];
        loop {
            let taken = line.take(slots, &mut handles).count;
            if taken == 0 {
                return;
            }
            // SAFETY: what was taken from the ring is ours.
            let references = handles[..taken].iter().map(|&handle| unsafe { References::from_handle(handle, 1) });
            self.released.extend(references);
        }
    }

    /// Tells the set that a mailbox is in, if any, that the mailbox has ended.
    pub(crate) fn mark_ended(&mut self, line: &Line) {
        let (word, bit) = line.ready();
        if !word.is_null() {
            // SAFETY: read just now; the slice is finished before an entry of the log is applied.
            unsafe { self.gather.add(word, bit) };
        }
    }
}

/// Asks for the lines of the first mailboxes of a walk. Few are worth it too: a reader that polls has its line in its
/// cache, and a load would bring it here to be read, the store behind it once more to be written.
#[inline]
pub(crate) fn ask_for_lines(me: &Worker, places: &[u32]) {
    places.iter().take(BATCH).for_each(|&place| _ = ask_for_line(me, place));
}

#[inline(always)]
fn ask_for_line(me: &Worker, place: u32) -> &Line {
    let line = me.line(place);
    prefetch(line);
    line
}

/// One message on its way to a worker's members.
pub(crate) struct Deliver<'a> {
    /// The engine.
    pub engine: &'a Arc<Engine>,
    /// The worker.
    pub me: &'a Worker,
    /// Slots of large mailboxes.
    pub wide: &'a Wide,
    /// What is gathered.
    pub walker: &'a mut Walker,
    /// The message.
    pub message: &'a Bias,
    /// Whose subscriptions are skipped.
    pub from: Option<Place>,
}

impl Deliver<'_> {
    /// Delivers to the members of `list` from `position` on, which are `places`.
    pub(crate) fn run(
        &mut self,
        list: &List,
        position: usize,
        places: &[u32],
        handlers: &mut [Option<Box<dyn Handlers>>],
    ) -> Tally {
        let skip = self.from.filter(|place| place.kind == list.kind()).map_or(u32::MAX, |place| place.index);
        if self.message.dispatcher().is_some() {
            return self.run_dispatched(list, position, places, handlers, skip);
        }
        if list.kind() == 0 {
            return self.mailboxes(places, self.message.handle(), skip);
        }
        self.handlers(list.kind(), places, handlers, skip, None)
    }

    fn handlers(
        &mut self,
        kind: u16,
        places: &[u32],
        handlers: &mut [Option<Box<dyn Handlers>>],
        skip: u32,
        replaced: Option<&crate::message::body::Message>,
    ) -> Tally {
        let Some(slab) = &mut handlers[kind as usize] else { return Tally::default() };
        let message = replaced.unwrap_or(self.message.message());
        let run = Run { engine: self.engine, me: self.me, kind, places, message, skip };
        Tally { delivered: slab.run(&run), ..Tally::default() }
    }

    fn mailboxes(&mut self, places: &[u32], handle: u32, skip: u32) -> Tally {
        let mut tally = Tally::default();
        // The run of the message evicted last: in a register, where the walker's is in memory.
        let mut evicted = (0, 0);
        let (mut now, mut next) = (&mut Lines::new(), &mut Lines::new());
        let mut batches = places.chunks(BATCH).peekable();
        let first = batches.peek().copied().unwrap_or_default();
        now.extend(first.iter().map(|&place| ask_for_line(self.me, place)));
        while let Some(batch) = batches.next() {
            let mut ahead = batches.peek().copied().unwrap_or_default().iter();
            for (&place, line) in batch.iter().zip(now.iter()) {
                if let Some(&place) = ahead.next() {
                    next.push(ask_for_line(self.me, place));
                }
                if place == skip {
                    continue;
                }
                match self.mailbox(place, line, handle) {
                    Some(Delivery::Stored) => tally.references += 1,
                    Some(Delivery::Evicted(oldest)) => {
                        tally.references += 1;
                        tally.dropped += 1;
                        if evicted.0 != oldest {
                            self.walker.evict(evicted);
                            evicted = (oldest, 0);
                        }
                        evicted.1 += 1;
                    }
                    Some(Delivery::Refused) => {
                        tally.dropped += 1;
                        self.refused(place, line);
                    }
                    None => {}
                }
            }
            fence_before_fire();
            for (&place, line) in batch.iter().zip(now.iter()) {
                self.notify(place, line);
            }
            now.clear();
            std::mem::swap(&mut now, &mut next);
        }
        self.walker.evict(evicted);
        tally.delivered = tally.references;
        tally
    }

    /// Puts the message into a mailbox; `None` if its reader or subscriber is gone.
    #[inline(always)]
    fn mailbox(&self, place: u32, line: &Line, handle: u32) -> Option<Delivery> {
        // Relaxed: a mailbox that goes now may get one more message, which its removal gives back.
        if line.flags.load(Ordering::Relaxed) & (GONE | ENDED) != 0 {
            return None;
        }
        if line.capacity() <= INLINE {
            return Some(line.deliver(line.inline(), handle));
        }
        self.wide.get(&place).map(|slots| line.deliver(slots, handle))
    }

    #[cold]
    fn refused(&mut self, place: u32, line: &Line) {
        let cold = self.me.cold(place);
        WorkerCounters::add(&cold.refused, 1);
        if line.policy() == Policy::Close {
            let notify = Notify { flags: &line.flags, waker: &cold.waker };
            self.walker.wakers.extend(notify.end(CloseReason::Overflow as u32));
            self.walker.mark_ended(line);
            self.walker.overflowed.push(place);
            let place = Place { kind: 0, index: place };
            let reason = CloseReason::Overflow;
            // The subscriptions that it has go when the walk allows it; behind any that are in the log already, the
            // entry takes those too.
            let mut guard = self.me.remote.control_log.lock();
            let generation = guard.state().generation(place);
            if guard.state().close(place, generation, reason) {
                guard.append(Op::End { place, reason });
            }
        }
    }

    /// Finds out whether the reader of a mailbox must be told, after the batch's fence.
    #[inline(always)]
    fn notify(&mut self, place: u32, line: &Line) {
        let (word, bit) = line.ready();
        if !word.is_null() {
            // SAFETY: read just now; `Walker::finish_slice` is called before an entry of the log is applied.
            unsafe { self.walker.gather.add(word, bit) };
        }
        if line.flags.load(Ordering::Relaxed) & ARMED != 0 {
            let notify = Notify { flags: &line.flags, waker: &self.me.cold(place).waker };
            self.walker.wakers.extend(notify.fire());
        }
    }

    /// Asks the broadcast's dispatcher about each subscription.
    fn run_dispatched(
        &mut self,
        list: &List,
        position: usize,
        places: &[u32],
        handlers: &mut [Option<Box<dyn Handlers>>],
        skip: u32,
    ) -> Tally {
        let mut tally = Tally::default();
        let message = self.message;
        let Some(dispatcher) = message.dispatcher() else { return tally };
        for (i, &place) in places.iter().enumerate() {
            if place == skip {
                continue;
            }
            let subscription = SubscriptionRef::new(list.metadata(position + i));
            let decide = || dispatcher.dispatch(message.message(), &subscription);
            let dispatch = catch_unwind(AssertUnwindSafe(decide)).unwrap_or_else(|_| {
                WorkerCounters::add(&self.me.counters.panics, 1);
                Dispatch::Skip
            });
            tally += match (dispatch, list.kind()) {
                (Dispatch::Skip, _) => Tally::default(),
                (Dispatch::Deliver, 0) => self.mailboxes(&[place], message.handle(), u32::MAX),
                (Dispatch::Deliver, kind) => self.handlers(kind, &[place], handlers, u32::MAX, None),
                (Dispatch::Replace(other), 0) => self.replaced(place, other),
                (Dispatch::Replace(other), kind) => self.handlers(kind, &[place], handlers, u32::MAX, Some(&other)),
            };
        }
        tally
    }

    /// Puts another message than the broadcast one into a mailbox. Its reference is not one of the broadcast's.
    fn replaced(&mut self, place: u32, other: crate::message::body::Message) -> Tally {
        let handle = other.into_handle();
        let tally = self.mailboxes(&[place], handle, u32::MAX);
        if tally.references == 0 {
            // SAFETY: the reference that `into_handle` gave up is in no mailbox, so it is still ours.
            self.walker.give_back(unsafe { References::from_handle(handle, 1) });
        }
        Tally { references: 0, ..tally }
    }
}
