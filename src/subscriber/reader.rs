//! The mailbox, as its owner reads it.

use super::conflate::KeyedQueue;
use super::control::Control;
use super::error::{Lagged, RecvError, RecvTimeoutError, TryRecvError, to_timeout};
use super::handler::HandlerSubscriber;
use crate::engine::contract::CloseReason;
use crate::engine::error::SubscribeError;
use crate::engine::worker::item::Op;
use crate::engine::worker::places::SubscriberId;
use crate::engine::worker::shared::Worker;
use crate::message::batch::Batch;
use crate::message::body::Message;
use crate::protocol::notify::{GONE, Notify, WAITED, ended};
use crate::protocol::ready;
use crate::protocol::ready::ReadyWord;
use crate::protocol::ring::Line;
use crate::sync::{Arc, AtomicU32, Ordering, Parker, prefetch};
use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

/// Messages taken from a ring at once.
pub(crate) const BATCH: usize = 64;

/// An identity with one bounded mailbox, subscribed to any number of topics. Dropping it ends all of that.
#[derive(Debug)]
pub struct Subscriber {
    mailbox: Mailbox,
}

impl Subscriber {
    pub(crate) fn new(mailbox: Mailbox) -> Self {
        Subscriber { mailbox }
    }

    /// Splits it into the control handle, which anyone may use, and the mailbox, which keeps the subscriber alive.
    pub fn split(self) -> (Control, Mailbox) {
        (self.mailbox.control(), self.mailbox)
    }

    /// The mailbox.
    pub fn into_mailbox(self) -> Mailbox {
        self.mailbox
    }

    /// As [`Control::subscribe`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        self.mailbox.as_control().subscribe(topic)
    }

    /// As [`Control::subscribe_with`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn subscribe_with<T: std::any::Any + Send + Sync>(
        &self,
        topic: &str,
        metadata: T,
    ) -> Result<(), SubscribeError> {
        self.mailbox.as_control().subscribe_with(topic, metadata)
    }

    /// As [`Control::unsubscribe`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn unsubscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        self.mailbox.as_control().unsubscribe(topic)
    }
}

impl std::ops::Deref for Subscriber {
    type Target = Mailbox;
    fn deref(&self) -> &Mailbox {
        &self.mailbox
    }
}

impl std::ops::DerefMut for Subscriber {
    fn deref_mut(&mut self) -> &mut Mailbox {
        &mut self.mailbox
    }
}

/// Where a subscriber's messages wait for their reader. Dropping it ends the subscriber.
///
/// It is a `Stream` of `Result<Message, Lagged>` too, on any executor; the stream ends when the subscriber is closed.
pub struct Mailbox(MailboxKind);

enum MailboxKind {
    Ring(Ring),
    Conflating(Box<ConflatingReader>),
}

struct ConflatingReader {
    queue: Arc<dyn KeyedQueue>,
    handler: HandlerSubscriber,
}

impl Drop for ConflatingReader {
    fn drop(&mut self) {
        // What is unread goes now, not when the worker comes to it.
        self.queue.leave();
    }
}

/// The reader of a ring.
pub(crate) struct Ring {
    control: Control,
    /// The position of the next message: where the last take ended.
    next: u64,
    /// A gap that opened during a take, and the messages that were taken behind it.
    held: Option<Box<Held>>,
    /// The slots, if they are not in the line.
    wide: Option<Arc<[AtomicU32]>>,
}

#[derive(Default)]
struct Held {
    lost: u64,
    messages: VecDeque<Message>,
}

impl Mailbox {
    pub(crate) fn ring(control: Control, wide: Option<Arc<[AtomicU32]>>) -> Self {
        Mailbox(MailboxKind::Ring(Ring { control, next: 0, held: None, wide }))
    }

    pub(crate) fn conflating(queue: Arc<dyn KeyedQueue>, handler: HandlerSubscriber) -> Self {
        Mailbox(MailboxKind::Conflating(Box::new(ConflatingReader { queue, handler })))
    }

    /// A control handle of this subscriber.
    pub fn control(&self) -> Control {
        self.as_control().clone()
    }

    pub(crate) fn as_control(&self) -> &Control {
        match &self.0 {
            MailboxKind::Ring(ring) => &ring.control,
            MailboxKind::Conflating(conflating) => &conflating.handler,
        }
    }

    /// Who the subscriber is.
    pub fn id(&self) -> SubscriberId {
        self.as_control().id()
    }

