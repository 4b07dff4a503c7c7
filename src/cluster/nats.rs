//! A cluster over NATS: core NATS, at most once, no streams.
//!
//! One thread, `fanfare-nats`, has a `tokio` runtime of its own with the client (`async-nats`). Payloads go to it by a
//! bounded queue; it is woken once for all that is in there. What comes is given to the [`Receiver`] on that thread.
//!
//! | subject | what |
//! |---|---|
//! | `PREFIX.b.LANE` | what goes to all nodes |
//! | `PREFIX.n.NODE` | what goes to one |
//! | `PREFIX.c.NODE` | nobody answers there: that answer says that the subscriptions made before hold |
//!
//! Letters, digits, `-` and `_` of a node's name stand for themselves; other bytes are `=` and two hexadecimal digits.
//!
//! - I1. Payloads leave in the order in which they were taken. While the server is away they wait, up to
//!   [`buffer_bytes_max`](Nats::buffer_bytes_max).
//! - I2. `Ready` means that the server knows the subscriptions, not only that it is connected.
//!
//! The client buffers some itself: what it holds when a connection breaks may be lost, which numbers show.

use super::{Cluster, Health, LANES, Receiver, StartError, Taken};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Parker, thread};
use async_nats::{Client, ConnectOptions, Event, ServerAddr};
use bytes::Bytes;
use futures_util::StreamExt;
use std::collections::VecDeque;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc};

/// Until the server has said: what it allows by default.
const PAYLOAD_BYTES_MAX: u64 = 1 << 20;
/// How long the start waits for the server.
const PATIENCE: Duration = Duration::from_secs(2);
/// The longest time between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_secs(2);
/// How long the server may take to say that it knows the subscriptions.
const CONFIRM: Duration = Duration::from_secs(5);

/// How nodes reach each other over NATS.
///
/// ```no_run
/// use fanfare::PubSub;
/// use fanfare::cluster::Nats;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let nats = Nats::new("nats://127.0.0.1:4222")?.prefix("chat")?;
/// let pubsub = PubSub::builder().node("chat-1").cluster(nats).build()?;
/// # Ok(())
/// # }
/// ```
pub struct Nats {
    config: Config,
    shared: Arc<Shared>,
}

#[derive(Clone)]
struct Config {
    servers: Vec<ServerAddr>,
    prefix: String,
    user: Option<(String, String)>,
    token: Option<String>,
    tls: bool,
    ca_file: Option<PathBuf>,
    buffer_bytes_max: usize,
}

struct Shared {
    queue: Mutex<Queue>,
    /// There is something in the queue, or it may be sent now.
    wake: Notify,
    stop: Notify,
    is_ready: AtomicBool,
    is_stopped: AtomicBool,
    payload_max: AtomicU64,
    why: Mutex<Option<String>>,
    /// Who waits for the start.
    starting: Mutex<Option<std::sync::Arc<Parker>>>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
}

enum Item {
    Payload(String, Bytes),
    Flush(Arc<Flushed>),
}

/// Somebody who waits until what was taken before has left.
struct Flushed {
    is_done: AtomicBool,
    parker: std::sync::Arc<Parker>,
}

/// Why NATS can't be used so.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum NatsError {
    /// The address of a server.
    Address(String),
    /// A prefix of subjects is letters, digits, `-` and `_`, and dots between them.
    Prefix(String),
}

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NatsError::Address(what) => write!(f, "{what:?} is no address of a NATS server"),
            NatsError::Prefix(what) => write!(f, "{what:?} is no prefix of subjects"),
        }
    }
}

impl std::error::Error for NatsError {}

impl fmt::Debug for Nats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the credentials.
        f.debug_struct("Nats").field("servers", &self.config.servers).field("health", &self.health()).finish()
    }
}

