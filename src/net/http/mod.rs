//! HTTP/1.1 without I/O, as much as the transports need: the head of a request, the WebSocket handshake, responses
//! with a length.
//!
//! [`parse`] is called with all that has come of a request so far, until it gives a [`Request`]. [`Request::body`]
//! says how its body is framed. [`upgrade()`] checks a handshake; [`switching_protocols`] accepts it and [`Response`]
//! answers everything else.
//!
//! ```
//! use fanfare::net::http::{HeadLimits, Parsed, Response, parse};
//!
//! let bytes = b"GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: a.example\r\n\r\n";
//! let Parsed::Request(request) = parse(bytes, &HeadLimits::default())? else { panic!("it is whole") };
//! assert_eq!((request.path, request.query), ("/socket/websocket", Some("vsn=2.0.0")));
//! let response = Response::new(404).encode(&request);
//! assert!(response.starts_with(b"HTTP/1.1 404 Not Found\r\n"));
//! # Ok::<(), fanfare::net::http::HeadError>(())
//! ```
//!
//! # What is refused
//!
//! What leaves open where a request ends, since two servers could see two requests in it: both a length and a transfer
//! coding, two lengths that differ, white space before a colon, a folded line. And a head over the limits; a request
//! of HTTP/1.1 without exactly one `host`; a version other than 1.0 and 1.1.

mod error;
mod path;
mod request;
mod response;
mod upgrade;

pub use error::{HeadError, PathError};
pub use path::{percent_decode, segments};
pub use request::{Body, HeadLimits, Parsed, Request, parse};
pub use response::{Response, reason, switching_protocols};
pub use upgrade::{UpgradeError, accept_key, upgrade};
