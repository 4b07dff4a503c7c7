//! A server: sockets with channels, sockets without, and plain HTTP, on the workers of an engine.
//!
//! Each worker has a reactor with a listener of its own on the one address, its connections, and its share of every
//! topic. What may block (the socket's `connect`, routes of HTTP) runs on the endpoint's pool of callbacks.

mod conn;
mod handshake;
mod listen;
mod options;
mod outbound;
mod raw;
mod reactor;

pub use options::{Options, SlowClient};
pub use raw::{Echo, RawOut, RawSocket};

use crate::channel::{Accepted, ConnectError, Endpoint};
use crate::net::http::{Request, Response, UpgradeError};
use crate::sync::{Arc, AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use crate::worker::poll;
use crate::{PubSub, Wait};
use reactor::NetReactor;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Answers a request of plain HTTP. It runs on the pool of callbacks, where it may block.
pub type Route = dyn Fn(&Request<'_>, &[u8]) -> Response + Send + Sync;

type MakeRaw = dyn Fn() -> Box<dyn RawSocket> + Send + Sync;

/// A server that runs. Dropped, it closes everything at once; [`drain`](Self::drain) does it politely.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
}

/// What the reactors of a server share.
pub(super) struct Shared {
    endpoint: Endpoint,
    options: Arc<Options>,
    route: Box<Route>,
    raw: Vec<(Box<str>, Box<MakeRaw>)>,
    workers: Vec<PerWorker>,
    counters: Counters,
    /// Reactors that have closed everything.
    done: Mutex<usize>,
    all_done: Condvar,
}

struct PerWorker {
    connections: AtomicU32,
    inbox: Mutex<Vec<ToReactor>>,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    slow: AtomicU64,
}

/// What others tell a reactor.
enum ToReactor {
    /// A connection that another worker has accepted.
    Take(TcpStream),
    /// What became of a request to open a socket.
    Connected { token: usize, upgrade: Result<String, UpgradeError>, subprotocol: Option<String>, result: Connected },
    /// The answer to a request, and whether the connection stays open.
    Response { token: usize, bytes: bytes::Bytes, keep_alive: bool },
    /// No new connections; the others are told to go, in batches.
    Drain,
    /// Everything is closed now.
    Stop,
}

/// `None`: the callback panicked.
type Connected = Option<Result<Accepted, ConnectError>>;

/// A server's figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStats {
    /// Connections that are open now.
    pub connections: u64,
    /// Connections that have been accepted so far.
    pub accepted: u64,
    /// Frames that slow clients did not get, and closes for that reason.
    pub slow: u64,
}

/// Builds a [`Server`].
pub struct ServerBuilder {
    endpoint: Endpoint,
    options: Options,
    route: Box<Route>,
    raw: Vec<(Box<str>, Box<MakeRaw>)>,
}

impl ServerBuilder {
    /// Other options than the default ones.
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Answers the requests that open no socket. Without it they are answered with 404.
    pub fn route(mut self, route: impl Fn(&Request<'_>, &[u8]) -> Response + Send + Sync + 'static) -> Self {
        self.route = Box::new(route);
        self
    }

    /// Mounts sockets without channels at exactly this path.
    pub fn raw<S: RawSocket>(mut self, path: &str, make: impl Fn() -> S + Send + Sync + 'static) -> Self {
        self.raw.push((path.into(), Box::new(move || Box::new(make()))));
        self
    }

    /// Listens on an address, and serves. With port 0 the system chooses the port: [`Server::address`].
    ///
    /// # Errors
    ///
    /// What the system says, above all that the address is taken; [`io::ErrorKind::Unsupported`] if the engine's
    /// workers do not sleep in a poll ([`Wait::Poll`]).
    pub fn listen(self, address: SocketAddr) -> io::Result<Server> {
        let pubsub = self.endpoint.pubsub().clone();
        if pubsub.engine().config.wait != Wait::Poll {
            let why = "the engine's workers do not sleep in a poll: build it with `wait(Wait::Poll)`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        let (address, listeners) = listen::listeners(address, pubsub.workers())?;
        let per_worker = |_| PerWorker { connections: AtomicU32::new(0), inbox: Mutex::new(Vec::new()) };
        let shared = Arc::new(Shared {
            endpoint: self.endpoint,
            options: Arc::new(self.options),
            route: self.route,
            raw: self.raw,
            workers: (0..pubsub.workers()).map(per_worker).collect(),
            counters: Counters::default(),
            done: Mutex::new(0),
            all_done: Condvar::new(),
        });
        let mut listeners = listeners.into_iter();
        for worker in 0..pubsub.workers() {
            let (shared, listener) = (shared.clone(), listeners.next());
            let install = move || {
                poll::install(Box::new(move |registry, base| {
                    NetReactor::new(shared, worker, registry, base, listener).map(|reactor| Box::new(reactor) as _)
                }));
            };
            let installed = pubsub.engine().run_on(worker, Box::new(install));
            installed.map_err(|_| io::Error::other("the engine is shut down"))?;
        }
        Ok(Server { shared, address })
    }
}

impl Server {
    /// Begins a server for an endpoint.
    pub fn builder(endpoint: Endpoint) -> ServerBuilder {
        let route = Box::new(|_: &Request<'_>, _: &[u8]| Response::new(404));
        ServerBuilder { endpoint, options: Options::default(), route, raw: Vec::new() }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.shared.endpoint
    }

    /// Figures, as of now.
    pub fn stats(&self) -> ServerStats {
        let connections = |worker: &PerWorker| u64::from(worker.connections.load(Ordering::Relaxed));
        ServerStats {
            connections: self.shared.workers.iter().map(connections).sum(),
            accepted: self.shared.counters.accepted.load(Ordering::Relaxed),
            slow: self.shared.counters.slow.load(Ordering::Relaxed),
        }
    }

    /// Takes no new connections, and tells all others to go, with code 1012 (service restart), in batches. Waits until
    /// they have gone, until `deadline` at most, and closes the rest. Returns how many those were.
    ///
    /// Not for a worker's thread, which would wait for itself.
    pub fn drain(self, deadline: Instant) -> u64 {
        self.shared.tell_all(|| ToReactor::Drain);
        {
            let mut done = self.shared.done.lock();
            while *done < self.shared.workers.len() {
                if self.shared.all_done.wait_until(&mut done, deadline).timed_out() {
                    break;
                }
            }
        }
        // What is left goes with `self`.
        self.stats().connections
    }
}

impl Shared {
    fn pubsub(&self) -> &PubSub {
        self.endpoint.pubsub()
    }

    fn tell(&self, worker: usize, what: ToReactor) {
        self.workers[worker].inbox.lock().push(what);
        // The reactor looks into its inbox at its next turn. An engine that is shut down has no reactors; a worker
        // whose outbox is full is awake.
        let _ = self.pubsub().engine().run_on(worker, Box::new(|| {}));
    }

    fn tell_all(&self, what: impl Fn() -> ToReactor) {
        (0..self.workers.len()).for_each(|worker| self.tell(worker, what()));
    }

    fn is_done(&self) {
        *self.done.lock() += 1;
        self.all_done.notify_all();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.tell_all(|| ToReactor::Stop);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

impl fmt::Debug for ServerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerBuilder").field("options", &self.options).finish_non_exhaustive()
    }
}
