//! Presence between nodes.

use super::common::watch;
use super::{Cloud, Hub, PubSub, TOPIC, subscriber};
use fanfare::Subscriber;
use fanfare::presence::{BuildError, GossipOptions, Owner, Presence};
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

pub(crate) const ROOM: &str = "room:1";

/// Everything is told soon, and nobody is waited for long.
fn options() -> GossipOptions {
    GossipOptions {
        broadcast_period: Duration::from_millis(20),
        max_silent_periods: 2,
        clock_sample_periods: 2,
        down_period: Duration::from_millis(400),
        permdown_period: Duration::from_secs(60),
        ..GossipOptions::default()
    }
}

/// A node with presence.
pub(crate) struct Node {
    pub presence: Presence,
    /// Of what changes in the room, and of what is told of other nodes.
    pub room: Subscriber,
    nodes: Subscriber,
    pub pubsub: PubSub,
}

impl Node {
    fn new(hub: &Hub, name: &str) -> Self {
        Node::on(super::node(hub, name), true)
    }

    pub(crate) fn on(pubsub: PubSub, goodbye: bool) -> Self {
        let builder = Presence::builder().gossip(options()).goodbye(goodbye).diff_period(Duration::from_millis(1));
        // First: some of what is told is told once.
        let (room, nodes) = (subscriber(&pubsub, &[ROOM]), subscriber(&pubsub, &[TOPIC]));
        let presence = builder.start(&pubsub).unwrap();
        Node { presence, room, nodes, pubsub }
    }

    /// Who is there, and by which refs.
    pub(crate) fn sees(&self) -> BTreeMap<String, Vec<String>> {
        let list = self.presence.list(ROOM);
        let refs = list.iter().map(|(key, metas)| {
            let mut refs: Vec<String> = metas.map(|meta| meta.json().to_owned()).collect();
            refs.sort();
            (key.to_owned(), refs)
        });
        refs.collect()
    }

    /// Waits until it sees those keys, each as often as it is named: each change of what it sees is told.
    pub(crate) fn wait_for(&mut self, keys: &[&str]) {
        let mut expected = BTreeMap::<String, usize>::new();
        keys.iter().for_each(|key| *expected.entry((*key).to_owned()).or_default() += 1);
        self.wait_until(|node| {
            let seen: BTreeMap<String, usize> =
                node.sees().into_iter().map(|(key, metas)| (key, metas.len())).collect();
            seen == expected
        });
    }

    pub(crate) fn wait_until(&mut self, is: impl Fn(&Node) -> bool) {
        while !is(self) {
            self.room.recv().unwrap();
        }
    }

    /// Waits until this is told of a node.
    pub(crate) fn wait_told(&mut self, event: &str, name: &str) {
        loop {
            let message = self.nodes.recv().unwrap();
            if message.event() == event {
                assert_eq!(message.downcast_ref::<std::sync::Arc<str>>().map(|text| &**text), Some(name));
                return;
            }
        }
    }
}

/// `ann` and `ben` on one node, `cat` on the other, and both know.
pub(crate) fn two_here_and_one_there(a: &mut Node, b: &mut Node) -> [Owner; 3] {
    let [ann, ben, cat] = [Owner::new(), Owner::new(), Owner::new()];
    a.presence.track((&ann, ROOM), "ann", json!({})).unwrap();
    a.presence.track((&ben, ROOM), "ben", json!({})).unwrap();
    b.presence.track((&cat, ROOM), "cat", json!({})).unwrap();
    a.wait_for(&["ann", "ben", "cat"]);
    b.wait_for(&["ann", "ben", "cat"]);
    [ann, ben, cat]
}

