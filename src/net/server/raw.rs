//! Sockets without channels: a user's own protocol over WebSocket.

use super::wire::{Wire, wire_of};
use crate::channel::Frame;
use crate::net::websocket::{CloseCode, close};
use std::rc::Rc;

/// What a socket without channels does with what its client sends. It lives on one worker, and must not block.
pub trait RawSocket: 'static {
    /// The client sent a message.
    fn on_message(&mut self, message: Frame, out: &mut RawOut<'_>);

    /// The connection has ended.
    fn on_close(&mut self) {}
}

/// The way to the client of a [`RawSocket`].
#[derive(Debug)]
pub struct RawOut<'a>(pub(crate) &'a Rc<Wire>);

impl RawOut<'_> {
    /// Sends a message.
    pub fn send(&mut self, message: &Frame) {
        self.0.push(wire_of(message));
    }

    /// Closes the connection when all that was sent before has been written.
    pub fn close(&mut self, code: CloseCode, reason: &str) {
        self.0.end(Some(close(code, reason)));
    }
}

/// Sends everything back: for tests of the protocol.
#[derive(Debug, Default)]
pub struct Echo;

impl RawSocket for Echo {
    fn on_message(&mut self, message: Frame, out: &mut RawOut<'_>) {
        out.send(&message);
    }
}
