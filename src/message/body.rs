//! The message itself: one word that points to a cell of the slab.

use super::payload::{EncodeError, Payload};
use super::refs::BIAS;
use super::slab::{self, CellRef, Content};
use crate::sync::Arc;
use crate::topic::Entry;
use std::any::Any;

/// A message as its receivers have it.
///
/// Cloning costs one atomic operation and dropping another; [`Mailbox::drain`](crate::Mailbox::drain) and
/// [`MailboxSet`](crate::MailboxSet) lend messages and save both.
#[repr(transparent)]
pub struct Message(CellRef);

impl Message {
    /// A message that the caller alone holds.
    pub(crate) fn new(content: Content) -> Message {
        Message(slab::alloc(content, 1))
    }

    /// A message for `workers` workers, none of whose references the caller holds.
    pub(crate) fn for_workers(content: Content, workers: u32) -> Shared {
        Shared(slab::alloc(content, BIAS * u64::from(workers)))
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
        Message::new(Content { topic: topic.clone(), event: event.clone(), payload: payload.into(), dispatcher: None })
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
        if self.0.refs().sub(1) {
            // SAFETY: the count is zero: nobody has it any more, and this is the one who brought it there.
            unsafe { slab::free(self.0) };
        }
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

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.message().fmt(f)
    }
}

/// A message with a bias of references for each of its workers (see [`refs`]). A copy of it in an inbox entry stands for
/// one worker's bias, and must be settled once.
#[derive(Clone, Copy)]
pub(crate) struct Shared(CellRef);

impl Shared {
    /// The message, to read while this worker has not settled.
    pub(crate) fn message(&self) -> &Message {
        // SAFETY: `Message` is a transparent wrapper of `CellRef`: the reference made here is to our own `CellRef`,
        // and it is neither dropped nor does it outlive the bias that keeps the cell in use.
        unsafe { &*std::ptr::from_ref(&self.0).cast::<Message>() }
    }

    /// The number that mailboxes hold.
    pub(crate) fn handle(&self) -> u32 {
        self.0.handle()
    }

    /// The custom dispatcher, if it has one.
    pub(crate) fn dispatcher(&self) -> Option<&dyn crate::pubsub::Dispatcher> {
        self.0.content().dispatcher.as_deref()
    }

    /// Its topic.
    pub(crate) fn topic(&self) -> &Arc<Entry> {
        &self.0.content().topic
    }

    /// For one worker: gives back what it did not use of its bias.
    pub(crate) fn settle(self, delivered: u64) {
        // SAFETY: the rest of this worker's bias is the caller's, and each worker's entry is settled once.
        unsafe { release(self.handle(), BIAS - delivered) };
    }
}

/// Gives `count` references back that were counted as deliveries.
///
/// # Safety
///
/// The references must be the caller's.
pub(crate) unsafe fn release(handle: u32, count: u64) {
    // SAFETY: the caller's promise: a reference keeps the cell in use.
    let cell = unsafe { CellRef::from_handle(handle) };
    if cell.refs().sub(count) {
        // SAFETY: as in `Message::drop`.
        unsafe { slab::free(cell) };
    }
}
