//! NATS, the real server: what befalls it, and the links to it.

use super::common::watch;
use super::presence::{Node, ROOM, two_here_and_one_there};
use super::{Outcome, TOPIC, build, number, numbers, subscriber};
use fanfare::cluster::{Health, Nats, NatsBuilder, StartError};
use fanfare::presence::Owner;
use fanfare::{ConfigError, Payload, PubSub, Subscriber};
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

#[path = "../common/nats.rs"]
mod server;

pub(crate) use server::{Proxy, Server};

/// A node's way to the server.
pub(crate) fn cluster(server: &Server) -> Nats {
    at(server.address())
}

fn at(address: SocketAddr) -> Nats {
    to(address).build().unwrap()
}

fn to(address: SocketAddr) -> NatsBuilder {
    // Who is away comes back soon.
    Nats::builder(format!("nats://{address}")).reconnect_delay_max(Duration::from_millis(50))
}

/// Waits until a node is told that the server is there, or that it is away.
fn wait_ready(told: &mut Subscriber, is_ready: bool) {
    let is_it = |health: &Health| (*health == Health::Ready) == is_ready;
    while !told.recv().unwrap().downcast_ref().is_some_and(is_it) {}
}

fn told(node: &PubSub) -> Subscriber {
    subscriber(node, &[TOPIC])
}

#[test]
fn what_is_broadcast_while_the_server_is_away_comes_when_it_is_back() {
    let _watch = watch();
    let mut server = Server::start("");
    let [a, b] = ["a", "b"].map(|name| build(name, cluster(&server)));
    let (mut told_a, mut told_b) = (told(&a), told(&b));
    let (mut here, mut there) = (subscriber(&a, &["t"]), subscriber(&b, &["t"]));
    assert_eq!(a.broadcast("t", "n", number(0)).unwrap(), Outcome::Sent);
    assert_eq!(numbers(&mut there, 1), [0]);
    server.kill();
    wait_ready(&mut told_a, false);
    wait_ready(&mut told_b, false);
    for n in 1..=200 {
        assert_eq!(a.broadcast("t", "n", number(n)).unwrap(), Outcome::Buffered);
    }
    // Its own are served whatever becomes of the server.
    assert_eq!(numbers(&mut here, 201), (0..=200).collect::<Vec<_>>());
    server.restart("");
    wait_ready(&mut told_b, true);
    wait_ready(&mut told_a, true);
    // Those that `b` could not be told yet are lost, and it knows how many; the rest comes in order.
    a.broadcast("t", "n", number(201)).unwrap();
    let mut got = vec![];
    while got.last() != Some(&201) {
        got.extend(numbers(&mut there, 1));
    }
    assert!(got.is_sorted_by(|a, b| a < b), "{got:?}");
    let stats = b.cluster_stats().unwrap();
    assert!(got.len() == 201 || stats.packets_lost > 0, "{got:?} {stats:?}");
}

#[test]
fn a_node_starts_without_the_server() {
    let _watch = watch();
    let mut server = Server::start("");
    server.kill();
    let a = build("a", to(server.address()).buffer_bytes_max(10_000).build().unwrap());
    assert!(matches!(a.cluster_stats().unwrap().health, Health::Connecting { .. }));
    let mut told = told(&a);
    let mut here = subscriber(&a, &["t"]);
    let mut outcomes = Vec::new();
    while outcomes.last() != Some(&Outcome::ClusterDown) && outcomes.len() < 1_000_000 {
        outcomes.push(a.broadcast("t", "n", Payload::binary(vec![0; 100_000])).unwrap());
        here.recv().unwrap();
    }
    assert_eq!(outcomes[0], Outcome::Buffered);
    assert_eq!(outcomes.last(), Some(&Outcome::ClusterDown), "the buffer is bounded");
    server.restart("");
    wait_ready(&mut told, true);
    let b = build("b", cluster(&server));
    let mut there = subscriber(&b, &["u"]);
    assert_eq!(a.broadcast("u", "n", number(1)).unwrap(), Outcome::Sent);
    assert_eq!(numbers(&mut there, 1), [1]);
}

