//! The promises of channels: each rule of Phoenix's protocol by its frames, on channels that run on the pool and on
//! inline ones, on one worker and on several.

#[path = "../common/mod.rs"]
mod common;

mod behaviour;
mod chaos;
mod fanout;
mod faults;
mod joins;
mod order;
mod pool;
mod presence;
mod scripted;
mod values;
mod versions;

use common::{Watchdog, watch};
use fanfare::channel::test::{Client, Event};
use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, Flow, Info, JoinResult, Joined, Joining, Limits,
    Params, Refusal, Router, Socket, SocketRef, Stop, Terminated,
};
use fanfare::{Message, Payload, PubSub};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

/// What the channels of a test tell it, past their clients.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl Log {
    fn note(&self, line: String) {
        self.0.lock().unwrap().push(line);
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

/// What is known of a connection.
struct User {
    name: String,
    log: Log,
    /// Where the channel hands what it is asked to hand out.
    refs: Sender<SocketRef>,
}

/// A channel that does what it is asked to do.
struct Room<const INLINE: bool>;

fn value_of(payload: &Payload) -> Value {
    match payload {
        Payload::Binary(bytes) => json!({ "binary": bytes.to_vec() }),
        other => serde_json::from_slice(other.json().unwrap()).unwrap(),
    }
}

impl<const INLINE: bool> Channel for Room<INLINE> {
    type Assigns = User;
    const INLINE: bool = INLINE;
    const INTERCEPT: &'static [&'static str] = &["secret"];

    fn join(_: &str, payload: &Payload, socket: &mut Joining<'_, User>) -> JoinResult<Self> {
        let payload = value_of(payload);
        if let Some(sent) = payload.get("send") {
            // Refused if the connection has ended meanwhile.
            socket.sender().send(sent.to_string());
        }
        if let Some(reason) = payload.get("refuse") {
            return Err(Refusal::new(reason.clone()));
        }
        assert!(payload.get("panic").is_none(), "asked to panic in join");
        if payload.get("route").is_some() {
            return Ok(Joined::with_reply(Room, json!({ "route": socket.route_assigns::<&str>() })));
        }
        Ok(match payload.get("reply") {
            Some(reply) => Joined::with_reply(Room, reply.clone()),
            None => Room.into(),
        })
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, User>) -> Answer {
        let value = value_of(payload);
        let text = || value["topic"].as_str().unwrap().to_owned();
        match event {
            "echo" => return Answer::ok(payload.clone()),
            "status" => return Answer::status(value["status"].as_str().unwrap().to_owned(), json!({})),
            "refuse" => return Answer::error(json!({ "reason": "no" })),
            "try" => return payload.parse::<u64>().into(),
            "push" => socket.push("pushed", payload.clone()).unwrap(),
            "broadcast" => {
                socket.broadcast("shout", payload.clone()).unwrap();
                return Answer::ok(json!({}));
            }
            "broadcast_push" => {
                socket.broadcast("shout", payload.clone()).unwrap();
                socket.push("pushed", payload.clone()).unwrap();
            }
            "broadcast_from" => drop(socket.broadcast_from("shout", payload.clone()).unwrap()),
            "broadcast_secret" => drop(socket.broadcast("secret", payload.clone()).unwrap()),
            "stop" => return Answer::ok(json!({})).stop(Stop::Normal),
            "fail" => return Answer::none().stop(Stop::Failed("asked to".to_owned())),
            "panic" => panic!("asked to panic in handle_in"),
            "hand_out" => match socket.socket_ref() {
                Some(reference) => socket.assigns().refs.send(reference).unwrap(),
                None => socket.push("no_ref", json!({})).unwrap(),
            },
            "send" => drop(socket.sender().send(value["text"].as_str().unwrap().to_owned())),
            "subscribe" => {
                socket.subscribe(&text()).unwrap();
                return Answer::ok(json!({}));
            }
            "unsubscribe" => {
                socket.unsubscribe(&text()).unwrap();
                return Answer::ok(json!({}));
            }
            "assigns" => return Answer::ok(json!({ "name": socket.assigns().name, "topic": socket.topic() })),
            "phx_close" | "phx_error" | "phx_reply" => return Answer::ok(json!({ "event": event })),
            _ => {}
        }
        Answer::none()
    }

    fn handle_out(&mut self, message: &Message, socket: &mut ChannelSocket<'_, User>) -> Flow {
        let value = value_of(message.payload());
        assert!(value.get("panic").is_none(), "asked to panic in handle_out");
        if value.get("stop").is_some() {
            return Flow::Stop(Stop::Normal);
        }
        assert!(socket.socket_ref().is_none(), "no push is in hand");
        socket.push(message.event(), json!({ "out": value })).unwrap();
        Flow::Continue
    }

    fn handle_info(&mut self, info: Info, socket: &mut ChannelSocket<'_, User>) -> Flow {
        let told = match info {
            Info::Message(message) => json!([message.topic(), message.event(), value_of(message.payload())]),
            Info::Sent(sent) => json!(*sent.downcast::<String>().unwrap()),
            other => panic!("{other:?} is unknown"),
        };
        assert!(told != "panic", "asked to panic in handle_info");
        if told == "fail" {
            return Flow::Stop(Stop::Failed("asked to".to_owned()));
        }
        socket.push("info", json!({ "told": told })).unwrap();
        Flow::Continue
    }

    fn terminate(&mut self, reason: &Terminated, socket: &mut ChannelSocket<'_, User>) {
        socket.assigns().log.note(format!("{} {} {reason:?}", socket.assigns().name, socket.topic()));
        assert_ne!(socket.assigns().name, "bomb", "asked to panic in terminate");
        // Without the engine it can't be pushed.
        let _ = socket.push("last", json!({}));
    }
}

