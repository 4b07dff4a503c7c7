//! Values and code of users that panic or call back where they may: they harm nobody else, and nothing is kept.

use super::scripted::{Script, Shared, State, connect, endpoint, mount};
use super::{Log, expect, text};
use crate::common::watch;
use fanfare::channel::serializer::{DecodeError, EncodeError, Incoming, Reply, VersionError};
use fanfare::channel::test::Client;
use fanfare::channel::{
    Answer, Channel, ChannelSender, ChannelSocket, Close, Connect, ConnectError, ConnectInfo, Endpoint, Flow, Frame,
    Info, JoinResult, Joining, Limits, Params, Refusal, Router, Scalar, Serializer, Socket, SocketRef, V1, V2,
    Versions,
};
use fanfare::{Payload, PubSub};
use serde::Serialize;
use serde_json::json;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A payload that can't be encoded, and says so by a panic.
struct Unencodable;

impl Serialize for Unencodable {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        panic!("asked to panic in Serialize")
    }
}

struct Plain;

impl Script for Plain {}

#[test]
fn a_broadcast_that_panics_when_it_is_encoded_reaches_nobody_and_ends_nobody() {
    let _watchdog = watch();
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Plain);
        let mut clients = [connect(&endpoint), connect(&endpoint), connect(&endpoint)];
        clients.iter_mut().for_each(|client| drop(client.join_ok("t", json!({}))));
        endpoint.broadcast("t", "bad", Payload::typed(Unencodable)).unwrap();
        endpoint.broadcast("t", "good", json!({})).unwrap();
        for client in &mut clients {
            client.assert_broadcast("t", "good", json!({}));
        }
        assert_eq!((endpoint.encoded(), endpoint.unencodable()), (1, 1));
        assert_eq!(endpoint.pubsub().stats().panics, 0);
    }
}

/// Answers with payloads that can't be encoded.
struct Bad;

impl Script for Bad {
    fn join(&self, topic: &str, _: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        match topic {
            "reply" => Ok((Box::new(()), Payload::typed(Unencodable))),
            "refusal" => Err(Refusal::new(Payload::typed(Unencodable))),
            _ => Ok((Box::new(()), json!({}).into())),
        }
    }

    fn handle_in(&self, event: &str, _: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        if event == "push" {
            // Unwinds out of the callback.
            let _ = socket.push("bad", Payload::typed(Unencodable));
        }
        Answer::ok(Payload::typed(Unencodable))
    }
}

#[test]
fn a_join_whose_answer_cannot_be_encoded_is_a_crash_of_the_join() {
    let _watchdog = watch();
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Bad);
        let mut client = connect(&endpoint);
        for topic in ["reply", "refusal"] {
            let reference = client.join(topic, json!({}));
            client.assert_reply(&reference, "error", json!({ "reason": "join crashed" }));
        }
        client.join_ok("good", json!({}));
        client.assert_nothing();
    }
}

#[test]
fn a_reply_or_push_that_cannot_be_encoded_is_a_crash_of_the_channel() {
    let _watchdog = watch();
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Bad);
        let mut client = connect(&endpoint);
        for event in ["push", "reply"] {
            client.join_ok("good", json!({}));
            client.push("good", event, json!({}));
            client.assert_ended("good", "phx_error");
        }
        client.assert_nothing();
    }
}

