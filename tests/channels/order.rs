//! The order that a client sees: its join, then every broadcast since, and what a callback did in the order of its
//! calls, also when the topic is so large that walks over it are suspended.

use super::scripted::{Script, Shared, connect, endpoint};
use super::text;
use crate::common::{Blocker, Clock, MANY, fill, watch};
use fanfare::channel::test::Client;
use fanfare::channel::{Answer, ChannelSocket, Endpoint, Limits, Terminated};
use fanfare::{Payload, PubSub};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

struct Plain;

impl Script for Plain {}

/// Broadcasts of a publisher that may be on their way.
const BURST: usize = 8;

/// When each broadcast of one publisher was begun and had returned, by its number.
type Spans = Vec<(u64, u64)>;

/// Broadcasts numbers until it is told to stop.
fn storm(endpoint: &Endpoint, publisher: usize, clock: &Clock, stop: &AtomicBool, sent: &AtomicU64) -> Spans {
    let mut spans = Spans::new();
    while !stop.load(Ordering::SeqCst) {
        let payload = json!({ "p": publisher, "n": spans.len() });
        let (span, outcome) = clock.span(|| endpoint.broadcast("t", "event", payload));
        outcome.unwrap();
        spans.push((span.begin, span.end));
        sent.fetch_add(1, Ordering::SeqCst);
        if spans.len().is_multiple_of(BURST) {
            // So that clients, which are slower in a test than a worker, need not hold all of it.
            endpoint.pubsub().flush().unwrap();
        }
    }
    spans
}

/// A join: when it was called, when its reply had been seen, and the broadcasts that came behind the reply.
struct Joined {
    called: u64,
    seen: u64,
    got: Vec<(usize, usize)>,
    /// When the client began to leave.
    left: u64,
}

/// All of these join, are there for some broadcasts, and leave.
fn join_and_leave(clients: &mut [Client], clock: &Clock, sent: &AtomicU64) -> Vec<Joined> {
    let join = |client: &mut Client| (clock.now(), client.join("t", json!({})));
    let called: Vec<(u64, String)> = clients.iter_mut().map(join).collect();
    let seen: Vec<u64> = clients
        .iter_mut()
        .zip(&called)
        .map(|(client, (_, join))| {
            let first = text(client);
            assert_eq!((&first[1], &first[3]), (&json!(join), &json!("phx_reply")), "the reply comes first");
            clock.now()
        })
        .collect();
    let enough = sent.load(Ordering::SeqCst) + 4;
    while sent.load(Ordering::SeqCst) < enough {
        thread::yield_now();
    }
    let leave = |client: &mut Client| {
        let left = clock.now();
        client.leave("t");
        left
    };
    let left: Vec<u64> = clients.iter_mut().map(leave).collect();
    let got: Vec<Vec<(usize, usize)>> = clients.iter_mut().map(read_to_the_close).collect();
    let times = called.into_iter().zip(seen).zip(left).zip(got);
    times.map(|((((called, _), seen), left), got)| Joined { called, seen, got, left }).collect()
}

fn read_to_the_close(client: &mut Client) -> Vec<(usize, usize)> {
    let mut got = Vec::new();
    loop {
        let frame = text(client);
        match frame[3].as_str() {
            Some("event") => got.push((number(&frame, "p"), number(&frame, "n"))),
            Some("phx_reply") => {}
            Some("phx_close") => return got,
            other => panic!("{other:?}"),
        }
    }
}

fn number(frame: &Value, name: &str) -> usize {
    frame[4][name].as_u64().unwrap() as usize
}

fn check(joined: &Joined, storms: &[Spans]) {
    for (publisher, spans) in storms.iter().enumerate() {
        let got: Vec<usize> = joined.got.iter().filter(|got| got.0 == publisher).map(|got| got.1).collect();
        assert!(got.windows(2).all(|pair| pair[1] == pair[0] + 1), "in order, and without a hole: {got:?}");
        for &n in &got {
            assert!(spans[n].1 > joined.called, "{n} had been published before the join was called");
        }
        let must = spans.iter().enumerate().filter(|(_, span)| span.0 > joined.seen && span.1 < joined.left);
        for (n, _) in must {
            assert!(got.contains(&n), "{n} was published while joined, and is missing: {got:?}");
        }
    }
}

