//! Target `cluster`: any bytes as what comes from another node: as a packet, as the records of one, and as gossip.
//!
//! Beside not panicking, in any thread: whatever has come, the next good packet is delivered, and the next heartbeat of
//! another node is heard.

use bytes::Bytes;
use fanfare::cluster::{Cluster, Health, Receiver, StartError, TOPIC, Taken};
use fanfare::presence::{GossipOptions, Presence};
use fanfare::{PubSub, Subscriber};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// A partition that no gossip goes by.
const PARTITION: u16 = 1;
const PATIENCE: Duration = Duration::from_secs(20);

/// Has no other nodes: the harness speaks for them.
#[derive(Clone, Default)]
struct Door(Arc<OnceLock<Arc<dyn Receiver>>>);

impl std::fmt::Debug for Door {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Door")
    }
}

impl Cluster for Door {
    fn start(&self, _: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError> {
        self.0.set(receiver).map_err(|_| StartError::Started)
    }

    fn publish(&self, _: u16, _: Bytes) -> Taken {
        Taken::Sent
    }

    fn send(&self, _: &str, _: Bytes) -> Taken {
        Taken::Sent
    }

    fn payload_bytes_max(&self) -> usize {
        1 << 20
    }

    fn health(&self) -> Health {
        Health::Ready
    }

    fn flush(&self, _: Instant) -> bool {
        true
    }

    fn stop(&self) {}
}

struct House {
    receiver: Arc<dyn Receiver>,
    markers: Subscriber,
    told: Subscriber,
    /// Of the next life of the other node.
    life: u64,
    _presence: Presence,
}

impl House {
    fn new() -> Self {
        let door = Door::default();
        let pubsub = PubSub::builder().workers(1).cluster(door.clone()).build().expect("an engine");
        // Whoever is made up is soon forgotten.
        let gossip = GossipOptions {
            broadcast_period: Duration::from_millis(20),
            max_silent_periods: 1,
            down_period: Duration::from_millis(100),
            permdown_period: Duration::from_millis(101),
            ..GossipOptions::default()
        };
        let presence = Presence::builder().gossip(gossip).start(&pubsub).expect("a presence");
        let subscriber = |topic: &str| {
            let subscriber = pubsub.subscriber().capacity(1 << 12).build().expect("a subscriber");
            subscriber.subscribe(topic).expect("subscribed");
            subscriber
        };
        let receiver = door.0.get().expect("it was started").clone();
        let (markers, told) = (subscriber("marker"), subscriber(TOPIC));
        // Lives that no input is likely to have: one that is known goes on with its numbers.
        House { receiver, markers, told, life: 0x5eed_f00d_0000_0000, _presence: presence }
    }

    fn packet(&self, records: &[u8]) {
        let mut packet = b"FF\x01\x01\0".to_vec();
        packet.extend(self.life.to_le_bytes());
        packet.extend(1_u64.to_le_bytes());
        packet.extend(b"\x05other");
        packet.extend(records);
        self.receiver.receive(Some(PARTITION), packet.into());
    }

    fn gossip(&self, gossip: &[u8]) {
        let mut record = vec![1];
        record.extend((gossip.len() as u32).to_le_bytes());
        record.extend(gossip);
        self.packet(&record);
    }

    fn broadcast(&self, topic: &[u8], payload: &[u8]) {
        let mut record = vec![0];
        record.extend((9 + topic.len() as u32 + payload.len() as u32).to_le_bytes());
        record.push(0);
        for length in [topic.len(), 0] {
            record.extend((length as u32).to_le_bytes());
        }
        record.extend([topic, payload].concat());
        self.packet(&record);
    }

    fn heartbeat(&self) {
        let mut gossip = vec![0];
        gossip.extend(5_u32.to_le_bytes());
        gossip.extend(b"other");
        gossip.extend(self.life.to_le_bytes());
        gossip.extend(1_u64.to_le_bytes());
        gossip.extend(0_u32.to_le_bytes());
        gossip.push(0);
        self.gossip(&gossip);
    }
}

/// See the module's text.
pub fn cluster(bytes: &[u8]) {
    static HOUSE: OnceLock<Mutex<House>> = OnceLock::new();
    let Some((kind, bytes)) = bytes.split_first() else { return };
    let mut house = HOUSE.get_or_init(|| Mutex::new(House::new())).lock().expect("nothing broke it before");
    let is_gossip = kind % 3 == 2;
    match kind % 3 {
        0 => house.receiver.receive(Some(PARTITION), Bytes::copy_from_slice(bytes)),
        1 => house.packet(bytes),
        _ => house.gossip(bytes),
    }
    // Broadcasts that were made up may have come to this topic, too.
    house.life += 1;
    let marker = format!("{{\"marker\":{}}}", house.life);
    house.broadcast(b"marker", marker.as_bytes());
    loop {
        let message = house.markers.recv_timeout(PATIENCE).expect("a good packet is delivered");
        if message.payload().json().is_ok_and(|json| json == marker.as_bytes()) {
            break;
        }
    }
    if is_gossip {
        house.life += 1;
        house.heartbeat();
        loop {
            let message = house.told.recv_timeout(PATIENCE).expect("a heartbeat is heard");
            if message.event() == "node_up" && message.downcast_ref::<Arc<str>>().is_some_and(|name| &**name == "other")
            {
                break;
            }
        }
    }
}
