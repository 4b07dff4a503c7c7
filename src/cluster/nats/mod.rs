//! A transport over core NATS: processes that reach one server, or one cluster of servers, are nodes of each other.
//!
//! One thread, `fanfare-nats`, runs the connection and makes every call of the receiver. Publishers append to a queue
//! (`outgoing`) and wake it at most once for a burst; the thread (`driver`) hands what is in the queue to the
//! connection while that is up. `subject` says who speaks where.
//!
//! Every subscription is confirmed before a connection counts as `Ready`: core NATS acknowledges none, so the node
//! asks a subject that nobody has subscribed, and a server answers that in its turn, after it has done what was asked
//! before. It does so on each new connection.

mod driver;
mod outgoing;
mod settings;
mod subject;

use super::{Cluster, Health, PARTITIONS, PAYLOAD_BYTES_MAX, Receiver, StartError, Taken, check_node};
use crate::sync::{Arc, Mutex, thread};
use bytes::Bytes;
use outgoing::Outgoing;
use settings::{Checked, Credentials, RECEIVED_PAYLOADS, Settings};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

/// How long a start waits for a server before it leaves the rest to its thread.
const START_MAX: Duration = Duration::from_secs(5);

/// A node among those that reach one NATS server. [`stop`](Cluster::stop)ped when it is dropped.
///
/// It speaks core NATS, version 2.2 of the server or newer, and subscribes three subjects below its prefix; leave to
/// publish and to subscribe `<prefix>.>` is all that it needs. Nothing else should publish there.
///
/// # Reconnecting
///
/// It goes on trying for ever: at once, then after 10 ms, then twice as long each time up to
/// [`reconnect_delay_max`](NatsBuilder::reconnect_delay_max); the text of [`Health::Connecting`] is what the last
/// attempt met with. Servers that the first one names are tried too. A link that is silently dead is noticed within 15
/// seconds. What was handed to a connection as it broke may be lost, up to 16 payloads and what its socket held.
///
/// # Several servers
///
/// A cluster of servers spreads the word of a subscription in its own time. A node that starts on one server may miss,
/// for a moment after its start, what is published through another.
#[derive(Debug)]
pub struct Nats {
    checked: Checked,
    outgoing: Arc<Outgoing>,
    running: Mutex<Running>,
}

#[derive(Debug)]
enum Running {
    Not,
    Yes(thread::JoinHandle<()>),
    /// It can't be started again.
    Ended,
}

impl Nats {
    /// Decides how a node reaches its server, at an address such as `nats://host:4222`. `tls://` asks for TLS; without
    /// a scheme it is `nats://`, without a port 4222.
    pub fn builder(url: impl Into<String>) -> NatsBuilder {
        NatsBuilder {
            settings: Settings {
                urls: vec![url.into()],
                prefix: "fanfare".to_owned(),
                credentials: Credentials::Nobody,
                credentials_file: None,
                require_tls: false,
                ca_file: None,
                name: None,
                reconnect_delay_max: Duration::from_secs(2),
                received_payloads_max: RECEIVED_PAYLOADS,
            },
            buffer_bytes_max: 8 << 20,
        }
    }
}

impl Cluster for Nats {
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError> {
        check_node(node)?;
        // Without room: what is sent has been received, or its sender knows that nobody waits any more.
        let (sender, started) = sync_channel(0);
        let mut running = self.running.lock();
        if !matches!(*running, Running::Not) {
            return Err(StartError::Started);
        }
        self.outgoing.begin(Health::Connecting { why: "not connected yet".to_owned() });
        let driver =
            driver::Driver::new(self.checked.clone(), node.to_owned(), self.outgoing.clone(), receiver, sender);
        match thread::Builder::new().name("fanfare-nats".to_owned()).spawn(move || driver.run()) {
            Ok(thread) => *running = Running::Yes(thread),
            Err(error) => {
                self.outgoing.end();
                return Err(StartError::Spawn(error));
            }
        }
        drop(running);
        match started.recv_timeout(START_MAX) {
            Ok(Err(error)) => {
                self.outgoing.end();
                let mut running = self.running.lock();
                if let Running::Yes(thread) = std::mem::replace(&mut *running, Running::Not) {
                    let _ = thread.join();
                }
                Err(error)
            }
            // It has been stopped meanwhile, or the thread goes on trying.
            Ok(Ok(())) | Err(RecvTimeoutError::Disconnected | RecvTimeoutError::Timeout) => Ok(()),
        }
    }

    fn publish(&self, partition: u16, payload: Bytes) -> Taken {
        assert!(partition < PARTITIONS, "there is no partition {partition}");
        self.outgoing.take(self.checked.subjects.partition(partition), payload)
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        // There is no such node, and a server closes the connection on which a subject is too long.
        let subject =
            if check_node(node).is_ok() { self.checked.subjects.node(node) } else { self.checked.subjects.nobody() };
        self.outgoing.take(subject.into(), payload)
    }

    fn payload_bytes_max(&self) -> usize {
        self.outgoing.payload_bytes_max()
    }

    fn health(&self) -> Health {
        self.outgoing.health()
    }