    /// Unread messages, now.
    pub fn len(&self) -> usize {
        match &self.0 {
            MailboxKind::Ring(ring) => ring.line().len() + ring.held.as_ref().map_or(0, |held| held.messages.len()),
            MailboxKind::Conflating(conflating) => conflating.queue.len(),
        }
    }

    /// Whether there is no unread message now.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Messages that this mailbox refused when it was full, so far: with [`Overflow::DropNewest`](crate::Overflow) all
    /// that were lost, with [`Overflow::Close`](crate::Overflow) the one that closed it.
    pub fn refused(&self) -> u64 {
        match &self.0 {
            MailboxKind::Ring(ring) => ring.worker().cold(ring.index()).refused.load(Ordering::Acquire),
            MailboxKind::Conflating(_) => 0,
        }
    }

    /// Messages that newer ones of the same key replaced, so far; 0 but for a conflating mailbox.
    pub fn conflated(&self) -> u64 {
        match &self.0 {
            MailboxKind::Ring(_) => 0,
            MailboxKind::Conflating(conflating) => conflating.queue.conflated(),
        }
    }

    /// Takes the next message, if there is one.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`].
    #[inline]
    pub fn try_recv(&mut self) -> Result<Message, TryRecvError> {
        match &mut self.0 {
            MailboxKind::Ring(ring) => ring.try_recv(),
            MailboxKind::Conflating(conflating) => conflating.queue.try_recv(),
        }
    }

