//! What is broadcast: a topic, an event and a payload behind one shared allocation.
//!
//! A [`Message`](body::Message) is one word, cheap to clone and to send; however many receive it, they share it.
//! In-process subscribers see a typed payload as it is; whoever needs bytes first triggers the one encoding, which is
//! kept with the payload for everyone else. Two who need it at once: one encodes, the other waits.

pub(crate) mod attachment;
pub(crate) mod batch;
pub(crate) mod body;
pub(crate) mod dispatch;
pub(crate) mod payload;
pub(crate) mod references;
pub(crate) mod slab;
