//! Several nodes in one process.

use super::{Cluster, Health, Receiver, StartError, Taken};
use crate::sync::{Arc, Mutex, Text};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::Instant;

/// The longest payload, which is that of NATS by default.
const PAYLOAD_BYTES_MAX: usize = 1 << 20;
/// Bytes that are kept for a node that is cut off, as from it.
const BUFFER_BYTES_MAX: usize = 8 << 20;

/// What binds nodes in one process: for tests, and where several engines in one process are to act as one.
///
/// Its faults are those of a network, when they are asked for.
///
/// ```
/// use fanfare::PubSub;
/// use fanfare::cluster::Hub;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let hub = Hub::new();
/// let left = PubSub::builder().node("left").cluster(hub.node()).build()?;
/// let right = PubSub::builder().node("right").cluster(hub.node()).build()?;
/// let mut subscriber = right.subscriber().build()?;
/// subscriber.subscribe("news")?;
/// left.broadcast("news", "hello", fanfare::Payload::json_bytes("{}"))?;
/// assert_eq!(subscriber.recv()?.event(), "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Hub(Arc<Mutex<Nodes>>);

type Nodes = BTreeMap<Text, Node>;

/// A node that has been started.
struct Node {
    receiver: std::sync::Arc<dyn Receiver>,
    is_cut: bool,
    /// Payloads to it that are to be lost.
    to_lose: u64,
    /// What it has sent while it was cut off.
    kept: VecDeque<(To, Bytes)>,
    kept_bytes: usize,
}

#[derive(Clone)]
enum To {
    All(u16),
    One(Text),
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.lock().keys()).finish()
    }
}

impl Hub {
    /// One without nodes.
    pub fn new() -> Self {
        Hub::default()
    }

    /// A place for one node.
    pub fn node(&self) -> HubNode {
        HubNode { hub: self.clone(), name: Mutex::new(None) }
    }

    /// Cuts a node off. What it sends from now on is kept, up to 8 MiB; what is sent to it is lost.
    pub fn cut(&self, node: &str) {
        self.set_cut(node, true);
    }

    /// Ends that: what it has sent meanwhile is sent now.
    pub fn heal(&self, node: &str) {
        self.set_cut(node, false);
    }

    fn set_cut(&self, name: &str, is_cut: bool) {
        let receiver = {
            let mut nodes = self.0.lock();
            let Some(node) = nodes.get_mut(name) else { return };
            node.is_cut = is_cut;
            let receiver = node.receiver.clone();
            let kept = if is_cut { VecDeque::new() } else { std::mem::take(&mut node.kept) };
            if !is_cut {
                node.kept_bytes = 0;
            }
            kept.into_iter().for_each(|(to, payload)| deliver(&mut nodes, name, &to, &payload));
            receiver
        };
        receiver.health(if is_cut { Health::Connecting } else { Health::Ready });
    }

    /// Loses the next payloads that are sent to a node.
    pub fn lose(&self, node: &str, payloads: u64) {
        if let Some(node) = self.0.lock().get_mut(node) {
            node.to_lose += payloads;
        }
    }

    fn send(&self, from: &str, to: To, payload: Bytes) -> Taken {
        let mut nodes = self.0.lock();
        let Some(node) = nodes.get_mut(from) else { return Taken::Down };
        if !node.is_cut {
            // Under the lock: what one node sends keeps its order. Receivers do not block.
            deliver(&mut nodes, from, &to, &payload);
            return Taken::Sent;
        }
        if node.kept_bytes > 0 && node.kept_bytes + payload.len() > BUFFER_BYTES_MAX {
            return Taken::Down;
        }
        node.kept_bytes += payload.len();
        node.kept.push_back((to, payload));
        Taken::Buffered
    }
}

fn deliver(nodes: &mut Nodes, from: &str, to: &To, payload: &Bytes) {
    for (name, node) in nodes.iter_mut() {
        let lane = match to {
            To::All(lane) if **name != *from => Some(*lane),
            To::One(to) if to == name => None,
            _ => continue,
        };
        if node.is_cut {
            continue;
        }
        if node.to_lose > 0 {
            node.to_lose -= 1;
            continue;
        }
        node.receiver.receive(lane, payload.clone());
    }
}

/// A place in a [`Hub`], for one engine.
#[derive(Debug)]
pub struct HubNode {
    hub: Hub,
    name: Mutex<Option<Text>>,
}

impl HubNode {
    fn name(&self) -> Option<Text> {
        self.name.lock().clone()
    }
}

impl Cluster for HubNode {
    /// # Errors
    ///
    /// There is a node of that name.
    fn start(&self, node: &str, receiver: std::sync::Arc<dyn Receiver>) -> Result<(), StartError> {
        let name = Text::from(node);
        let mut nodes = self.hub.0.lock();
        if nodes.contains_key(node) {
            return Err(StartError(format!("there is a node {node:?}")));
        }
        *self.name.lock() = Some(name.clone());
        nodes.insert(name, Node { receiver, is_cut: false, to_lose: 0, kept: VecDeque::new(), kept_bytes: 0 });
        Ok(())
    }

    fn publish(&self, lane: u16, payload: Bytes) -> Taken {
        self.name().map_or(Taken::Down, |name| self.hub.send(&name, To::All(lane), payload))
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        self.name().map_or(Taken::Down, |name| self.hub.send(&name, To::One(node.into()), payload))
    }

    fn payload_max(&self) -> usize {
        PAYLOAD_BYTES_MAX
    }

    fn health(&self) -> Health {
        let name = self.name();
        match name.and_then(|name| self.hub.0.lock().get(&name).map(|node| node.is_cut)) {
            Some(true) => Health::Connecting,
            Some(false) => Health::Ready,
            None => Health::Stopped,
        }
    }

    /// Nothing waits, unless the node is cut off.
    fn flush(&self, _: Instant) -> bool {
        self.health() == Health::Ready
    }

    fn stop(&self) {
        if let Some(name) = self.name.lock().take() {
            self.hub.0.lock().remove(&name);
        }
    }
}
