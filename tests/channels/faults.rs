//! Ends that cross other things, overloads, lack of room, shutdown: nothing is lost that must not be.

use super::scripted::{Script, Shared, State, connect, endpoint};
use super::{Kit, Log, expect, matrix, text};
use crate::common::{Blocker, watch};
use fanfare::channel::test::{Client, Event};
use fanfare::channel::{
    Answer, ChannelSender, ChannelSocket, Close, Flow, Info, Joining, Limits, PushError, Refusal, Stop, Terminated,
};
use fanfare::{BroadcastError, Context, Message, Payload, PubSub};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn limits(set: impl FnOnce(&mut Limits)) -> Limits {
    let mut limits = Limits::default();
    set(&mut limits);
    limits
}

#[test]
fn a_connection_that_ends_before_its_join_is_told_ends_the_channel() {
    let _watchdog = watch();
    for inline in [false, true] {
        let kit = Kit::new(1, inline);
        let blocker = Blocker::new(kit.endpoint.pubsub(), 0);
        let mut client = kit.client();
        blocker.block(kit.endpoint.pubsub());
        client.join("room:1", json!({ "send": "hello" }));
        drop(client);
        blocker.let_go();
        kit.client().settle();
        assert_eq!(kit.log.take(), ["anyone room:1 Closed"]);
    }
}

/// Waits in its callbacks until the test lets it go on.
struct Gated {
    log: Log,
    entered: Mutex<Sender<()>>,
    go: Mutex<Receiver<()>>,
    /// The channel's sender, handed out before it waits in its join.
    senders: Option<Mutex<Sender<ChannelSender>>>,
}

impl Gated {
    fn pass(&self) {
        // Errors mean that the test is over.
        let _ = self.entered.lock().unwrap().send(());
        let _ = self.go.lock().unwrap().recv();
    }

    fn new() -> (Gated, Receiver<()>, Sender<()>) {
        let (enter, entered) = channel();
        let (go, gone) = channel();
        let gated = Gated { log: Log::default(), entered: Mutex::new(enter), go: Mutex::new(gone), senders: None };
        (gated, entered, go)
    }
}

impl Script for Gated {
    fn join(&self, _: &str, socket: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        if let Some(senders) = &self.senders {
            senders.lock().unwrap().send(socket.sender()).unwrap();
            self.pass();
        }
        Ok((Box::new(()), json!({}).into()))
    }

    fn handle_in(&self, _: &str, _: &Payload, _: &mut ChannelSocket<'_, Shared>) -> Answer {
        self.pass();
        Answer::ok(json!({}))
    }

    fn terminate(&self, reason: &Terminated, _: &mut ChannelSocket<'_, Shared>) {
        self.log.note(format!("{reason:?}"));
    }
}

#[test]
fn a_connection_that_ends_while_its_join_is_decided_ends_the_channel() {
    let _watchdog = watch();
    let (mut gated, entered, go) = Gated::new();
    let (sender, senders) = channel();
    gated.senders = Some(Mutex::new(sender));
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, Limits::default(), gated);
    let mut client = connect(&endpoint);
    client.join("t", json!({}));
    entered.recv().unwrap();
    drop(client);
    endpoint.pubsub().flush().unwrap();
    go.send(()).unwrap();
    connect(&endpoint).settle();
    assert_eq!(log.take(), ["Closed"]);
    assert!(!senders.recv().unwrap().send(()), "a channel that has ended takes nothing");
}

#[test]
fn a_channel_that_is_sent_more_than_it_may_have_waiting_crashes() {
    let _watchdog = watch();
    let (gated, entered, go) = Gated::new();
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits(|limits| limits.channel_jobs_max = 4), gated);
    let mut client = connect(&endpoint);
    client.join_ok("t", json!({}));
    let first = client.push("t", "wait", json!({}));
    entered.recv().unwrap();
    for _ in 0..5 {
        client.push("t", "wait", json!({}));
    }
    endpoint.pubsub().flush().unwrap();
    go.send(()).unwrap();
    client.assert_reply(&first, "ok", json!({}));
    client.assert_ended("t", "phx_error");
    client.assert_nothing();
    assert_eq!(log.take(), ["Overloaded"]);
}

#[test]
fn as_many_as_may_wait_are_not_too_many() {
    let _watchdog = watch();
    let (gated, entered, go) = Gated::new();
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits(|limits| limits.channel_jobs_max = 4), gated);
    let mut client = connect(&endpoint);
    client.join_ok("t", json!({}));
    let first = client.push("t", "wait", json!({}));
    entered.recv().unwrap();
    let more: Vec<String> = (0..4).map(|_| client.push("t", "wait", json!({}))).collect();
    endpoint.pubsub().flush().unwrap();
    (0..5).for_each(|_| go.send(()).unwrap());
    for reference in std::iter::once(first).chain(more) {
        client.assert_reply(&reference, "ok", json!({}));
    }
    client.assert_nothing();
}

