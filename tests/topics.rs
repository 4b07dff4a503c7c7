//! Topics: their names, who keeps them, and how they go and come again.

mod common;

use common::{Blocker, Random, Setup, matrix, number, numbers, read_all, watch};
use fanfare::{BroadcastError, Outcome, SubscribeError, TopicError};
use std::collections::HashSet;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

#[test]
fn any_utf_8_up_to_the_limit_is_a_name() {
    let pubsub = Setup::PLAIN.builder().topic_bytes_max(64 << 10).build().unwrap();
    let longest = "x".repeat(64 << 10);
    let accents = "ü".repeat(32 << 10);
    let names = [
        "a",
        " ",
        "\0",
        "\n",
        "room:1",
        "*",
        "a/b/c",
        "ünï",
        "日本語",
        "👩‍👩‍👧‍👦",
        "\u{feff}",
        "e\u{301}",
        "é",
        &longest,
        &accents,
    ];
    let mut subscribers = names.map(|name| {
        let subscriber = pubsub.subscriber().build().unwrap();
        subscriber.subscribe(name).unwrap();
        subscriber
    });
    for (name, n) in names.iter().zip(0..) {
        assert_eq!(pubsub.broadcast(name, "n", number(n)).unwrap(), Outcome::Sent);
        assert_eq!(pubsub.topic(name).unwrap().name(), *name);
    }
    pubsub.flush().unwrap();
    for ((subscriber, name), n) in subscribers.iter_mut().zip(names).zip(0..) {
        let message = subscriber.try_recv().unwrap();
        assert_eq!((message.topic(), common::value(&message)), (name, n));
        assert!(subscriber.is_empty(), "{name:?} is no other topic");
    }
    let known: HashSet<String> = pubsub.topics().into_iter().collect();
    assert_eq!(known, names.iter().map(|name| (*name).to_owned()).collect());
}

#[test]
fn the_empty_name_and_one_that_is_too_long_give_typed_errors() {
    let pubsub = Setup::PLAIN.builder().topic_bytes_max(5).build().unwrap();
    let subscriber = pubsub.subscriber().build().unwrap();
    let handler = pubsub.subscriber().handler(|_: &fanfare::Message, _: &mut fanfare::Context<'_>| {}).unwrap();
    // Bytes count, not characters.
    for (name, error) in [
        ("", TopicError::Empty),
        ("123456", TopicError::TooLong { bytes: 6, max: 5 }),
        ("üüü", TopicError::TooLong { bytes: 6, max: 5 }),
    ] {
        assert_eq!(subscriber.subscribe(name), Err(SubscribeError::Topic(error.clone())));
        assert_eq!(subscriber.subscribe_with(name, 1), Err(SubscribeError::Topic(error.clone())));
        assert_eq!(handler.subscribe(name), Err(SubscribeError::Topic(error.clone())));
        assert_eq!(pubsub.topic(name).unwrap_err(), error);
        let is =
            |result: Result<Outcome, BroadcastError>| matches!(result, Err(BroadcastError::Topic(e)) if e == error);
        assert!(is(pubsub.broadcast(name, "n", number(1))));
        assert!(is(pubsub.try_broadcast(name, "n", number(1))));
        assert!(is(pubsub.broadcast_from(subscriber.id(), name, "n", number(1))));
        assert!(is(pubsub.local_broadcast(name, "n", number(1))));
        assert!(is(pubsub.direct_broadcast(pubsub.node(), name, "n", number(1))));
        assert_eq!(pubsub.subscriber_count(name), 0);
        assert_eq!(subscriber.unsubscribe(name), Ok(()), "nothing is subscribed to it");
    }
    assert!(pubsub.topics().is_empty());
    subscriber.subscribe("12345").unwrap();
}

#[test]
fn by_default_a_name_has_1024_bytes_at_most() {
    let pubsub = Setup::PLAIN.build();
    assert!(pubsub.topic(&"x".repeat(1024)).is_ok());
    assert_eq!(pubsub.topic(&"x".repeat(1025)).unwrap_err(), TopicError::TooLong { bytes: 1025, max: 1024 });
    let bytes = 64 << 10;
    assert_eq!(pubsub.topic(&"x".repeat(bytes)).unwrap_err(), TopicError::TooLong { bytes, max: 1024 });
}

#[test]
fn a_topic_is_there_as_long_as_it_has_a_handle_or_a_subscription() {
    matrix(|_, pubsub| {
        assert!(pubsub.topics().is_empty());
        let topic = pubsub.topic("t").unwrap();
        let another = topic.clone();
        assert_eq!(pubsub.topics(), ["t"]);
        assert_eq!(pubsub.subscriber_count("t"), 0);
        drop(topic);
        assert_eq!(pubsub.topics(), ["t"], "a handle is left");
        let mut subscriber = pubsub.subscriber().build().unwrap();
        subscriber.control().subscribe_to(&another).unwrap();
        subscriber.subscribe("t").unwrap();
        assert_eq!((pubsub.subscriber_count("t"), another.subscriber_count()), (2, 2), "from when it is called");
        assert_eq!(another.broadcast("n", number(1)).unwrap(), Outcome::Sent);
        drop(another);
        assert_eq!(pubsub.topics(), ["t"], "a subscription is left");
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut subscriber), [1, 1]);
        subscriber.unsubscribe("t").unwrap();
        pubsub.flush().unwrap();
        assert!(pubsub.topics().is_empty());
        assert_eq!(pubsub.broadcast("t", "n", number(2)).unwrap(), Outcome::NoSubscribers);
        assert!(subscriber.is_empty());
    });
}

