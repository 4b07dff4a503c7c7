//! A server: sockets with channels, sockets without, and plain HTTP, on the workers of an engine.
//!
//! Each worker has a reactor with a listener of its own on the one address, its connections, and its share of every
//! topic. What may block (the socket's `connect`, routes of HTTP) runs on the endpoint's pool of callbacks.

mod conn;
mod exchange;
mod handshake;
mod listen;
mod messages;
mod options;
mod outbound;
mod raw;
mod reactor;
mod wire;

pub use options::{Options, SlowClient};
pub use raw::{Echo, RawOut, RawSocket};

use crate::channel::{Accepted, ConnectError, Endpoint};
use crate::engine::config::Wait;
use crate::engine::outbox;
use crate::engine::worker::poll;
use crate::net::http::{Request, Response, UpgradeError};
use crate::pubsub::PubSub;
use crate::sync::{Arc, AtomicU32, AtomicU64, Condvar, Mutex, Ordering};
use reactor::NetReactor;
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

/// Answers a request of plain HTTP. It runs on the pool of callbacks, where it may block.
pub type Route = dyn Fn(&Request<'_>, &[u8]) -> Response + Send + Sync;

type MakeRaw = dyn Fn() -> Box<dyn RawSocket> + Send + Sync;

/// A server that runs. Dropped, it closes everything at once, with code 1012 (service restart) as the last that is
/// written if the system takes it; so does the end of the engine, behind all that it has delivered.
/// [`drain`](Self::drain) does it politely.
pub struct Server {
    shared: Arc<ServerShared>,
    address: SocketAddr,
}

/// What the reactors of a server share.
pub(crate) struct ServerShared {
    endpoint: Endpoint,
    options: Arc<Options>,
    route: Box<Route>,
    raw: Vec<(Box<str>, Box<MakeRaw>)>,
    workers: Vec<PerWorker>,
    counters: ServerCounters,
    reactors: Mutex<Reactors>,
    /// Notified when `reactors` changes.
    changed: Condvar,
}

struct PerWorker {
    connections: AtomicU32,
    /// `None` once the reactor has stopped.
    inbox: Mutex<Option<Vec<ToReactor>>>,
}

/// How far the reactors of a server are.
#[derive(Default)]
struct Reactors {
    started: usize,
    /// Why one could not start.
    failed: Option<io::Error>,
    /// Those that have closed everything.
    done: usize,
}

#[derive(Default)]
struct ServerCounters {
    accepted: AtomicU64,
    slow: AtomicU64,
}

/// What others tell a reactor.
enum ToReactor {
    /// A connection that another worker has accepted.
    Take(TcpStream),
    /// What became of a request to open a socket.
    Connected(Box<Decided>),
    /// The answer to a request, and whether the connection stays open.
    Response { token: usize, serial: u64, bytes: bytes::Bytes, keep_alive: bool },
    /// No new connections; the others are told to go, in batches.
    Drain,
    /// Everything is closed now.
    Stop,
}

/// See [`ToReactor::Connected`].
struct Decided {
    token: usize,
    serial: u64,
    upgrade: Result<String, UpgradeError>,
    subprotocol: Option<String>,
    result: Connected,
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
    /// workers do not sleep in a poll ([`Wait::Poll`]); [`io::ErrorKind::Deadlock`] on a worker's thread, since it
    /// waits until all workers serve.
    pub fn listen(self, address: SocketAddr) -> io::Result<Server> {
        let pubsub = self.endpoint.pubsub().clone();
        if pubsub.engine().config.wait != Wait::Poll {
            let why = "the engine's workers do not sleep in a poll: build it with `wait(Wait::Poll)`";
            return Err(io::Error::new(io::ErrorKind::Unsupported, why));
        }
        if outbox::on_worker() {
            return Err(io::Error::new(io::ErrorKind::Deadlock, "a server is not started by a worker"));
        }
        let (address, listeners) = listen::listeners(address, pubsub.workers())?;
        let per_worker = |_| PerWorker { connections: AtomicU32::new(0), inbox: Mutex::new(Some(Vec::new())) };
        let shared = Arc::new(ServerShared {
            endpoint: self.endpoint,
            options: Arc::new(self.options),
            route: self.route,
            raw: self.raw,
            workers: (0..pubsub.workers()).map(per_worker).collect(),
            counters: ServerCounters::default(),
            reactors: Mutex::default(),
            changed: Condvar::new(),
        });
        // From here on, whatever fails, what has started is stopped.
        let server = Server { shared, address };
        let mut listeners = listeners.into_iter();
        for worker in 0..pubsub.workers() {
            let (listener, starting) = (listeners.next(), Starting(Some(server.shared.clone())));
            let install = move || {
                poll::install(Box::new(move |registry, base| {
                    let shared = starting.0.clone()?;
                    let reactor = NetReactor::new(shared, worker, registry, base, listener);
                    starting.done(reactor).map(|reactor| Box::new(reactor) as _)
                }));
            };
            let installed = pubsub.engine().run_on(worker, Box::new(install));
            installed.map_err(|_| is_shut_down())?;
        }
        let mut reactors = server.shared.reactors.lock();
        while reactors.started < pubsub.workers() && reactors.failed.is_none() {
            server.shared.changed.wait(&mut reactors);
        }
        let failed = reactors.failed.take();
        drop(reactors);
        failed.map_or(Ok(server), Err)
    }
}

/// A reactor on its way to its worker: if it gets lost there, the engine has ended.
struct Starting(Option<Arc<ServerShared>>);

impl Starting {
    fn done<R>(mut self, result: io::Result<R>) -> Option<R> {
        self.tell(result)
    }

    fn tell<R>(&mut self, result: io::Result<R>) -> Option<R> {
        let shared = self.0.take()?;
        let mut reactors = shared.reactors.lock();
        reactors.started += 1;
        let result = result.map_err(|error| reactors.failed = Some(error)).ok();
        drop(reactors);
        shared.changed.notify_all();
        result
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        self.tell::<()>(Err(is_shut_down()));
    }
}

fn is_shut_down() -> io::Error {
    io::Error::other("the engine is shut down")
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
            let mut reactors = self.shared.reactors.lock();
            while reactors.done < self.shared.workers.len() {
                if self.shared.changed.wait_until(&mut reactors, deadline).timed_out() {
                    break;
                }
            }
        }
        // What is left goes with `self`.
        self.stats().connections
    }
}

impl ServerShared {
    fn pubsub(&self) -> &PubSub {
        self.endpoint.pubsub()
    }

    /// Tells a reactor something; gives it back if the reactor has stopped.
    fn tell(&self, worker: usize, what: ToReactor) -> Result<(), ToReactor> {
        match &mut *self.workers[worker].inbox.lock() {
            Some(inbox) => inbox.push(what),
            None => return Err(what),
        }
        // The reactor looks into its inbox at its next turn. An engine that is shut down has no reactors; a worker
        // whose outbox is full is awake.
        let _ = self.pubsub().engine().run_on(worker, Box::new(|| {}));
        Ok(())
    }

    fn tell_all(&self, what: impl Fn() -> ToReactor) {
        for worker in 0..self.workers.len() {
            // One that has stopped need not be told.
            let _ = self.tell(worker, what());
        }
    }

    fn is_done(&self) {
        self.reactors.lock().done += 1;
        self.changed.notify_all();
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
