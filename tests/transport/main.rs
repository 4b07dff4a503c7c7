//! The promises of a transport between nodes, each by a test that says it, for everything that is one.

#[path = "../common/mod.rs"]
mod common;

mod contract;
mod hub;
#[cfg(feature = "nats")]
mod nats;

use bytes::Bytes;
use fanfare::cluster::{Cluster, Health, Receiver};
use std::sync::{Arc, Condvar, Mutex};

/// What makes nodes that reach each other.
trait Land {
    type Place: Place;

    fn new() -> Self;

    /// A place for a node that buffers so much while it is away.
    fn place(&self, buffer_bytes_max: usize) -> Self::Place;
}

/// A node, and its link.
trait Place: Send + Sync + 'static {
    fn cluster(&self) -> &dyn Cluster;
    fn cut(&self);
    fn heal(&self);
}

const ROOMY: usize = 8 << 20;

/// A receiver that keeps all it gets.
#[derive(Default)]
struct Recorder {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    payloads: Vec<(Option<u16>, Bytes)>,
    health: Option<Health>,
    lost: u64,
}

impl Recorder {
    /// Waits until what was seen satisfies `until`, and shows it.
    fn wait<R>(&self, mut until: impl FnMut(&Seen) -> Option<R>) -> R {
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(result) = until(&seen) {
                return result;
            }
            seen = self.changed.wait(seen).unwrap();
        }
    }

    fn wait_for_health(&self, is_it: impl Fn(&Health) -> bool) {
        self.wait(|seen| seen.health.as_ref().is_some_and(&is_it).then_some(()));
    }

    fn wait_until_ready(&self) {
        self.wait_for_health(|health| *health == Health::Ready);
    }

    fn wait_until_away(&self) {
        self.wait_for_health(|health| matches!(health, Health::Connecting { .. }));
    }

    /// What came before a payload on a partition, that partition's payloads alone. Waits for it.
    fn before(&self, partition: u16, end: &[u8]) -> Vec<Bytes> {
        self.wait(|seen| {
            let mut of_partition =
                seen.payloads.iter().filter(|(of, _)| *of == Some(partition)).map(|(_, payload)| payload);
            let before: Vec<Bytes> = of_partition.by_ref().take_while(|payload| **payload != end).cloned().collect();
            seen.payloads.iter().any(|(of, payload)| *of == Some(partition) && payload == end).then_some(before)
        })
    }

    /// What has come, without waiting.
    fn payloads(&self) -> Vec<(Option<u16>, Bytes)> {
        self.seen.lock().unwrap().payloads.clone()
    }

    fn change(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap());
        self.changed.notify_all();
    }
}

impl Receiver for Recorder {
    fn receive(&self, partition: Option<u16>, payload: Bytes) {
        self.change(|seen| seen.payloads.push((partition, payload)));
    }

    fn health(&self, health: Health) {
        self.change(|seen| seen.health = Some(health));
    }

    fn lost(&self) {
        self.change(|seen| seen.lost += 1);
    }
}

/// Starts a node that must be ready then.
fn start(place: &impl Place, name: &str) -> Arc<Recorder> {
    let recorder = Arc::new(Recorder::default());
    place.cluster().start(name, recorder.clone()).unwrap();
    assert_eq!(place.cluster().health(), Health::Ready);
    recorder
}

fn number(n: u64) -> Bytes {
    Bytes::from(n.to_string())
}

fn numbers(range: std::ops::Range<u64>) -> Vec<Bytes> {
    range.map(number).collect()
}
