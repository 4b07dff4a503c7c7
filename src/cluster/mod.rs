//! Several nodes: what carries broadcasts and presences from one to the others.
//!
//! A [`Cluster`] is what carries bytes between nodes: [`Hub`] joins nodes in one process, for tests and for several
//! engines side by side; `Nats` (feature `nats`) joins processes over a NATS server. What is above it is the same for
//! all: what a node broadcasts goes to its own subscribers first, at full speed, and then to the others in packets
//! ([`PubSubBuilder::cluster`](crate::PubSubBuilder::cluster)).
//!
//! # What is promised between nodes
//!
//! - Each node delivers to its own subscribers as [`PubSub`](crate::PubSub) promises, whatever the cluster's state.
//! - A subscriber on another node gets what one publisher broadcasts on one topic in order, at most once. It may miss
//!   some: a link breaks, a buffer is full, it subscribes a moment before. Who is subscribed is decided there, when
//!   the packet comes.
//! - What is missed is seen. Packets are numbered for each node and partition; a gap is counted ([`ClusterStats`]) and
//!   told on this node's topic [`TOPIC`].
//! - An [`Outcome`](crate::Outcome) says what the cluster has made of a broadcast: `Sent`, `Buffered`, `ClusterDown`.
//!   `Sent` means that it is on its way, not that it has come.
//!
//! # What a cluster promises
//!
//! It knows nodes by their names and payloads by their bytes.
//!
//! Order: what one node publishes on one partition, one call after the other has returned, comes to each other node in
//! that order, or is missing. The same holds for what one node sends to one other. There is no order between
//! partitions, nor between what is published and what is sent, nor between nodes.
//!
//! Delivery: at most once. A payload is lost when the link of its sender or of its receiver breaks while it is under
//! way, when its receiver has no link while it passes, or when its receiver is too slow for the engine below. Only in
//! the last case [`Receiver::lost`] may tell.
//!
//! It does not promise that a payload does not come back to the node that published it: whoever is above drops those.
//! Two nodes of one name both get what is sent to that name. Nothing says who the other nodes are.

mod hub;
pub(crate) mod link;
#[cfg(feature = "nats")]
mod nats;
pub(crate) mod wire;

pub use hub::{Hub, HubNode};
pub use link::{ClusterStats, Loss, TOPIC};
#[cfg(feature = "nats")]
pub use nats::{Nats, NatsBuilder, NatsError};
pub use wire::WireError;

use crate::sync::Arc;
use bytes::Bytes;
use std::fmt;
use std::io;
use std::time::Instant;

/// How many partitions there are. They are numbered from 0.
pub const PARTITIONS: u16 = 64;

/// Longest name of a node, in bytes of UTF-8. It has at least one.
pub const NODE_BYTES_MAX: usize = 255;

/// The longest payload that any transport takes, in bytes; some take less.
pub const PAYLOAD_BYTES_MAX: usize = 1 << 20;

/// What carries bytes between nodes.
///
/// It calls its [`Receiver`] from a thread of its own, one call at a time. All its methods may be called from any
/// thread, those of the receiver's calls included, but for [`flush`](Self::flush), which there returns false.
pub trait Cluster: fmt::Debug + Send + Sync + 'static {
    /// Begins to receive as the node of that name. When it returns and [`health`](Self::health) is `Ready`, whatever
    /// others publish or send from then on comes here. If the engine below cannot be reached it returns all the same,
    /// within a few seconds, and goes on trying: health is `Connecting` meanwhile.
    ///
    /// To be called once; after an error, again.
    ///
    /// # Errors
    ///
    /// [`StartError`]: it has not started, and nothing is received.
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError>;

    /// To all other nodes. Never waits. The wake of a thread is its highest price.
    ///
    /// # Panics
    ///
    /// If `partition` is not below [`PARTITIONS`].
    fn publish(&self, partition: u16, payload: Bytes) -> Taken;

    /// To the node of that name. Never waits. If there is none it is lost, without harm.
    fn send(&self, node: &str, payload: Bytes) -> Taken;

    /// The longest payload that is taken now, in bytes: at most [`PAYLOAD_BYTES_MAX`]. It may change at a reconnect;
    /// what was taken before and is too long then is dropped.
    fn payload_bytes_max(&self) -> usize;

    /// How it is.
    fn health(&self) -> Health;

    /// Waits until everything that was taken before has reached the engine below, at most until the deadline. Returns
    /// whether it has. What a link lost as it broke counts as reached.
    fn flush(&self, deadline: Instant) -> bool;

    /// Ends it for good: nothing is received any more when this returns, unless it is called by the receiver itself,
    /// whose call is then the last. What was taken and has not left is dropped: [`flush`](Self::flush) first.
    fn stop(&self);
}

