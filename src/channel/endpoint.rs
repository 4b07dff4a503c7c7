//! The endpoint: sockets mounted at paths, and broadcasts from anywhere.

use super::encode::{EndpointCounters, Frames};
use super::mount::{Assigns, EndpointBuilder, Mount};
use super::serializer::{Serializer, VersionError, Versions};
use super::{ConnectInfo, DISCONNECT, Params};
use crate::engine::error::{BroadcastError, SubscribeError};
use crate::engine::outcome::Outcome;
use crate::engine::worker::places::SubscriberId;
use crate::message::payload::{Event, Payload};
use crate::pool::Pool;
use crate::pubsub::PubSub;
use crate::subscriber::reader::Subscriber;
use crate::sync::{Arc, Ordering};
use std::fmt;

/// Bounds of an endpoint's sockets.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Channels that one connection may have joined: 100. A client that wants more is told `too many channels joined`.
    pub channels_per_socket_max: usize,
    /// Bytes of a topic that a client may join: 255, what a binary frame can carry.
    pub topic_bytes_max: usize,
    /// Things that may wait for one channel (pushes of its client, messages to it): 1,024. One more crashes the
    /// channel: the client gets `phx_error` and joins again.
    pub channel_jobs_max: usize,
    /// Threads for callbacks: 512. They are made when all others are busy, and end when idle.
    pub threads_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { channels_per_socket_max: 100, topic_bytes_max: 255, channel_jobs_max: 1024, threads_max: 512 }
    }
}

/// Sockets and channels on an engine. Cheap to clone.
#[derive(Clone)]
pub struct Endpoint(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) pubsub: PubSub,
    pub(crate) mounts: Vec<Arc<Mount>>,
    /// Every serializer that a mount knows, each once: the slots of [`Frames`].
    pub(crate) serializers: Vec<Arc<dyn Serializer>>,
    pub(crate) pool: Pool,
    pub(crate) limits: Limits,
    pub(crate) counters: EndpointCounters,
}

/// Why a connection is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectError {
    /// No serializer speaks the version that the client wants.
    Version(VersionError),
    /// The socket's `connect` refused it.
    Refused {
        /// The HTTP status to answer with.
        status: u16,
        /// The body to answer with.
        body: String,
    },
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConnectError::Version(error) => error.fmt(f),
            ConnectError::Refused { status, .. } => write!(f, "the socket refused the connection with status {status}"),
        }
    }
}

impl std::error::Error for ConnectError {}

/// A connection that was accepted, on its way to its worker.
pub struct Accepted {
    pub(crate) mount: Arc<Mount>,
    pub(crate) version: usize,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) assigns: Assigns,
    pub(crate) id: Option<String>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("mount", &self.mount).field("id", &self.id).finish_non_exhaustive()
    }
}

impl Inner {
    pub(crate) fn workers(&self) -> usize {
        self.pubsub.workers()
    }
}

impl Endpoint {
    /// Begins an endpoint on an engine.
    pub fn builder(pubsub: PubSub) -> EndpointBuilder {
        EndpointBuilder { pubsub, mounts: Vec::new(), limits: Limits::default(), versions: Versions::default() }
    }

    /// The engine.
    pub fn pubsub(&self) -> &PubSub {
        &self.0.pubsub
    }

    /// The endpoint's bounds.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(crate) fn pool(&self) -> &Pool {
        &self.0.pool
    }

    /// Broadcasts to everybody on a topic: clients that have joined it, channels and subscribers.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`].
    pub fn broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        let publish = self.0.pubsub.engine().publish(topic).everywhere();
        publish.attach(&|| Arc::new(Frames::of(&self.0))).send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), to all but one subscriber.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`].
    pub fn broadcast_from(
        &self,
        from: SubscriberId,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        let publish = self.0.pubsub.engine().publish(topic).everywhere().from(from);
        publish.attach(&|| Arc::new(Frames::of(&self.0))).send(event.into(), payload.into())
    }

    /// As [`broadcast`](Self::broadcast), to this node's subscribers only.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`].
    pub fn local_broadcast(
        &self,
        topic: &str,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        let publish = self.0.pubsub.engine().publish(topic);
        publish.attach(&|| Arc::new(Frames::of(&self.0))).send(event.into(), payload.into())
    }

    /// A subscriber of a topic.
    ///
    /// # Errors
    ///
    /// As [`SubscriberBuilder::build`](crate::SubscriberBuilder::build) and
    /// [`Control::subscribe`](crate::Control::subscribe).
    pub fn subscribe(&self, topic: &str) -> Result<Subscriber, SubscribeError> {
        let subscriber = self.0.pubsub.subscriber().build()?;
        subscriber.subscribe(topic)?;
        Ok(subscriber)
    }

    /// Closes all connections whose [`Socket::id`](super::Socket::id) is `id`, with code 1001, after which clients
    /// connect again.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`].
    pub fn disconnect(&self, id: &str) -> Result<Outcome, BroadcastError> {
        self.broadcast(id, DISCONNECT, super::outcome::empty())
    }

    /// Broadcasts that have been encoded, counted once for each serializer.
    pub fn encoded(&self) -> u64 {
        self.0.counters.encoded.load(Ordering::Relaxed)
    }

    /// Broadcasts that a serializer could not encode: its clients did not get them.
    pub fn unencodable(&self) -> u64 {
        self.0.counters.unencodable.load(Ordering::Relaxed)
    }

    /// The number of the mount whose path, with `suffix` behind it, is `path`.
    pub fn mount_of(&self, path: &str, suffix: &str) -> Option<usize> {
        let path = path.strip_suffix(suffix)?;
        self.0.mounts.iter().position(|mount| &*mount.path == path)
    }

    /// Asks a mount's socket whether a client may connect. It may block: not for a worker's thread.
    ///
    /// # Errors
    ///
    /// [`ConnectError`].
    ///
    /// # Panics
    ///
    /// If there is no such mount, or if `connect` does.
    pub fn connect(&self, mount: usize, params: &Params, info: &ConnectInfo) -> Result<Accepted, ConnectError> {
        let mount = self.0.mounts[mount].clone();
        let vsn = match params.get("vsn") {
            None => None,
            Some(serde_json::Value::String(vsn)) => Some(&**vsn),
            // No version at all.
            Some(_) => Some(""),
        };
        let (version, serializer) = mount.versions.select(vsn).map_err(ConnectError::Version)?;
        let (assigns, id) = mount.socket.connect(params, info)?;
        Ok(Accepted { mount, version, serializer, assigns, id })
    }

    /// Runs something on the pool of callbacks.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.0.pool.spawn(Box::new(job));
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mounts: Vec<&str> = self.0.mounts.iter().map(|mount| &*mount.path).collect();
        f.debug_struct("Endpoint").field("node", &self.0.pubsub.node()).field("mounts", &mounts).finish_non_exhaustive()
    }
}
