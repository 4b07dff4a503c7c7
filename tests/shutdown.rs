//! How an engine ends: what was accepted is delivered, everybody is told, and nobody waits for ever.

mod common;

use common::{Blocker, Notes, Read, Setup, matrix, number, read_all, value, watch};
use fanfare::{
    BroadcastError, CloseReason, Context, Handler, Message, Payload, PubSub, RecvError, SubscribeError, Subscriber,
};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

/// Longer than any test takes.
const LONG: Duration = Duration::from_secs(100);
const PUBLISHERS: u64 = 4;
const EACH: u64 = 4000;

fn topic(n: u64) -> &'static str {
    ["a", "b", "c"][n as usize % 3]
}

/// Publishes until the engine is closed. Returns what was accepted.
fn publish(pubsub: &PubSub, publisher: u64, sent: &AtomicU64) -> Vec<u64> {
    let mut accepted = Vec::new();
    for n in publisher * EACH..(publisher + 1) * EACH {
        let result = match n % 2 {
            0 => pubsub.broadcast(topic(n), "n", number(n)),
            _ => pubsub.try_broadcast(topic(n), "n", number(n)),
        };
        match result {
            Ok(_) => accepted.push(n),
            Err(BroadcastError::Full(_)) => {}
            Err(BroadcastError::Closed) => break,
            Err(other) => panic!("{other}"),
        }
        sent.fetch_add(1, Ordering::Relaxed);
    }
    accepted
}

fn readers(setup: &Setup, pubsub: &PubSub) -> Vec<Subscriber> {
    let reader = |worker| {
        let subscriber = pubsub.subscriber().worker(worker).capacity((PUBLISHERS * EACH) as usize).build().unwrap();
        (0..3).for_each(|n| subscriber.subscribe(topic(n)).unwrap());
        subscriber
    };
    (0..setup.workers).flat_map(|worker| [reader(worker), reader(worker)]).collect()
}

/// What is in a mailbox, which then is closed by the shutdown.
fn read_to_end(subscriber: &mut Subscriber) -> Vec<u64> {
    let mut all = read_all(subscriber);
    assert_eq!(all.pop(), Some(Read::Closed(CloseReason::Shutdown)));
    assert_eq!(subscriber.recv().unwrap_err(), RecvError::Closed(CloseReason::Shutdown));
    assert_eq!(subscriber.control().close_reason(), Some(CloseReason::Shutdown));
    let number = |read| match read {
        Read::Number(n) => n,
        other => panic!("{other:?}"),
    };
    all.into_iter().map(number).collect()
}

#[test]
fn a_shutdown_under_load_loses_nothing_that_was_accepted() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let mut readers = readers(&setup, &pubsub);
        let notes = Notes::new();
        let handler = pubsub.subscriber().handler(notes.handler()).unwrap();
        (0..3).for_each(|n| handler.subscribe(topic(n)).unwrap());
        let sent = AtomicU64::new(0);
        let accepted: BTreeSet<u64> = thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|publisher| {
                    let (pubsub, sent) = (&pubsub, &sent);
                    scope.spawn(move || publish(pubsub, publisher, sent))
                })
                .collect();
            while sent.load(Ordering::Relaxed) < 500 {
                thread::yield_now();
            }
            let report = pubsub.shutdown(LONG).unwrap();
            assert_eq!((report.undelivered, report.running), (0, 0));
            publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
        });
        let check = |got: Vec<u64>| {
            assert_eq!(got.len(), accepted.len());
            assert!(got.iter().all(|n| accepted.contains(n)));
        };
        readers.iter_mut().for_each(|reader| check(read_to_end(reader)));
        check(notes.take());
    });
}

#[test]
fn the_drop_of_the_last_handle_delivers_everything() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let mut readers = readers(&setup, &pubsub);
        let accepted: BTreeSet<u64> = thread::scope(|scope| {
            let publishers: Vec<_> = (0..PUBLISHERS)
                .map(|publisher| {
                    let pubsub = pubsub.clone();
                    scope.spawn(move || publish(&pubsub, publisher, &AtomicU64::new(0)))
                })
                .collect();
            drop(pubsub);
            publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
        });
        // One that only tries may be refused; half of them wait.
        assert!(accepted.len() as u64 >= PUBLISHERS * EACH / 2);
        for reader in &mut readers {
            assert_eq!(read_to_end(reader).into_iter().collect::<BTreeSet<_>>(), accepted);
        }
    });
}

