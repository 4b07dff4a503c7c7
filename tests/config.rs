//! What can be decided when an engine or a subscriber is made, and what is refused.

mod common;

use common::{Setup, number, numbers};
use fanfare::{
    BroadcastError, ConfigError, Context, Idle, Message, Outcome, PubSub, PubSubBuilder, SubscribeError, Subscriber,
    Wait,
};
use std::time::Duration;

fn refused(builder: PubSubBuilder) -> (String, u64, u64, u64) {
    match builder.build() {
        Err(ConfigError::OutOfRange { option, given, min, max }) => (option.to_owned(), given, min, max),
        other => panic!("{other:?}"),
    }
}

#[test]
fn every_number_has_bounds() {
    let of = |option: &str, given, min, max| (option.to_owned(), given, min, max);
    let new = PubSub::builder;
    assert_eq!(refused(new().workers(0)), of("workers", 0, 1, 64));
    assert_eq!(refused(new().workers(65)), of("workers", 65, 1, 64));
    assert_eq!(refused(new().inbox_entries_max(1)), of("inbox_entries_max", 1, 2, 1 << 20));
    assert_eq!(refused(new().inbox_entries_max(1 << 21)), of("inbox_entries_max", 1 << 21, 2, 1 << 20));
    assert_eq!(refused(new().inbox_entries_max(1000)), of("inbox_entries_max, a power of two,", 1000, 512, 1024));
    assert_eq!(refused(new().inbox_deliveries_max(63)), of("inbox_deliveries_max", 63, 64, 1 << 35));
    let over = (1 << 35) + 1;
    assert_eq!(refused(new().inbox_deliveries_max(over)), of("inbox_deliveries_max", over, 64, 1 << 35));
    assert_eq!(refused(new().topic_bytes_max(0)), of("topic_bytes_max", 0, 1, 1 << 20));
    assert_eq!(refused(new().topic_bytes_max((1 << 20) + 1)), of("topic_bytes_max", (1 << 20) + 1, 1, 1 << 20));
    assert_eq!(refused(new().mailbox_capacity_max(0)), of("mailbox_capacity_max", 0, 1, (1 << 24) - 1));
    assert_eq!(refused(new().mailbox_capacity_max(1 << 24)), of("mailbox_capacity_max", 1 << 24, 1, (1 << 24) - 1));
    assert_eq!(refused(new().subscriptions_max(0)), of("subscriptions_max", 0, 1, u32::MAX.into()));
    assert_eq!(refused(new().in_place_members_max(4097)), of("in_place_members_max", 4097, 0, 4096));
    assert!(matches!(new().node("").build(), Err(ConfigError::EmptyNode)));
    let error = new().workers(99).build().unwrap_err().to_string();
    assert_eq!(error, "workers is from 1 to 64, not 99");
}

#[test]
fn the_bounds_themselves_are_allowed() {
    let least = PubSub::builder().workers(1).inbox_entries_max(2).inbox_deliveries_max(64).topic_bytes_max(1);
    let least = least.mailbox_capacity_max(1).subscriptions_max(1).in_place_members_max(0).node("x");
    let most = PubSub::builder().workers(64).inbox_deliveries_max(1 << 35).topic_bytes_max(1 << 20);
    let most = most.mailbox_capacity_max((1 << 24) - 1).subscriptions_max(u32::MAX).in_place_members_max(4096);
    for (builder, workers) in [(least, 1), (most, 64)] {
        let pubsub = builder.build().unwrap();
        assert_eq!(pubsub.workers(), workers);
        let mut subscribers: Vec<Subscriber> = (0..workers)
            .map(|worker| {
                let subscriber = pubsub.subscriber().worker(worker).capacity(1).build().unwrap();
                subscriber.subscribe("t").unwrap();
                subscriber
            })
            .collect();
        pubsub.broadcast("t", "n", number(7)).unwrap();
        pubsub.flush().unwrap();
        assert!(subscribers.iter_mut().all(|subscriber| numbers(subscriber) == [7]));
    }
}

#[test]
fn pinning_spinning_and_sleeping_change_nothing_that_can_be_seen() {
    let waits = [
        Wait::Park,
        #[cfg(feature = "server")]
        Wait::Poll,
    ];
    for wait in waits {
        for idle in [Idle::Park, Idle::Spin(Duration::from_micros(50)), Idle::Spin(Duration::ZERO)] {
            for pin in [false, true] {
                let pubsub = Setup { wait, ..Setup::workers(2) }.builder().idle(idle).pin(pin).build().unwrap();
                let mut subscriber = pubsub.subscriber().capacity(100).build().unwrap();
                subscriber.subscribe("t").unwrap();
                for n in 0..50 {
                    pubsub.broadcast("t", "n", number(n)).unwrap();
                    assert_eq!(common::value(&subscriber.recv().unwrap()), n);
                }
                assert_eq!(pubsub.shutdown(Duration::from_secs(100)).unwrap().running, 0);
            }
        }
    }
}