#[test]
fn a_message_keeps_its_topics_name_though_the_topic_is_gone() {
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = pubsub.subscriber().build().unwrap();
    subscriber.subscribe("old").unwrap();
    pubsub.broadcast("old", "n", number(1)).unwrap();
    let message = subscriber.recv().unwrap();
    drop(subscriber);
    pubsub.flush().unwrap();
    assert!(pubsub.topics().is_empty());
    let others: Vec<_> = (0..100).map(|n| pubsub.topic(&format!("new {n}")).unwrap()).collect();
    assert_eq!(message.topic(), "old");
    drop(others);
}

#[test]
fn a_handle_that_was_made_before_anybody_subscribed_reaches_those_who_come_and_go() {
    matrix(|_, pubsub| {
        let topic = pubsub.topic("t").unwrap();
        for _ in 0..20 {
            assert_eq!(topic.broadcast("n", number(0)).unwrap(), Outcome::NoSubscribers);
            let mut subscriber = pubsub.subscriber().build().unwrap();
            subscriber.subscribe("t").unwrap();
            assert_eq!(topic.broadcast("n", number(1)).unwrap(), Outcome::Sent);
            assert_eq!(topic.try_broadcast("n", number(2)).unwrap(), Outcome::Sent);
            pubsub.flush().unwrap();
            assert_eq!(numbers(&mut subscriber), [1, 2]);
            drop(subscriber);
            pubsub.flush().unwrap();
        }
    });
}

#[test]
fn a_broadcast_by_handle_races_the_last_leave() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let topic = pubsub.topic("t").unwrap();
        let left = AtomicU64::new(2);
        thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        let subscriber = pubsub.subscriber().build().unwrap();
                        subscriber.subscribe("t").unwrap();
                        drop(subscriber);
                        pubsub.flush().unwrap();
                    }
                    left.fetch_sub(1, Ordering::Relaxed);
                });
            }
            while left.load(Ordering::Relaxed) > 0 {
                topic.broadcast("n", number(1)).unwrap();
                pubsub.broadcast("t", "n", number(2)).unwrap();
            }
        });
        pubsub.flush().unwrap();
        assert_eq!(topic.subscriber_count(), 0);
    });
}

#[test]
fn topics_are_retired_and_made_anew_under_those_who_use_them() {
    let _watchdog = watch();
    const NAMES: [&str; 3] = ["a", "b", "c"];
    matrix(|_, pubsub| {
        let threads = 4;
        let rounds = Barrier::new(threads);
        thread::scope(|scope| {
            for thread in 0..threads as u64 {
                let (pubsub, rounds) = (&pubsub, &rounds);
                scope.spawn(move || {
                    let mut random = Random(thread);
                    let control = pubsub.subscriber().build().unwrap();
                    for round in 0..400 {
                        let name = NAMES[random.below(3) as usize];
                        match random.below(3) {
                            0 => {
                                control.subscribe(name).unwrap();
                                control.unsubscribe(name).unwrap();
                            }
                            1 => drop(pubsub.topic(name).unwrap()),
                            _ => {}
                        }
                        // A new member of the moment must be reached by name, whatever happens to the name around it.
                        let mut member = pubsub.subscriber().capacity(2000).build().unwrap();
                        member.subscribe(name).unwrap();
                        let n = thread << 32 | round;
                        assert_eq!(pubsub.broadcast(name, "n", number(n)).unwrap(), Outcome::Sent);
                        if round % 20 == 0 {
                            pubsub.flush().unwrap();
                            let got = numbers(&mut member);
                            assert_eq!(got.iter().filter(|&&got| got == n).count(), 1, "{got:?}");
                            rounds.wait();
                        } else {
                            while !matches!(member.recv(), Ok(message) if common::value(&message) == n) {}
                        }
                    }
                });
            }
        });
        pubsub.flush().unwrap();
        assert!(pubsub.topics().is_empty(), "{:?}", pubsub.topics());
        assert_eq!(pubsub.stats().subscriptions, 0);
    });
}