#[test]
fn a_leave_is_not_lost_to_an_overload_behind_it() {
    let _watchdog = watch();
    let (gated, entered, go) = Gated::new();
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits(|limits| limits.channel_jobs_max = 4), gated);
    let mut client = connect(&endpoint);
    client.join_ok("t", json!({}));
    let first = client.push("t", "wait", json!({}));
    entered.recv().unwrap();
    let leave = client.leave("t");
    endpoint.pubsub().flush().unwrap();
    for _ in 0..10 {
        endpoint.broadcast("t", "out", json!({})).unwrap();
    }
    endpoint.pubsub().flush().unwrap();
    go.send(()).unwrap();
    client.assert_reply(&first, "ok", json!({}));
    client.assert_reply(&leave, "ok", json!({}));
    client.assert_ended("t", "phx_close");
    client.assert_nothing();
    assert_eq!(log.take(), ["Left"]);
}

#[test]
fn a_channel_that_is_overloaded_in_its_join_is_joined_and_then_crashes() {
    let _watchdog = watch();
    let (mut gated, entered, go) = Gated::new();
    let (sender, senders) = channel();
    gated.senders = Some(Mutex::new(sender));
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits(|limits| limits.channel_jobs_max = 4), gated);
    let mut client = connect(&endpoint);
    let join = client.join("t", json!({}));
    entered.recv().unwrap();
    let sender = senders.recv().unwrap();
    assert!((0..4).all(|n| sender.send(n)), "there is room");
    sender.send(4);
    assert!(!sender.send(5), "it is about to end");
    go.send(()).unwrap();
    client.assert_reply(&join, "ok", json!({}));
    client.assert_ended("t", "phx_error");
    client.assert_nothing();
    assert_eq!(log.take(), ["Overloaded"]);
}

#[test]
fn a_client_that_sends_too_much_while_its_join_is_decided_is_closed() {
    let _watchdog = watch();
    let (mut gated, entered, go) = Gated::new();
    let (sender, _senders) = channel();
    gated.senders = Some(Mutex::new(sender));
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits(|limits| limits.channel_jobs_max = 4), gated);
    let mut client = connect(&endpoint);
    client.join("t", json!({}));
    entered.recv().unwrap();
    client.send_text(&json!([null, "h", "phoenix", "heartbeat", {}]));
    client.assert_reply("h", "ok", json!({}));
    for _ in 0..5 {
        client.push("t", "wait", json!({}));
    }
    client.assert_closed(Close::Overloaded);
    go.send(()).unwrap();
}

/// Sends itself numbers, up to the last one.
struct Counting(u64);

impl Script for Counting {
    fn handle_in(&self, _: &str, _: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        assert!(socket.sender().send(0_u64));
        Answer::none()
    }

    fn handle_info(&self, info: Info, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        let Info::Sent(sent) = info else { panic!("{info:?} in place of a number") };
        let number = *sent.downcast::<u64>().unwrap();
        if number == self.0 {
            socket.push("done", json!({ "number": number })).unwrap();
        } else {
            assert!(socket.sender().send(number + 1));
        }
        Flow::Continue
    }
}

#[test]
fn a_channel_that_sends_itself_messages_needs_no_more_stack_for_more_of_them() {
    let _watchdog = watch();
    const LAST: u64 = 200_000;
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Counting(LAST));
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        client.push("t", "go", json!({}));
        client.assert_push("t", "done", json!({ "number": LAST }));
    }
}

/// Channels of which each sends on to the next what it gets.
struct Chain(Mutex<Vec<ChannelSender>>);

impl Script for Chain {
    fn join(&self, _: &str, socket: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        self.0.lock().unwrap().push(socket.sender());
        Ok((Box::new(()), json!({}).into()))
    }

    fn handle_in(&self, _: &str, _: &Payload, _: &mut ChannelSocket<'_, Shared>) -> Answer {
        let first = self.0.lock().unwrap()[0].clone();
        assert!(first.send(1_usize));
        Answer::none()
    }

    fn handle_info(&self, info: Info, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        let Info::Sent(sent) = info else { panic!("{info:?} in place of a number") };
        let next = *sent.downcast::<usize>().unwrap();
        let sender = self.0.lock().unwrap().get(next).cloned();
        match sender {
            Some(sender) => assert!(sender.send(next + 1)),
            None => socket.push("done", json!({})).unwrap(),
        }
        Flow::Continue
    }
}