#[test]
fn after_a_shutdown_every_call_says_closed() {
    matrix(|_, pubsub| {
        let topic = pubsub.topic("t").unwrap();
        let (control, mut mailbox) = pubsub.subscriber().build().unwrap().split();
        control.subscribe("t").unwrap();
        let handler = pubsub.subscriber().handler(|_: &Message, _: &mut Context<'_>| {}).unwrap();
        pubsub.broadcast("t", "n", number(1)).unwrap();
        let report = pubsub.shutdown(LONG).unwrap();
        assert_eq!((report.undelivered, report.running), (0, 0));
        assert_eq!(pubsub.shutdown(Duration::ZERO).unwrap(), report, "a second time changes nothing");
        for name in ["t", "nobody"] {
            assert!(matches!(pubsub.broadcast(name, "n", number(2)), Err(BroadcastError::Closed)));
            assert!(matches!(pubsub.try_broadcast(name, "n", number(2)), Err(BroadcastError::Closed)));
            assert!(matches!(pubsub.broadcast_from(control.id(), name, "n", number(2)), Err(BroadcastError::Closed)));
        }
        assert!(matches!(topic.broadcast("n", number(2)), Err(BroadcastError::Closed)));
        assert!(matches!(pubsub.flush(), Err(BroadcastError::Closed)));
        assert_eq!(control.subscribe("t").unwrap_err(), SubscribeError::Closed);
        assert_eq!(control.unsubscribe("t").unwrap_err(), SubscribeError::Closed);
        assert_eq!(handler.subscribe("t").unwrap_err(), SubscribeError::Closed);
        assert_eq!(handler.close_reason(), Some(CloseReason::Shutdown));
        assert_eq!(pubsub.subscriber().build().unwrap_err(), SubscribeError::Closed);
        assert_eq!(pubsub.subscriber().conflate_by(value).unwrap_err(), SubscribeError::Closed);
        assert_eq!(
            pubsub.subscriber().handler(|_: &Message, _: &mut Context<'_>| {}).unwrap_err(),
            SubscribeError::Closed
        );
        control.close();
        assert_eq!(read_all(&mut mailbox), [Read::Number(1), Read::Closed(CloseReason::Shutdown)]);
    });
}

#[test]
fn calls_from_outside_are_refused_at_once_and_handlers_publish_until_all_is_delivered() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let last = setup.workers - 1;
        let chain = |message: &Message, context: &mut Context<'_>| {
            if let Some(n) = value(message).checked_sub(1) {
                context.broadcast("chain", "n", number(n)).unwrap();
            }
        };
        let handler = pubsub.subscriber().worker(last).handler(chain).unwrap();
        handler.subscribe("chain").unwrap();
        let mut mailbox = pubsub.subscriber().worker(0).capacity(1000).build().unwrap();
        mailbox.subscribe("chain").unwrap();
        let blocker = Blocker::new(&pubsub, last);
        blocker.block(&pubsub);
        pubsub.broadcast("chain", "n", number(500)).unwrap();
        thread::scope(|scope| {
            let ending = scope.spawn(|| pubsub.shutdown(LONG).unwrap());
            while pubsub.broadcast("nobody", "n", number(0)).is_ok() {
                thread::yield_now();
            }
            assert!(matches!(pubsub.broadcast("chain", "n", number(0)), Err(BroadcastError::Closed)));
            blocker.let_go();
            assert_eq!(ending.join().unwrap().undelivered, 0);
        });
        assert_eq!(read_to_end(&mut mailbox), (0..=500).rev().collect::<Vec<_>>());
    });
}

#[test]
fn a_deadline_that_passes_is_reported_with_what_was_left() {
    let _watchdog = watch();
    let pubsub = Setup::workers(2).build();
    let reader = |worker| pubsub.subscriber().worker(worker).capacity(EACH as usize).build().unwrap();
    let mut readers = [reader(0), reader(1)];
    readers.iter().for_each(|reader| reader.subscribe("t").unwrap());
    let blocker = Blocker::new(&pubsub, 1);
    blocker.block(&pubsub);
    // More than a worker does between two looks at whether the engine is closed.
    let sent = 500;
    (0..sent).for_each(|n| {
        pubsub.broadcast("t", "n", number(n)).unwrap();
    });
    let report = pubsub.shutdown(Duration::ZERO).unwrap();
    assert_eq!(report.running, 1, "the one that is in a callback");
    blocker.let_go();
    // Now it can end.
    let report = pubsub.shutdown(LONG).unwrap();
    assert_eq!(report.running, 0);
    let left: Vec<u64> = readers.iter_mut().map(|reader| sent - read_to_end(reader).len() as u64).collect();
    assert!(left[1] > 0, "the blocked worker did all of its inbox after the deadline");
    assert_eq!(report.undelivered, left[0] + left[1]);
}

