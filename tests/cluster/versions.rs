//! Two versions of the format side by side, as while a cluster is upgraded node by node.

use super::common::watch;
use super::presence::{Node, ROOM};
use super::{Cloud, PubSub, TOPIC, build, number, numbers, subscriber};
use bytes::Bytes;
use fanfare::cluster::{Cluster, Health, Receiver, StartError, Taken, WireError};
use fanfare::presence::Owner;
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// Where in a packet the versions are: that of the sender, and the oldest that can read it.
const VERSIONS: [usize; 2] = [2, 3];
const HEAD_BYTES: usize = 21;
const RECORDS: u8 = 0;
const BROADCAST: u8 = 0;
const GOSSIP: u8 = 1;

/// What binds a node of the next version: its packets have what this one does not know.
#[derive(Debug)]
struct Later {
    below: Arc<dyn Cluster>,
    /// Whether only its own version can read it.
    alone: bool,
}

impl Later {
    fn packet(&self, packet: &Bytes) -> Bytes {
        let mut to = packet.to_vec();
        for (at, is_later) in VERSIONS.into_iter().zip([true, self.alone]) {
            assert_eq!(to[at], 1, "the version that is tested");
            to[at] += u8::from(is_later);
        }
        if to[4] != RECORDS {
            return to.into();
        }
        let mut records = to.split_off(HEAD_BYTES + 1 + usize::from(to[HEAD_BYTES]));
        to.extend(b"\x07\x05\0\0\0later");
        while !records.is_empty() {
            let length = u32::from_le_bytes(records[1..5].try_into().unwrap()) as usize;
            let rest = records.split_off(5 + length);
            match records[0] {
                // A flag that need not be known.
                BROADCAST => records[5] |= 8,
                // A field more.
                GOSSIP => {
                    records.push(0xff);
                    records[1..5].copy_from_slice(&(length as u32 + 1).to_le_bytes());
                }
                _ => panic!("a kind that this version does not write"),
            }
            to.append(&mut records);
            to.extend(b"\x08\0\0\0\0");
            records = rest;
        }
        to.into()
    }
}

impl Cluster for Later {
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError> {
        self.below.start(node, receiver)
    }

    fn publish(&self, partition: u16, payload: Bytes) -> Taken {
        self.below.publish(partition, self.packet(&payload))
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        self.below.send(node, self.packet(&payload))
    }

    fn payload_bytes_max(&self) -> usize {
        self.below.payload_bytes_max() / 2
    }

    fn health(&self) -> Health {
        self.below.health()
    }

    fn flush(&self, deadline: Instant) -> bool {
        self.below.flush(deadline)
    }

    fn stop(&self) {
        self.below.stop();
    }
}

fn later(cloud: &Cloud, name: &str, alone: bool) -> PubSub {
    build(name, Later { below: cloud.join(name), alone })
}

#[test]
fn broadcasts_go_both_ways_between_two_versions() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let (old, new) = (cloud.node("old"), later(cloud, "new", false));
        let mut told = subscriber(&old, &[TOPIC]);
        let mut both = [&old, &new].map(|node| subscriber(node, &["t"]));
        for (round, node) in [&new, &old].into_iter().enumerate() {
            let all = round as u64 * 1_000..round as u64 * 1_000 + 500;
            all.clone().for_each(|n| assert!(node.broadcast("t", "n", number(n)).is_ok()));
            for subscriber in &mut both {
                assert_eq!(numbers(subscriber, 500), all.clone().collect::<Vec<_>>());
            }
        }
        let long = "x".repeat(3 << 20);
        new.broadcast("t", "long", json!(long)).unwrap();
        both.iter_mut().for_each(|all| assert_eq!(all.recv().unwrap().payload().parse::<String>().unwrap(), long));
        let stats = old.cluster_stats().unwrap();
        assert!(stats.records_unknown > 500, "{stats:?}");
        assert_eq!((stats.packets_unreadable, stats.packets_lost, stats.packets_late), (0, 0, 0));
        assert_eq!(new.cluster_stats().unwrap().records_unknown, 0);
        // Told once, whatever the number of packets.
        let news: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).filter(|news| news.event() == "newer").collect();
        assert_eq!(news.len(), 1);
        assert_eq!(&**news[0].downcast_ref::<Arc<str>>().unwrap(), "new");
    });
}

#[test]
fn presence_is_one_between_two_versions() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let mut nodes = [cloud.node("old"), later(cloud, "new", false)].map(|pubsub| Node::on(pubsub, true));
        let owners = [0, 1].map(|_| Owner::new());
        for ((node, owner), key) in nodes.iter().zip(&owners).zip(["ann", "bob"]) {
            node.presence.track((owner, ROOM), key, json!({})).unwrap();
        }
        nodes.iter_mut().for_each(|node| node.wait_for(&["ann", "bob"]));
        assert_eq!(nodes[0].sees(), nodes[1].sees());
        drop(owners);
        nodes.iter_mut().for_each(|node| node.wait_for(&[]));
        let stats = nodes[0].pubsub.cluster_stats().unwrap();
        assert!(stats.records_unknown > 0);
        assert_eq!(stats.packets_unreadable, 0);
    });
}

#[test]
fn what_is_not_for_this_version_is_refused_and_harms_nothing_else() {
    let _watch = watch();
    Cloud::each(|cloud| {
        let (old, other, new) = (cloud.node("old"), cloud.node("other"), later(cloud, "new", true));
        let mut told = subscriber(&old, &[TOPIC]);
        let mut here = subscriber(&old, &["t"]);
        new.broadcast("t", "n", number(1)).unwrap();
        let error = loop {
            let news = told.recv().unwrap();
            if let Some(error) = news.downcast_ref::<WireError>() {
                break *error;
            }
        };
        assert_eq!(error, WireError::Version { of: 2, readable_from: 2 });
        let said = "it is of version 2 of the format and readable from version 2 on; this node has 1";
        assert_eq!(error.to_string(), said);
        other.broadcast("t", "n", number(2)).unwrap();
        assert_eq!(numbers(&mut here, 1), [2]);
        let stats = old.cluster_stats().unwrap();
        assert!(stats.packets_unreadable > 0 && stats.health == Health::Ready, "{stats:?}");
        // It reads what is older.
        let mut there = subscriber(&new, &["u"]);
        old.broadcast("u", "n", number(3)).unwrap();
        assert_eq!(numbers(&mut there, 1), [3]);
    });
}