#[test]
fn ten_thousand_joins_under_a_storm_see_the_reply_first_and_then_every_broadcast_since() {
    let _watchdog = watch();
    const CLIENTS: usize = 1000;
    const JOINS: usize = 10;
    const THREADS: usize = 4;
    for inline in [false, true] {
        // Half of the joins for each kind of channel.
        let joins = JOINS / 2;
        let pubsub = PubSub::builder().workers(2).build().unwrap();
        let endpoint = endpoint(pubsub, inline, Limits::default(), Plain);
        let (clock, stop, sent) = (Clock::default(), AtomicBool::new(false), AtomicU64::new(0));
        let (joined, storms) = thread::scope(|scope| {
            let publishers: Vec<_> = (0..2)
                .map(|publisher| {
                    let (endpoint, clock, stop, sent) = (&endpoint, &clock, &stop, &sent);
                    scope.spawn(move || storm(endpoint, publisher, clock, stop, sent))
                })
                .collect();
            let joiners: Vec<_> = (0..THREADS)
                .map(|_| {
                    scope.spawn(|| {
                        let mut clients: Vec<Client> = (0..CLIENTS / THREADS).map(|_| connect(&endpoint)).collect();
                        let mut all = Vec::new();
                        for _ in 0..joins {
                            all.extend(join_and_leave(&mut clients, &clock, &sent));
                        }
                        all
                    })
                })
                .collect();
            let joined: Vec<_> = joiners.into_iter().map(|joiner| joiner.join()).collect();
            // Before a failure is looked at: the publishers would go on for ever.
            stop.store(true, Ordering::SeqCst);
            let joined: Vec<Joined> = joined.into_iter().flat_map(|joined| joined.unwrap()).collect();
            let storms: Vec<Spans> = publishers.into_iter().map(|publisher| publisher.join().unwrap()).collect();
            (joined, storms)
        });
        assert_eq!(joined.len(), CLIENTS * joins);
        joined.iter().for_each(|joined| check(joined, &storms));
        assert!(joined.iter().all(|joined| !joined.got.is_empty()), "all were there for some of the storm");
    }
}

/// Broadcasts, and then pushes or replies.
struct Talking;

impl Script for Talking {
    fn handle_in(&self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        let topic = if event == "elsewhere" { "other" } else { "t" };
        socket.endpoint().broadcast(topic, "event", payload.clone()).unwrap();
        socket.push("push", payload.clone()).unwrap();
        socket.endpoint().broadcast(topic, "event", payload.clone()).unwrap();
        Answer::ok(payload.clone())
    }
}

/// Broadcasts at its end.
struct LastWords;

impl Script for LastWords {
    fn terminate(&self, _: &Terminated, socket: &mut ChannelSocket<'_, Shared>) {
        socket.broadcast("event", json!({})).unwrap();
    }
}

#[test]
fn no_broadcast_comes_behind_the_close() {
    let _watchdog = watch();
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), LastWords);
        let (mut client, mut other) = (connect(&endpoint), connect(&endpoint));
        client.join_ok("t", json!({}));
        other.join_ok("t", json!({}));
        let leave = client.leave("t");
        client.assert_reply(&leave, "ok", json!({}));
        client.assert_ended("t", "phx_close");
        client.assert_nothing();
        other.assert_broadcast("t", "event", json!({}));
    }
}

#[test]
fn no_broadcast_comes_between_a_duplicate_join_and_its_reply() {
    let _watchdog = watch();
    for inline in [false, true] {
        let pubsub = PubSub::builder().workers(1).build().unwrap();
        let endpoint = endpoint(pubsub.clone(), inline, Limits::default(), Plain);
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        let blocker = Blocker::new(&pubsub, 0);
        blocker.block(&pubsub);
        endpoint.broadcast("t", "before", json!({})).unwrap();
        let join = client.join("t", json!({}));
        endpoint.broadcast("t", "between", json!({})).unwrap();
        blocker.let_go();
        client.assert_broadcast("t", "before", json!({}));
        client.assert_reply(&join, "ok", json!({}));
        let close = text(&mut client);
        assert_eq!((&close[0], &close[3]), (&json!("1"), &json!("phx_close")));
        client.assert_nothing();
    }
}

fn broadcasts_keep_their_place(endpoint: &Endpoint, topic: &str, event: &str) {
    let mut clients = [connect(endpoint), connect(endpoint)];
    for client in &mut clients {
        client.join_ok("t", json!({}));
        client.join_ok("other", json!({}));
    }
    let [client, _] = &mut clients;
    let pushes: Vec<String> = (0..50).map(|n| client.push("t", event, json!({ "n": n }))).collect();
    for (n, reference) in pushes.iter().enumerate() {
        let payload = json!({ "n": n });
        client.assert_broadcast(topic, "event", payload.clone());
        client.assert_push("t", "push", payload.clone());
        client.assert_broadcast(topic, "event", payload.clone());
        client.assert_reply(reference, "ok", payload);
    }
    client.assert_nothing();
}

#[test]
fn a_broadcast_comes_before_the_push_and_the_reply_that_were_made_after_it() {
    let _watchdog = watch();
    for inline in [false, true] {
        for workers in [1, 2] {
            let pubsub = PubSub::builder().workers(workers).build().unwrap();
            let endpoint = endpoint(pubsub, inline, Limits::default(), Talking);
            broadcasts_keep_their_place(&endpoint, "t", "here");
            broadcasts_keep_their_place(&endpoint, "other", "elsewhere");
        }
    }
}

#[test]
fn so_it_does_when_the_topic_is_so_large_that_walks_are_suspended() {
    let _watchdog = watch();
    for inline in [false, true] {
        let pubsub = PubSub::builder().workers(1).build().unwrap();
        let endpoint = endpoint(pubsub.clone(), inline, Limits::default(), Talking);
        // The client comes last in the walk.
        let _members = fill(&pubsub, 0, &["t", "other"], MANY);
        pubsub.flush().unwrap();
        broadcasts_keep_their_place(&endpoint, "t", "here");
        broadcasts_keep_their_place(&endpoint, "other", "elsewhere");
    }
}
