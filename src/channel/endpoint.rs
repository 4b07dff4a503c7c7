//! The endpoint: sockets mounted at paths, and broadcasts from anywhere.

use super::api::{Connect, Socket};
use super::connection::{Machine, NewMachine};
use super::fastlane::{Counters, Frames};
use super::guarded::Guarded;
use super::registry::{self, Transport};
use super::router::{Route, Router};
use super::serializer::{Serializer, VersionError, Versions};
use super::{Close, ConnectInfo, DISCONNECT, Frame, Params};
use crate::message::payload::{Event, Payload};
use crate::pool::Pool;
use crate::pubsub::PubSub;
use crate::subscriber::reader::Subscriber;
use crate::sync::{Arc, Ordering};
use crate::{BroadcastError, Outcome, SubscribeError, SubscriberId};
use std::any::Any;
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
#[derive(Debug, Clone)]
pub struct Endpoint(Arc<Inner>);

#[derive(Debug)]
pub(super) struct Inner {
    pubsub: PubSub,
    mounts: Vec<Arc<Mount>>,
    /// Every serializer that a mount knows, each once: the slots of [`Frames`].
    pub(super) serializers: Vec<Arc<dyn Serializer>>,
    pool: Pool,
    limits: Limits,
    pub(super) counters: Counters,
}

/// A socket at a path.
pub(super) struct Mount {
    path: Box<str>,
    socket: Box<dyn AnySocket>,
    versions: Versions,
    /// The slot of each of the versions.
    slots: Vec<usize>,
    pub(super) routes: Vec<Arc<Route>>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.path).field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// What is known of an accepted connection, whatever the type of its socket.
type Assigns = Guarded<Arc<dyn Any + Send + Sync>>;

trait AnySocket: Send + Sync {
    fn connect(&self, params: &Params, info: &ConnectInfo) -> Result<(Assigns, Option<String>), ConnectError>;
}

struct TypedSocket<S>(S);

impl<S: Socket> AnySocket for TypedSocket<S> {
    fn connect(&self, params: &Params, info: &ConnectInfo) -> Result<(Assigns, Option<String>), ConnectError> {
        match self.0.connect(params, info) {
            Connect::Accept(assigns) => {
                let id = self.0.id(&assigns);
                Ok((Guarded::new(Arc::new(assigns)), id))
            }
            Connect::Refuse => Err(ConnectError::Refused { status: 403, body: String::new() }),
            Connect::RefuseWith(status, body) => Err(ConnectError::Refused { status, body }),
        }
    }
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
    mount: Arc<Mount>,
    version: usize,
    serializer: Arc<dyn Serializer>,
    assigns: Assigns,
    id: Option<String>,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted").field("mount", &self.mount).field("id", &self.id).finish_non_exhaustive()
    }
}

/// Builds an [`Endpoint`].
#[derive(Debug)]
pub struct EndpointBuilder {
    pubsub: PubSub,
    mounts: Vec<Mount>,
    limits: Limits,
    /// One for all mounts that have no other, so that they share what is encoded.
    versions: Versions,
}

impl EndpointBuilder {
    /// Mounts a socket at a path, such as `/socket`, with the serializers of Phoenix.
    pub fn socket<S: Socket>(self, path: &str, socket: S, router: Router<S::Assigns>) -> Self {
        let versions = self.versions.clone();
        self.socket_with(path, socket, router, versions)
    }

    /// Mounts a socket at a path, with serializers of your choice.
    pub fn socket_with<S: Socket>(
        mut self,
        path: &str,
        socket: S,
        router: Router<S::Assigns>,
        versions: Versions,
    ) -> Self {
        let socket = Box::new(TypedSocket(socket));
        let path = path.trim_end_matches('/').into();
        self.mounts.push(Mount { path, socket, versions, slots: Vec::new(), routes: router.into_routes() });
        self
    }

    /// Other bounds than the default ones.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// The endpoint.
    pub fn build(mut self) -> Endpoint {
        let mut serializers: Vec<Arc<dyn Serializer>> = Vec::new();
        for mount in &mut self.mounts {
            mount.slots = mount
                .versions
                .serializers()
                .map(|serializer| {
                    let known = serializers.iter().position(|known| Arc::ptr_eq(known, serializer));
                    known.unwrap_or_else(|| {
                        serializers.push(serializer.clone());
                        serializers.len() - 1
                    })
                })
                .collect();
        }
        Endpoint(Arc::new(Inner {
            pubsub: self.pubsub,
            mounts: self.mounts.into_iter().map(Arc::new).collect(),
            serializers,
            pool: Pool::new(self.limits.threads_max),
            limits: self.limits,
            counters: Counters::default(),
        }))
    }
}

impl Inner {
    pub(super) fn workers(&self) -> usize {
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

    pub(super) fn inner(&self) -> &Arc<Inner> {
        &self.0
    }

    pub(super) fn pool(&self) -> &Pool {
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

    /// Closes all connections whose [`Socket::id`] is `id`, with code 1001, after which clients connect again.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`].
    pub fn disconnect(&self, id: &str) -> Result<Outcome, BroadcastError> {
        self.broadcast(id, DISCONNECT, super::api::empty())
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

    /// Opens a connection on the calling thread, a worker's. Returns the key by which that thread knows it.
    pub(crate) fn open(&self, worker: usize, accepted: Accepted, transport: Box<dyn Transport>) -> SocketKey {
        let Accepted { mount, version, serializer, assigns, id } = accepted;
        let slot = mount.slots[version];
        let endpoint = self.clone();
        let make = move |address| {
            Machine::new(NewMachine { address, transport, endpoint, mount, serializer, slot, assigns, id })
        };
        SocketKey(registry::insert(self.0.pubsub.engine(), worker, make))
    }

    /// Runs something on the pool of callbacks.
    pub(crate) fn spawn(&self, job: impl FnOnce() + Send + 'static) {
        self.0.pool.spawn(Box::new(job));
    }
}

/// A connection of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SocketKey(u64);

impl SocketKey {
    /// A frame of the client. Without effect on a connection that has been closed.
    pub(crate) fn frame(self, frame: &Frame) {
        registry::with(self.0, |machine| machine.frame(frame));
    }

    /// The client has missed so many frames, since it read too slowly: it is told.
    pub(crate) fn lagged(self, dropped: u64) {
        registry::with(self.0, |machine| machine.lagged(dropped));
    }

    /// The connection has ended, or is to be ended, for this reason.
    pub(crate) fn close(self, why: Close) {
        registry::close_here(self.0, why);
    }
}
