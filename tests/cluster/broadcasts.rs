//! Broadcasts between nodes.

use super::common::watch;
use super::{
    Cloud, Hub, Loss, Outcome, Payload, PubSub, Subscriber, TOPIC, node, number, number_of, numbers, subscriber,
};
use fanfare::channel::test::Client;
use fanfare::channel::{
    Channel, Close, Connect, ConnectInfo, Endpoint, Flow, Info, JoinResult, Joining, Params, Router, Socket,
};
use fanfare::cluster::{Health, StartError};
use fanfare::{BroadcastError, ConfigError, EncodeError};
use serde::ser::Error as _;
use serde_json::json;
use std::any::Any;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

#[test]
fn a_broadcast_reaches_all_nodes_once_and_in_order() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let nodes = ["a", "b", "c"].map(|name| cloud.node(name));
        let mut all: Vec<_> = nodes.iter().map(|node| subscriber(node, &["t"])).collect();
        for n in 0..2_000 {
            assert_eq!(nodes[0].broadcast("t", "n", number(n)).unwrap(), Outcome::Sent);
        }
        for subscriber in &mut all {
            assert_eq!(numbers(subscriber, 2_000), (0..2_000).collect::<Vec<_>>());
        }
        // Nothing comes twice: the next of each is the next that is sent.
        nodes[2].topic("t").unwrap().broadcast("n", number(7)).unwrap();
        all.iter_mut().for_each(|subscriber| assert_eq!(numbers(subscriber, 1), [7]));
        let stats = nodes[1].cluster_stats().unwrap();
        assert_eq!((stats.broadcasts_received, stats.packets_lost, stats.packets_late), (2_001, 0, 0));
        assert_eq!(stats.health, Health::Ready);
    });
}

#[test]
fn each_publisher_keeps_its_order() {
    const EACH: u64 = 1_000;
    let _watch = watch();
    Cloud::each(|cloud| {
        let [a, b] = ["a", "b"].map(|name| cloud.node(name));
        let mut there = subscriber(&b, &["t"]);
        std::thread::scope(|scope| {
            for publisher in 0..4 {
                let a = &a;
                scope.spawn(move || {
                    (0..EACH).for_each(|n| assert!(a.broadcast("t", "n", number(publisher * EACH + n)).is_ok()));
                });
            }
        });
        let got = numbers(&mut there, 4 * EACH as usize);
        for publisher in 0..4 {
            let of: Vec<u64> = got.iter().copied().filter(|n| n / EACH == publisher).map(|n| n % EACH).collect();
            assert_eq!(of, (0..EACH).collect::<Vec<_>>());
        }
    });
}

#[test]
fn who_is_to_get_it_is_asked_for() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let [a, b, c] = ["a", "b", "c"].map(|name| cloud.node(name));
        let [mut here, mut there, mut elsewhere] = [&a, &b, &c].map(|node| subscriber(node, &["t"]));
        let me = here.id();
        a.local_broadcast("t", "local", number(1)).unwrap();
        a.local_broadcast_from(me, "t", "local", number(2)).unwrap();
        a.broadcast_from(me, "t", "from", number(3)).unwrap();
        assert_eq!(a.direct_broadcast("b", "t", "direct", number(4)).unwrap(), Outcome::Sent);
        assert_eq!(a.direct_broadcast("a", "t", "direct", number(5)).unwrap(), Outcome::Sent);
        assert_eq!(a.direct_broadcast("nobody", "t", "direct", number(6)).unwrap(), Outcome::Sent, "it is lost");
        assert_eq!(numbers(&mut here, 2), [1, 5]);
        // What is sent to one node has an order of its own.
        let mut got = numbers(&mut there, 2);
        got.sort_unstable();
        assert_eq!(got, [3, 4]);
        assert_eq!(numbers(&mut elsewhere, 1), [3]);
        b.broadcast("t", "last", number(9)).unwrap();
        for subscriber in [&mut here, &mut there, &mut elsewhere] {
            assert_eq!(numbers(subscriber, 1), [9]);
        }
    });
}