impl Nats {
    /// Servers, as URLs that are separated by commas.
    ///
    /// # Errors
    ///
    /// [`NatsError::Address`].
    pub fn new(servers: &str) -> Result<Self, NatsError> {
        let address = |server: &str| server.trim().parse().map_err(|_| NatsError::Address(server.to_owned()));
        let servers = servers.split(',').map(address).collect::<Result<Vec<ServerAddr>, _>>()?;
        let config = Config {
            servers,
            prefix: "fanfare".to_owned(),
            user: None,
            token: None,
            tls: false,
            ca_file: None,
            buffer_bytes_max: 8 << 20,
        };
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::default()),
            wake: Notify::new(),
            stop: Notify::new(),
            is_ready: AtomicBool::new(false),
            is_stopped: AtomicBool::new(false),
            payload_max: AtomicU64::new(PAYLOAD_BYTES_MAX),
            why: Mutex::new(None),
            starting: Mutex::new(None),
            thread: Mutex::new(None),
        });
        Ok(Nats { config, shared })
    }

    /// What the subjects of this cluster begin with: `fanfare`. Clusters with different ones do not see each other.
    ///
    /// # Errors
    ///
    /// [`NatsError::Prefix`].
    pub fn prefix(mut self, prefix: &str) -> Result<Self, NatsError> {
        let is_token = |token: &str| !token.is_empty() && token.bytes().all(is_plain);
        if !prefix.split('.').all(is_token) {
            return Err(NatsError::Prefix(prefix.to_owned()));
        }
        prefix.clone_into(&mut self.config.prefix);
        Ok(self)
    }

    /// Who connects, and the password.
    pub fn user(mut self, user: &str, password: &str) -> Self {
        self.config.user = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// A token that admits.
    pub fn token(mut self, token: &str) -> Self {
        self.config.token = Some(token.to_owned());
        self
    }

    /// Connects by TLS alone.
    pub fn tls(mut self) -> Self {
        self.config.tls = true;
        self
    }

    /// Trusts the certificates in this file (PEM), beside those that the system trusts, and connects by TLS alone.
    pub fn ca_file(mut self, file: impl Into<PathBuf>) -> Self {
        self.config.ca_file = Some(file.into());
        self.tls()
    }

    /// Bytes that are kept while the server is away: 8 MiB. What comes beyond is refused.
    pub fn buffer_bytes_max(mut self, bytes: usize) -> Self {
        self.config.buffer_bytes_max = bytes;
        self
    }

    fn put(&self, subject: String, payload: Bytes) -> Taken {
        let shared = &self.shared;
        if shared.is_stopped.load(Ordering::Relaxed) {
            return Taken::Down;
        }
        let is_ready = shared.is_ready.load(Ordering::Relaxed);
        {
            let mut queue = shared.queue.lock();
            if queue.bytes > 0 && queue.bytes + payload.len() > self.config.buffer_bytes_max {
                return Taken::Down;
            }
            queue.bytes += payload.len();
            queue.items.push_back(Item::Payload(subject, payload));
        }
        shared.wake.notify_one();
        if is_ready { Taken::Sent } else { Taken::Buffered }
    }
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// A node's name as a token of a subject.
fn token_of(node: &str) -> String {
    use fmt::Write;
    node.bytes().fold(String::new(), |mut token, byte| {
        if is_plain(byte) {
            token.push(char::from(byte));
        } else {
            let _ = write!(token, "={byte:02x}");
        }
        token
    })
}

impl Cluster for Nats {
    /// Waits for the server for two seconds at most.
    ///
    /// # Errors
    ///
    /// What the client says of addresses, certificates and the like. That nobody is there, or that it does not admit
    /// this node, is none: [`why`](Cluster::why) says it.
    fn start(&self, node: &str, receiver: std::sync::Arc<dyn Receiver>) -> Result<(), StartError> {
        let parker = Parker::new();
        *self.shared.starting.lock() = Some(parker.clone());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| StartError(error.to_string()))?;
        let (config, shared, token) = (self.config.clone(), self.shared.clone(), token_of(node));
        let node = node.to_owned();
        let run = move || runtime.block_on(Session { config, shared, receiver, node, token }.run());
        let thread = thread::Builder::new().name("fanfare-nats".to_owned()).spawn(run);
        *self.shared.thread.lock() = Some(thread.map_err(|error| StartError(error.to_string()))?);
        parker.wait(Some(Instant::now() + PATIENCE));
        let is_over = self.shared.is_stopped.load(Ordering::Acquire);
        if is_over { Err(StartError(self.why().unwrap_or_default())) } else { Ok(()) }
    }

    fn publish(&self, lane: u16, payload: Bytes) -> Taken {
        self.put(format!("{}.b.{lane}", self.config.prefix), payload)
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        self.put(format!("{}.n.{}", self.config.prefix, token_of(node)), payload)
    }

    fn payload_max(&self) -> usize {
        self.shared.payload_max.load(Ordering::Relaxed) as usize
    }

    fn health(&self) -> Health {
        if self.shared.is_stopped.load(Ordering::Relaxed) {
            Health::Stopped
        } else if self.shared.is_ready.load(Ordering::Relaxed) {
            Health::Ready
        } else {
            Health::Connecting
        }
    }

    fn why(&self) -> Option<String> {
        self.shared.why.lock().clone()
    }

    fn flush(&self, deadline: Instant) -> bool {
        if self.health() == Health::Stopped {
            return false;
        }
        let flushed = Arc::new(Flushed { is_done: AtomicBool::new(false), parker: Parker::new() });
        self.shared.queue.lock().items.push_back(Item::Flush(flushed.clone()));
        self.shared.wake.notify_one();
        while !flushed.is_done.load(Ordering::Acquire) {
            if !flushed.parker.wait(Some(deadline)) {
                return flushed.is_done.load(Ordering::Acquire);
            }
        }
        true
    }

    fn stop(&self) {
        self.shared.stop.notify_one();
        if let Some(thread) = self.shared.thread.lock().take() {
            // A panic there is a bug, told by the hook.
            let _ = thread.join();
        }
    }
}

