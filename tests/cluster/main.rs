//! Several nodes: what is promised between them.

#[path = "../common/mod.rs"]
mod common;

mod broadcasts;
#[cfg(feature = "nats")]
mod nats;
mod presence;
mod versions;

use fanfare::cluster::{self, Cluster, HubNode, Loss, TOPIC};
use fanfare::{Message, Outcome, Payload, PubSub, Subscriber};

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// A hub whose nodes are known by name, for their faults.
struct Hub {
    hub: cluster::Hub,
    nodes: Mutex<HashMap<String, Arc<HubNode>>>,
}

impl Hub {
    fn new() -> Self {
        Hub { hub: cluster::Hub::new().unwrap(), nodes: Mutex::default() }
    }

    /// A place for a node.
    fn join(&self, name: &str) -> Arc<HubNode> {
        let node = Arc::new(self.hub.join());
        self.nodes.lock().unwrap().insert(name.to_owned(), node.clone());
        node
    }

    fn cut(&self, name: &str) {
        self.nodes.lock().unwrap()[name].cut();
    }

    fn heal(&self, name: &str) {
        self.nodes.lock().unwrap()[name].heal();
    }

    fn lose(&self, name: &str, payloads: u64) {
        self.nodes.lock().unwrap()[name].lose_next(payloads);
    }
}

/// What nodes may be bound by.
enum Cloud {
    Hub(Hub),
    #[cfg(feature = "nats")]
    Nats(nats::Server),
}

impl Cloud {
    /// Runs a test with each kind: the contract is one.
    fn each(test: impl Fn(&Cloud)) {
        test(&Cloud::Hub(Hub::new()));
        #[cfg(feature = "nats")]
        test(&Cloud::Nats(nats::Server::start("")));
    }

    fn node(&self, name: &str) -> PubSub {
        build(name, self.join(name))
    }

    /// A place for a node.
    fn join(&self, name: &str) -> Arc<dyn Cluster> {
        match self {
            Cloud::Hub(hub) => hub.join(name),
            #[cfg(feature = "nats")]
            Cloud::Nats(server) => Arc::new(nats::cluster(server)),
        }
    }
}

/// A node on a hub.
fn node(hub: &Hub, name: &str) -> PubSub {
    build(name, hub.join(name))
}

fn build(name: &str, cluster: impl Cluster) -> PubSub {
    PubSub::builder().workers(2).node(name).cluster(cluster).build().unwrap()
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