    /// Takes up to `max` messages into `buffer`, with one look at the mailbox for up to 64 of them. Returns how many.
    ///
    /// # Errors
    ///
    /// [`TryRecvError`], if there was nothing before the gap or the end. Messages behind it come with the next call.
    pub fn try_recv_many(&mut self, buffer: &mut Vec<Message>, max: usize) -> Result<usize, TryRecvError> {
        let mut count = 0;
        while count < max {
            let batch = max - count;
            let result = match &mut self.0 {
                MailboxKind::Ring(ring) => ring.try_recv_many(buffer, batch),
                MailboxKind::Conflating(conflating) => conflating.queue.try_recv().map(|message| {
                    buffer.push(message);
                    1
                }),
            };
            match result {
                Ok(more) => count += more,
                Err(TryRecvError::Lagged(lost)) if count > 0 => {
                    self.untell(lost);
                    break;
                }
                Err(_) if count > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(count)
    }

    /// Puts a gap that was found back, to be told by the next read.
    fn untell(&mut self, lost: u64) {
        match &mut self.0 {
            MailboxKind::Ring(ring) => ring.held.get_or_insert_default().lost = lost,
            MailboxKind::Conflating(conflating) => conflating.queue.untell(lost),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub fn recv(&mut self) -> Result<Message, RecvError> {
        match self.wait(None) {
            Ok(message) => Ok(message),
            Err(RecvTimeoutError::Lagged(lost)) => Err(RecvError::Lagged(lost)),
            Err(RecvTimeoutError::Closed(reason)) => Err(RecvError::Closed(reason)),
            Err(RecvTimeoutError::Timeout) => unreachable!("there was no deadline"),
        }
    }

    /// Waits for the next message, for so long at most.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_timeout(&mut self, timeout: Duration) -> Result<Message, RecvTimeoutError> {
        // A timeout past the end of time is none.
        self.wait(Instant::now().checked_add(timeout))
    }

    /// Waits for the next message, until then at most.
    ///
    /// # Errors
    ///
    /// [`RecvTimeoutError`].
    pub fn recv_deadline(&mut self, deadline: Instant) -> Result<Message, RecvTimeoutError> {
        self.wait(Some(deadline))
    }

    fn wait(&mut self, deadline: Option<Instant>) -> Result<Message, RecvTimeoutError> {
        match self.try_recv() {
            Err(TryRecvError::Empty) => {}
            other => return other.map_err(to_timeout),
        }
        let parker = Parker::of_this_thread();
        let waker = Waker::from(parker.clone());
        loop {
            match self.register_and_try(&waker) {
                Err(TryRecvError::Empty) => {}
                other => return other.map_err(to_timeout),
            }
            let woken = parker.wait(deadline);
            if !woken {
                self.notify().disarm();
            }
            // Before it registers again: most that are woken find something.
            match self.try_recv() {
                Err(TryRecvError::Empty) if woken => {}
                other => return other.map_err(to_timeout),
            }
        }
    }

    /// Takes the next message, or registers the task to be woken when there is one.
    pub fn poll_recv(&mut self, context: &mut Context<'_>) -> Poll<Result<Message, RecvError>> {
        let result = match self.try_recv() {
            Err(TryRecvError::Empty) => self.register_and_try(context.waker()),
            other => other,
        };
        match result {
            Ok(message) => Poll::Ready(Ok(message)),
            Err(TryRecvError::Empty) => Poll::Pending,
            Err(TryRecvError::Lagged(lost)) => Poll::Ready(Err(RecvError::Lagged(lost))),
            Err(TryRecvError::Closed(reason)) => Poll::Ready(Err(RecvError::Closed(reason))),
        }
    }

    /// Waits for the next message, in a task.
    ///
    /// # Errors
    ///
    /// [`RecvError`].
    pub async fn recv_async(&mut self) -> Result<Message, RecvError> {
        std::future::poll_fn(|context| self.poll_recv(context)).await
    }

    /// Registers, looks again, and takes the registration back if there was something (`notify`, I1).
    fn register_and_try(&mut self, waker: &Waker) -> Result<Message, TryRecvError> {
        self.notify().arm(waker);
        let result = self.try_recv();
        if !matches!(result, Err(TryRecvError::Empty)) {
            self.notify().disarm();
        }
        result
    }

    fn notify(&self) -> Notify<'_> {
        match &self.0 {
            MailboxKind::Ring(ring) => ring.notify(),
            MailboxKind::Conflating(conflating) => conflating.queue.notify(),
        }
    }

    /// Takes messages, at least one, into an empty batch, for a set. It is filled where it lies: moving one for each
    /// mailbox was a quarter of what reading through a set cost. Returns whether there is more to be found: of what
    /// comes later, messages and an end, the set is told.
    #[inline]
    pub(crate) fn take_batch(&mut self, batch: &mut Batch<BATCH>) -> Result<bool, TryRecvError> {
        match &mut self.0 {
            MailboxKind::Ring(ring) => ring.take(batch, BATCH),
            MailboxKind::Conflating(conflating) => {
                let message = conflating.queue.try_recv()?;
                batch.refill(std::iter::once(message));
                let flags = conflating.queue.notify().flags.load(Ordering::Acquire);
                Ok(conflating.queue.len() > 0 || ended(flags).is_some())
            }
        }
    }

    /// Puts messages back that were taken last, in their order, to be taken again.
    pub(crate) fn put_back(&mut self, batch: &mut Batch<BATCH>) {
        match &mut self.0 {
            MailboxKind::Ring(ring) => {
                let held = &mut ring.held.get_or_insert_default().messages;
                let behind = std::mem::take(held);
                held.extend(batch);
                held.extend(behind);
            }
            MailboxKind::Conflating(_) => debug_assert!(batch.len() == 0, "it gives one at a time"),
        }
    }

    /// Names the ready word that is to be set when something comes; null for none.
    pub(crate) fn set_ready(&self, group: Option<&Arc<ready::Group>>, number: usize) {
        match &self.0 {
            MailboxKind::Ring(ring) => {
                let word = group.map_or(std::ptr::null_mut::<ReadyWord>(), |group| group.word(number / 64));
                ring.line().set_ready(word, number as u32 % 64);
            }
            MailboxKind::Conflating(conflating) => conflating.queue.set_ready(group.cloned(), number),
        }
    }

    /// Asks for the memory that the next read looks at.
    #[inline]
    pub(crate) fn ask_for_line(&self) {
        if let MailboxKind::Ring(ring) = &self.0 {
            prefetch(ring.line());
        }
    }

    /// The worker that writes it.
    pub(crate) fn worker_index(&self) -> usize {
        self.id().worker as usize
    }
}

impl futures_core::Stream for Mailbox {
    type Item = Result<Message, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_recv(context).map(|result| match result {
            Ok(message) => Some(Ok(message)),
            Err(RecvError::Lagged(lost)) => Some(Err(Lagged(lost))),
            Err(RecvError::Closed(_)) => None,
        })
    }
}

impl futures_core::Stream for Subscriber {
    type Item = Result<Message, Lagged>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.mailbox).poll_next(context)
    }
}

impl Ring {
    fn worker(&self) -> &Worker {
        self.control.worker()
    }

    fn index(&self) -> u32 {
        self.control.id().place.index
    }

    #[inline]
    fn line(&self) -> &Line {
        self.worker().line(self.index())
    }