#[test]
fn who_is_present_on_one_node_is_seen_on_all() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let [mut a, mut b, mut c] = ["a", "b", "c"].map(|name| Node::on(cloud.node(name), true));
        let (ann, ben) = (Owner::new(), Owner::new());
        a.presence.track((&ann, ROOM), "ann", json!({ "n": 1 })).unwrap();
        b.presence.track((&ben, ROOM), "ben", json!({})).unwrap();
        let tab = Owner::new();
        c.presence.track((&tab, ROOM), "ann", json!({})).unwrap();
        for node in [&mut a, &mut b, &mut c] {
            node.wait_for(&["ann", "ann", "ben"]);
        }
        assert_eq!(a.sees(), b.sees());
        assert_eq!(a.sees(), c.sees());

        // An update is one meta in the place of another, everywhere.
        let old = b.presence.get_by_key(ROOM, "ann").unwrap().iter().map(|meta| meta.phx_ref()).collect::<Vec<_>>();
        let new = a.presence.update((&ann, ROOM), "ann", json!({ "n": 2 })).unwrap();
        b.wait_until(|b| b.sees()["ann"].iter().any(|meta| meta.contains(new.as_str())));
        b.wait_for(&["ann", "ann", "ben"]);
        let metas = b.presence.get_by_key(ROOM, "ann").unwrap();
        let updated = metas.iter().find(|meta| meta.phx_ref() == new).unwrap();
        assert!(updated.is_remote() && old.contains(&updated.phx_ref_prev().unwrap()));
        assert!(!b.presence.get_by_key(ROOM, "ben").unwrap()[0].is_remote());

        drop(tab);
        assert!(b.presence.untrack((&ben, ROOM), "ben"));
        for node in [&mut a, &mut b, &mut c] {
            node.wait_for(&["ann"]);
        }
    });
}

#[test]
fn a_node_that_comes_late_gets_all() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let mut a = Node::on(cloud.node("a"), true);
        let owners: Vec<Owner> = (0..3_000).map(|_| Owner::new()).collect();
        let meta = json!({ "text": "x".repeat(500) });
        for (n, owner) in owners.iter().enumerate() {
            a.presence.track((owner, ROOM), &n.to_string(), &meta).unwrap();
        }
        a.presence.flush().unwrap();
        // More than one payload of the cluster can hold.
        let mut b = Node::on(cloud.node("b"), true);
        b.wait_until(|b| b.presence.count(ROOM) == 3_000);
        assert_eq!(a.sees(), b.sees());
        drop(owners);
        b.wait_for(&[]);
        a.wait_for(&[]);
    });
}

#[test]
fn a_node_that_ends_in_order_leaves_at_once() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let (a, mut b) = (Node::on(cloud.node("a"), true), Node::on(cloud.node("b"), true));
        let ann = Owner::new();
        a.presence.track((&ann, ROOM), "ann", json!({})).unwrap();
        b.wait_for(&["ann"]);
        let Node { presence, pubsub, room, nodes } = a;
        drop((presence, room, nodes));
        b.wait_told("node_forgotten", "a");
        b.wait_for(&[]);
        pubsub.shutdown(Duration::from_secs(10)).unwrap();
        // The next life of it is another node, and begins with nothing.
        let a = Node::on(cloud.node("a"), true);
        a.presence.track((&ann, ROOM), "again", json!({})).unwrap();
        b.wait_for(&["again"]);
        drop(a);
    });
}

/// A program that ends shuts down its presence and then its engine: goodbye is said between the two.
#[test]
fn a_presence_that_is_shut_down_has_said_goodbye() {
    const LIVES: usize = 30;
    let _watch = watch();
    let hub = Hub::new();
    let mut b = Node::new(&hub, "b");
    for life in 0..LIVES {
        let a = Node::new(&hub, "a");
        b.wait_told("node_up", "a");
        a.presence.shutdown();
        a.pubsub.shutdown(Duration::from_secs(1)).unwrap();
        // Who says goodbye is forgotten as soon as it is down; who falls silent, much later.
        b.wait_told("node_down", "a");
        let next = b.nodes.recv_timeout(Duration::from_secs(5)).expect("it has said goodbye");
        assert_eq!(next.event(), "node_forgotten", "life {life}");
    }
}

#[test]
fn a_node_that_falls_silent_leaves_and_comes_back_as_it_is() {
    let _watch = watch();
    let hub = Hub::new();
    let (mut a, mut b) = (Node::new(&hub, "a"), Node::new(&hub, "b"));
    let [_ann, ben, _cat] = two_here_and_one_there(&mut a, &mut b);
    hub.cut("a");
    b.wait_told("node_down", "a");
    b.wait_for(&["cat"]);
    a.wait_for(&["ann", "ben"]);
    // What changes meanwhile is told as it is in the end: who has left does not come back for a moment.
    a.presence.untrack((&ben, ROOM), "ben");
    a.presence.flush().unwrap();
    let mut watcher = subscriber(&b.pubsub, &[ROOM]);
    hub.heal("a");
    b.wait_told("node_up", "a");
    b.wait_for(&["ann", "cat"]);
    a.wait_for(&["ann", "cat"]);
    b.presence.flush().unwrap();
    b.pubsub.flush().unwrap();
    let mut joined = Vec::new();
    while let Ok(message) = watcher.try_recv() {
        let diff: &fanfare::presence::Diff = message.downcast_ref().unwrap();
        joined.extend(diff.joins().iter().map(|present| present.key().to_owned()));
    }
    assert_eq!(joined, ["ann"]);
}