#[test]
fn payloads_come_as_they_were() {
    struct Unwritable;
    impl serde::Serialize for Unwritable {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("never"))
        }
    }
    let _watch = watch();
    Cloud::each(|cloud| {
        let [a, b] = ["a", "b"].map(|name| cloud.node(name));
        let (mut here, mut there) = (subscriber(&a, &["t"]), subscriber(&b, &["t"]));
        // It can't go to all, so it goes to nobody.
        let refused = a.broadcast("t", "never", Payload::typed(Unwritable)).unwrap_err();
        assert!(matches!(refused, BroadcastError::Encode(EncodeError::Failed(_))), "{refused}");
        let large = vec![0xa5; 5 << 20];
        a.broadcast("t", "typed", json!({ "a": [1] })).unwrap();
        a.broadcast("t", "large", Payload::binary(large.clone())).unwrap();
        a.broadcast("t", "binary", Payload::binary(vec![0, 0xff])).unwrap();
        assert_eq!(here.recv().unwrap().event(), "typed");
        let typed = there.recv().unwrap();
        assert_eq!(
            (typed.event(), typed.payload().parse::<serde_json::Value>().unwrap()),
            ("typed", json!({ "a": [1] }))
        );
        // More than one payload of the cluster can hold, in pieces.
        assert!(there.recv().unwrap().payload().bytes().is_some_and(|bytes| *bytes == large));
        let binary = there.recv().unwrap();
        assert!(matches!(binary.payload(), Payload::Binary(bytes) if bytes[..] == [0, 0xff]));
        let too_long = a.broadcast("t", "x", Payload::binary(vec![0; (64 << 20) + 1])).unwrap_err();
        assert!(matches!(too_long, BroadcastError::TooLong { .. }), "{too_long}");
    });
}

/// The next that a node is told by this event and that is one of those.
fn told_of<T: Any + Clone>(told: &mut Subscriber, event: &str, is_it: impl Fn(&T) -> bool) -> T {
    loop {
        let message = told.recv().unwrap();
        if let Some(what) = message.downcast_ref::<T>().filter(|what| message.event() == event && is_it(what)) {
            return what.clone();
        }
    }
}

#[test]
fn what_is_lost_is_seen() {
    let _watch = watch();
    let hub = Hub::new();
    let [a, b, c] = ["a", "b", "c"].map(|name| node(&hub, name));
    let (mut told, mut there, mut elsewhere) =
        (subscriber(&b, &[TOPIC]), subscriber(&b, &["t"]), subscriber(&c, &["t"]));
    for n in 1..=4 {
        if n == 2 || n == 4 {
            hub.lose("b", 1);
        }
        a.broadcast("t", "n", number(n)).unwrap();
        // One packet each: the next is made when this one has come.
        assert_eq!(numbers(&mut elsewhere, 1), [n]);
    }
    assert_eq!(numbers(&mut there, 2), [1, 3]);
    // The last one of all is missed too, once the partition has been silent for a while.
    for lost in 1..=2 {
        let loss: Loss = told_of(&mut told, "lost", |_| true);
        assert_eq!((&*loss.node, loss.packets), ("a", 1));
        assert!(b.cluster_stats().unwrap().packets_lost >= lost);
    }
    assert_eq!(c.cluster_stats().unwrap().packets_lost, 0);
}

#[test]
fn a_node_that_is_cut_off_serves_its_own_and_catches_up() {
    let _watch = watch();
    let hub = Hub::new();
    let [a, b] = ["a", "b"].map(|name| node(&hub, name));
    let mut told = subscriber(&a, &[TOPIC]);
    let (mut here, mut there) = (subscriber(&a, &["t"]), subscriber(&b, &["t"]));
    hub.cut("a");
    told_of(&mut told, "health", |health| matches!(health, Health::Connecting { .. }));
    for n in 0..100 {
        assert_eq!(a.broadcast("t", "n", number(n)).unwrap(), Outcome::Buffered);
    }
    assert_eq!(numbers(&mut here, 100), (0..100).collect::<Vec<_>>());
    hub.heal("a");
    told_of(&mut told, "health", |health: &Health| *health == Health::Ready);
    assert_eq!(numbers(&mut there, 100), (0..100).collect::<Vec<_>>());
    assert_eq!(b.cluster_stats().unwrap().packets_lost, 0);
}