/// So that whoever gives it to an engine keeps a handle.
impl<C: Cluster + ?Sized> Cluster for Arc<C> {
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError> {
        (**self).start(node, receiver)
    }

    fn publish(&self, partition: u16, payload: Bytes) -> Taken {
        (**self).publish(partition, payload)
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        (**self).send(node, payload)
    }

    fn payload_bytes_max(&self) -> usize {
        (**self).payload_bytes_max()
    }

    fn health(&self) -> Health {
        (**self).health()
    }

    fn flush(&self, deadline: Instant) -> bool {
        (**self).flush(deadline)
    }

    fn stop(&self) {
        (**self).stop();
    }
}

/// Where a transport hands over what it receives. Its calls must not block: they hold up all others. A panic in one is
/// caught, and goes no further.
pub trait Receiver: Send + Sync {
    /// A payload has come: published on a partition, or, without one, sent to this node alone. Its bytes are those that
    /// somebody put on the network, and may be anything. They may lie in a block with others, which lasts as long as
    /// one of them: copy what is kept for long.
    fn receive(&self, partition: Option<u16>, payload: Bytes);

    /// Health is another one now. What others published between `Connecting` and `Ready` may be missing.
    fn health(&self, health: Health) {
        let _ = health;
    }

    /// The engine below knows that it dropped at least one payload, since this node was too slow to take it.
    fn lost(&self) {}
}

/// What became of a payload that was to go to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Taken {
    /// It is on its way.
    Sent,
    /// There is no link. It goes out when there is one, after everything that was buffered before it and before
    /// everything that is published later, unless the transport is stopped before.
    Buffered,
    /// Refused: the buffer is full, or the transport is not running.
    Down,
    /// Refused: it is longer than [`payload_bytes_max`](Cluster::payload_bytes_max).
    TooLong,
}

/// How a transport is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Health {
    /// It has a link; what is published goes out, and what others publish comes in.
    Ready,
    /// It has none, and tries to get one.
    Connecting {
        /// What stands in the way, for people to read. No secret is in it.
        why: String,
    },
    /// It has not been started, or it has been stopped.
    Stopped,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Health::Ready => f.write_str("ready"),
            Health::Connecting { why } => write!(f, "connecting: {why}"),
            Health::Stopped => f.write_str("stopped"),
        }
    }
}

/// Why a transport did not start.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A node's name has from 1 to [`NODE_BYTES_MAX`] bytes.
    Node {
        /// How many this one has.
        bytes: usize,
    },
    /// It has been started before, or stopped.
    Started,
    /// The system gives no more threads, or no more of what a thread waits with.
    Spawn(io::Error),
    /// The engine below answered, and refuses the credentials; typically they are wrong or missing.
    Refused(String),
    /// The engine below answered, and there is no trust; typically its certificate is of an authority that is not
    /// known here, or of another name.
    Tls(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Node { bytes } => {
                write!(f, "a node's name has from 1 to {NODE_BYTES_MAX} bytes, not {bytes}")
            }
            StartError::Started => f.write_str("the transport has been started before, or stopped"),
            StartError::Spawn(error) => write!(f, "the transport has no thread: {error}"),
            StartError::Refused(why) => write!(f, "the credentials are refused: {why}"),
            StartError::Tls(why) => write!(f, "the connection is not to be trusted: {why}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Spawn(error) => Some(error),
            _ => None,
        }
    }
}

/// What a payload counts for in a buffer: its place there takes something too.
fn counted(payload: &Bytes) -> usize {
    const PAYLOAD_BYTES_MIN: usize = 64;
    payload.len().max(PAYLOAD_BYTES_MIN)
}

fn check_node(node: &str) -> Result<(), StartError> {
    if (1..=NODE_BYTES_MAX).contains(&node.len()) { Ok(()) } else { Err(StartError::Node { bytes: node.len() }) }
}

/// Calls a receiver, which is code of somebody else.
fn caught(call: impl FnOnce()) {
    // The transport shares nothing with the call, so there is no state that a panic could leave half done.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
}