#[test]
fn a_stable_member_is_reached_by_name_while_others_come_and_go() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut stable = pubsub.subscriber().capacity(60_000).build().unwrap();
        stable.subscribe("t").unwrap();
        thread::scope(|scope| {
            for thread in 0..4 {
                let pubsub = &pubsub;
                scope.spawn(move || {
                    for n in 0..1000_u64 {
                        let passing = pubsub.subscriber().build().unwrap();
                        passing.subscribe("t").unwrap();
                        if n % 2 == 0 {
                            passing.unsubscribe("t").unwrap();
                        }
                        assert_eq!(pubsub.broadcast("t", "n", number(thread << 32 | n)).unwrap(), Outcome::Sent);
                    }
                });
            }
        });
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut stable).len(), 4000);
        assert_eq!(pubsub.subscriber_count("t"), 1);
    });
}

#[test]
fn a_try_broadcast_reaches_all_or_nobody() {
    let _watchdog = watch();
    for in_place in [Some(0), Some(200), None] {
        let pubsub = Setup { in_place, inbox: 2, ..Setup::workers(3) }.build();
        let mut members: Vec<_> = (0..3)
            .map(|worker| {
                let member = pubsub.subscriber().worker(worker).capacity(1000).build().unwrap();
                member.subscribe("all").unwrap();
                member
            })
            .collect();
        members[1].subscribe("one").unwrap();
        let blocker = Blocker::new(&pubsub, 1);
        blocker.block(&pubsub);
        let mut sent = 0;
        let rejected = loop {
            match pubsub.try_broadcast("all", "event", number(sent)) {
                Ok(Outcome::Sent) => sent += 1,
                Err(BroadcastError::Full(rejected)) => break rejected,
                other => panic!("{other:?}"),
            }
        };
        // At most what the inbox of the blocked worker holds; perhaps less, where another was behind for a moment.
        assert!(sent <= 2);
        assert_eq!(rejected.topic(), "all");
        let (event, payload) = rejected.into_parts();
        assert_eq!((&*event, payload.downcast_ref::<u64>()), ("event", Some(&sent)));
        blocker.let_go();
        pubsub.flush().unwrap();
        assert_eq!(pubsub.broadcast("all", event, payload).unwrap(), Outcome::Sent);
        pubsub.flush().unwrap();
        for member in &mut members {
            assert_eq!(numbers(member), (0..=sent).collect::<Vec<_>>());
        }
    }
}

#[test]
fn racing_try_broadcasts_are_never_delivered_in_part() {
    let _watchdog = watch();
    let pubsub = Setup { inbox: 2, in_place: Some(0), ..Setup::workers(3) }.build();
    let mut members: Vec<_> = (0..3)
        .map(|worker| {
            let member = pubsub.subscriber().worker(worker).capacity(60_000).build().unwrap();
            member.subscribe("all").unwrap();
            member
        })
        .collect();
    let accepted: HashSet<u64> = thread::scope(|scope| {
        let publishers: Vec<_> = (0..4)
            .map(|publisher| {
                let pubsub = &pubsub;
                scope.spawn(move || {
                    let numbers = (0..3000).map(|n| publisher << 32 | n);
                    numbers.filter(|&n| pubsub.try_broadcast("all", "n", number(n)).is_ok()).collect::<Vec<_>>()
                })
            })
            .collect();
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    });
    pubsub.flush().unwrap();
    assert!(!accepted.is_empty());
    for member in &mut members {
        let got = numbers(member);
        assert_eq!(got.len(), accepted.len());
        assert_eq!(got.into_iter().collect::<HashSet<_>>(), accepted);
    }
    assert!(members.iter_mut().all(|member| read_all(member).is_empty()));
}