    fn flush(&self, deadline: Instant) -> bool {
        if let Running::Yes(own) = &*self.running.lock()
            && is_current(own)
        {
            return false;
        }
        self.outgoing.flush(deadline)
    }

    fn stop(&self) {
        let ended = std::mem::replace(&mut *self.running.lock(), Running::Ended);
        self.outgoing.end();
        // The receiver's own call ends the thread when it returns.
        if let Running::Yes(thread) = ended
            && !is_current(&thread)
        {
            let _ = thread.join();
        }
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        self.stop();
    }
}

fn is_current(thread: &thread::JoinHandle<()>) -> bool {
    thread.thread().id() == thread::current().id()
}

/// Decides how a node reaches its NATS server. From [`Nats::builder`]; [`build`](Self::build) checks everything.
#[derive(Debug, Clone)]
#[must_use = "a builder makes nothing until it is built"]
pub struct NatsBuilder {
    settings: Settings,
    buffer_bytes_max: usize,
}

impl NatsBuilder {
    /// One more address at which a server may be found.
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.settings.urls.push(url.into());
        self
    }

    /// What all subjects begin with: tokens of letters, digits, `-` and `_` between dots, 255 bytes at most. Only nodes
    /// of the same prefix see each other. The default is `fanfare`.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.settings.prefix = prefix.into();
        self
    }

    /// A user and a password. The last of this, [`token`](Self::token) and [`credentials_file`](Self::credentials_file)
    /// holds.
    pub fn user_and_password(mut self, name: impl Into<String>, password: impl Into<String>) -> Self {
        self.settings.credentials = Credentials::User { name: name.into(), password: password.into() };
        self.settings.credentials_file = None;
        self
    }

    /// A token.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.settings.credentials = Credentials::Token(token.into());
        self.settings.credentials_file = None;
        self
    }

    /// A file with a user's JWT and seed, as NATS's tools write it. It is read when this is built.
    pub fn credentials_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.credentials_file = Some(path.into());
        self
    }

    /// Whether a server without TLS is refused, whatever the scheme of its address. Off by default. A server that
    /// demands TLS gets it in any case.
    pub fn require_tls(mut self, is_required: bool) -> Self {
        self.settings.require_tls = is_required;
        self
    }

    /// A file in PEM of the authorities that are trusted, in place of those of the system. It is read when this is
    /// built.
    pub fn ca_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.settings.ca_file = Some(path.into());
        self
    }

    /// What the server calls this connection in its reports. None by default.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Longest time between two attempts to connect. The default is two seconds.
    pub fn reconnect_delay_max(mut self, delay: Duration) -> Self {
        self.settings.reconnect_delay_max = delay;
        self
    }

    /// What may wait to go out, in bytes: while there is no link, and while publishers are faster than it. An empty
    /// buffer takes any payload, and each counts for at least 64 bytes. The default is 8 MiB.
    pub fn buffer_bytes_max(mut self, bytes: usize) -> Self {
        self.buffer_bytes_max = bytes;
        self
    }

    /// How many payloads that have come may wait for the receiver, for all partitions together and again for those that
    /// were sent to this node: at least one. More are lost, and [`Receiver::lost`] is called. The default, 262,144, is
    /// as many as can come before the receiver has its turn: a slow receiver then holds up the connection, and the
    /// server closes it when its own patience ends.
    pub fn received_payloads_max(mut self, payloads: usize) -> Self {
        self.settings.received_payloads_max = payloads;
        self
    }

    /// Checks it all. Nothing is connected before [`Cluster::start`].
    ///
    /// # Errors
    ///
    /// [`NatsError`].
    pub fn build(self) -> Result<Nats, NatsError> {
        Ok(Nats {
            checked: self.settings.check()?,
            outgoing: Arc::new(Outgoing::new(PAYLOAD_BYTES_MAX, self.buffer_bytes_max)),
            running: Mutex::new(Running::Not),
        })
    }
}

/// Why a [`NatsBuilder`] builds nothing.
#[derive(Debug)]
#[non_exhaustive]
pub enum NatsError {
    /// An address is none of a NATS server.
    Url {
        /// The address, unless it may hold a secret.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// A prefix that no subject can begin with: see [`NatsBuilder::prefix`].
    Prefix(String),
    /// The credentials file can't be read, or is none.
    Credentials {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        error: io::Error,
    },
    /// The file of authorities can't be read, or has none.
    CaFile {
        /// Its path.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// [`NatsBuilder::received_payloads_max`] is at least one.
    ReceivedPayloads,
}

impl fmt::Display for NatsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NatsError::Url { url, why } => write!(f, "`{url}` is no address of a NATS server: {why}"),
            NatsError::Prefix(prefix) => write!(f, "no subject can begin with `{prefix}`"),
            NatsError::Credentials { path, error } => write!(f, "credentials of {}: {error}", path.display()),
            NatsError::CaFile { path, why } => write!(f, "authorities of {}: {why}", path.display()),
            NatsError::ReceivedPayloads => f.write_str("at least one payload must be able to wait for the receiver"),
        }
    }
}

impl std::error::Error for NatsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            NatsError::Credentials { error, .. } => Some(error),
            _ => None,
        }
    }
}
