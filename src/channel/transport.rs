//! What carries the frames of a connection.

use super::encode::Encoded;
use super::{Close, Frame};

/// Something for a connection's client.
#[derive(Debug, Clone)]
pub(crate) enum Out<'a> {
    /// For it alone.
    Frame(Frame),
    /// For others too: the bytes are shared.
    Shared(&'a Encoded),
}

impl Out<'_> {
    /// The frame.
    pub(crate) fn frame(&self) -> &Frame {
        match self {
            Out::Frame(frame) => frame,
            Out::Shared(encoded) => encoded.frame(),
        }
    }
}

/// What carries a connection's frames. It belongs to the connection's worker, and never waits.
pub(crate) trait Transport: 'static {
    /// Queues something for the client, behind all that was queued before.
    fn send(&mut self, out: Out<'_>);

    /// The connection ends: nothing is sent any more but what is queued. The connection has gone.
    fn close(&mut self, why: Close);
}
