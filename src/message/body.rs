//! The message itself: one word that points to a cell of the slab.

use super::payload::{EncodeError, Payload};
use super::references::{References, release};
use super::slab::{self, CellRef, Content};
use crate::protocol::refs::BIAS;
use std::any::Any;

/// A message as its receivers have it.
///
/// Cloning costs one atomic operation and dropping another; [`MailboxSet`](crate::MailboxSet) lends
/// messages and saves both.
#[repr(transparent)]
pub struct Message(CellRef);

impl Message {
    /// A message that the caller alone holds.
    pub(crate) fn new(content: Content) -> Message {
        Message(slab::alloc(content, 1))
    }

    /// A message for `workers` workers.
    pub(crate) fn for_workers(content: Content, workers: u32) -> Biases {
        let (topic, is_dispatched) = (content.topic.number(), content.dispatcher.is_some());
        let cell = slab::alloc(content, BIAS * u64::from(workers));
        Biases { cell, handle: cell.handle(), topic, is_dispatched, left: workers }
    }

    fn content(&self) -> &Content {
        self.0.content()
    }

    /// The topic that it was broadcast on.
    pub fn topic(&self) -> &str {
        self.content().topic.name()
    }

    /// What happened.
    pub fn event(&self) -> &str {
        &self.content().event
    }

    /// What it carries.
    pub fn payload(&self) -> &Payload {
        &self.content().payload
    }

    /// The typed payload, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        self.payload().downcast_ref()
    }

    /// The payload as JSON: as it came, or encoded once for all who ask.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if the payload is binary, or if its `Serialize` fails; the failure is kept like a success.
    pub fn json(&self) -> Result<&[u8], EncodeError> {
        self.payload().json()
    }

    /// A message on the same topic with the same event and another payload, for [`Dispatch::Replace`](crate::Dispatch).
    pub fn with_payload(&self, payload: impl Into<Payload>) -> Message {
        let Content { topic, event, .. } = self.content();
        Message::new(Content {
            topic: topic.clone(),
            event: event.clone(),
            payload: payload.into(),
            dispatcher: None,
            attachment: None,
        })
    }

    /// What was attached to it when it was broadcast, if it is a `T`.
    pub(crate) fn attachment<T: Any>(&self) -> Option<&T> {
        self.content().attachment.as_deref()?.downcast_ref()
    }

    /// Gives the message up as a number, with its reference.
    pub(crate) fn into_handle(self) -> u32 {
        let handle = self.0.handle();
        std::mem::forget(self);
        handle
    }

    /// Takes a reference, given as a number, over as a message.
    ///
    /// # Safety
    ///
    /// `handle` must come with a reference that nobody else will give back.
    pub(crate) unsafe fn from_handle(handle: u32) -> Message {
        // SAFETY: the caller's promise: a reference keeps the cell in use.
        Message(unsafe { CellRef::from_handle(handle) })
    }
}

impl Clone for Message {
    fn clone(&self) -> Self {
        self.0.refs().add(1);
        Message(self.0)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        // SAFETY: a message is one reference.
        unsafe { release(self.0, 1) };
    }
}

impl std::fmt::Debug for CellRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.handle().fmt(f)
    }
}

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Message")
            .field("topic", &self.topic())
            .field("event", &self.event())
            .field("payload", self.payload())
            .finish()
    }
}

/// A message that was made for several workers: hands each its bias (see [`refs`](crate::protocol::refs)).
pub(crate) struct Biases {
    cell: CellRef,
    handle: u32,
    topic: u32,
    is_dispatched: bool,
    left: u32,
}

impl Biases {
    /// One worker's bias.
    ///
    /// # Panics
    ///
    /// If as many as there are workers have been taken.
    pub(crate) fn take(&mut self) -> Bias {
        self.left = self.left.checked_sub(1).expect("one bias for each worker");
        Bias { cell: self.cell, handle: self.handle, topic: self.topic, is_dispatched: self.is_dispatched }
    }
}

impl Drop for Biases {
    fn drop(&mut self) {
        // SAFETY: the biases that were not taken are ours.
        unsafe { release(self.cell, BIAS * u64::from(self.left)) };
    }
}

/// One worker's bias of a message. Dropped before its walk, it gives all of it back: the broadcast is not delivered.
///
/// What a walk over mailboxes must know of the message comes along, so that it need not wait for the message's own
/// line, which its publisher has just written on another processor.
pub(crate) struct Bias {
    cell: CellRef,
    handle: u32,
    topic: u32,
    is_dispatched: bool,
}

impl Bias {
    /// The message.
    #[inline]
    pub(crate) fn message(&self) -> &Message {
        // SAFETY: `Message` is a transparent wrapper of `CellRef`: the reference made here is to our own `CellRef`,
        // and the message is neither dropped nor does it outlive the bias that keeps the cell in use.
        unsafe { &*std::ptr::from_ref(&self.cell).cast::<Message>() }
    }

    /// The number that mailboxes hold.
    #[inline]
    pub(crate) fn handle(&self) -> u32 {
        self.handle
    }

    /// The custom dispatcher, if it has one.
    #[inline]
    pub(crate) fn dispatcher(&self) -> Option<&dyn crate::message::dispatch::Dispatcher> {
        if self.is_dispatched { self.cell.content().dispatcher.as_deref() } else { None }
    }

    /// Its topic's number.
    #[inline]
    pub(crate) fn topic_number(&self) -> u32 {
        self.topic
    }

    /// For the worker, after its walk: what is left of its bias when so many were delivered.
    pub(crate) fn settle(self, delivered: u64) -> References {
        let left = References { cell: self.cell, count: BIAS - delivered };
        std::mem::forget(self);
        left
    }
}

impl std::fmt::Debug for Bias {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.message().fmt(f)
    }
}

impl Drop for Bias {
    fn drop(&mut self) {
        // SAFETY: the whole bias of this worker is ours, and given back once.
        unsafe { release(self.cell, BIAS) };
    }
}
