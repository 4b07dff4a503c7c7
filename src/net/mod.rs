//! What goes over a socket, apart from the socket: pure functions and state machines, which a reactor feeds with what
//! it has read and whose bytes it writes.
//!
//! - [`http`]: the head of a request, the WebSocket handshake, responses.
//! - [`websocket`]: RFC 6455 in the role of a server: messages out of a stream of bytes, and frames for the way back.
//!
//! Nothing here blocks, reads a clock or panics on what a peer sends.

pub mod http;
pub mod websocket;
