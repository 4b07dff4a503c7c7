//! The thread of the connection: connects, receives, sends, and tells how it is.
//!
//! It runs one executor for itself, so its tasks take turns and what they share changes only where one of them waits.
//! The client below reconnects on its own and asks for its subscriptions again. A connection counts as up once a
//! question that was asked on it after its subscriptions has been answered ([`Link::confirm`]); only then does anything
//! leave the queue. What the client took before it noticed that its connection was gone goes out on the next one,
//! before what is in the queue.
//!
//! The task that receives is not interrupted while there is something to receive: else the connection would read more
//! in its turn than the task takes in its own, and lose the rest. A receiver that is slow makes the connection read
//! later, up to where the server loses patience.

use super::outgoing::{Outgoing, OutgoingEntry};
use super::settings::Checked;
use crate::cluster::{Health, PAYLOAD_BYTES_MAX, Receiver, StartError, caught};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering};
use async_nats::client::{PublishErrorKind, Request, RequestErrorKind};
use async_nats::connection::State;
use async_nats::rustls;
use async_nats::{Client, ClientError, ConnectError, ConnectErrorKind, Event, ServerError, Subscriber};
use futures_core::Stream;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::mpsc::SyncSender;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::task::coop::unconstrained;

/// How long a server may take to say that nobody listens. It says nothing if somebody listens after all, such as a
/// person who watches all subjects; that it has done what was asked before is then taken from the time.
const ANSWER_MAX: Duration = Duration::from_secs(1);

/// All that the thread is given.
pub(crate) struct Driver {
    checked: Checked,
    node: String,
    link: Arc<Link>,
    started: Option<SyncSender<Result<(), StartError>>>,
}

/// What the tasks of the thread share.
struct Link {
    outgoing: Arc<Outgoing>,
    receiver: Arc<dyn Receiver>,
    /// Connections so far. Touched by the one thread alone, as is `is_connected`: Relaxed is enough.
    connections: AtomicU64,
    /// As far as events tell; the client's own state knows sooner.
    is_connected: AtomicBool,
    /// What the server refuses on this connection.
    refused: Mutex<Option<String>>,
    /// There is a connection that is not confirmed, or one that is refused something.
    changed: Notify,
}

impl Driver {
    pub(crate) fn new(
        checked: Checked,
        node: String,
        outgoing: Arc<Outgoing>,
        receiver: Arc<dyn Receiver>,
        started: SyncSender<Result<(), StartError>>,
    ) -> Driver {
        let link = Link {
            outgoing,
            receiver,
            connections: AtomicU64::new(0),
            refused: Mutex::new(None),
            changed: Notify::new(),
            is_connected: AtomicBool::new(false),
        };
        Driver { checked, node, link: Arc::new(link), started: Some(started) }
    }

    /// Runs until the end.
    pub(crate) fn run(mut self) {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                self.tell_started(Err(StartError::Spawn(error)));
                return;
            }
        };
        let link = self.link.clone();
        runtime.block_on(async {
            tokio::select! {
                biased;
                () = link.outgoing.ended() => {}
                () = self.serve() => {}
            }
        });
        // A lookup of a name may be under way on a thread of its own, and is not waited for.
        runtime.shutdown_background();
    }

    /// Goes on until the start fails. A client lasts for ever; should one end it is replaced.
    async fn serve(&mut self) {
        while let Some(client) = self.connect().await {
            let _ = self.serve_with(&client).await;
            self.link.lose_connection("the client has ended".to_owned());
            tokio::time::sleep(self.checked.reconnect_delay_max).await;
        }
    }

    /// Returns when the client has ended.
    async fn serve_with(&mut self, client: &Client) -> Result<(), async_nats::SubscribeError> {
        let subjects = self.checked.subjects.clone();
        let nobody = subjects.nobody();
        let partitions = client.subscribe(subjects.partitions()).await?;
        let own = client.subscribe(subjects.node(&self.node)).await?;
        let partition_of = move |subject: &str| subjects.partition_of(subject).map(Some);
        // They end with this.
        let mut tasks = JoinSet::new();
        tasks.spawn(unconstrained(receive(self.link.clone(), partitions, partition_of)));
        tasks.spawn(unconstrained(receive(self.link.clone(), own, |_: &str| Some(None))));
        tasks.spawn(send(self.link.clone(), client.clone(), nobody.clone()));
        tokio::select! {
            biased;
            _ = tasks.join_next() => {}
            () = self.confirm_connections(client, &nobody) => {}
        }
        Ok(())
    }

    /// Confirms each connection that the client makes. Returns when it makes no more.
    async fn confirm_connections(&mut self, client: &Client, nobody: &str) {
        loop {
            self.link.changed.notified().await;
            if self.link.refused.lock().is_some() {
                // What the server allows may change; a connection learns it when it is made.
                tokio::time::sleep(self.checked.reconnect_delay_max).await;
                if client.force_reconnect().await.is_err() {
                    return;
                }
                continue;
            }
            let confirmed = tokio::select! {
                biased;
                () = self.link.changed.notified() => {
                    self.link.changed.notify_one();
                    continue;
                }
                confirmed = self.link.confirm(client, nobody) => confirmed,
            };
            if confirmed && self.link.refused.lock().is_none() {
                self.link.outgoing.limit_payloads(client.max_payload().min(PAYLOAD_BYTES_MAX));
                self.link.set_health(Health::Ready);
                self.tell_started(Ok(()));
            }
        }
    }

    /// A client that is connected, or that goes on trying; none if the start has failed.
    async fn connect(&mut self) -> Option<Client> {
        let servers = self.checked.servers.clone();
        match self.options().connect(&servers[..]).await {
            Ok(client) => return Some(client),
            Err(error) => {
                let text = text_of(&error);
                if let Some(error) = final_error(&error)
                    && self.tell_started(Err(error))
                {
                    return None;
                }
                self.link.away(text);
                self.tell_started(Ok(()));
            }
        }
        // It returns at once.
        match self.options().retry_on_initial_connect().connect(&servers[..]).await {
            Ok(client) => Some(client),
            Err(error) => {
                self.link.away(text_of(&error));
                None
            }
        }
    }

    fn options(&self) -> async_nats::ConnectOptions {
        let link = self.link.clone();
        self.checked.options().event_callback(move |event| {
            link.event(event);
            std::future::ready(())
        })
    }

    /// Returns whether somebody waits for it.
    fn tell_started(&mut self, outcome: Result<(), StartError>) -> bool {
        self.started.take().is_some_and(|started| started.send(outcome).is_ok())
    }
}

