//! What goes over a socket, apart from the socket: pure functions and state machines, which a reactor feeds with what
//! it has read and whose bytes it writes.
//!
//! - [`http`]: the head of a request, the WebSocket handshake, responses.
//! - [`websocket`]: RFC 6455 in the role of a server: messages out of a stream of bytes, and frames for the way back.
//! - [`params`]: a query string as nested parameters.
//! - [`CheckOrigin`]: which pages may connect; [`Subprotocols`]: the choice of a subprotocol, and the token that comes
//!   with it.
//! - [`server`]: all of it together, on the workers of an engine.
//!
//! But for the server nothing here blocks, reads a clock or does I/O; nothing panics on what a peer sends.

pub mod http;
pub mod params;
pub mod server;
pub mod websocket;

mod connect_info;
mod origin;
mod subprotocol;

pub use connect_info::connect_info;
pub use origin::{CheckOrigin, Origin, OriginPattern, OriginPatternError};
pub use subprotocol::{Negotiated, SubprotocolError, Subprotocols};
