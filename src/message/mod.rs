//! What is broadcast: a topic, an event and a payload behind one shared allocation.
//!
//! A [`Message`] is one word, cheap to clone and to send; however many receive it, they share it. In-process
//! subscribers see a typed payload as it is; whoever needs bytes first triggers the one encoding, which is kept with
//! the payload for everyone else. Two who need it at once: one encodes, the other waits.

mod batch;
mod body;
pub mod dispatch;
mod payload;
mod slab;

pub(crate) use self::{
    batch::Batch,
    body::{Bias, References},
    slab::{Content, ReleaseCache},
};
pub use self::{
    body::Message,
    payload::{EncodeError, Event, ParseError, Payload, Typed},
};
