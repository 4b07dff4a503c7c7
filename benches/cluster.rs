//! What several nodes cost: to a publisher, between nodes beside the bare NATS client, and presences.
//!
//! It starts the real `nats-server`. All nodes are in this process, with the server on the same processors; so what is
//! beside the bare client can be compared, and little else.

mod common;

#[path = "../tests/common/nats.rs"]
mod nats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use common::size;
use fanfare::cluster::{Cluster, Nats};
use fanfare::presence::{GossipOptions, Owner, Presence};
use fanfare::{Context, Handler, Message, Payload, PubSub, Subscriber};
use futures_util::StreamExt;
use nats::Server;

const ROUNDS: usize = 5;

fn main() {
    let server = Server::start("");
    publisher(&server);
    throughput(&server);
    latency(&server);
    presence(&server);
}

fn url(server: &Server) -> String {
    format!("nats://{}", server.address())
}

fn cluster(server: &Server) -> Nats {
    Nats::builder(url(server)).build().unwrap()
}

fn node(name: &str, cluster: impl Cluster) -> PubSub {
    PubSub::builder().workers(1).node(name).cluster(cluster).build().unwrap()
}

fn payload() -> Payload {
    Payload::json_bytes(r#"{"body":"it is sixty-four bytes of JSON, as messages of chats are"}"#)
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

struct Count(Arc<AtomicU64>);

impl Handler for Count {
    fn on_message(&mut self, _: &Message, _: &mut Context<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Time until a call returns, with one local subscriber, in bursts that no buffer is too small for.
fn publisher(server: &Server) {
    const BURST: usize = 500;
    let bursts = size(20_000) / BURST;
    let [alone, bound] = [None, Some(server)].map(|server| {
        let builder = PubSub::builder().workers(1);
        let pubsub = match server {
            None => builder.build().unwrap(),
            Some(server) => builder.node("publisher").cluster(cluster(server)).build().unwrap(),
        };
        let count = Arc::new(AtomicU64::new(0));
        let handler = pubsub.subscriber().handler(Count(count)).unwrap();
        handler.subscribe("t").unwrap();
        (pubsub, handler)
    });
    let (mut local, mut everywhere) = (Vec::new(), Vec::new());
    for _ in 0..bursts {
        for ((pubsub, _), times) in [(&alone, &mut local), (&bound, &mut everywhere)] {
            pubsub.flush().unwrap();
            let begin = Instant::now();
            for _ in 0..BURST {
                pubsub.broadcast("t", "new_msg", payload()).unwrap();
            }
            times.push(begin.elapsed().as_nanos() as f64 / BURST as f64);
        }
    }
    let (local, everywhere) = (median(local), median(everywhere));
    println!("cluster, a broadcast returns: {local:.0} ns on one node, {everywhere:.0} ns with a cluster");
}

/// Messages a second from node to node; and from one bare client to another, with its own batches.
fn throughput(server: &Server) {
    let count = size(200_000) as u64;
    let [a, b] = ["from", "to"].map(|name| node(name, cluster(server)));
    let got = Arc::new(AtomicU64::new(0));
    let handler = b.subscriber().handler(Count(got.clone())).unwrap();
    handler.subscribe("t").unwrap();
    b.flush().unwrap();
    let mut ours = Vec::new();
    for _ in 0..ROUNDS {
        got.store(0, Ordering::Relaxed);
        let begin = Instant::now();
        for n in 0..count {
            a.broadcast("t", "new_msg", payload()).unwrap();
            // As much as waits in the buffers of both.
            while n.saturating_sub(got.load(Ordering::Relaxed)) > 20_000 {
                std::thread::yield_now();
            }
        }
        while got.load(Ordering::Relaxed) < count {
            std::thread::yield_now();
        }
        ours.push(count as f64 / begin.elapsed().as_secs_f64());
    }
    assert_eq!(b.cluster_stats().unwrap().packets_lost, 0);
    let bare = (0..ROUNDS).map(|_| bare_throughput(server, count)).collect();
    println!(
        "cluster, node to node: {:.0} messages/s; the bare client, client to client: {:.0} messages/s",
        median(ours),
        median(bare)
    );
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn bare_throughput(server: &Server, count: u64) -> f64 {
    let (ready, is_ready) = channel();
    let got = Arc::new(AtomicU64::new(0));
    let (address, counted) = (url(server), got.clone());
    let reader = std::thread::spawn(move || {
        runtime().block_on(async move {
            let client = async_nats::connect(address).await.unwrap();
            let mut messages = client.subscribe("bare").await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            while counted.load(Ordering::Relaxed) < count && messages.next().await.is_some() {
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
    });
    is_ready.recv().unwrap();
    let body = payload();
    let body = body.bytes().unwrap();
    runtime().block_on(async {
        let client = async_nats::connect(url(server)).await.unwrap();
        client.flush().await.unwrap();
        let begin = Instant::now();
        for n in 0..count {
            client.publish("bare", body.clone()).await.unwrap();
            while n.saturating_sub(got.load(Ordering::Relaxed)) > 20_000 {
                tokio::task::yield_now().await;
            }
        }
        client.flush().await.unwrap();
        while got.load(Ordering::Relaxed) < count {
            tokio::task::yield_now().await;
        }
        let rate = count as f64 / begin.elapsed().as_secs_f64();
        reader.join().unwrap();
        rate
    })
}

/// From a broadcast to its answer, both by the server.
fn latency(server: &Server) {
    struct Echo;
    impl Handler for Echo {
        fn on_message(&mut self, message: &Message, context: &mut Context<'_>) {
            context.broadcast("answers", "n", message.payload().clone()).unwrap();
        }
    }
    let rounds = size(5_000);
    let [a, b] = ["asks", "answers"].map(|name| node(name, cluster(server)));
    let echo = b.subscriber().handler(Echo).unwrap();
    echo.subscribe("questions").unwrap();
    b.flush().unwrap();
    let mut answers: Subscriber = a.subscriber().build().unwrap();
    answers.subscribe("answers").unwrap();
    let mut ours = Vec::new();
    for _ in 0..rounds {
        let begin = Instant::now();
        a.broadcast("questions", "n", payload()).unwrap();
        answers.recv().unwrap();
        ours.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    let address = url(server);
    let (ready, is_ready) = channel();
    let echo = std::thread::spawn(move || {
        runtime().block_on(async move {
            let client = async_nats::connect(address).await.unwrap();
            let mut questions = client.subscribe("questions").await.unwrap();
            client.flush().await.unwrap();
            ready.send(()).unwrap();
            for _ in 0..rounds {
                let question = questions.next().await.unwrap();
                client.publish("answers", question.payload).await.unwrap();
            }
            client.flush().await.unwrap();
        });
    });
    is_ready.recv().unwrap();
    let mut bare = Vec::new();
    runtime().block_on(async {
        let client = async_nats::connect(url(server)).await.unwrap();
        let mut answers = client.subscribe("answers").await.unwrap();
        client.flush().await.unwrap();
        let body = payload();
        for _ in 0..rounds {
            let begin = Instant::now();
            client.publish("questions", body.bytes().unwrap().clone()).await.unwrap();
            answers.next().await.unwrap();
            bare.push(begin.elapsed().as_secs_f64() * 1e6);
        }
    });
    echo.join().unwrap();
    println!(
        "cluster, there and back: {:.0} us from node to node; {:.0} us from bare client to bare client",
        median(ours),
        median(bare)
    );
}

/// How long a new node waits for all presences, and what a change weighs.
fn presence(server: &Server) {
    let count = size(100_000);
    let gossip = GossipOptions { broadcast_period: Duration::from_millis(100), ..GossipOptions::default() };
    let start = |pubsub: &PubSub| Presence::builder().gossip(gossip.clone()).start(pubsub).unwrap();
    let a = node("has", cluster(server));
    let has = start(&a);
    let owners: Vec<Owner> = (0..count).map(|_| Owner::new()).collect();
    let meta = serde_json::json!({ "online_at": 1_700_000_000, "status": "online" });
    for (n, owner) in owners.iter().enumerate() {
        has.track((owner, "room:lobby"), &format!("user{n:07}"), &meta).unwrap();
    }
    has.flush().unwrap();
    let begin = Instant::now();
    let b = node("new", cluster(server));
    let new = start(&b);
    while new.count("room:lobby") < count {
        std::thread::yield_now();
    }
    let all = begin.elapsed();
    let before = a.cluster_stats().unwrap().bytes_sent;
    let changed = owners.len() / 10;
    for (n, owner) in owners.iter().enumerate().take(changed) {
        has.update((owner, "room:lobby"), &format!("user{n:07}"), &meta).unwrap();
    }
    let last = has.get_by_key("room:lobby", &format!("user{:07}", changed - 1)).unwrap()[0].phx_ref();
    let key = format!("user{:07}", changed - 1);
    while new.get_by_key("room:lobby", &key).is_none_or(|metas| metas[0].phx_ref() != last) {
        std::thread::yield_now();
    }
    let bytes = (a.cluster_stats().unwrap().bytes_sent - before) as f64 / changed as f64;
    println!(
        "cluster, presence: a new node has all {count} after {:.2} s; an update is {bytes:.0} bytes",
        all.as_secs_f64()
    );
}
