//! What one WebSocket message carries, apart from how it is framed on the wire.

use bytes::Bytes;

/// A whole WebSocket message. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A text message. UTF-8 when a [`Serializer`](super::Serializer) made it; one that came from a client is checked
    /// when it is decoded.
    Text(Bytes),
    /// A binary message.
    Binary(Bytes),
}

impl Frame {
    /// Its bytes, of either kind.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Frame::Text(bytes) | Frame::Binary(bytes) => bytes,
        }
    }
}
