//! A hub keeps what every transport keeps, and makes the faults that it is told to make.

use crate::contract::contract;
use crate::{Land, Place, ROOMY, Recorder, number, numbers, start};
use fanfare::cluster::{Cluster, Hub, HubNode, PAYLOAD_BYTES_MAX, Taken};
use std::sync::Arc;

contract!(Hub);

impl Land for Hub {
    type Place = HubNode;

    fn new() -> Hub {
        Hub::new().unwrap()
    }

    fn place(&self, buffer_bytes_max: usize) -> HubNode {
        self.join().buffer_bytes_max(buffer_bytes_max)
    }
}

impl Place for HubNode {
    fn cluster(&self) -> &dyn Cluster {
        self
    }

    fn cut(&self) {
        HubNode::cut(self);
    }

    fn heal(&self) {
        HubNode::heal(self);
    }
}

fn three_nodes() -> (Hub, [HubNode; 3], [Arc<Recorder>; 3]) {
    let hub = Hub::new().unwrap();
    let nodes = std::array::from_fn(|_| hub.place(ROOMY));
    let [a, b, c] = &nodes;
    let recorders = [start(a, "a"), start(b, "b"), start(c, "c")];
    (hub, nodes, recorders)
}

fn on_partition(partition: u16, range: std::ops::Range<u64>) -> Vec<(Option<u16>, bytes::Bytes)> {
    numbers(range).into_iter().map(|payload| (Some(partition), payload)).collect()
}

#[test]
fn what_is_published_while_a_receiver_is_cut_is_lost_to_it() {
    let (hub, [a, b, _c], [_, of_b, of_c]) = three_nodes();
    a.publish(0, number(0));
    b.cut();
    a.publish(0, number(1));
    b.heal();
    a.publish(0, number(2));
    hub.settle();
    assert_eq!(of_b.payloads(), [(Some(0), number(0)), (Some(0), number(2))]);
    assert_eq!(of_c.payloads(), on_partition(0, 0..3));
}

#[test]
fn the_next_payloads_of_a_node_are_lost_to_it_alone() {
    let (hub, [a, b, c], [_, of_b, of_c]) = three_nodes();
    b.lose_next(2);
    a.publish(0, number(0));
    c.send("b", number(1));
    a.publish(0, number(2));
    hub.settle();
    assert_eq!(of_b.payloads(), [(Some(0), number(2))]);
    assert_eq!(of_c.payloads(), [(Some(0), number(0)), (Some(0), number(2))]);
    assert_eq!(of_b.seen.lock().unwrap().lost, 0);
    b.tell_lost();
    hub.settle();
    assert_eq!(of_b.seen.lock().unwrap().lost, 1);
}

#[test]
fn what_is_held_is_under_way_until_it_is_released() {
    let (hub, [a, b, c], [_, of_b, of_c]) = three_nodes();
    hub.settle();
    hub.hold();
    for n in 0..3 {
        assert_eq!(a.publish(0, number(n)), Taken::Sent);
    }
    hub.settle();
    assert!(of_b.payloads().is_empty());
    // It has passed the link already.
    b.cut();
    c.stop();
    hub.release();
    hub.settle();
    assert_eq!(of_b.payloads(), on_partition(0, 0..3));
    assert!(of_c.payloads().is_empty(), "it was stopped before");
}

#[test]
fn a_hub_may_take_shorter_payloads_only() {
    let hub = Hub::with_payload_bytes_max(2).unwrap();
    let node = hub.join();
    start(&node, "a");
    assert_eq!(node.payload_bytes_max(), 2);
    assert_eq!(node.publish(0, number(99)), Taken::Sent);
    assert_eq!(node.publish(0, number(100)), Taken::TooLong);
    assert!(std::panic::catch_unwind(|| Hub::with_payload_bytes_max(PAYLOAD_BYTES_MAX + 1)).is_err());
}
