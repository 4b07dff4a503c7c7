//! How a server is set up.

use crate::net::http::HeadLimits;
use crate::net::websocket::Limits;
use crate::net::{CheckOrigin, Subprotocols};
use std::time::Duration;

/// What becomes of a client that does not read what it is sent, once [`Options::outbound_bytes_max`] wait for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SlowClient {
    /// It is closed, with code 1013 (try again later): what waits is dropped, and a `phoenix` client connects again.
    Close,
    /// What does not fit is dropped; when the client has read what waited, it is told how many frames it missed, by a
    /// message `lagged` with `{"dropped": n}` on the topic `phoenix`.
    Drop,
}

/// A server's options.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Which pages may connect. All by default, since a server does not know what it is called: set it.
    pub check_origin: CheckOrigin,
    /// Subprotocols that the server speaks, and whether clients may send an `authToken`, which `connect` finds in
    /// [`ConnectInfo::auth_token`](crate::channel::ConnectInfo). By default they may.
    pub subprotocols: Subprotocols,
    /// How long a connection may send nothing before it is closed, with code 1002: 60 s.
    pub idle_timeout: Duration,
    /// How long a client may take to send the head of a request, and to answer a close: 10 s.
    pub handshake_timeout: Duration,
    /// Bounds of a request's head.
    pub head: HeadLimits,
    /// Bytes of a request's body: 64 KiB.
    pub body_bytes_max: usize,
    /// Bounds of WebSocket frames and messages.
    pub websocket: Limits,
    /// Bytes that may wait to be written to one connection: 1 MiB. If nothing waits a frame of any size is taken.
    pub outbound_bytes_max: usize,
    /// What becomes of a client for which more would wait.
    pub slow_client: SlowClient,
    /// Connections that are closed at once when the server drains: 10,000.
    pub drain_batch: usize,
    /// How long it waits between two such batches: 2 s.
    pub drain_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            check_origin: CheckOrigin::Off,
            subprotocols: Subprotocols::none().with_auth_token(),
            idle_timeout: Duration::from_secs(60),
            handshake_timeout: Duration::from_secs(10),
            head: HeadLimits::default(),
            body_bytes_max: 64 << 10,
            websocket: Limits::default(),
            outbound_bytes_max: 1 << 20,
            slow_client: SlowClient::Close,
            drain_batch: 10_000,
            drain_interval: Duration::from_secs(2),
        }
    }
}