#[test]
fn what_was_accepted_leaves_before_the_end() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let [a, b] = ["a", "b"].map(|name| cloud.node(name));
        let mut there = subscriber(&b, &["t"]);
        (0..500).for_each(|n| assert!(a.broadcast("t", "n", number(n)).is_ok()));
        a.shutdown(Duration::from_secs(10)).unwrap();
        assert!(matches!(a.broadcast("t", "n", number(0)), Err(BroadcastError::Closed)));
        assert!(matches!(a.direct_broadcast("b", "t", "n", number(0)), Err(BroadcastError::Closed)));
        assert_eq!(numbers(&mut there, 500), (0..500).collect::<Vec<_>>());
        assert_eq!(a.cluster_stats().unwrap().health, Health::Stopped);
        // Its place is free again.
        let a = cloud.node("a");
        a.broadcast("t", "n", number(1)).unwrap();
        assert_eq!(numbers(&mut there, 1), [1]);
        drop(b);
    });
}

#[test]
fn a_cluster_that_does_not_start_is_refused() {
    let _watch = watch();
    let hub = Hub::new();
    let build = |name: &str, place| PubSub::builder().node(name).cluster(place).build();
    let refused = build(&"n".repeat(256), hub.join("a")).unwrap_err();
    assert!(matches!(refused, ConfigError::Cluster(StartError::Node { bytes: 256 })), "{refused}");
    let place = hub.join("a");
    let first = build(&"n".repeat(255), place.clone()).unwrap();
    assert!(matches!(build("a", place).unwrap_err(), ConfigError::Cluster(StartError::Started)));
    assert_eq!(first.cluster_stats().unwrap().health, Health::Ready);
}

#[test]
fn a_handler_broadcasts_to_other_nodes() {
    struct Echo;
    impl fanfare::Handler for Echo {
        fn on_message(&mut self, message: &fanfare::Message, context: &mut fanfare::Context<'_>) {
            let payload = message.payload().clone();
            assert!(context.broadcast("answers", "n", payload).is_ok());
        }
    }
    let _watch = watch();
    Cloud::each(|cloud| {
        let [a, b] = ["a", "b"].map(|name| cloud.node(name));
        let echo = a.subscriber().handler(Echo).unwrap();
        echo.subscribe("questions").unwrap();
        let mut answers = subscriber(&b, &["answers"]);
        b.broadcast("questions", "n", number(5)).unwrap();
        assert_eq!(number_of(&answers.recv().unwrap()), 5);
    });
}

struct Anyone;

impl Socket for Anyone {
    type Assigns = ();

    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
        Connect::Accept(())
    }

    fn id(&self, (): &()) -> Option<String> {
        Some("users_socket:1".to_owned())
    }
}

/// Tells which raw messages it gets.
struct Room(Sender<String>);

impl Channel for Room {
    type Assigns = ();

    fn join(_: &str, _: &Payload, socket: &mut Joining<'_, ()>) -> JoinResult<Self> {
        Ok(Room(socket.route_assigns::<Sender<String>>().unwrap().clone()).into())
    }

    fn handle_info(&mut self, info: Info, _: &mut fanfare::channel::ChannelSocket<'_, ()>) -> Flow {
        if let Info::Message(message) = info {
            self.0.send(message.event().to_owned()).unwrap();
        }
        Flow::Continue
    }
}

#[test]
fn clients_of_other_nodes_get_what_endpoints_broadcast() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let (sender, raw) = channel::<String>();
        let [a, b] = ["a", "b"].map(|name| {
            let router = Router::new().channel_with::<Room, _>("room:*", sender.clone()).unwrap();
            Endpoint::builder(cloud.node(name)).socket("/socket", Anyone, router).build()
        });
        let mut client = Client::connect(&b, "/socket", json!({})).unwrap();
        client.join_ok("room:1", json!({}));
        a.pubsub().broadcast("room:1", "raw", json!({})).unwrap();
        assert_eq!(raw.recv().unwrap(), "raw", "it is for the channel");
        a.local_broadcast("room:1", "local", json!({})).unwrap();
        a.broadcast("room:1", "new_msg", json!({ "n": 1 })).unwrap();
        client.assert_broadcast("room:1", "new_msg", json!({ "n": 1 }));
        a.disconnect("users_socket:1").unwrap();
        client.assert_closed(Close::Disconnected);
    });
}
