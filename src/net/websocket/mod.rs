//! RFC 6455 in the role of a server, without I/O.
//!
//! A [`Decoder`] for each connection takes the bytes in whatever pieces they come and hands out [`Event`]s. A message
//! that lies whole in the read buffer is unmasked there and borrowed from it: it costs no copy and no allocation. What
//! ends in the middle is kept in a buffer that lives until the message is whole; a decoder that waits for nothing is 40
//! bytes and no heap.
//!
//! Frames for the way back are made once and written to any number of sockets, since a server masks nothing:
//! [`text`], [`binary`], [`frame`], [`close()`], [`ping`], [`pong`], or [`header()`] for a payload that lies elsewhere.
//!
//! ```
//! use fanfare::net::websocket::{Decoder, Event, Limits, text};
//!
//! // "hi" from a client, masked with 0: the key is the peer's choice.
//! let mut bytes = [0x81, 0x82, 0, 0, 0, 0, b'h', b'i'];
//! let mut input = &mut bytes[..];
//! let mut decoder = Decoder::new();
//! while let Some(event) = decoder.next(&mut input, &Limits::default())? {
//!     if let Event::Text(message) = event {
//!         assert_eq!(text(&message)[..], [0x81, 2, b'h', b'i']);
//!     }
//! }
//! # Ok::<(), fanfare::net::websocket::DecodeError>(())
//! ```
//!
//! # What is refused
//!
//! All that RFC 6455 tells a server to fail the connection for, with the close code that it names:
//! [`DecodeError::close_code`]. A length that is not encoded in the fewest bytes is refused too, as section 5.2 demands
//! the minimal form. Text is checked as it comes: the first byte that no UTF-8 can have at its place ends the
//! connection, whether or not the frame is whole. No extension is spoken, so a reserved bit is an error.

mod close;
mod decoder;
mod encode;
mod error;
mod header;
mod mask;
mod partial;

pub use close::{Close, CloseCode};
pub use decoder::{Decoder, Event, Limits};
pub use encode::{ControlTooLong, Header, binary, close, frame, header, ping, pong, text};
pub use error::DecodeError;
pub use header::Opcode;

/// The longest payload of a control frame (RFC 6455, section 5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