/// Panics when it is dropped, and notes that it was.
struct Bomb(Log, &'static str);

impl Drop for Bomb {
    fn drop(&mut self) {
        self.0.note(self.1.to_owned());
        panic!("asked to panic in Drop");
    }
}

struct Bombs<const INLINE: bool> {
    _bomb: Bomb,
}

impl<const INLINE: bool> Channel for Bombs<INLINE> {
    type Assigns = Bomb;
    const INLINE: bool = INLINE;

    fn join(_: &str, _: &Payload, socket: &mut Joining<'_, Bomb>) -> JoinResult<Self> {
        let log = &socket.assigns().0;
        assert!(socket.sender().send(Bomb(log.clone(), "message")));
        Ok(Bombs { _bomb: Bomb(log.clone(), "state") }.into())
    }

    fn handle_info(&mut self, info: Info, _: &mut ChannelSocket<'_, Bomb>) -> Flow {
        // In a callback it would be a crash. What was never handled is dropped.
        std::mem::forget(info);
        Flow::Continue
    }
}

struct Armoury(Log);

impl Socket for Armoury {
    type Assigns = Bomb;
    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<Bomb> {
        Connect::Accept(Bomb(self.0.clone(), "assigns"))
    }
}

fn armoury(inline: bool, log: &Log) -> Endpoint {
    let router = Router::new();
    let router = if inline { router.channel::<Bombs<true>>("*") } else { router.channel::<Bombs<false>>("*") };
    Endpoint::builder(PubSub::builder().workers(1).build().unwrap())
        .socket("/socket", Armoury(log.clone()), router.unwrap())
        .build()
}

#[test]
fn a_panic_in_a_drop_of_one_clients_values_harms_nobody() {
    let _watchdog = watch();
    for inline in [false, true] {
        let log = Log::default();
        let endpoint = armoury(inline, &log);
        let mut client = connect(&endpoint);
        let mut other = connect(&endpoint);
        other.join_ok("t", json!({}));
        for _ in 0..3 {
            client.join_ok("t", json!({}));
            client.leave("t");
            text(&mut client);
            text(&mut client);
        }
        client.join_ok("t", json!({}));
        let rejoined = client.join("t", json!({}));
        client.assert_reply(&rejoined, "ok", json!({}));
        drop(client);
        other.settle();
        let mut dropped: Vec<String> = log.take().into_iter().filter(|what| what != "message").collect();
        dropped.sort();
        assert_eq!(dropped, ["assigns", "state", "state", "state", "state", "state"]);
        endpoint.broadcast("t", "event", json!({})).unwrap();
        expect(&mut other, [json!([null, null, "t", "event", {}])]);
        endpoint.pubsub().shutdown(Duration::from_secs(10)).unwrap();
        other.assert_closed(Close::Gone);
        let mut dropped = 0;
        while dropped < 2 {
            dropped += log.take().len();
            std::thread::yield_now();
        }
    }
}

/// A value whose drop sends the channel another message.
struct Boomerang(ChannelSender);

impl Drop for Boomerang {
    fn drop(&mut self) {
        self.0.send("back");
    }
}

struct Boomerangs(Mutex<Sender<ChannelSender>>);

impl Script for Boomerangs {
    fn handle_in(&self, _: &str, _: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        // Over what may wait, while nothing can run: what waits is dropped.
        for _ in 0..5 {
            socket.sender().send(Boomerang(socket.sender()));
        }
        self.0.lock().unwrap().send(socket.sender()).unwrap();
        Answer::ok(json!({}))
    }
}

#[test]
fn a_value_whose_drop_calls_back_finds_no_lock_held() {
    let _watchdog = watch();
    for inline in [false, true] {
        let (sender, senders) = channel();
        let mut limits = Limits::default();
        limits.channel_jobs_max = 4;
        let endpoint = endpoint(PubSub::new().unwrap(), inline, limits, Boomerangs(Mutex::new(sender)));
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        let reference = client.push("t", "go", json!({}));
        client.assert_reply(&reference, "ok", json!({}));
        client.assert_ended("t", "phx_error");
        client.settle();
        assert!(!senders.recv().unwrap().send(()));
    }
}

/// Channels that hold their own sender; their refs are handed out.
struct Holding {
    life: Arc<()>,
    refs: Mutex<Sender<SocketRef>>,
}

impl Script for Holding {
    fn join(&self, _: &str, socket: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        Ok((Box::new((self.life.clone(), socket.sender())), json!({}).into()))
    }

    fn handle_in(&self, event: &str, _: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        assert_ne!(event, "panic", "asked to panic");
        self.refs.lock().unwrap().send(socket.socket_ref().unwrap()).unwrap();
        Answer::none()
    }
}

#[test]
fn the_state_of_a_channel_goes_when_it_has_ended_whoever_holds_a_handle() {
    let _watchdog = watch();
    for inline in [false, true] {
        let life = Arc::new(());
        let (sender, refs) = channel();
        let holding = Holding { life: life.clone(), refs: Mutex::new(sender) };
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), holding);
        let alive = || Arc::strong_count(&life) - 2;
        let mut kept = Vec::new();
        for end in ["leave", "panic", "rejoin", "close"] {
            let mut client = connect(&endpoint);
            client.join_ok("t", json!({}));
            client.push("t", "hand_out", json!({}));
            client.settle();
            kept.push(refs.recv().unwrap());
            assert_eq!(alive(), 1, "{end}");
            match end {
                "leave" => drop(client.leave("t")),
                "panic" => drop(client.push("t", "panic", json!({}))),
                "rejoin" => {
                    client.join("t", json!({}));
                    client.settle();
                    assert_eq!(alive(), 1, "the new one");
                }
                _ => {}
            }
            drop(client);
            connect(&endpoint).settle();
            assert_eq!(alive(), 0, "{end}");
        }
        kept.iter().for_each(|reference| drop(reference.reply("ok", json!({}))));
    }
}