/// Threads wait for room in the inboxes of two blocked workers when the engine closes at its deadline.
fn wait_for_room_at_the_end(setup: Setup) {
    let pubsub = setup.build();
    let readers: Vec<_> = (0..2).map(|worker| pubsub.subscriber().worker(worker).build().unwrap()).collect();
    readers.iter().for_each(|reader| reader.subscribe("t").unwrap());
    let blockers = [Blocker::new(&pubsub, 0), Blocker::new(&pubsub, 1)];
    blockers.iter().for_each(|blocker| blocker.block(&pubsub));
    (0..2).for_each(|n| {
        pubsub.broadcast("t", "n", number(n)).unwrap();
    });
    let start = Barrier::new(13);
    thread::scope(|scope| {
        for n in 0..12 {
            let (pubsub, start) = (&pubsub, &start);
            scope.spawn(move || {
                start.wait();
                let result = match n % 2 {
                    0 => pubsub.broadcast("t", "n", number(n)).map(|_| ()),
                    _ => pubsub.flush().map(|_| ()),
                };
                assert!(matches!(result, Ok(()) | Err(BroadcastError::Closed)), "{result:?}");
            });
        }
        start.wait();
        (0..100).for_each(|_| thread::yield_now());
        let ending = scope.spawn(|| pubsub.shutdown(Duration::ZERO).unwrap());
        while pubsub.broadcast("nobody", "n", number(0)).is_ok() {
            thread::yield_now();
        }
        (0..100).for_each(|_| thread::yield_now());
        blockers.iter().for_each(Blocker::let_go);
        ending.join().unwrap();
    });
    assert_eq!(pubsub.shutdown(LONG).unwrap().running, 0);
}

#[test]
fn a_deadline_that_passes_lets_those_go_who_wait_for_room() {
    let _watchdog = watch();
    for _ in 0..20 {
        for in_place in [Some(0), Some(200), None] {
            wait_for_room_at_the_end(Setup { in_place, inbox: 2, ..Setup::workers(2) });
        }
    }
}

#[test]
fn payloads_that_were_not_delivered_are_dropped() {
    let _watchdog = watch();
    let payload = Arc::new(());
    {
        let pubsub = Setup { in_place: Some(0), inbox: 2, ..Setup::workers(2) }.build();
        let _readers: Vec<_> = (0..2)
            .map(|worker| {
                let reader = pubsub.subscriber().worker(worker).build().unwrap();
                reader.subscribe("t").unwrap();
                reader
            })
            .collect();
        let flood = |message: &Message, context: &mut Context<'_>| {
            // More than the inboxes hold: most of it waits in the outbox.
            (0..100).for_each(|_| drop(context.broadcast("t", "n", message.payload().clone())));
        };
        let handler = pubsub.subscriber().worker(0).handler(flood).unwrap();
        handler.subscribe("flood").unwrap();
        let blocker = Blocker::new(&pubsub, 1);
        blocker.block(&pubsub);
        let typed = Payload::typed(Counted(payload.clone()));
        pubsub.broadcast("flood", "n", typed.clone()).unwrap();
        pubsub.try_broadcast("t", "n", typed).unwrap_or(fanfare::Outcome::Sent);
        pubsub.shutdown(Duration::ZERO).unwrap();
        blocker.let_go();
        assert_eq!(pubsub.shutdown(LONG).unwrap().running, 0);
    }
    assert_eq!(Arc::strong_count(&payload), 1);
}

