//! One connection: what it is in the middle of, and the way to its client.

use super::raw::RawSocket;
use super::wire::Wire;
use crate::channel::SocketKey;
use crate::net::websocket::Decoder;
use mio::net::TcpStream;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

/// A connection of a reactor.
pub(crate) struct Conn {
    pub(crate) stream: TcpStream,
    pub(crate) peer: Option<SocketAddr>,
    pub(crate) phase: Phase,
    pub(crate) wire: Rc<Wire>,
    /// Which connection of its reactor it is: unlike a token it names no other, ever.
    pub(crate) serial: u64,
    /// When it ends, unless something comes before.
    pub(crate) deadline: Instant,
    /// When the timer comes that looks at the deadline, if there is one.
    pub(crate) timer: Option<Instant>,
    /// The system has said that the peer has ended: it is to be read to its end, of which no other event tells.
    pub(crate) hung_up: bool,
    /// It has been read to its end.
    pub(crate) ended: bool,
    /// Whether it is among those to be read again.
    pub(crate) again: bool,
    /// It is not read until it goes on with what has come.
    pub(crate) paused: bool,
}

// An idle connection is this and its `Wire`, and what the system and its socket keep.
const _: () = assert!(size_of::<Conn>() <= 208 && size_of::<Wire>() <= 112);

/// What a connection is in the middle of.
pub(crate) enum Phase {
    /// A request, of which this has come.
    Request(Vec<u8>),
    /// A request that is being answered elsewhere; what has come behind it.
    Waiting(Vec<u8>),
    /// A WebSocket with channels.
    Channels(Decoder, SocketKey),
    /// A WebSocket without.
    Raw(Decoder, Box<dyn RawSocket>),
    /// It ends: what comes is read and dropped.
    Ending,
}
