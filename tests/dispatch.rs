//! Who is skipped and what is replaced: dispatchers with metadata, and broadcasts from a sender.

mod common;

use common::{Notes, Setup, matrix, number, numbers, value, watch};
use fanfare::{Control, Dispatch, Dispatcher, Message, PubSub, Subscriber, SubscriptionRef};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What these tests attach to subscriptions.
#[derive(Debug, PartialEq, Eq)]
enum Rule {
    Skip,
    Double,
    Panic,
}

fn rules() -> Arc<dyn Dispatcher> {
    Arc::new(|message: &Message, subscription: &SubscriptionRef<'_>| match subscription.metadata::<Rule>() {
        None => Dispatch::Deliver,
        Some(Rule::Skip) => Dispatch::Skip,
        Some(Rule::Double) => Dispatch::Replace(message.with_payload(number(2 * value(message)))),
        Some(Rule::Panic) => panic!("a dispatcher panics"),
    })
}

fn subscriber(pubsub: &PubSub) -> Subscriber {
    pubsub.subscriber().capacity(100).build().unwrap()
}

#[test]
fn a_dispatcher_sees_each_subscriptions_metadata_and_delivers_skips_or_replaces() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let (mut plain, mut skipped, mut doubled) = (subscriber(&pubsub), subscriber(&pubsub), subscriber(&pubsub));
        plain.subscribe("t").unwrap();
        skipped.subscribe_with("t", Rule::Skip).unwrap();
        doubled.subscribe_with("t", Rule::Double).unwrap();
        // Another type than the dispatcher asks for is none.
        doubled.subscribe_with("t", "something else").unwrap();
        let notes = Notes::new();
        let handler = pubsub.subscriber().handler(notes.handler()).unwrap();
        handler.subscribe_with("t", Rule::Double).unwrap();
        handler.subscribe_with("t", Rule::Skip).unwrap();
        handler.subscribe("t").unwrap();
        let mut conflating = pubsub.subscriber().capacity(9).conflate_by(value).unwrap();
        conflating.subscribe_with("t", Rule::Double).unwrap();
        pubsub.broadcast_with(rules(), "t", "n", number(1)).unwrap();
        pubsub.topic("t").unwrap().broadcast_with(rules(), "n", number(10)).unwrap();
        pubsub.broadcast("t", "n", number(100)).unwrap();
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut plain), [1, 10, 100]);
        assert_eq!(numbers(&mut skipped), [100], "without a dispatcher metadata means nothing");
        assert_eq!(sorted(numbers(&mut doubled)), [1, 2, 10, 20, 100, 100]);
        assert_eq!(sorted(notes.take()), [1, 2, 10, 20, 100, 100, 100]);
        assert_eq!(numbers(&mut conflating), [2, 20, 100]);
    });
}

fn sorted(mut numbers: Vec<u64>) -> Vec<u64> {
    numbers.sort_unstable();
    numbers
}

#[test]
fn a_dispatcher_that_panics_skips_that_subscription_and_is_counted() {
    matrix(|_, pubsub| {
        let mut all: Vec<_> = (0..10).map(|_| subscriber(&pubsub)).collect();
        for (i, subscriber) in all.iter().enumerate() {
            let rule = if i % 3 == 0 { Rule::Panic } else { Rule::Double };
            subscriber.subscribe_with("t", rule).unwrap();
        }
        pubsub.broadcast_with(rules(), "t", "n", number(1)).unwrap();
        pubsub.broadcast("t", "n", number(7)).unwrap();
        pubsub.flush().unwrap();
        for (i, subscriber) in all.iter_mut().enumerate() {
            let expected: &[u64] = if i % 3 == 0 { &[7] } else { &[2, 7] };
            assert_eq!(numbers(subscriber), expected);
        }
        assert_eq!(pubsub.stats().panics, 4);
    });
}

#[test]
fn metadata_goes_where_its_subscription_goes() {
    let pubsub = Setup::PLAIN.build();
    let mut all: Vec<_> = (0..50_u64)
        .map(|i| {
            let subscriber = subscriber(&pubsub);
            // With holes: some have none.
            if i % 5 == 4 {
                subscriber.subscribe("t").unwrap()
            } else {
                subscriber.subscribe_with("t", i).unwrap()
            }
            (i, subscriber)
        })
        .collect();
    let metadata: Arc<dyn Dispatcher> =
        Arc::new(|message: &Message, subscription: &SubscriptionRef<'_>| match subscription.metadata::<u64>() {
            Some(&i) => Dispatch::Replace(message.with_payload(number(i))),
            None => Dispatch::Deliver,
        });
    while !all.is_empty() {
        pubsub.broadcast_with(metadata.clone(), "t", "n", number(1000)).unwrap();
        pubsub.flush().unwrap();
        for (i, subscriber) in &mut all {
            assert_eq!(numbers(subscriber), [if *i % 5 == 4 { 1000 } else { *i }]);
        }
        // Removal moves the last one into the hole.
        all.swap_remove(all.len() / 3);
        if all.len() % 4 == 0
            && let Some((_, subscriber)) = all.last()
        {
            subscriber.unsubscribe("t").unwrap();
            subscriber.subscribe_with("t", all[all.len() - 1].0).unwrap();
            let last = all.pop().unwrap();
            if last.0 % 5 != 4 {
                all.push(last);
            }
        }
    }
}