#[test]
fn a_link_that_is_cut_heals_with_presences_as_they_are() {
    let _watch = watch();
    let server = Server::start("");
    let proxy = Proxy::to(server.address());
    let mut a = Node::on(build("a", at(proxy.address())), true);
    let mut b = Node::on(build("b", cluster(&server)), true);
    let [_ann, ben, _cat] = two_here_and_one_there(&mut a, &mut b);
    proxy.cut();
    b.wait_told("node_down", "a");
    b.wait_for(&["cat"]);
    a.wait_for(&["ann", "ben"]);
    a.presence.untrack((&ben, ROOM), "ben");
    proxy.heal();
    b.wait_for(&["ann", "cat"]);
    a.wait_for(&["ann", "cat"]);
}

#[test]
fn nodes_of_other_prefixes_are_not_seen() {
    let _watch = watch();
    let server = Server::start("");
    let [a, b] = ["x", "y"].map(|prefix| build("a", to(server.address()).prefix(prefix).build().unwrap()));
    let c = build("b.*", to(server.address()).prefix("x").build().unwrap());
    let (mut there, mut elsewhere) = (subscriber(&c, &["t"]), subscriber(&b, &["t"]));
    a.broadcast("t", "n", number(1)).unwrap();
    a.direct_broadcast("b.*", "t", "n", number(2)).unwrap();
    let mut got = numbers(&mut there, 2);
    got.sort_unstable();
    assert_eq!(got, [1, 2]);
    b.local_broadcast("t", "n", number(3)).unwrap();
    assert_eq!(numbers(&mut elsewhere, 1), [3]);
}

#[test]
fn who_is_not_admitted_does_not_start() {
    let _watch = watch();
    let server = Server::start("authorization { user: me, password: secret }");
    let as_me = |password: &str| to(server.address()).user_and_password("me", password).build().unwrap();
    let a = build("a", as_me("secret"));
    assert_eq!(a.cluster_stats().unwrap().health, Health::Ready);
    let refused = PubSub::builder().node("b").cluster(as_me("wrong")).build().unwrap_err();
    assert!(matches!(refused, ConfigError::Cluster(StartError::Refused(_))), "{refused}");
}

#[test]
fn of_two_that_live_under_one_name_the_younger_is_told() {
    let _watch = watch();
    let server = Server::start("");
    let mut elder = Node::on(build("a", cluster(&server)), true);
    let mut other = Node::on(build("b", cluster(&server)), true);
    other.wait_told("node_up", "a");
    let mut younger = Node::on(build("a", cluster(&server)), true);
    younger.wait_told("name_taken", "a");
    assert!(younger.pubsub.cluster_stats().unwrap().is_name_taken);
    assert!(!elder.pubsub.cluster_stats().unwrap().is_name_taken);
    // The others heed the younger until it goes, and then the elder again.
    let ann = Owner::new();
    elder.presence.track((&ann, ROOM), "ann", json!({})).unwrap();
    elder.wait_for(&["ann"]);
    younger.presence.shutdown();
    other.wait_for(&["ann"]);
}

/// Random faults for so many seconds, by a seed: more of them by `cargo xtask soak`.
#[test]
fn views_agree_after_whatever_has_befallen() {
    let number_of = |name: &str, default: u64| std::env::var(name).map_or(default, |text| text.parse().unwrap());
    let (seconds, seed) = (number_of("FANFARE_SOAK_SECONDS", 4), number_of("FANFARE_SOAK_SEED", 1));
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut soak = Soak::new(seed);
    // In pieces, each of which must end well.
    while Instant::now() < end {
        let _watch = watch();
        let piece = Instant::now() + Duration::from_secs(10);
        while Instant::now() < piece.min(end) {
            soak.step();
        }
        soak.settle();
    }
    println!("seed {seed}: {}", soak.said());
}

/// Nodes, each by a link of its own, and what befalls them.
struct Soak {
    server: Server,
    nodes: Vec<Life>,
    random: u64,
    lives: u64,
    counts: [u64; 7],
}

