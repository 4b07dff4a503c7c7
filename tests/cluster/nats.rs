//! NATS, the real server: what befalls it, and the links to it.

use super::common::watch;
use super::presence::{Node, ROOM};
use super::{Outcome, TOPIC, build, number, numbers, subscriber};
use fanfare::cluster::{Health, Nats};
use fanfare::presence::Owner;
use fanfare::{Payload, PubSub, Subscriber};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

#[path = "../common/nats.rs"]
mod server;

pub use server::Server;

/// A link to a server that can be cut.
struct Proxy {
    address: SocketAddr,
    links: Arc<Mutex<Links>>,
}

#[derive(Default)]
struct Links {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Proxy {
    fn to(server: &Server) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, upstream) = (listener.local_addr().unwrap(), server.port);
        let links = Arc::new(Mutex::new(Links::default()));
        let known = links.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let (client, mut links) = (client.unwrap(), known.lock().unwrap());
                if links.is_cut {
                    continue;
                }
                let Ok(server) = TcpStream::connect(("127.0.0.1", upstream)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || pass(from, to));
                }
                links.open.extend([client, server]);
            }
        });
        Proxy { address, links }
    }

    fn cluster(&self) -> Nats {
        Nats::new(&format!("nats://{}", self.address)).unwrap()
    }

    fn cut(&self) {
        let mut links = self.links.lock().unwrap();
        links.is_cut = true;
        links.open.drain(..).for_each(|link| drop(link.shutdown(Shutdown::Both)));
    }

    fn heal(&self) {
        self.links.lock().unwrap().is_cut = false;
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = [0; 1 << 14];
    while let Ok(count) = from.read(&mut buffer)
        && count > 0
        && to.write_all(&buffer[..count]).is_ok()
    {}
    drop(to.shutdown(Shutdown::Both));
}

/// Waits until a node is told of that health.
fn wait_health(told: &mut Subscriber, health: Health) {
    while told.recv().unwrap().downcast_ref() != Some(&health) {}
}

fn told(node: &PubSub) -> Subscriber {
    subscriber(node, &[TOPIC])
}

#[test]
fn what_is_broadcast_while_the_server_is_away_comes_when_it_is_back() {
    let _watch = watch();
    let mut server = Server::start(&[]);
    let [a, b] = ["a", "b"].map(|name| build(name, server.cluster()));
    let (mut told_a, mut told_b) = (told(&a), told(&b));
    let (mut here, mut there) = (subscriber(&a, &["t"]), subscriber(&b, &["t"]));
    assert_eq!(a.broadcast("t", "n", number(0)).unwrap(), Outcome::Sent);
    assert_eq!(numbers(&mut there, 1), [0]);
    server.kill();
    wait_health(&mut told_a, Health::Connecting);
    wait_health(&mut told_b, Health::Connecting);
    for n in 1..=200 {
        assert_eq!(a.broadcast("t", "n", number(n)).unwrap(), Outcome::Buffered);
    }
    // Its own are served whatever becomes of the server.
    assert_eq!(numbers(&mut here, 201), (0..=200).collect::<Vec<_>>());
    server.restart();
    wait_health(&mut told_b, Health::Ready);
    wait_health(&mut told_a, Health::Ready);
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
    let mut server = Server::start(&[]);
    server.kill();
    let a = build("a", server.cluster().buffer_bytes_max(10_000));
    assert_eq!(a.cluster_stats().unwrap().health, Health::Connecting);
    let mut told = told(&a);
    let mut here = subscriber(&a, &["t"]);
    let mut outcomes = Vec::new();
    while outcomes.last() != Some(&Outcome::ClusterDown) && outcomes.len() < 1_000_000 {
        outcomes.push(a.broadcast("t", "n", Payload::binary(vec![0; 100_000])).unwrap());
        here.recv().unwrap();
    }
    assert_eq!(outcomes[0], Outcome::Buffered);
    assert_eq!(outcomes.last(), Some(&Outcome::ClusterDown), "the buffer is bounded");
    server.restart();
    wait_health(&mut told, Health::Ready);
    let b = build("b", server.cluster());
    let mut there = subscriber(&b, &["u"]);
    assert_eq!(a.broadcast("u", "n", number(1)).unwrap(), Outcome::Sent);
    assert_eq!(numbers(&mut there, 1), [1]);
}

#[test]
fn a_link_that_is_cut_heals_with_presences_as_they_are() {
    let _watch = watch();
    let server = Server::start(&[]);
    let proxy = Proxy::to(&server);
    let mut a = Node::on(build("a", proxy.cluster()), true);
    let mut b = Node::on(build("b", server.cluster()), true);
    let [ann, ben, cat] = [Owner::new(), Owner::new(), Owner::new()];
    a.presence.track((&ann, ROOM), "ann", json!({})).unwrap();
    a.presence.track((&ben, ROOM), "ben", json!({})).unwrap();
    b.presence.track((&cat, ROOM), "cat", json!({})).unwrap();
    a.wait_for(&["ann", "ben", "cat"]);
    b.wait_for(&["ann", "ben", "cat"]);
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
    let server = Server::start(&[]);
    let [a, b] = ["x", "y"].map(|prefix| build("a", server.cluster().prefix(prefix).unwrap()));
    let c = build("b.*", server.cluster().prefix("x").unwrap());
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
fn who_is_not_admitted_says_so() {
    let _watch = watch();
    let server = Server::start(&["--user", "me", "--pass", "secret"]);
    let a = build("a", server.cluster().user("me", "secret"));
    assert_eq!(a.cluster_stats().unwrap().health, Health::Ready);
    let b = build("b", server.cluster().user("me", "wrong"));
    let stats = b.cluster_stats().unwrap();
    assert_eq!(stats.health, Health::Connecting);
    let why = stats.why.unwrap_or_default();
    assert!(why.to_lowercase().contains("authorization"), "{why}");
    drop((a, b));
    let server = Server::start(&["--auth", "secret"]);
    assert_eq!(build("a", server.cluster().token("secret")).cluster_stats().unwrap().health, Health::Ready);
}