/// What runs on the thread.
struct Session {
    config: Config,
    shared: Arc<Shared>,
    receiver: std::sync::Arc<dyn Receiver>,
    node: String,
    token: String,
}

impl Session {
    async fn run(self) {
        if let Err(why) = self.serve().await {
            *self.shared.why.lock() = Some(why);
        }
        self.shared.is_ready.store(false, Ordering::Relaxed);
        self.shared.is_stopped.store(true, Ordering::Release);
        self.started();
    }

    /// Whoever waits for the start goes on.
    fn started(&self) {
        if let Some(parker) = self.shared.starting.lock().take() {
            std::task::Wake::wake(parker);
        }
    }

    async fn serve(&self) -> Result<(), String> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let client = self.connect(sender).await?;
        let prefix = &self.config.prefix;
        let subscribe = async |subject: String| client.subscribe(subject).await.map_err(|error| error.to_string());
        let mut lanes = subscribe(format!("{prefix}.b.*")).await?;
        let mut own = subscribe(format!("{prefix}.n.{}", self.token)).await?;
        let sending = tokio::spawn(send(client.clone(), self.shared.clone()));
        loop {
            tokio::select! {
                () = self.shared.stop.notified() => break,
                Some(event) = events.recv() => self.event(&client, event).await,
                Some(message) = lanes.next() => {
                    let lane = message.subject.rsplit('.').next().and_then(|lane| lane.parse().ok());
                    if let Some(lane) = lane.filter(|lane| *lane < LANES) {
                        self.receiver.receive(Some(lane), message.payload);
                    }
                }
                Some(message) = own.next() => self.receiver.receive(None, message.payload),
                else => break,
            }
        }
        sending.abort();
        Ok(())
    }

    async fn connect(&self, events: mpsc::UnboundedSender<Event>) -> Result<Client, String> {
        let Config { servers, user, token, tls, ca_file, .. } = &self.config;
        let mut options = ConnectOptions::new()
            .name(&self.node)
            .no_echo()
            .retry_on_initial_connect()
            .require_tls(*tls)
            .reconnect_delay_callback(|attempts| {
                // At once, and then less and less often.
                let delay = Duration::from_millis(20) * u32::try_from(attempts.min(1000)).unwrap_or(1000);
                if attempts <= 1 { Duration::ZERO } else { delay.min(RECONNECT_MAX) }
            })
            .event_callback(move |event| {
                let events = events.clone();
                async move {
                    // Nobody listens any more at the end.
                    let _ = events.send(event);
                }
            });
        if let Some((user, password)) = user {
            options = options.user_and_password(user.clone(), password.clone());
        }
        if let Some(token) = token {
            options = options.token(token.clone());
        }
        if let Some(file) = ca_file {
            options = options.add_root_certificates(file.clone());
        }
        options.connect(&servers[..]).await.map_err(|error| error.to_string())
    }

    async fn event(&self, client: &Client, event: Event) {
        let why = match event {
            Event::Connected => return self.connected(client).await,
            Event::SlowConsumer(_) => {
                self.receiver.lost();
                "it could not read as fast as others publish".to_owned()
            }
            other => {
                if matches!(other, Event::Disconnected | Event::Closed) {
                    self.set_ready(false);
                }
                other.to_string()
            }
        };
        *self.shared.why.lock() = Some(why);
    }

    /// I2: what is asked now is answered behind the subscriptions.
    async fn connected(&self, client: &Client) {
        let max = client.server_info().max_payload as u64;
        self.shared.payload_max.store(max.clamp(1024, 64 << 20), Ordering::Relaxed);
        let subject = format!("{}.c.{}", self.config.prefix, self.token);
        let answer = tokio::time::timeout(CONFIRM, client.request(subject, Bytes::new())).await;
        match answer {
            // That nobody listens there is the answer.
            Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
                *self.shared.why.lock() = None;
                self.set_ready(true);
                self.started();
            }
            Ok(Ok(_)) => *self.shared.why.lock() = Some("somebody answers where nobody should".to_owned()),
            // The connection has broken meanwhile: it comes again.
            Ok(Err(error)) => *self.shared.why.lock() = Some(error.to_string()),
            Err(_) => *self.shared.why.lock() = Some("the server does not answer".to_owned()),
        }
    }

    fn set_ready(&self, is_ready: bool) {
        if self.shared.is_ready.swap(is_ready, Ordering::Relaxed) != is_ready {
            self.receiver.health(if is_ready { Health::Ready } else { Health::Connecting });
        }
        self.shared.wake.notify_one();
    }
}