#[test]
fn inline_channels_that_send_to_one_another_need_no_more_stack_for_more_of_them() {
    let _watchdog = watch();
    const LENGTH: usize = 10_000;
    let pubsub = PubSub::builder().workers(1).build().unwrap();
    let limits = limits(|limits| limits.channels_per_socket_max = LENGTH);
    let endpoint = endpoint(pubsub, true, limits, Chain(Mutex::default()));
    let mut client = connect(&endpoint);
    for n in 0..LENGTH {
        client.join_ok(&format!("t{n}"), json!({}));
    }
    client.push("t0", "go", json!({}));
    client.assert_push(&format!("t{}", LENGTH - 1), "done", json!({}));
}

/// Pushes until its worker has no room for more, and then stops.
struct Flood;

impl Flood {
    fn run(socket: &mut ChannelSocket<'_, Shared>) -> Stop {
        loop {
            match socket.push("drop", json!({})) {
                Ok(()) => {}
                Err(PushError::Full) => return Stop::Normal,
                Err(error) => panic!("{error}"),
            }
        }
    }
}

impl Script for Flood {
    fn handle_in(&self, _: &str, _: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        Answer::none().stop(Flood::run(socket))
    }

    fn handle_out(&self, _: &Message, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        Flow::Stop(Flood::run(socket))
    }
}

#[test]
fn a_connection_that_cannot_be_told_of_its_channels_end_is_closed() {
    let _watchdog = watch();
    for by_broadcast in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), true, Limits::default(), Flood);
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        if by_broadcast {
            endpoint.broadcast("t", "out", json!({})).unwrap();
        } else {
            client.push("t", "go", json!({}));
        }
        let end = loop {
            match client.next_event() {
                Event::Text(frame) => assert_eq!(frame[3], "drop"),
                end => break end,
            }
        };
        assert_eq!(end, Event::Closed(Close::Overloaded));
        let mut other = connect(&endpoint);
        other.join_ok("t", json!({}));
    }
}

/// Hands out its sender; pushes what it gets.
struct Sending(Mutex<Sender<ChannelSender>>);

impl Script for Sending {
    fn join(&self, _: &str, socket: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        self.0.lock().unwrap().send(socket.sender()).unwrap();
        Ok((Box::new(()), json!({}).into()))
    }

    fn handle_info(&self, _: Info, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        socket.push("told", json!({})).unwrap();
        Flow::Continue
    }
}

#[test]
fn a_message_for_an_inline_channel_is_not_lost_when_its_worker_has_no_room() {
    let _watchdog = watch();
    let pubsub = PubSub::builder().workers(2).inbox_entries_max(2).build().unwrap();
    let (sender, senders) = channel();
    let endpoint = endpoint(pubsub.clone(), true, Limits::default(), Sending(Mutex::new(sender)));
    let mut client = connect(&endpoint);
    client.join_ok("t", json!({}));
    let (here, elsewhere) = (client.worker(), 1 - client.worker());
    let sender = senders.recv().unwrap();
    let nobody = pubsub.subscriber().worker(here).handler(|_: &Message, _: &mut Context<'_>| {}).unwrap();
    nobody.subscribe("nobody").unwrap();
    let (tell, told) = channel();
    let flood = move |_: &Message, context: &mut Context<'_>| {
        let full = loop {
            match context.broadcast("nobody", "event", json!({})) {
                Ok(_) => {}
                Err(error) => break matches!(error, BroadcastError::Full(_)),
            }
        };
        tell.send((full, sender.send(()))).unwrap();
    };
    let flood = pubsub.subscriber().worker(elsewhere).handler(flood).unwrap();
    flood.subscribe("go").unwrap();
    let blocker = Blocker::new(&pubsub, here);
    blocker.block(&pubsub);
    pubsub.broadcast("go", "go", json!({})).unwrap();
    assert_eq!(told.recv().unwrap(), (true, true), "the outbox is full, and the message is taken");
    blocker.let_go();
    client.assert_push("t", "told", json!({}));
}

#[test]
fn a_shutdown_ends_connections_and_their_channels() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        let mut idle = kit.client();
        kit.endpoint.pubsub().shutdown(Duration::from_secs(10)).unwrap();
        client.assert_closed(Close::Gone);
        idle.assert_closed(Close::Gone);
        let closed = ["anyone room:1 Closed"];
        // On the pool it may still be on its way.
        while kit.log.take() != closed {
            std::thread::yield_now();
        }
        client.push("room:1", "echo", json!({}));
    });
}

#[test]
fn a_join_that_is_decided_when_the_engine_has_ended_ends_the_channel() {
    let _watchdog = watch();
    let (mut gated, entered, go) = Gated::new();
    let (sender, _senders) = channel();
    gated.senders = Some(Mutex::new(sender));
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, Limits::default(), gated);
    let mut client = connect(&endpoint);
    client.join("t", json!({}));
    entered.recv().unwrap();
    endpoint.pubsub().shutdown(Duration::from_secs(10)).unwrap();
    client.assert_closed(Close::Gone);
    go.send(()).unwrap();
    while log.take() != ["Closed"] {
        std::thread::yield_now();
    }
}