/// A socket for anyone who is not refused.
struct Door {
    log: Log,
    refs: Sender<SocketRef>,
}

impl Socket for Door {
    type Assigns = User;

    fn connect(&self, params: &Params, _: &ConnectInfo) -> Connect<User> {
        let name = params.get("name").and_then(Value::as_str).unwrap_or("anyone");
        match name {
            "nobody" => Connect::Refuse,
            "too many" => Connect::RefuseWith(429, "later".to_owned()),
            _ => Connect::Accept(User { name: name.to_owned(), log: self.log.clone(), refs: self.refs.clone() }),
        }
    }

    fn id(&self, user: &User) -> Option<String> {
        (user.name != "anyone").then(|| format!("users:{}", user.name))
    }
}

/// An endpoint whose channels are rooms.
struct Kit {
    endpoint: Endpoint,
    log: Log,
    refs: Receiver<SocketRef>,
}

impl Kit {
    fn new(workers: usize, inline: bool) -> Kit {
        Kit::with(PubSub::builder().workers(workers).build().unwrap(), inline, |_| {})
    }

    fn with(pubsub: PubSub, inline: bool, limit: impl FnOnce(&mut Limits)) -> Kit {
        let mut limits = Limits::default();
        limit(&mut limits);
        let log = Log::default();
        let (sender, refs) = channel();
        let router = if inline { routes::<true>() } else { routes::<false>() };
        let door = Door { log: log.clone(), refs: sender };
        let endpoint = Endpoint::builder(pubsub).limits(limits).socket("/socket", door, router).build();
        Kit { endpoint, log, refs }
    }

    fn client(&self) -> Client {
        self.named("anyone")
    }

    fn named(&self, name: &str) -> Client {
        Client::connect(&self.endpoint, "/socket", json!({ "name": name })).unwrap()
    }

    /// A client that has joined a topic, with the join ref and the ref `1`.
    fn joined(&self, topic: &str) -> Client {
        let mut client = self.client();
        client.join_ok(topic, json!({}));
        client
    }
}

fn routes<const INLINE: bool>() -> Router<User> {
    let router = Router::new().channel_with::<Room<INLINE>, &str>("room:special", "special").unwrap();
    router
        .channel::<Room<INLINE>>("room:*")
        .and_then(|router| router.channel_with::<Room<INLINE>, &str>("food*", "food"))
        .and_then(|router| router.channel_with::<Room<INLINE>, &str>("foo*", "foo"))
        .and_then(|router| router.channel::<Room<INLINE>>("exact"))
        .unwrap()
}

/// Runs a test on channels of both kinds, on one worker and on two.
fn matrix(test: impl Fn(Kit)) {
    let _watchdog: Watchdog = watch();
    for inline in [false, true] {
        for workers in [1, 2] {
            // Shown if the test fails.
            println!("inline: {inline}, workers: {workers}");
            test(Kit::new(workers, inline));
        }
    }
}

/// The next thing that the client sees, which must be a text frame.
fn text(client: &mut Client) -> Value {
    match client.next_event() {
        Event::Text(value) => value,
        other => panic!("{other:?} in place of a text frame"),
    }
}

/// The client's next frames are these and no others come.
#[track_caller]
fn expect<const N: usize>(client: &mut Client, frames: [Value; N]) {
    for frame in frames {
        assert_eq!(text(client), frame);
    }
    client.assert_nothing();
}