#[test]
fn a_node_that_crashes_is_gone_after_a_while() {
    let _watch = watch();
    let hub = Hub::new();
    let a = Node::on(super::node(&hub, "a"), false);
    let mut b = Node::new(&hub, "b");
    let ann = Owner::new();
    a.presence.track((&ann, ROOM), "ann", json!({})).unwrap();
    b.wait_for(&["ann"]);
    // Without a goodbye an end is a crash, as far as others can tell.
    drop(a);
    b.wait_told("node_down", "a");
    b.wait_for(&[]);
}

#[test]
fn views_agree_when_the_network_is_whole_again() {
    const STEPS: u64 = 400;
    let _watch = watch();
    let hub = Hub::new();
    let mut nodes = ["a", "b", "c"].map(|name| Node::new(&hub, name));
    let owner = Owner::new();
    let mut state = 7_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    for step in 0..STEPS {
        let node = &nodes[random(3) as usize];
        let key = random(20).to_string();
        let place = (&owner, ROOM);
        match random(10) {
            0..=4 => drop(node.presence.track(place, &key, json!({ "step": step }))),
            5 | 6 => drop(node.presence.update(place, &key, json!({ "step": step }))),
            _ => drop(node.presence.untrack(place, &key)),
        }
        if step % 10 == 0 {
            nodes.iter().for_each(|node| node.presence.flush().unwrap());
        }
        match random(40) {
            0 => hub.cut(["a", "b", "c"][random(3) as usize]),
            1 | 2 => ["a", "b", "c"].iter().for_each(|node| hub.heal(node)),
            3..=6 => hub.lose(["a", "b", "c"][random(3) as usize], 2),
            _ => {}
        }
    }
    ["a", "b", "c"].iter().for_each(|node| hub.heal(node));
    // One owner on three nodes: each node has presences of its own, and there are some.
    let own = |node: &Node| -> Vec<String> {
        let list = node.presence.list(ROOM);
        let metas = list.iter().flat_map(|(_, metas)| metas.filter(|meta| !meta.is_remote()));
        metas.map(|meta| meta.json().to_owned()).collect()
    };
    let mut truth: Vec<String> = nodes.iter().flat_map(own).collect();
    truth.sort();
    assert!(truth.len() > 10, "{truth:?}");
    let all = |node: &Node| {
        let mut all: Vec<String> = node.sees().into_values().flatten().collect();
        all.sort();
        all
    };
    for node in &mut nodes {
        node.wait_until(|node| all(node) == truth);
    }
}

#[test]
fn a_new_node_gets_more_than_fits_into_a_message() {
    const KEYS: usize = 9_000;
    let _watch = watch();
    Cloud::each(|cloud| {
        let a = Node::on(cloud.node("a"), true);
        let owner = Owner::new();
        // 72 MB in all.
        let meta = json!({ "of": "x".repeat(8_000) });
        for key in 0..KEYS {
            a.presence.track((&owner, ROOM), &key.to_string(), &meta).unwrap();
        }
        let mut b = Node::on(cloud.node("b"), true);
        b.wait_until(|node| node.presence.count(ROOM) == KEYS);
        let stats = b.pubsub.cluster_stats().unwrap();
        assert_eq!((stats.packets_overflowed, stats.packets_unreadable), (0, 0));
        assert!(stats.bytes_received > 64 << 20);
    });
}

#[test]
fn one_presence_of_an_engine_is_replicated() {
    let _watch = watch();
    let hub = Hub::new();
    let pubsub = super::node(&hub, "a");
    let one = Presence::builder().start(&pubsub).unwrap();
    assert!(matches!(Presence::builder().start(&pubsub), Err(BuildError::Replicated)));
    drop(one);
    let wrong = GossipOptions { broadcast_period: Duration::ZERO, ..GossipOptions::default() };
    assert!(matches!(Presence::builder().gossip(wrong).start(&pubsub), Err(BuildError::Gossip(_))));
}