#[test]
fn an_endpoint_goes_when_its_connections_have_gone() {
    let _watchdog = watch();
    for inline in [false, true] {
        let Kit { endpoint, refs, .. } = Kit::new(2, inline);
        let mut clients: Vec<Client> =
            (0..4).map(|_| Client::connect(&endpoint, "/socket", json!({ "name": "alice" })).unwrap()).collect();
        clients.iter_mut().for_each(|client| drop(client.join_ok("room:1", json!({}))));
        clients[0].push("room:1", "subscribe", json!({ "topic": "news" }));
        drop(clients);
        drop(endpoint);
        // The socket holds the other end: when it goes the endpoint has gone, and with it the engine.
        assert!(refs.recv().is_err(), "nothing was handed out");
    }
}

#[test]
fn leave_and_join_in_one_breath_leave_one_channel() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        for _ in 0..50 {
            client.leave("room:1");
            client.join("room:1", json!({}));
        }
        client.settle();
        client.send_text(&json!([null, "end", "room:1", "echo", {}]));
        let mut closes: Vec<Value> = Vec::new();
        loop {
            let frame = text(&mut client);
            if frame[1] == "end" {
                break;
            }
            if frame[3] == "phx_close" {
                closes.push(frame[0].clone());
            }
            assert_ne!(frame[3], "phx_error");
        }
        let joins: Vec<Value> = (0..50).map(|n| json!((1 + 2 * n).to_string())).collect();
        assert_eq!(closes, joins, "each join but the last is closed, once and in order");
        kit.endpoint.broadcast("room:1", "shout", json!({})).unwrap();
        expect(&mut client, [json!([null, null, "room:1", "shout", {}])]);
    });
}

#[test]
fn a_message_for_a_channel_that_is_gone_is_refused() {
    let _watchdog = watch();
    for inline in [false, true] {
        let (sender, senders) = channel();
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Sending(Mutex::new(sender)));
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        let sender = senders.recv().unwrap();
        client.leave("t");
        client.settle();
        let value = Arc::new(());
        assert!(!sender.send(value.clone()));
        assert_eq!(Arc::strong_count(&value), 1, "it is not kept");
    }
}

#[test]
fn a_duplicate_join_does_not_wait_for_a_callback_of_the_old_channel() {
    let _watchdog = watch();
    let (gated, entered, go) = Gated::new();
    let log = gated.log.clone();
    let endpoint = endpoint(PubSub::new().unwrap(), false, Limits::default(), gated);
    let mut client = connect(&endpoint);
    client.join_ok("t", json!({}));
    client.push("t", "wait", json!({}));
    entered.recv().unwrap();
    client.push("t", "never handled", json!({}));
    let join = client.join("t", json!({}));
    client.assert_reply(&join, "ok", json!({}));
    assert_eq!(text(&mut client), json!(["1", "1", "t", "phx_close", {}]));
    endpoint.broadcast("t", "event", json!({})).unwrap();
    client.assert_broadcast("t", "event", json!({}));
    go.send(()).unwrap();
    client.assert_nothing();
    assert!(log.take().is_empty(), "the old one is not told");
    assert!(entered.try_recv().is_err(), "what waited for it is not handled");
    let reference = client.push("t", "wait", json!({}));
    go.send(()).unwrap();
    client.assert_reply(&reference, "ok", json!({}));
}

#[test]
fn a_duplicate_join_that_comes_while_a_join_is_decided_comes_after_it() {
    let _watchdog = watch();
    let (mut gated, entered, go) = Gated::new();
    let (sender, _senders) = channel();
    gated.senders = Some(Mutex::new(sender));
    let endpoint = endpoint(PubSub::new().unwrap(), false, Limits::default(), gated);
    let mut client = connect(&endpoint);
    let joins: Vec<String> = (0..3).map(|_| client.join("t", json!({}))).collect();
    entered.recv().unwrap();
    assert_nothing_yet(&mut client);
    (0..3).for_each(|_| go.send(()).unwrap());
    client.assert_reply(&joins[0], "ok", json!({}));
    for pair in joins.windows(2) {
        client.assert_reply(&pair[1], "ok", json!({}));
        assert_eq!(text(&mut client), json!([pair[0], pair[0], "t", "phx_close", {}]));
    }
    client.assert_nothing();
}

/// Nothing has come, though a callback is still in progress.
fn assert_nothing_yet(client: &mut Client) {
    client.send_text(&json!([null, "now", "phoenix", "heartbeat", {}]));
    client.assert_reply("now", "ok", json!({}));
}
