//! Between frames and messages: the two versions of the Phoenix wire protocol, and the table that chooses.
//!
//! Of a text frame only the envelope is parsed. The payload is cut out of the frame's bytes, unparsed and uncopied: one
//! that is kept keeps its frame's memory. Each frame that goes out is written once, into memory of exactly its length.
//!
//! - I1. Decoding never panics, and never uses more stack for a deeper frame: frames deeper than [`DEPTH_MAX`] are
//!   refused, and what is skipped is skipped by a loop.
//! - I2. A text frame that is made here is UTF-8, and JSON if its payload is; the payload's own JSON is not checked.
//!
//! Numbers that no machine type holds, and halves of surrogate pairs inside a payload, pass through as they came.
//!
//! ```
//! use fanfare::Payload;
//! use fanfare::channel::{Frame, Reply, Versions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let (_, serializer) = Versions::default().select(Some("2.0.0"))?;
//! let message = serializer.decode(&Frame::Text(r#"["3","4","room:1","ping",{}]"#.into()))?;
//! let reply = serializer.reply(&Reply {
//!     join_ref: &message.join_ref,
//!     reference: &message.reference,
//!     topic: &message.topic,
//!     status: "ok",
//!     response: &Payload::json_bytes("{}"),
//! })?;
//! let sent = r#"["3","4","room:1","phx_reply",{"status":"ok","response":{}}]"#;
//! assert_eq!(reply, Frame::Text(sent.into()));
//! # Ok(())
//! # }
//! ```

mod error;
mod json;
pub mod scalar;
mod v1;
mod v2;
mod versions;

pub use error::{DecodeError, EncodeError, Field, VersionError};
pub use v1::V1;
pub use v2::V2;
pub use versions::Versions;

use super::{Frame, Scalar};
use crate::message::payload::Payload;

/// How deep arrays and objects may lie in one another in a frame from a client, its envelope included: as deep as
/// `serde_json` reads, so that whoever parses the payload can.
pub const DEPTH_MAX: usize = 127;

/// A message from a client.
#[derive(Debug, Clone)]
pub struct Incoming {
    /// The ref of the join that it belongs to.
    pub join_ref: Scalar,
    /// Its own ref, to be echoed by the reply.
    pub reference: Scalar,
    /// The topic.
    pub topic: Scalar,
    /// The event.
    pub event: Box<str>,
    /// Any JSON value, unparsed, or bytes.
    pub payload: Payload,
}

/// The answer to an [`Incoming`].
#[derive(Debug, Clone, Copy)]
pub struct Reply<'a> {
    /// The ref of the join that it belongs to.
    pub join_ref: &'a Scalar,
    /// The ref of what it answers.
    pub reference: &'a Scalar,
    /// The topic.
    pub topic: &'a Scalar,
    /// `ok`, `error` or another word.
    pub status: &'a str,
    /// Any JSON value, or bytes.
    pub response: &'a Payload,
}

/// A version of the wire protocol. Users may add their own to [`Versions`].
pub trait Serializer: Send + Sync + std::fmt::Debug + 'static {
    /// What a client's frame says.
    ///
    /// # Errors
    ///
    /// [`DecodeError`] if it says nothing in this version.
    fn decode(&self, frame: &Frame) -> Result<Incoming, DecodeError>;

    /// A message of one channel to its client.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if this version has no such message.
    fn push(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError>;

    /// An answer.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if this version has no such message.
    fn reply(&self, reply: &Reply<'_>) -> Result<Frame, EncodeError>;

    /// A message that is the same for everyone who gets it.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if this version has no such message.
    fn broadcast(&self, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError>;

    /// A message about the channel itself, `phx_close` or `phx_error`: the join ref is its ref too.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if this version has no such message, which a binary one never is.
    fn control(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError>;
}