#[test]
fn a_node_has_a_name_and_a_direct_broadcast_reaches_that_node_alone() {
    assert_eq!(Setup::PLAIN.build().node(), "local");
    let pubsub = Setup::PLAIN.builder().node("berlin-1").build().unwrap();
    assert_eq!(pubsub.node(), "berlin-1");
    let mut subscriber = pubsub.subscriber().build().unwrap();
    subscriber.subscribe("t").unwrap();
    assert_eq!(pubsub.direct_broadcast("berlin-1", "t", "n", number(1)).unwrap(), Outcome::Sent);
    assert_eq!(pubsub.local_broadcast("t", "n", number(2)).unwrap(), Outcome::Sent);
    match pubsub.direct_broadcast("paris-1", "t", "n", number(3)) {
        Err(BroadcastError::NoSuchNode(node)) => assert_eq!(node, "paris-1"),
        other => panic!("{other:?}"),
    }
    pubsub.flush().unwrap();
    assert_eq!(numbers(&mut subscriber), [1, 2]);
}

#[test]
fn a_mailbox_has_a_capacity_within_the_limit() {
    let pubsub = Setup::PLAIN.builder().mailbox_capacity_max(100).build().unwrap();
    for given in [0, 101, usize::MAX] {
        let error = SubscribeError::Capacity { given, max: 100 };
        assert_eq!(pubsub.subscriber().capacity(given).build().unwrap_err(), error);
        assert_eq!(pubsub.subscriber().capacity(given).conflate_by(|_| 0).unwrap_err(), error);
    }
    assert!(pubsub.subscriber().capacity(100).build().is_ok());
    assert_eq!(
        SubscribeError::Capacity { given: 0, max: 100 }.to_string(),
        "a mailbox's capacity is from 1 to 100 messages, not 0"
    );
}

#[test]
fn a_subscriber_lives_on_the_worker_that_was_asked_for() {
    let pubsub = Setup::workers(3).build();
    let error = SubscribeError::NoSuchWorker { given: 3, workers: 3 };
    let handler = |_: &Message, _: &mut Context<'_>| {};
    assert_eq!(pubsub.subscriber().worker(3).build().unwrap_err(), error);
    assert_eq!(pubsub.subscriber().worker(3).handler(handler).unwrap_err(), error);
    assert_eq!(pubsub.subscriber().worker(3).conflate_by(|_| 0).unwrap_err(), error);
    let subscribers = [0, 1, 1, 2, 2, 2].map(|worker| pubsub.subscriber().worker(worker).build().unwrap());
    subscribers.iter().for_each(|subscriber| subscriber.subscribe("t").unwrap());
    pubsub.flush().unwrap();
    assert_eq!(pubsub.stats().workers.iter().map(|worker| worker.subscriptions).collect::<Vec<_>>(), [1, 2, 3]);
    // By default they are spread evenly.
    let spread: Vec<_> = (0..300).map(|_| pubsub.subscriber().build().unwrap()).collect();
    spread.iter().for_each(|subscriber| subscriber.subscribe("u").unwrap());
    pubsub.flush().unwrap();
    assert_eq!(pubsub.stats().workers.iter().map(|worker| worker.subscriptions).collect::<Vec<_>>(), [101, 102, 103]);
}

#[test]
fn a_subscriber_has_so_many_subscriptions_at_most() {
    let pubsub = Setup::PLAIN.builder().subscriptions_max(3).build().unwrap();
    let subscriber = pubsub.subscriber().build().unwrap();
    let handler = pubsub.subscriber().handler(|_: &Message, _: &mut Context<'_>| {}).unwrap();
    let full = Err(SubscribeError::TooManySubscriptions { max: 3 });
    for control in [subscriber.control(), handler.control()] {
        for topic in ["a", "b", "b"] {
            control.subscribe(topic).unwrap();
        }
        assert_eq!(control.subscribe("refused"), full);
        assert_eq!(control.subscribe_with("a", 1), full);
        assert_eq!(control.subscribe_to(&pubsub.topic("a").unwrap()), full);
        assert!(!pubsub.topics().contains(&"refused".to_owned()), "a refusal leaves nothing");
        control.unsubscribe("b").unwrap();
        // They count until the worker has removed them.
        pubsub.flush().unwrap();
        control.subscribe("c").unwrap();
        control.subscribe("c").unwrap();
        assert_eq!(control.subscribe("c"), full);
        pubsub.flush().unwrap();
        control.unsubscribe("a").unwrap();
        control.unsubscribe("a").unwrap();
        pubsub.flush().unwrap();
        control.subscribe("a").unwrap();
        assert_eq!(control.subscribe("a"), full);
    }
    assert_eq!(pubsub.subscriber_count("c"), 4);
    // At a place that is used again the count starts anew.
    drop(subscriber);
    pubsub.flush().unwrap();
    let subscriber = pubsub.subscriber().build().unwrap();
    (0..3).for_each(|_| subscriber.subscribe("d").unwrap());
    assert_eq!(subscriber.subscribe("d"), full);
}

#[test]
#[should_panic(expected = "of another engine")]
fn a_topic_of_another_engine_is_refused() {
    let (one, other) = (Setup::PLAIN.build(), Setup::PLAIN.build());
    let subscriber = one.subscriber().build().unwrap();
    let _ = subscriber.control().subscribe_to(&other.topic("t").unwrap());
}