    fn notify(&self) -> Notify<'_> {
        let worker = self.worker();
        let index = self.index();
        Notify { flags: &worker.line(index).flags, waker: &worker.cold(index).waker }
    }

    #[inline]
    fn try_recv(&mut self) -> Result<Message, TryRecvError> {
        let mut batch = Batch::<1>::new();
        self.take(&mut batch, 1)?;
        // A take that succeeds has at least one.
        batch.next().ok_or(TryRecvError::Empty)
    }

    fn try_recv_many(&mut self, buffer: &mut Vec<Message>, max: usize) -> Result<usize, TryRecvError> {
        let mut batch = Batch::<BATCH>::new();
        self.take(&mut batch, max)?;
        let count = batch.len();
        buffer.extend(batch);
        Ok(count)
    }

    /// Takes up to `max` messages, and up to `N`, into an empty batch: at least one. Returns whether there was more to
    /// be found, messages or an end.
    #[inline]
    fn take<const N: usize>(&mut self, batch: &mut Batch<N>, max: usize) -> Result<bool, TryRecvError> {
        if self.held.is_some() {
            return self.take_held(batch, max);
        }
        let line = self.control.worker().line(self.control.id().place.index);
        // Before the take: what was delivered before the end is then in the ring. Acquire pairs with `Notify::end`.
        let flags = line.flags.load(Ordering::Acquire);
        let slots: &[AtomicU32] = match &self.wide {
            Some(wide) => wide,
            None => line.inline(),
        };
        // A gap that is there already is told before anything is taken, so that what follows it stays in the ring.
        let evicted = line.head() - self.next;
        if evicted > 0 {
            self.next += evicted;
            return Err(TryRecvError::Lagged(evicted));
        }
        let (mut first, mut more) = (0, false);
        // SAFETY: handles that were taken from the ring come with their references, ours now (`ring`, I2).
        let count = unsafe {
            batch.fill(max, |handles| {
                let taken = line.take(slots, handles);
                (first, more) = (taken.first, taken.more);
                taken.count
            })
        };
        if count == 0 {
            return Err(match ended(flags) {
                Some(reason) => TryRecvError::Closed(CloseReason::from_bits(reason)),
                None => TryRecvError::Empty,
            });
        }
        let lost = first - self.next;
        self.next = first + count as u64;
        if lost > 0 {
            self.held = Some(Box::new(Held { lost: 0, messages: batch.collect() }));
            return Err(TryRecvError::Lagged(lost));
        }
        Ok(more || ended(flags).is_some())
    }

    #[cold]
    fn take_held<const N: usize>(&mut self, batch: &mut Batch<N>, max: usize) -> Result<bool, TryRecvError> {
        let Some(held) = &mut self.held else { return Err(TryRecvError::Empty) };
        if held.lost > 0 {
            let lost = std::mem::take(&mut held.lost);
            if held.messages.is_empty() {
                self.held = None;
            }
            return Err(TryRecvError::Lagged(lost));
        }
        let count = held.messages.len().min(max).min(N);
        batch.refill(held.messages.drain(..count));
        if held.messages.is_empty() {
            self.held = None;
        }
        // What is in the ring behind them was not looked at.
        Ok(true)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        let line = self.line();
        line.set_ready(std::ptr::null_mut(), 0);
        // Release: the worker that sees it does not write for this reader any more.
        let before = line.flags.fetch_or(GONE, Ordering::Release);
        // A waker may hold much; the worker would drop it only with the next tenant's. Where none was ever registered,
        // its memory need not be touched.
        if before & WAITED != 0 {
            self.notify().waker.lock().take();
        }
        // What is in the ring goes now, not when the worker comes to it.
        let mut batch = Batch::<BATCH>::new();
        while let Ok(_) | Err(TryRecvError::Lagged(_)) = self.take(&mut batch, BATCH) {
            batch.by_ref().for_each(drop);
        }
        let SubscriberId { place, generation, .. } = self.control.id();
        let worker = self.worker();
        let mut guard = worker.remote.control_log.lock();
        if !guard.state().closed && guard.state().leave(place, generation, CloseReason::Dropped) {
            let waiting = guard.append(Op::Remove { place, generation });
            let is_watched = guard.state().is_watched(place);
            drop(guard);
            if is_watched || waiting.is_multiple_of(super::control::LOG_WAKE) {
                crate::protocol::sleep::fence_before_notify();
                worker.wake_if_asleep();
            }
        }
    }
}

impl std::fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mailbox").field("id", &self.id()).field("len", &self.len()).finish_non_exhaustive()
    }
}
