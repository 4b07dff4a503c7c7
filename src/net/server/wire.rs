//! The way to a client, for what writes to it.

use super::options::{Options, SlowClient};
use super::outbound::{Outbound, Pushed};
use crate::channel::{Close, Frame, Out, Transport};
use crate::net::websocket::{self, CloseCode, close};
use crate::sync::Arc;
use bytes::Bytes;
use std::cell::RefCell;
use std::rc::Rc;

/// The way to a connection's client, shared with what sends to it on this thread.
#[derive(Debug)]
pub(crate) struct Wire {
    token: usize,
    outbound: RefCell<Outbound>,
    dirty: Rc<RefCell<Vec<usize>>>,
    options: Arc<Options>,
}

impl Wire {
    pub(crate) fn new(token: usize, dirty: Rc<RefCell<Vec<usize>>>, options: Arc<Options>) -> Rc<Self> {
        Rc::new(Wire { token, outbound: RefCell::new(Outbound::default()), dirty, options })
    }

    pub(crate) fn outbound(&self) -> std::cell::RefMut<'_, Outbound> {
        self.outbound.borrow_mut()
    }

    /// Whether something waits to be written.
    pub(crate) fn is_busy(&self) -> bool {
        !self.outbound.borrow().is_empty()
    }

    /// Whether nothing is taken any more.
    pub(crate) fn is_ending(&self) -> bool {
        self.outbound.borrow().is_ending
    }

    fn mark(&self, outbound: &mut Outbound) {
        // A blocked connection is flushed when the system takes more.
        if !outbound.is_dirty && !outbound.is_blocked {
            outbound.is_dirty = true;
            self.dirty.borrow_mut().push(self.token);
        }
    }

    /// The system takes more.
    pub(crate) fn unblock(&self) {
        let mut outbound = self.outbound.borrow_mut();
        if std::mem::take(&mut outbound.is_blocked) {
            self.mark(&mut outbound);
        }
    }

    /// Queues a frame, as the options say for a client that is slow.
    pub(crate) fn push(&self, frame: Bytes) {
        let mut outbound = self.outbound.borrow_mut();
        match outbound.push(frame, self.options.outbound_bytes_max) {
            Pushed::Taken => self.mark(&mut outbound),
            Pushed::Refused if self.options.slow_client == SlowClient::Close => {
                outbound.drop_unwritten();
                outbound.push_always(close(CloseCode::TRY_AGAIN_LATER, "too slow"));
                outbound.is_ending = true;
                // Whether or not the system takes it: the reactor must know.
                outbound.is_dirty = true;
                self.dirty.borrow_mut().push(self.token);
            }
            Pushed::Refused | Pushed::Ending => {}
        }
    }

    /// Queues bytes that must go whatever waits.
    pub(crate) fn push_always(&self, bytes: Bytes) {
        let mut outbound = self.outbound.borrow_mut();
        if !outbound.is_ending {
            outbound.push_always(bytes);
            self.mark(&mut outbound);
        }
    }

    /// Ends the connection once all that waits has been written, with these as its last bytes.
    pub(crate) fn end(&self, last: Option<Bytes>) {
        let mut outbound = self.outbound.borrow_mut();
        if std::mem::replace(&mut outbound.is_ending, true) {
            return;
        }
        last.into_iter().for_each(|last| outbound.push_always(last));
        outbound.is_dirty = true;
        self.dirty.borrow_mut().push(self.token);
    }
}

/// A channel connection's way to its client.
pub(crate) struct ChannelWire {
    pub(crate) wire: Rc<Wire>,
    pub(crate) worker: usize,
}

impl Transport for ChannelWire {
    fn send(&mut self, out: Out<'_>) {
        let bytes = match &out {
            Out::Frame(frame) => wire_of(frame),
            Out::Shared(encoded) => encoded.wire(self.worker, wire_of),
        };
        self.wire.push(bytes);
    }

    fn close(&mut self, why: Close) {
        let frame = match why {
            Close::Gone => None,
            Close::Disconnected => Some(close(CloseCode::GOING_AWAY, "")),
            Close::Draining => Some(close(CloseCode::SERVICE_RESTART, "")),
            Close::Overloaded => Some(close(CloseCode::POLICY, "")),
            // And whatever else: the server can't go on with it.
            _ => Some(close(CloseCode::INTERNAL_ERROR, "")),
        };
        self.wire.end(frame);
    }
}

/// A message as it goes over a WebSocket.
pub(crate) fn wire_of(frame: &Frame) -> Bytes {
    match frame {
        Frame::Text(text) => websocket::frame(websocket::Opcode::Text, text),
        Frame::Binary(bytes) => websocket::frame(websocket::Opcode::Binary, bytes),
    }
}
