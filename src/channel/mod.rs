//! Channels: the protocol that the `phoenix` client speaks, apart from any socket.
//!
//! A [`Frame`] is what a socket carries; a [`Serializer`] turns it into a message and messages into frames. Which one
//! speaks with a client follows from the version that it asks for: [`Versions`].
//!
//! Nothing here does I/O or knows a thread.

#![forbid(unsafe_code)]

mod frame;
mod scalar;
pub mod serializer;

pub use frame::Frame;
pub use scalar::Scalar;
pub use serializer::{DecodeError, EncodeError, Field, Incoming, Reply, Serializer, V1, V2, VersionError, Versions};