struct Counted(#[allow(dead_code)] Arc<()>);

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

#[test]
fn those_whose_arrival_the_worker_has_not_seen_are_told_of_the_end() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    let mut mailbox = pubsub.subscriber().build().unwrap();
    let mut conflating = pubsub.subscriber().conflate_by(value).unwrap();
    let (tell, told) = channel();
    let _handler = pubsub.subscriber().handler(Told { tell, pubsub: None }).unwrap();
    let (tell, told_dropped) = channel();
    drop(pubsub.subscriber().handler(Told { tell, pubsub: None }).unwrap());
    pubsub.shutdown(Duration::ZERO).unwrap();
    blocker.let_go();
    assert_eq!(pubsub.shutdown(LONG).unwrap().running, 0);
    assert_eq!(read_to_end(&mut mailbox), [0; 0]);
    assert_eq!(read_all(&mut conflating), [Read::Closed(CloseReason::Shutdown)]);
    assert_eq!(told.try_recv().unwrap(), CloseReason::Shutdown);
    assert_eq!(told_dropped.try_recv().unwrap(), CloseReason::Dropped);
}

/// Tells how it ended; holds a handle of the engine, and ends it when told to.
struct Told {
    tell: Sender<CloseReason>,
    pubsub: Option<PubSub>,
}

impl Handler for Told {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        match message.event() {
            "shutdown" => {
                let result = self.pubsub.as_ref().unwrap().shutdown(LONG);
                assert!(matches!(result, Err(BroadcastError::OnWorker)), "{result:?}");
            }
            _ => drop(self.pubsub.take()),
        }
    }

    fn on_close(&mut self, reason: CloseReason) {
        // A handle that is still here is perhaps the last.
        drop(self.pubsub.take());
        self.tell.send(reason).unwrap();
    }
}

#[test]
fn on_a_workers_thread_a_shutdown_and_the_last_drop_only_signal() {
    let _watchdog = watch();
    for event in ["shutdown", "drop"] {
        for setup in common::setups() {
            let pubsub = setup.build();
            let mut mailboxes = readers(&setup, &pubsub);
            let (tell, told) = channel();
            let handler = Told { tell, pubsub: Some(pubsub.clone()) };
            let handler = pubsub.subscriber().worker(0).handler(handler).unwrap();
            handler.subscribe("end").unwrap();
            let topic = pubsub.topic("end").unwrap();
            pubsub.broadcast("a", "n", number(1)).unwrap();
            let blocker = Blocker::new(&pubsub, 0);
            blocker.block(&pubsub);
            topic.broadcast(event, number(0)).unwrap();
            // From here on the handler's is the last.
            drop(pubsub);
            blocker.let_go();
            assert_eq!(told.recv().unwrap(), CloseReason::Shutdown);
            for mailbox in &mut mailboxes {
                assert_eq!(value(&mailbox.recv().unwrap()), 1);
                assert_eq!(mailbox.recv().unwrap_err(), RecvError::Closed(CloseReason::Shutdown));
            }
        }
    }
}

#[test]
fn a_shutdown_wakes_readers_that_wait() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        thread::scope(|scope| {
            let waiting: Vec<_> = (0..4)
                .map(|i| {
                    let builder = pubsub.subscriber();
                    let subscriber = if i % 2 == 0 { builder.build() } else { builder.conflate_by(value) };
                    let mut subscriber = subscriber.unwrap();
                    scope.spawn(move || subscriber.recv().unwrap_err())
                })
                .collect();
            pubsub.shutdown(LONG).unwrap();
            for waiting in waiting {
                assert_eq!(waiting.join().unwrap(), RecvError::Closed(CloseReason::Shutdown));
            }
        });
    });
}

#[test]
fn several_may_shut_down_at_once() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let mut readers = readers(&setup, &pubsub);
        (0..100).for_each(|n| assert!(pubsub.broadcast("a", "n", number(n)).is_ok()));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| assert_eq!(pubsub.shutdown(LONG).unwrap().running, 0));
            }
        });
        for reader in &mut readers {
            assert_eq!(read_to_end(reader), (0..100).collect::<Vec<_>>());
        }
    });
}

#[test]
fn what_was_read_from_an_engine_outlives_it() {
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = pubsub.subscriber().build().unwrap();
    subscriber.subscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(7)).unwrap();
    drop(pubsub);
    let message = subscriber.try_recv().unwrap();
    assert_eq!(read_all(&mut subscriber), [Read::Closed(CloseReason::Shutdown)]);
    drop(subscriber);
    assert_eq!((message.topic(), message.event(), value(&message)), ("t", "n", 7));
}