#[test]
fn a_replacement_for_a_full_or_closed_mailbox_is_dropped_like_any_other() {
    let pubsub = Setup::PLAIN.build();
    let refuses = pubsub.subscriber().capacity(1).overflow(fanfare::Overflow::DropNewest).build().unwrap();
    let evicts = pubsub.subscriber().capacity(1).build().unwrap();
    for subscriber in [&refuses, &evicts] {
        subscriber.subscribe_with("t", Rule::Double).unwrap();
    }
    for n in 1..=5 {
        pubsub.broadcast_with(rules(), "t", "n", number(n)).unwrap();
    }
    pubsub.flush().unwrap();
    let (mut refuses, mut evicts) = (refuses, evicts);
    assert_eq!(numbers(&mut refuses), [2]);
    assert_eq!(refuses.refused(), 4);
    assert_eq!(common::read_all(&mut evicts), [common::Read::Lagged(4), common::Read::Number(10)]);
    assert_eq!(pubsub.stats().dropped, 8);
}

#[test]
fn a_broadcast_from_a_subscriber_skips_all_its_subscriptions_and_no_one_elses() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut mailboxes: Vec<_> = (0..6).map(|_| subscriber(&pubsub)).collect();
        let handlers: Vec<_> = (0..6)
            .map(|_| {
                let notes = Notes::new();
                (pubsub.subscriber().handler(notes.handler()).unwrap(), notes)
            })
            .collect();
        let mut conflating = pubsub.subscriber().capacity(100).conflate_by(value).unwrap();
        let mut controls: Vec<Control> = mailboxes.iter().map(|mailbox| mailbox.control()).collect();
        controls.extend(handlers.iter().map(|(handler, _)| handler.control()));
        controls.push(conflating.control());
        for topic in ["t", "t", "u"] {
            controls.iter().for_each(|control| control.subscribe(topic).unwrap());
        }
        for (n, control) in controls.iter().enumerate() {
            let n = n as u64;
            pubsub.broadcast_from(control.id(), "t", "n", number(n)).unwrap();
            match n % 3 {
                0 => pubsub.local_broadcast_from(control.id(), "u", "n", number(100 + n)).unwrap(),
                _ => pubsub.topic("u").unwrap().broadcast_from(control.id(), "n", number(100 + n)).unwrap(),
            };
        }
        pubsub.flush().unwrap();
        let expected = |me: u64| -> Vec<u64> {
            let others = || (0..13).filter(|&n| n != me);
            sorted(others().chain(others()).chain(others().map(|n| 100 + n)).collect())
        };
        for (me, mailbox) in mailboxes.iter_mut().enumerate() {
            assert_eq!(sorted(numbers(mailbox)), expected(me as u64));
        }
        for (me, (_, notes)) in handlers.iter().enumerate() {
            assert_eq!(sorted(notes.take()), expected(6 + me as u64));
        }
        let mut once = expected(12);
        once.dedup();
        assert_eq!(sorted(numbers(&mut conflating)), once);
    });
}

#[test]
fn a_sender_that_has_gone_and_whose_place_is_used_again_skips_nobody() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        for _ in 0..5 {
            let old = pubsub.subscriber().worker(0).build().unwrap();
            old.subscribe("t").unwrap();
            let old_handler = pubsub.subscriber().worker(0).handler(Notes::new().handler()).unwrap();
            let ids = [old.id(), old_handler.id()];
            drop((old, old_handler));
            pubsub.flush().unwrap();
            let mut new: Vec<_> = (0..3).map(|_| pubsub.subscriber().worker(0).build().unwrap()).collect();
            let notes = Notes::new();
            let handlers = [(); 3].map(|()| pubsub.subscriber().worker(0).handler(notes.handler()).unwrap());
            new.iter().for_each(|new| new.subscribe("t").unwrap());
            handlers.iter().for_each(|new| new.subscribe("t").unwrap());
            for id in ids {
                pubsub.broadcast_from(id, "t", "n", number(1)).unwrap();
            }
            pubsub.flush().unwrap();
            new.iter_mut().for_each(|new| assert_eq!(numbers(new), [1, 1]));
            assert_eq!(notes.take(), [1; 6]);
        }
    });
}

/// Publishes when it is dropped, more than an inbox holds.
struct Loud(PubSub, Arc<AtomicU64>);

impl Drop for Loud {
    fn drop(&mut self) {
        for n in 0..5 {
            // On a worker's thread it is refused rather than made to wait.
            let _ = self.0.broadcast("loud", "n", number(n));
        }
        self.1.fetch_add(1, Ordering::SeqCst);
        assert!(self.1.load(Ordering::SeqCst).is_multiple_of(2), "every other one panics");
    }
}

#[test]
fn metadata_may_use_the_engine_when_it_is_dropped_and_may_panic() {
    let _watchdog = watch();
    for in_place in [Some(0), Some(200), None] {
        let pubsub = Setup { in_place, inbox: 2, ..Setup::workers(1) }.build();
        let dropped = Arc::new(AtomicU64::new(0));
        let mut other = pubsub.subscriber().capacity(8).build().unwrap();
        other.subscribe("loud").unwrap();
        for round in 1..=20 {
            let subscriber = subscriber(&pubsub);
            subscriber.subscribe_with("t", Loud(pubsub.clone(), dropped.clone())).unwrap();
            pubsub.flush().unwrap();
            if round % 2 == 0 {
                subscriber.unsubscribe("t").unwrap();
            }
            drop(subscriber);
            // Whoever comes first applies the removal: with delivery in place perhaps this very thread.
            pubsub.broadcast("loud", "n", number(9)).unwrap();
            while dropped.load(Ordering::SeqCst) < round {
                pubsub.flush().unwrap();
            }
            while other.try_recv().is_ok_and(|_| true) || !other.is_empty() {}
        }
    }
}
