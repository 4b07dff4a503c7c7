//! Where sockets are mounted, and how an endpoint is made of them.

use super::api::Socket;
use super::connection::{Connection, NewConnection};
use super::encode::EndpointCounters;
use super::endpoint::{Accepted, ConnectError, Endpoint, Inner, Limits};
use super::guarded::Guarded;
use super::outcome::Connect;
use super::registry::SocketKey;
use super::router::{Route, Router};
use super::serializer::{Serializer, Versions};
use super::transport::Transport;
use super::{ConnectInfo, Params, registry};
use crate::pool::Pool;
use crate::pubsub::PubSub;
use crate::sync::Arc;
use std::any::Any;
use std::fmt;

/// A socket at a path.
pub(crate) struct Mount {
    pub(crate) path: Box<str>,
    pub(crate) socket: Box<dyn AnySocket>,
    pub(crate) versions: Versions,
    /// The slot of each of the versions.
    slots: Vec<usize>,
    pub(crate) routes: Vec<Arc<Route>>,
}

impl fmt::Debug for Mount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mount").field("path", &self.path).field("routes", &self.routes).finish_non_exhaustive()
    }
}

/// What is known of an accepted connection, whatever the type of its socket.
pub(crate) type Assigns = Guarded<Arc<dyn Any + Send + Sync>>;

pub(crate) trait AnySocket: Send + Sync {
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

/// Builds an [`Endpoint`].
#[derive(Debug)]
pub struct EndpointBuilder {
    pub(crate) pubsub: PubSub,
    pub(crate) mounts: Vec<Mount>,
    pub(crate) limits: Limits,
    /// One for all mounts that have no other, so that they share what is encoded.
    pub(crate) versions: Versions,
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
            counters: EndpointCounters::default(),
        }))
    }
}

impl Endpoint {
    /// Opens a connection on the calling thread, a worker's. Returns the key by which that thread knows it.
    pub(crate) fn open(&self, worker: usize, accepted: Accepted, transport: Box<dyn Transport>) -> SocketKey {
        let Accepted { mount, version, serializer, assigns, id } = accepted;
        let slot = mount.slots[version];
        let endpoint = self.clone();
        let make = move |address| {
            Connection::new(NewConnection { address, transport, endpoint, mount, serializer, slot, assigns, id })
        };
        SocketKey(registry::insert(self.pubsub().engine(), worker, make))
    }
}