/// Sends what is in the queue while the server is there (I1).
async fn send(client: Client, shared: Arc<Shared>) {
    loop {
        shared.wake.notified().await;
        while shared.is_ready.load(Ordering::Relaxed) {
            let item = {
                let mut queue = shared.queue.lock();
                let item = queue.items.pop_front();
                if let Some(Item::Payload(_, payload)) = &item {
                    queue.bytes -= payload.len();
                }
                item
            };
            match item {
                None => break,
                Some(Item::Payload(subject, payload)) => {
                    // An error is that of a subject or a payload that no server takes, or of the end.
                    let _ = client.publish(subject, payload).await;
                }
                Some(Item::Flush(flushed)) => {
                    let _ = client.flush().await;
                    flushed.is_done.store(true, Ordering::Release);
                    std::task::Wake::wake_by_ref(&flushed.parker);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_nodes_are_tokens() {
        assert_eq!(token_of("chat-1_A"), "chat-1_A");
        assert_eq!(token_of("a.b *>\u{00f6}="), "a=2eb=20=2a=3e=c3=b6=3d");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        assert!(matches!(Nats::new("nats://a b"), Err(NatsError::Address(_))));
        assert!(Nats::new("nats://a:4222, tls://b:4222").is_ok());
        let prefix = |prefix| Nats::new("nats://a").unwrap().prefix(prefix);
        assert!(prefix("chat.eu-1").is_ok());
        for wrong in ["", "a..b", "a.*", "a.>", "a b", ".a"] {
            assert_eq!(prefix(wrong).map(|_| ()), Err(NatsError::Prefix(wrong.to_owned())));
        }
        let debug = format!("{:?}", Nats::new("nats://a").unwrap().user("me", "secret").token("secret"));
        assert!(!debug.contains("secret"), "{debug}");
    }
}
