//! Several nodes: what is promised between them.

#[path = "../common/mod.rs"]
mod common;

mod broadcasts;
mod presence;

use fanfare::cluster::{Hub, Loss, TOPIC};
use fanfare::{Message, Outcome, Payload, PubSub, Subscriber};

/// A node on a hub.
fn node(hub: &Hub, name: &str) -> PubSub {
    PubSub::builder().workers(2).node(name).cluster(hub.node()).build().unwrap()
}

/// A subscriber that drops nothing in these tests.
fn subscriber(node: &PubSub, topics: &[&str]) -> Subscriber {
    let subscriber = node.subscriber().capacity(1 << 14).build().unwrap();
    topics.iter().for_each(|topic| subscriber.subscribe(topic).unwrap());
    subscriber
}

fn number(n: u64) -> Payload {
    Payload::json_bytes(n.to_string())
}

fn number_of(message: &Message) -> u64 {
    message.payload().parse().unwrap()
}

/// The next numbers that come.
fn numbers(from: &mut Subscriber, count: usize) -> Vec<u64> {
    (0..count).map(|_| number_of(&from.recv().unwrap())).collect()
}
