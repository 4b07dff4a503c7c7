//! Tests of channels without a network: a client in the process, with the real serializer, state machine and workers.
//!
//! ```
//! use fanfare::channel::{Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, JoinResult, Joining, Params};
//! use fanfare::channel::{Router, Socket, test::Client};
//! use fanfare::{Payload, PubSub};
//! use serde_json::json;
//!
//! struct Room;
//!
//! impl Channel for Room {
//!     type Assigns = ();
//!
//!     fn join(_: &str, _: &Payload, _: &mut Joining<'_, ()>) -> JoinResult<Self> {
//!         Ok(Room.into())
//!     }
//!
//!     fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, ()>) -> Answer {
//!         socket.broadcast(event.to_owned(), payload.clone()).into()
//!     }
//! }
//!
//! struct Anyone;
//!
//! impl Socket for Anyone {
//!     type Assigns = ();
//!     fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
//!         Connect::Accept(())
//!     }
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let router = Router::new().channel::<Room>("room:*")?;
//! let endpoint = Endpoint::builder(PubSub::new()?).socket("/socket", Anyone, router).build();
//! let mut alice = Client::connect(&endpoint, "/socket", json!({}))?;
//! let mut bob = Client::connect(&endpoint, "/socket", json!({}))?;
//! alice.join_ok("room:lobby", json!({}));
//! bob.join_ok("room:lobby", json!({}));
//!
//! let reference = alice.push("room:lobby", "new_msg", json!({ "body": "hello" }));
//! alice.assert_broadcast("room:lobby", "new_msg", json!({ "body": "hello" }));
//! alice.assert_reply(&reference, "ok", json!({}));
//! bob.assert_broadcast("room:lobby", "new_msg", json!({ "body": "hello" }));
//! bob.assert_nothing();
//! # Ok(())
//! # }
//! ```

use super::endpoint::{ConnectError, Endpoint};
use super::registry::SocketKey;
use super::transport::{Out, Transport};
use super::{Close, ConnectInfo, Frame};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long an assertion waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of an endpoint, in the process. It speaks version 2 of the protocol. Dropping it ends the connection.
pub struct Client {
    endpoint: Endpoint,
    worker: usize,
    key: SocketKey,
    events: Receiver<Event>,
    references: u64,
    join_refs: HashMap<String, String>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("worker", &self.worker).field("joined", &self.join_refs).finish_non_exhaustive()
    }
}

/// What a client sees.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// A text frame, which in version 2 is an array of five.
    Text(Value),
    /// A binary frame.
    Binary(Vec<u8>),
    /// The connection was closed.
    Closed(Close),
}

struct Wire(Sender<Event>);

impl Transport for Wire {
    fn send(&mut self, out: Out<'_>) {
        let event = match out.frame() {
            Frame::Text(text) => {
                Event::Text(serde_json::from_slice(text).unwrap_or_else(|_| Value::String("no JSON".to_owned())))
            }
            Frame::Binary(bytes) => Event::Binary(bytes.to_vec()),
        };
        // An error means that the client has gone.
        let _ = self.0.send(event);
    }

    fn close(&mut self, why: Close) {
        let _ = self.0.send(Event::Closed(why));
    }
}

impl Client {
    /// Connects to the socket that is mounted at `path`, with parameters as its query would have them.
    ///
    /// # Errors
    ///
    /// [`ConnectError`], as the socket's `connect` says.
    ///
    /// # Panics
    ///
    /// If no socket is mounted at `path`, or `params` is no object.
    pub fn connect(endpoint: &Endpoint, path: &str, params: Value) -> Result<Client, ConnectError> {
        let Value::Object(mut params) = params else { panic!("the parameters must be an object") };
        params.entry("vsn").or_insert_with(|| json!("2.0.0"));
        let mount = endpoint.mount_of(path, "").unwrap_or_else(|| panic!("no socket is mounted at {path}"));
        let accepted = endpoint.connect(mount, &params, &ConnectInfo::default())?;
        let worker = crate::sync::thread_hint::next() % endpoint.pubsub().workers();
        let (sender, events) = channel();
        let (opened, key) = channel();
        let opener = endpoint.clone();
        let open = move || {
            let _ = opened.send(opener.open(worker, accepted, Box::new(Wire(sender))));
        };
        endpoint.pubsub().engine().run_on(worker, Box::new(open)).expect("the engine runs");
        let key = key.recv().expect("the worker opens the connection");
        Ok(Client { endpoint: endpoint.clone(), worker, key, events, references: 0, join_refs: HashMap::new() })
    }

    /// The worker on which the connection lives.
    pub fn worker(&self) -> usize {
        self.worker
    }

    fn on_worker(&self, task: impl FnOnce(SocketKey) + Send + 'static) {
        let key = self.key;
        // An engine that is shut down has no connections.
        let _ = self.endpoint.pubsub().engine().run_on(self.worker, Box::new(move || task(key)));
    }

    /// Sends a frame as it is.
    pub fn send(&mut self, frame: Frame) {
        self.on_worker(move |key| key.frame(&frame));
    }

    /// Sends a text frame.
    pub fn send_text(&mut self, message: &Value) {
        self.send(Frame::Text(message.to_string().into()));
    }

