//! Channels: Phoenix's protocol between clients and the engine, without a socket in sight.
//!
//! A [`Socket`] decides who may connect; a [`Router`] says which [`Channel`] a topic belongs to; the [`Endpoint`] holds
//! both, and broadcasts from anywhere. A connection is a state machine that takes frames in and gives frames out; what
//! carries them, WebSocket or a test, is a transport beneath it.
//!
//! Broadcasts go to clients past their channels, encoded once for each [`serializer`](Serializer), however many get
//! them.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), allow(dead_code, reason = "some of it is for the transports of `net` alone"))]

mod actor;
mod address;
mod api;
mod connect;
mod connection;
mod encode;
mod endpoint;
mod fastlane;
mod frame;
mod guarded;
mod mount;
mod outcome;
mod presence;
mod registry;
mod router;
pub mod serializer;
pub mod test;
mod transport;
mod typed;

pub use api::{Channel, ChannelSender, ChannelSocket, Joining, Socket, SocketRef};
pub use connect::{AuthToken, ConnectInfo, Params, Uri};
pub use endpoint::{Accepted, ConnectError, Endpoint, Limits};
pub use frame::Frame;
pub use mount::EndpointBuilder;
pub use outcome::{Answer, Connect, Flow, Info, JoinResult, Joined, PushError, Refusal, Stop, Terminated};
pub use router::{PatternError, Router};
pub use serializer::scalar::Scalar;
pub use serializer::{DecodeError, EncodeError, Field, Incoming, Reply, Serializer, V1, V2, VersionError, Versions};

#[cfg(feature = "server")]
pub(crate) use registry::SocketKey;
#[cfg(feature = "server")]
pub(crate) use transport::{Out, Transport};

/// The event that closes connections, on the topic that is their id.
const DISCONNECT: &str = "disconnect";

/// Why a connection is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Close {
    /// The client or its transport has gone: there is nobody to tell.
    Gone,
    /// `disconnect` was broadcast on its id.
    Disconnected,
    /// The server stops.
    Draining,
    /// The client sent what its serializer can't decode.
    Undecodable,
    /// The client sends more than it may, or the server has no room for it.
    Overloaded,
}
