//! For one publisher and one topic, each subscriber sees messages in publishing order, however it reads and by
//! whichever way they come.

mod common;

use common::{Blocker, Notes, Setup, matrix, number, numbers, value, watch};
use fanfare::{MailboxSet, Message, PubSub, SetEvent, Subscriber};
use std::sync::Mutex;
use std::thread;

const PUBLISHERS: u64 = 8;
const TOPICS: u64 = 3;
const EACH: u64 = 200;
const ALL: usize = (PUBLISHERS * TOPICS * EACH) as usize;

fn topic(t: u64) -> String {
    format!("topic:{t}")
}

fn pack(publisher: u64, topic: u64, n: u64) -> u64 {
    (publisher * TOPICS + topic) << 32 | n
}

/// Checks that each publisher's messages on each topic are all there, in order.
fn check(got: &[u64]) {
    assert_eq!(got.len(), ALL);
    let mut next = [0; (PUBLISHERS * TOPICS) as usize];
    for &packed in got {
        let next = &mut next[(packed >> 32) as usize];
        assert_eq!(packed & 0xFFFF_FFFF, *next, "out of order, or lost");
        *next += 1;
    }
}

/// Each publisher sends to all topics in turn, by name, by handle, and by trying first.
fn publish(pubsub: &PubSub) {
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                let names: Vec<String> = (0..TOPICS).map(topic).collect();
                let handles: Vec<_> = names.iter().map(|name| pubsub.topic(name).unwrap()).collect();
                for n in 0..EACH {
                    for t in 0..TOPICS {
                        let packed = pack(publisher, t, n);
                        match (n + publisher) % 3 {
                            0 => pubsub.broadcast(&names[t as usize], "n", number(packed)).unwrap(),
                            1 => handles[t as usize].broadcast("n", number(packed)).unwrap(),
                            _ => match handles[t as usize].try_broadcast("n", number(packed)) {
                                Ok(sent) => sent,
                                Err(fanfare::BroadcastError::Full(rejected)) => {
                                    let (event, payload) = rejected.into_parts();
                                    handles[t as usize].broadcast(event, payload).unwrap()
                                }
                                Err(other) => panic!("{other}"),
                            },
                        };
                    }
                }
            });
        }
    });
}

fn subscriber(pubsub: &PubSub) -> Subscriber {
    let subscriber = pubsub.subscriber().capacity(ALL).build().unwrap();
    (0..TOPICS).for_each(|t| subscriber.subscribe(&topic(t)).unwrap());
    subscriber
}

#[test]
fn mailboxes_see_each_publishers_messages_in_order() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        thread::scope(|scope| {
            for _ in 0..3 {
                let mut subscriber = subscriber(&pubsub);
                scope.spawn(move || {
                    let got: Vec<u64> = (0..ALL).map(|_| value(&subscriber.recv().unwrap())).collect();
                    check(&got);
                });
            }
            publish(&pubsub);
        });
    });
}

#[test]
fn handlers_see_each_publishers_messages_in_order() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let handlers: Vec<_> = (0..4)
            .map(|_| {
                let notes = Notes::new();
                let handler = pubsub.subscriber().handler(notes.handler()).unwrap();
                (0..TOPICS).for_each(|t| handler.subscribe(&topic(t)).unwrap());
                (notes, handler)
            })
            .collect();
        publish(&pubsub);
        pubsub.flush().unwrap();
        handlers.iter().for_each(|(notes, _)| check(&notes.take()));
    });
}

#[test]
fn the_reader_of_a_set_sees_each_publishers_messages_in_order() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut set = MailboxSet::new();
        let mut got: Vec<_> = (0..6).map(|_| (set.insert(subscriber(&pubsub)), Vec::new())).collect();
        thread::scope(|scope| {
            scope.spawn(|| publish(&pubsub));
            let mut left = got.len() * ALL;
            while left > 0 {
                left -= set.read(|key, event| match event {
                    SetEvent::Message(message) => {
                        let (_, got) = got.iter_mut().find(|(known, _)| *known == key).unwrap();
                        got.push(value(message));
                    }
                    other => panic!("{other:?}"),
                });
            }
        });
        got.iter().for_each(|(_, got)| check(got));
    });
}

#[test]
fn a_conflating_mailbox_of_unique_keys_sees_each_publishers_messages_in_order() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut subscriber = pubsub.subscriber().capacity(ALL).conflate_by(value).unwrap();
        (0..TOPICS).for_each(|t| subscriber.subscribe(&topic(t)).unwrap());
        publish(&pubsub);
        pubsub.flush().unwrap();
        check(&numbers(&mut subscriber));
    });
}

#[test]
fn delivery_in_place_does_not_overtake_what_waits_in_the_inbox() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = pubsub.subscriber().worker(0).build().unwrap();
    subscriber.subscribe("t").unwrap();
    // While it can, the publisher delivers itself.
    pubsub.flush().unwrap();
    while pubsub.stats().in_place == 0 {
        pubsub.broadcast("t", "n", number(0)).unwrap();
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut subscriber), [0]);
    }
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    pubsub.broadcast("t", "n", number(2)).unwrap();
    assert!(subscriber.is_empty(), "behind the worker, which is blocked");
    blocker.let_go();
    // Whichever way this one takes.
    pubsub.broadcast("t", "n", number(3)).unwrap();
    pubsub.flush().unwrap();
    assert_eq!(numbers(&mut subscriber), [1, 2, 3]);
}

#[test]
fn what_a_handler_publishes_comes_in_order() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        // From each worker, on topics whose members are on all workers; far more than the inboxes hold.
        let got: Vec<_> = (0..setup.workers)
            .map(|worker| {
                let notes = Notes::new();
                let handler = pubsub.subscriber().worker(worker).handler(notes.handler()).unwrap();
                (0..TOPICS).for_each(|t| handler.subscribe(&topic(t)).unwrap());
                (notes, handler)
            })
            .collect();
        let finished = std::sync::Arc::new(Mutex::new(0));
        let sources: Vec<_> = (0..setup.workers)
            .map(|worker| {
                let finished = finished.clone();
                let source = move |message: &Message, context: &mut fanfare::Context<'_>| {
                    let n = value(message);
                    (0..TOPICS).for_each(|t| {
                        let packed = pack(worker as u64, t, n);
                        context.broadcast(&topic(t), "n", number(packed)).unwrap();
                    });
                    *finished.lock().unwrap() += 1;
                };
                let source = pubsub.subscriber().worker(worker).handler(source).unwrap();
                source.subscribe("go").unwrap();
                source
            })
            .collect();
        (0..EACH).for_each(|n| assert!(pubsub.broadcast("go", "n", number(n)).is_ok()));
        // A shutdown waits for what handlers publish.
        let report = pubsub.shutdown(std::time::Duration::from_secs(100)).unwrap();
        assert_eq!((report.undelivered, report.running), (0, 0));
        assert_eq!(*finished.lock().unwrap(), EACH as usize * setup.workers);
        for (notes, _) in &got {
            let mut next = [0; (PUBLISHERS * TOPICS) as usize];
            for packed in notes.take() {
                let next = &mut next[(packed >> 32) as usize];
                assert_eq!(packed & 0xFFFF_FFFF, *next);
                *next += 1;
            }
            assert_eq!(next.iter().sum::<u64>(), setup.workers as u64 * TOPICS * EACH);
        }
        drop(sources);
    });
}