struct Life {
    name: String,
    proxy: Proxy,
    node: Node,
    owner: Owner,
    /// Numbers of broadcasts: which life, and which of its own.
    said: u64,
    heard: Subscriber,
    last: BTreeMap<u64, u64>,
}

const LIFE: u64 = 1 << 32;

impl Soak {
    fn new(seed: u64) -> Self {
        let server = Server::start("");
        let mut soak = Soak { server, nodes: Vec::new(), random: seed, lives: 0, counts: [0; 7] };
        for name in ["a", "b", "c"] {
            let proxy = Proxy::to(soak.server.address());
            let life = soak.live(name.to_owned(), proxy);
            soak.nodes.push(life);
        }
        soak
    }

    fn live(&mut self, name: String, proxy: Proxy) -> Life {
        self.lives += 1;
        let goodbye = self.below(2) == 0;
        let node = Node::on(build(&name, at(proxy.address())), goodbye);
        let heard = subscriber(&node.pubsub, &["numbers"]);
        Life { name, proxy, node, owner: Owner::new(), said: self.lives * LIFE, heard, last: BTreeMap::new() }
    }

    fn below(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.random >> 33) % below
    }

    fn step(&mut self) {
        let (at, key, what) = (self.below(3) as usize, self.below(40).to_string(), self.below(400));
        let life = &mut self.nodes[at];
        let place = (&life.owner, ROOM);
        let kind = match what {
            0 => {
                // It ends, by chance in order, and begins again under its name.
                let old = self.nodes.remove(at);
                let Life { name, proxy, node, .. } = old;
                drop(node);
                let life = self.live(name, proxy);
                self.nodes.insert(at, life);
                0
            }
            1 => {
                self.server.kill();
                self.server.restart("");
                1
            }
            2..=4 => {
                life.proxy.cut();
                2
            }
            5..=11 => {
                self.nodes.iter().for_each(|life| life.proxy.heal());
                3
            }
            12..=200 => {
                drop(life.node.presence.track(place, &key, json!({ "n": what })));
                4
            }
            201..=300 => {
                life.node.presence.untrack(place, &key);
                5
            }
            _ => {
                life.said += 1;
                life.node.pubsub.broadcast("numbers", "n", number(life.said)).unwrap();
                6
            }
        };
        self.counts[kind] += 1;
        self.hear(at);
        // Not faster than things happen.
        drop(self.nodes[at].node.room.recv_timeout(Duration::from_millis(2)));
    }

    /// Of each publisher's life numbers come in order, each once at most.
    fn hear(&mut self, at: usize) {
        let Life { heard, last, .. } = &mut self.nodes[at];
        while let Ok(message) = heard.try_recv() {
            let number: u64 = message.payload().parse().unwrap();
            let last = last.entry(number / LIFE).or_insert(0);
            assert!(number > *last, "{number} behind {last}");
            *last = number;
        }
    }

    /// All heals; then all see just who is there.
    fn settle(&mut self) {
        self.nodes.iter().for_each(|life| life.proxy.heal());
        let own = |life: &Life| -> Vec<(String, String)> {
            let list = life.node.presence.list(ROOM);
            let own = list.iter().flat_map(|(key, metas)| {
                metas.filter(|meta| !meta.is_remote()).map(move |meta| (key.to_owned(), meta.json().to_owned()))
            });
            own.collect()
        };
        let mut truth: Vec<(String, String)> = self.nodes.iter().flat_map(own).collect();
        truth.sort();
        for life in &mut self.nodes {
            life.node.wait_until(|node| {
                let mut seen: Vec<(String, String)> = node
                    .sees()
                    .into_iter()
                    .flat_map(|(key, metas)| metas.into_iter().map(move |meta| (key.clone(), meta)))
                    .collect();
                seen.sort();
                seen == truth
            });
        }
        (0..3).for_each(|at| self.hear(at));
    }

    fn said(&self) -> String {
        let names = ["ends", "server killed", "cuts", "heals", "tracks", "untracks", "broadcasts"];
        let all: Vec<String> = names.iter().zip(self.counts).map(|(name, count)| format!("{count} {name}")).collect();
        all.join(", ")
    }
}
