//! What every transport keeps.

use crate::{Land, Place, ROOMY, Recorder, number, numbers, start};
use bytes::Bytes;
use fanfare::cluster::{Cluster, Health, NODE_BYTES_MAX, PARTITIONS, Receiver, StartError, Taken};
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One test for each promise, of one kind of transport.
macro_rules! contract {
    ($land:ty: $($promise:ident),+ $(,)?) => {
        $(
            #[test]
            fn $promise() {
                let _watchdog = crate::common::watch();
                crate::contract::$promise(&<$land as crate::Land>::new());
            }
        )+
    };
    ($land:ty) => {
        crate::contract::contract! { $land:
            what_is_published_reaches_all_others_once,
            what_is_sent_reaches_one_node_alone,
            what_is_sent_to_nobody_is_lost_without_harm,
            any_name_is_a_node_s_name,
            names_have_limits,
            each_node_keeps_its_order_on_each_partition,
            all_partitions_reach_others,
            what_is_published_after_a_start_comes,
            what_is_published_while_away_goes_out_first_and_in_order,
            a_full_buffer_refuses_and_an_empty_one_takes_anything,
            a_node_starts_without_a_link,
            a_flush_waits_for_the_link,
            a_stop_is_the_end,
            a_receiver_may_stop_its_node,
            a_receiver_that_panics_gets_the_next,
            a_payload_has_a_limit,
        }
    };
}
pub(crate) use contract;

const END: &[u8] = b"end";

fn end() -> Bytes {
    Bytes::from_static(END)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

pub(crate) fn what_is_published_reaches_all_others_once(land: &impl Land) {
    let [a, b, c] = std::array::from_fn(|_| land.place(ROOMY));
    let [of_a, of_b, of_c] = [start(&a, "a"), start(&b, "b"), start(&c, "c")];
    for payload in numbers(0..100) {
        assert_eq!(a.cluster().publish(3, payload), Taken::Sent);
    }
    assert_eq!(a.cluster().publish(3, end()), Taken::Sent);
    for other in [of_b, of_c] {
        assert_eq!(other.before(3, END), numbers(0..100));
        assert_eq!(other.payloads().len(), 101);
    }
    // Its own may come back, but not twice.
    let own = of_a.payloads();
    assert_eq!(own.iter().collect::<HashSet<_>>().len(), own.len());
}

pub(crate) fn what_is_sent_reaches_one_node_alone(land: &impl Land) {
    let [a, b, c] = std::array::from_fn(|_| land.place(ROOMY));
    let [_, of_b, of_c] = [start(&a, "a"), start(&b, "b"), start(&c, "c")];
    for payload in numbers(0..100) {
        assert_eq!(a.cluster().send("b", payload), Taken::Sent);
    }
    a.cluster().publish(0, end());
    assert!(of_c.before(0, END).is_empty());
    assert_eq!(of_c.payloads().len(), 1);
    let sent = of_b.wait(|seen| {
        let sent =
            seen.payloads.iter().filter(|(partition, _)| partition.is_none()).map(|(_, payload)| payload.clone());
        Some(sent.collect::<Vec<_>>()).filter(|sent| sent.len() >= 100)
    });
    assert_eq!(sent, numbers(0..100));
}

pub(crate) fn what_is_sent_to_nobody_is_lost_without_harm(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    for nobody in ["nobody", "", "B", "b.c", "*", ">", &"x".repeat(10_000)] {
        assert_eq!(a.cluster().send(nobody, end()), Taken::Sent, "{nobody}");
    }
    a.cluster().publish(0, end());
    assert!(of_b.before(0, END).is_empty());
    assert_eq!(of_b.payloads().len(), 1);
    assert!(a.cluster().flush(soon()));
    assert_eq!(a.cluster().health(), Health::Ready);
    assert_eq!(of_a.wait(|seen| seen.health.clone()), Health::Ready);
}

pub(crate) fn any_name_is_a_node_s_name(land: &impl Land) {
    let longest = "é".repeat(NODE_BYTES_MAX / 2);
    let names = ["a.b", "a=2Eb", "*", ">", " ", "\r\nPING\r\n", "\u{0}", "A", "a", "日本", &longest];
    let places = names.map(|_| land.place(ROOMY));
    let recorders: Vec<_> = std::iter::zip(&places, names).map(|(place, name)| start(place, name)).collect();
    let from = land.place(ROOMY);
    start(&from, "from");
    for name in names {
        from.cluster().send(name, Bytes::from(name.to_owned()));
    }
    from.cluster().publish(0, end());
    for (recorder, name) in recorders.iter().zip(names) {
        recorder.before(0, END);
        recorder.wait(|seen| (seen.payloads.len() >= 2).then_some(()));
        let sent: Vec<_> = recorder.payloads().into_iter().filter(|(partition, _)| partition.is_none()).collect();
        assert_eq!(sent, [(None, Bytes::from(name.to_owned()))]);
    }
}

pub(crate) fn names_have_limits(land: &impl Land) {
    let place = land.place(ROOMY);
    for bytes in [0, NODE_BYTES_MAX + 1] {
        let error = place.cluster().start(&"x".repeat(bytes), Arc::<Recorder>::default()).unwrap_err();
        assert!(matches!(error, StartError::Node { bytes: told } if told == bytes), "{error:?}");
        assert_eq!(place.cluster().health(), Health::Stopped);
    }
    start(&place, &"x".repeat(NODE_BYTES_MAX));
}

pub(crate) fn each_node_keeps_its_order_on_each_partition(land: &impl Land) {
    const PAYLOADS: u64 = 2_000;
    let [a, b, c] = std::array::from_fn(|_| land.place(ROOMY));
    let [_, of_b, _] = [start(&a, "a"), start(&b, "b"), start(&c, "c")];
    let publish = |cluster: &dyn Cluster, partition, who: &str| {
        for n in 0..PAYLOADS {
            assert_eq!(cluster.publish(partition, Bytes::from(format!("{who}{n}"))), Taken::Sent);
        }
    };
    let [of_a, of_c] = [a.cluster(), c.cluster()];
    thread::scope(|scope| {
        for partition in [1, 2] {
            scope.spawn(move || publish(of_a, partition, "a"));
            scope.spawn(move || publish(of_c, partition, "c"));
        }
    });
    of_b.wait(|seen| (seen.payloads.len() as u64 == 4 * PAYLOADS).then_some(()));
    for partition in [1, 2] {
        for who in ["a", "c"] {
            let came = of_b.payloads().into_iter().filter(|(of, _)| *of == Some(partition)).map(|(_, payload)| payload);
            let came: Vec<Bytes> = came.filter(|payload| payload.starts_with(who.as_bytes())).collect();
            assert_eq!(came, (0..PAYLOADS).map(|n| format!("{who}{n}")).collect::<Vec<_>>());
        }
    }
}

pub(crate) fn all_partitions_reach_others(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let [_, of_b] = [start(&a, "a"), start(&b, "b")];
    for partition in 0..PARTITIONS {
        a.cluster().publish(partition, number(partition.into()));
    }
    for partition in 0..PARTITIONS {
        of_b.before(partition, &number(partition.into()));
    }
    let beyond = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| a.cluster().publish(PARTITIONS, end())));
    assert!(beyond.is_err());
}