impl Link {
    fn event(&self, event: Event) {
        match event {
            Event::Connected => {
                self.connections.fetch_add(1, Ordering::Relaxed);
                self.is_connected.store(true, Ordering::Relaxed);
                *self.refused.lock() = None;
                // An event may be missing when many come at once: this one then stands for the disconnect too.
                self.away("connected, not confirmed yet".to_owned());
                self.changed.notify_one();
            }
            Event::Disconnected => self.lose_connection("the connection is lost".to_owned()),
            Event::Closed => self.lose_connection("the connection is closed".to_owned()),
            Event::SlowConsumer(_) => self.lose_payloads(),
            Event::ServerError(ServerError::Other(text)) if says(&text, "permissions violation") => {
                *self.refused.lock() = Some(text.clone());
                self.away(text);
                self.changed.notify_one();
            }
            // It closes the connection then.
            Event::ServerError(ServerError::Other(text)) if says(&text, "slow consumer") => self.lose_payloads(),
            Event::ServerError(error) if !self.is_connected.load(Ordering::Relaxed) => self.away(error.to_string()),
            Event::ClientError(ClientError::Other(text)) if !self.is_connected.load(Ordering::Relaxed) => {
                self.away(text);
            }
            _ => {}
        }
    }

    fn lose_connection(&self, why: String) {
        self.is_connected.store(false, Ordering::Relaxed);
        self.away(why);
    }

    fn lose_payloads(&self) {
        if !self.outgoing.is_ended() {
            caught(|| self.receiver.lost());
        }
    }

    fn away(&self, why: String) {
        self.set_health(Health::Connecting { why });
    }

    fn set_health(&self, health: Health) {
        if self.outgoing.set_health(health.clone()) {
            caught(|| self.receiver.health(health));
        }
    }

    fn is_up(&self, client: &Client) -> bool {
        client.connection_state() == State::Connected && self.is_connected.load(Ordering::Relaxed)
    }

    /// Whether the server has done all that was asked of it before, on the connection that there is now.
    async fn confirm(&self, client: &Client, nobody: &str) -> bool {
        let connection = self.connections.load(Ordering::Relaxed);
        let request = Request::new().timeout(Some(ANSWER_MAX));
        let answered = match client.send_request(nobody.to_owned(), request).await {
            Ok(_) => true,
            Err(error) => matches!(error.kind(), RequestErrorKind::NoResponders | RequestErrorKind::TimedOut),
        };
        answered && self.is_up(client) && self.connections.load(Ordering::Relaxed) == connection
    }
}

/// Whether an error of the server's, which is a text, says this.
fn says(text: &str, what: &str) -> bool {
    text.to_ascii_lowercase().contains(what)
}

/// Hands over all that a subscription brings, until the client ends. `partition_of` says on which partition it comes,
/// or that it is nothing of ours.
async fn receive(link: Arc<Link>, mut subscription: Subscriber, partition_of: impl Fn(&str) -> Option<Option<u16>>) {
    while let Some(message) = poll_fn(|context| Pin::new(&mut subscription).poll_next(context)).await {
        // Its own call may have been the one that ended it.
        if link.outgoing.is_ended() {
            return;
        }
        if let Some(partition) = partition_of(&message.subject) {
            caught(|| link.receiver.receive(partition, message.payload));
        }
    }
}

/// Sends what is in the queue, while there is a link. Returns when the client has ended.
async fn send(link: Arc<Link>, client: Client, nobody: String) {
    loop {
        let entry = link.outgoing.next().await;
        if !link.is_up(&client) {
            link.outgoing.put_back(entry);
            link.away("the connection is lost".to_owned());
            continue;
        }
        match entry {
            // Another error says that it is too long for this server, which it was not for the one before.
            OutgoingEntry::Payload(subject, payload) => {
                if let Err(error) = client.publish(subject, payload).await
                    && error.kind() == PublishErrorKind::Send
                {
                    return;
                }
            }
            OutgoingEntry::Flush(flush) => {
                let (link, client, nobody) = (link.clone(), client.clone(), nobody.clone());
                tokio::spawn(async move {
                    if link.confirm(&client, &nobody).await {
                        flush.finish();
                    } else if !flush.is_given_up() {
                        link.outgoing.put_back(OutgoingEntry::Flush(flush));
                    }
                });
            }
        }
    }
}

/// What no further attempt would change.
fn final_error(error: &ConnectError) -> Option<StartError> {
    match error.kind() {
        ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
            Some(StartError::Refused(text_of(error)))
        }
        ConnectErrorKind::Tls => Some(StartError::Tls(text_of(error))),
        // The client calls what goes wrong in a handshake an error of the network.
        _ => {
            let source = std::error::Error::source(error)?.downcast_ref::<std::io::Error>()?;
            source.get_ref()?.downcast_ref::<rustls::Error>().map(|error| StartError::Tls(error.to_string()))
        }
    }
}

/// The error with its causes.
fn text_of(error: &ConnectError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