/// Version 2, but for texts that make it panic.
#[derive(Debug)]
struct Nervous;

impl Serializer for Nervous {
    fn decode(&self, frame: &Frame) -> Result<Incoming, DecodeError> {
        assert_ne!(&frame.bytes()[..], b"boo", "asked to panic in decode");
        V2.decode(frame)
    }

    fn push(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        V2.push(join_ref, topic, event, payload)
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<Frame, EncodeError> {
        V2.reply(reply)
    }

    fn broadcast(&self, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        V2.broadcast(topic, event, payload)
    }

    fn control(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        V2.control(join_ref, topic, event, payload)
    }
}

struct Anyone;

impl Socket for Anyone {
    type Assigns = ();
    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
        Connect::Accept(())
    }
}

struct Silent;

impl Channel for Silent {
    type Assigns = ();
    fn join(_: &str, _: &Payload, _: &mut Joining<'_, ()>) -> JoinResult<Self> {
        Ok(Silent.into())
    }
}

#[test]
fn a_serializer_that_panics_ends_that_connection_alone() {
    let _watchdog = watch();
    let router = Router::new().channel::<Silent>("*").unwrap();
    let versions = Versions::empty().with(2, 0, Nervous);
    let pubsub = PubSub::builder().workers(1).build().unwrap();
    let endpoint = Endpoint::builder(pubsub).socket_with("/socket", Anyone, router, versions).build();
    let (mut client, mut other) = (connect(&endpoint), connect(&endpoint));
    client.join_ok("t", json!({}));
    other.join_ok("t", json!({}));
    client.send(Frame::Text("boo".into()));
    client.assert_closed(Close::Undecodable);
    endpoint.broadcast("t", "event", json!({})).unwrap();
    other.assert_broadcast("t", "event", json!({}));
    let old = Client::connect(&endpoint, "/socket", json!({ "vsn": "1.0.0" })).unwrap_err();
    assert!(matches!(old, ConnectError::Version(VersionError::Unsupported(_))));
}

#[test]
fn endpoints_on_one_engine_reach_each_others_clients_each_in_its_own_version() {
    let _watchdog = watch();
    let pubsub = PubSub::builder().workers(2).build().unwrap();
    let build = |versions: Versions| {
        let router = Router::new().channel::<Silent>("*").unwrap();
        Endpoint::builder(pubsub.clone()).socket_with("/socket", Anyone, router, versions).build()
    };
    // The same place in the table of each is another version.
    let one = build(Versions::empty().with(2, 0, V2).with(1, 0, V1));
    let two = build(Versions::empty().with(1, 0, V1).with(2, 0, V2));
    let three = build(Versions::empty().with(2, 0, Nervous).with(2, 0, V1).with(2, 0, V2));
    let endpoints = [one, two, three];
    let mut new: Vec<Client> = endpoints.iter().map(connect).collect();
    new.iter_mut().for_each(|client| drop(client.join_ok("t", json!({}))));
    let v1 = |endpoint| Client::connect(endpoint, "/socket", json!({ "vsn": "1.0.0" })).unwrap();
    let mut old: Vec<Client> = endpoints[..2].iter().map(v1).collect();
    for client in &mut old {
        client.send_text(&json!({ "topic": "t", "event": "phx_join", "payload": {}, "ref": "1" }));
        text(client);
    }
    for endpoint in &endpoints {
        endpoint.broadcast("t", "event", json!({ "a": 1 })).unwrap();
        for client in &mut new {
            expect(client, [json!([null, null, "t", "event", { "a": 1 }])]);
        }
        for client in &mut old {
            expect(client, [json!({ "topic": "t", "event": "event", "payload": { "a": 1 }, "ref": null })]);
        }
    }
    assert_eq!(endpoints.map(|endpoint| endpoint.encoded()), [6, 6, 3]);
}

#[test]
fn mounts_share_what_is_encoded() {
    let _watchdog = watch();
    let script: Shared = Arc::new(Plain);
    let builder = mount(Endpoint::builder(PubSub::new().unwrap()), false, script);
    let router = Router::new().channel::<Silent>("*").unwrap();
    let endpoint = builder.socket("/other/", Anyone, router).build();
    let mut one = connect(&endpoint);
    let mut two = Client::connect(&endpoint, "/other", json!({})).unwrap();
    one.join_ok("t", json!({}));
    two.join_ok("t", json!({}));
    endpoint.broadcast("t", "event", json!({})).unwrap();
    one.assert_broadcast("t", "event", json!({}));
    two.assert_broadcast("t", "event", json!({}));
    assert_eq!(endpoint.encoded(), 1);
}
