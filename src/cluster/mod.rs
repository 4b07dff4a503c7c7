//! Several nodes: what carries broadcasts and presences from one to the others.
//!
//! A [`Cluster`] is an engine that exists, such as NATS, behind a small trait. What is above it is the same for all:
//! what a node broadcasts goes to its own subscribers first, at full speed, and then to the others in packets
//! ([`Builder::cluster`](crate::Builder::cluster)).
//!
//! # What is promised between nodes
//!
//! - Each node delivers to its own subscribers as [`PubSub`](crate::PubSub) promises, whatever the cluster's state.
//! - A subscriber on another node gets what one publisher broadcasts on one topic in order, at most once. It may miss
//!   some: a link breaks, a buffer is full, it subscribes a moment before. Who is subscribed is decided there, when
//!   the packet comes.
//! - What is missed is seen. Packets are numbered for each node and lane; a gap is counted ([`ClusterStats`]) and told
//!   on this node's topic [`TOPIC`].
//! - An [`Outcome`](crate::Outcome) says what the cluster has made of a broadcast: `Sent`, `Buffered`, `ClusterDown`.
//!   `Sent` means that it is on its way, not that it has come.

mod hub;
mod link;
#[cfg(feature = "nats")]
mod nats;
pub(crate) mod wire;

pub use hub::{Hub, HubNode};

pub use link::{ClusterStats, Loss, TOPIC};
pub(crate) use link::{Link, RECORD_BYTES_MAX, To, lane_of};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsError};
pub use wire::WireError;

use crate::sync::Arc;
use bytes::Bytes;
use std::fmt;
use std::time::Instant;

/// Lanes of a cluster. What is broadcast on a topic goes by one lane, the same on every node.
pub const LANES: u16 = 64;

/// What carries bytes between nodes: at most once, each node's payloads of one lane in order, or missing.
pub trait Cluster: fmt::Debug + Send + Sync + 'static {
    /// Begins to receive. Called once, before anything else. It returns when whatever others publish from now on comes
    /// here, or at once if the engine can't be reached: it then goes on trying, and tells [`Receiver::health`].
    ///
    /// # Errors
    ///
    /// [`StartError`]: it can't ever work.
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError>;

    /// Sends to all other nodes; that it comes back to this one does no harm. Never blocks. `lane` is below [`LANES`].
    fn publish(&self, lane: u16, payload: Bytes) -> Taken;

    /// Sends to one node, or to nobody if there is none of that name. Never blocks.
    fn send(&self, node: &str, payload: Bytes) -> Taken;

    /// The longest payload, in bytes.
    fn payload_max(&self) -> usize;

    /// How it is.
    fn health(&self) -> Health;

    /// Why it is not ready, for people, if it knows.
    fn why(&self) -> Option<String> {
        None
    }

    /// Waits until what was taken before has left, until `deadline` at most. Returns whether it has.
    fn flush(&self, deadline: Instant) -> bool;

    /// Ends it: nothing is received any more when this returns.
    fn stop(&self);
}

/// Takes what comes from other nodes. None of its calls blocks.
pub trait Receiver: Send + Sync {
    /// A payload has come: by a lane, or (`None`) to this node alone. Each lane's come in order, one at a time.
    fn receive(&self, lane: Option<u16>, payload: Bytes);

    /// The cluster's health has changed.
    fn health(&self, health: Health);

    /// The cluster has dropped some of what came.
    fn lost(&self);
}

/// What became of a payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// On its way.
    Sent,
    /// Kept until the cluster is back.
    Buffered,
    /// Not taken: the buffer is full, or the cluster has been stopped.
    Down,
}

/// How a cluster is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// Connected; all lanes are received.
    Ready,
    /// Not connected, and trying.
    Connecting,
    /// Ended.
    Stopped,
}

/// Why a cluster can't be started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartError(pub String);

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for StartError {}