    /// A ref that this client has not used yet.
    pub fn next_ref(&mut self) -> String {
        self.references += 1;
        self.references.to_string()
    }

    /// Asks to join a topic. Returns the ref, by which the reply is known.
    pub fn join(&mut self, topic: &str, payload: Value) -> String {
        let reference = self.next_ref();
        self.join_refs.insert(topic.to_owned(), reference.clone());
        self.send_text(&json!([reference, reference, topic, "phx_join", payload]));
        reference
    }

    /// Joins a topic, and returns what the channel replied.
    ///
    /// # Panics
    ///
    /// If the reply is not `ok`, or something else comes before it.
    pub fn join_ok(&mut self, topic: &str, payload: Value) -> Value {
        let reference = self.join(topic, payload);
        let (status, response) = self.expect_reply(&reference);
        assert_eq!(status, "ok", "the join of {topic} was refused: {response}");
        response
    }

    /// Pushes an event to a channel. Returns the ref, by which a reply is known.
    pub fn push(&mut self, topic: &str, event: &str, payload: Value) -> String {
        let reference = self.next_ref();
        let join_ref = self.join_refs.get(topic).cloned();
        self.send_text(&json!([join_ref, reference, topic, event, payload]));
        reference
    }

    /// Leaves a topic. Returns the ref.
    pub fn leave(&mut self, topic: &str) -> String {
        self.push(topic, "phx_leave", json!({}))
    }

    /// The next thing that the client sees, waited for.
    ///
    /// # Panics
    ///
    /// If nothing comes for ten seconds.
    pub fn next_event(&mut self) -> Event {
        match self.events.recv_timeout(PATIENCE) {
            Ok(event) => event,
            Err(RecvTimeoutError::Timeout) => panic!("nothing came for {PATIENCE:?}"),
            Err(RecvTimeoutError::Disconnected) => panic!("the connection has gone"),
        }
    }

    /// What has come already and was not seen yet, if anything. After [`settle`](Self::settle) that is all there is.
    pub fn try_event(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    fn next_text(&mut self) -> [Value; 5] {
        match self.next_event() {
            Event::Text(Value::Array(parts)) => {
                parts.try_into().unwrap_or_else(|parts| panic!("a message of version 2 has five parts: {parts:?}"))
            }
            other => panic!("{other:?} in place of a message"),
        }
    }

    fn expect_reply(&mut self, reference: &str) -> (String, Value) {
        let [join_ref, found, topic, event, payload] = self.next_text();
        assert!(
            event == "phx_reply" && found == reference,
            "{event} {payload} on {topic} (ref {found}, join {join_ref}) in place of the reply to {reference}"
        );
        let status = payload["status"].as_str().unwrap_or_default().to_owned();
        (status, payload["response"].clone())
    }

    /// The next thing is this reply.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_reply(&mut self, reference: &str, status: &str, response: Value) {
        assert_eq!(self.expect_reply(reference), (status.to_owned(), response));
    }

    /// The next thing is this event, pushed to this client alone.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_push(&mut self, topic: &str, event: &str, payload: Value) {
        let join_ref = self.join_refs.get(topic).cloned();
        assert_eq!(self.next_text(), [json!(join_ref), Value::Null, json!(topic), json!(event), payload]);
    }

    /// The next thing is this event, broadcast on the topic.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_broadcast(&mut self, topic: &str, event: &str, payload: Value) {
        assert_eq!(self.next_text(), [Value::Null, Value::Null, json!(topic), json!(event), payload]);
    }

    /// The next thing is the channel's end: `phx_close`, or `phx_error` if it crashed.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_ended(&mut self, topic: &str, event: &str) {
        let join_ref = json!(self.join_refs.get(topic));
        let [found, reference, on, ended, _] = self.next_text();
        assert_eq!([found, reference, on, ended], [join_ref.clone(), join_ref, json!(topic), json!(event)]);
    }

    /// The next thing is the end of the connection.
    ///
    /// # Panics
    ///
    /// If it is not.
    pub fn assert_closed(&mut self, why: Close) {
        assert_eq!(self.next_event(), Event::Closed(why));
    }

    /// Nothing more comes of what was sent and broadcast before: all callbacks are waited for.
    ///
    /// # Panics
    ///
    /// If something comes.
    pub fn assert_nothing(&mut self) {
        self.settle();
        if let Ok(event) = self.events.try_recv() {
            panic!("{event:?} came");
        }
    }

    /// Waits until everything that was sent and broadcast before has had its effect.
    pub fn settle(&self) {
        // What the workers do may call callbacks, and these may give the workers more to do. It is over when a round
        // has brought nothing but its own barriers. An engine that is shut down has settled.
        let engine = self.endpoint.pubsub().engine();
        let pushed = || engine.workers.iter().map(|worker| worker.remote.inbox.pushed()).fold(0, u32::wrapping_add);
        let mut before = None;
        loop {
            let barriers = engine.workers.len() as u32;
            let expected = pushed().wrapping_add(barriers);
            if self.endpoint.pubsub().flush().is_err() {
                return;
            }
            let sent = self.endpoint.pool().wait_until_idle();
            if before.replace(sent) == Some(sent) && pushed() == expected {
                return;
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.on_worker(|key| key.close(Close::Gone));
    }
}