pub(crate) fn what_is_published_after_a_start_comes(land: &impl Land) {
    let a = land.place(ROOMY);
    start(&a, "a");
    for n in 0..20 {
        let b = land.place(ROOMY);
        let of_b = start(&b, "b");
        a.cluster().publish(7, number(n));
        of_b.before(7, &number(n));
    }
}

pub(crate) fn what_is_published_while_away_goes_out_first_and_in_order(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    for round in 0..3 {
        a.cut();
        of_a.wait_until_away();
        assert!(matches!(a.cluster().health(), Health::Connecting { why } if !why.is_empty()));
        for payload in numbers(0..50) {
            assert_eq!(a.cluster().publish(round, payload), Taken::Buffered);
        }
        a.heal();
        of_a.wait_until_ready();
        for payload in numbers(50..100) {
            assert_eq!(a.cluster().publish(round, payload), Taken::Sent);
        }
        a.cluster().publish(round, end());
        assert_eq!(of_b.before(round, END), numbers(0..100));
    }
}

pub(crate) fn a_full_buffer_refuses_and_an_empty_one_takes_anything(land: &impl Land) {
    const BUFFER: usize = 4096;
    let [a, b] = [land.place(BUFFER), land.place(ROOMY)];
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    let large = Bytes::from(vec![b'x'; 3 * BUFFER]);
    let quarter = Bytes::from(vec![b'y'; BUFFER / 4]);
    a.cut();
    of_a.wait_until_away();
    assert_eq!(a.cluster().publish(0, large.clone()), Taken::Buffered);
    assert_eq!(a.cluster().publish(0, quarter.clone()), Taken::Down);
    a.heal();
    of_a.wait_until_ready();
    assert!(a.cluster().flush(soon()));
    a.cut();
    of_a.wait_until_away();
    for _ in 0..4 {
        assert_eq!(a.cluster().publish(0, quarter.clone()), Taken::Buffered);
    }
    assert_eq!(a.cluster().publish(0, Bytes::new()), Taken::Down);
    assert_eq!(a.cluster().send("b", quarter.clone()), Taken::Down);
    a.heal();
    of_a.wait_until_ready();
    assert!(a.cluster().flush(soon()));
    assert_eq!(a.cluster().publish(0, end()), Taken::Sent);
    let quarters = std::iter::repeat_n(quarter, 4);
    assert_eq!(of_b.before(0, END), std::iter::once(large).chain(quarters).collect::<Vec<_>>());
}

pub(crate) fn a_node_starts_without_a_link(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let of_b = start(&b, "b");
    a.cut();
    let of_a = Arc::new(Recorder::default());
    assert_eq!(a.cluster().publish(0, end()), Taken::Down);
    a.cluster().start("a", of_a.clone()).unwrap();
    assert!(matches!(a.cluster().health(), Health::Connecting { .. }));
    assert_eq!(a.cluster().publish(0, number(1)), Taken::Buffered);
    assert_eq!(a.cluster().publish(0, end()), Taken::Buffered);
    a.heal();
    of_a.wait_until_ready();
    assert_eq!(of_b.before(0, END), [number(1)]);
    b.cluster().send("a", end());
    of_a.wait(|seen| seen.payloads.contains(&(None, end())).then_some(()));
}

pub(crate) fn a_flush_waits_for_the_link(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    assert!(!a.cluster().flush(soon()), "it is not started");
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    a.cluster().publish(0, number(1));
    assert!(a.cluster().flush(soon()));
    a.cut();
    of_a.wait_until_away();
    a.cluster().publish(0, end());
    assert!(!a.cluster().flush(Instant::now()));
    thread::scope(|scope| {
        let flush = scope.spawn(|| a.cluster().flush(soon()));
        a.heal();
        assert!(flush.join().unwrap());
    });
    assert_eq!(of_b.before(0, END), [number(1)]);
}

pub(crate) fn a_stop_is_the_end(land: &impl Land) {
    let [a, b, c] = std::array::from_fn(|_| land.place(ROOMY));
    let [_, of_b, of_c] = [start(&a, "a"), start(&b, "b"), start(&c, "c")];
    a.cluster().publish(0, number(1));
    of_b.before(0, &number(1));
    b.cluster().stop();
    assert_eq!(b.cluster().health(), Health::Stopped);
    assert_eq!(Arc::strong_count(&of_b), 1, "the transport still has the receiver");
    a.cluster().publish(0, end());
    of_c.before(0, END);
    assert_eq!(of_b.payloads().len(), 1);
    assert_eq!(b.cluster().publish(0, end()), Taken::Down);
    assert_eq!(b.cluster().send("a", end()), Taken::Down);
    assert!(!b.cluster().flush(soon()));
    b.cluster().stop();
    assert!(matches!(b.cluster().start("b", of_b), Err(StartError::Started)));
    assert!(matches!(a.cluster().start("a", of_c), Err(StartError::Started)));
}

/// Stops its node when anything comes.
struct Stopper<P: Place>(P, AtomicU64);

impl<P: Place> Receiver for Stopper<P> {
    fn receive(&self, _: Option<u16>, _: Bytes) {
        assert!(!self.0.cluster().flush(soon()), "its own thread can't wait for itself");
        self.0.cluster().stop();
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

pub(crate) fn a_receiver_may_stop_its_node(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let of_b = start(&b, "b");
    let stopper = Arc::new(Stopper(land.place(ROOMY), AtomicU64::new(0)));
    stopper.0.cluster().start("c", stopper.clone()).unwrap();
    start(&a, "a");
    // As one burst, so that the second is there when the first is received.
    a.cluster().publish(0, number(1));
    a.cluster().publish(0, number(2));
    a.cluster().publish(0, end());
    of_b.before(0, END);
    // From here it waits for the thread's end.
    stopper.0.cluster().stop();
    while Arc::strong_count(&stopper) > 1 {
        thread::yield_now();
    }
    assert!(stopper.1.load(Ordering::SeqCst) <= 1);
}

/// Panics at what is no `end`.
struct Panicker(Recorder);

impl Receiver for Panicker {
    fn receive(&self, partition: Option<u16>, payload: Bytes) {
        assert_eq!(payload, END, "to be caught");
        self.0.receive(partition, payload);
    }
}

pub(crate) fn a_receiver_that_panics_gets_the_next(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let panicker = Arc::new(Panicker(Recorder::default()));
    b.cluster().start("b", panicker.clone()).unwrap();
    start(&a, "a");
    a.cluster().publish(0, number(1));
    a.cluster().publish(0, end());
    assert!(panicker.0.before(0, END).is_empty());
}

pub(crate) fn a_payload_has_a_limit(land: &impl Land) {
    let [a, b] = std::array::from_fn(|_| land.place(ROOMY));
    let [_, of_b] = [start(&a, "a"), start(&b, "b")];
    let longest = Bytes::from(vec![b'x'; a.cluster().payload_bytes_max()]);
    let too_long = Bytes::from(vec![b'x'; longest.len() + 1]);
    assert_eq!(a.cluster().publish(0, too_long.clone()), Taken::TooLong);
    assert_eq!(a.cluster().send("b", too_long), Taken::TooLong);
    assert_eq!(a.cluster().publish(0, longest.clone()), Taken::Sent);
    assert_eq!(a.cluster().publish(0, end()), Taken::Sent);
    assert!(of_b.before(0, END) == [longest]);
}
