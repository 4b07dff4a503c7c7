//! Handlers: callbacks on the worker, which may panic, end themselves, and publish without ever blocking the engine.

mod common;

use common::{Blocker, Notes, Read, Setup, matrix, number, numbers, read_all, value, watch};
use fanfare::{
    BroadcastError, CloseReason, Context, Handler, HandlerSubscriber, Message, Outcome, PubSub, SubscribeError,
};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(100);

fn broadcast(pubsub: &PubSub, topic: &str, n: u64) {
    assert_eq!(pubsub.broadcast(topic, "n", number(n)).unwrap(), Outcome::Sent);
}

/// Notes what it gets, panics at a number if it is told to, and tells how it ended.
struct Fragile {
    notes: Notes,
    panics_at: Option<u64>,
    ended: Arc<Mutex<Vec<CloseReason>>>,
}

impl Handler for Fragile {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        self.notes.note(value(message));
        assert_ne!(Some(value(message)), self.panics_at, "a handler panics");
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.ended.lock().unwrap().push(reason);
        assert_ne!(self.panics_at, Some(u64::MAX), "a handler panics as it is closed");
    }
}

struct Placed {
    handler: HandlerSubscriber,
    notes: Notes,
    ended: Arc<Mutex<Vec<CloseReason>>>,
}

fn fragile(pubsub: &PubSub, panics_at: Option<u64>) -> Placed {
    let (notes, ended) = (Notes::new(), Arc::new(Mutex::new(Vec::new())));
    let handler = Fragile { notes: notes.clone(), panics_at, ended: ended.clone() };
    let handler = pubsub.subscriber().handler(handler).unwrap();
    handler.subscribe("t").unwrap();
    Placed { handler, notes, ended }
}

#[test]
fn a_panic_ends_that_handler_alone_and_is_counted_and_reported() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        // At the first and the last place, next to each other, on the first message and later.
        let at = |i: u64| matches!(i, 0 | 1 | 7 | 20 | 39).then_some(2 + i % 2);
        let all: Vec<Placed> = (0..40).map(|i| fragile(&pubsub, at(i))).collect();
        let mut mailbox = pubsub.subscriber().build().unwrap();
        mailbox.subscribe("t").unwrap();
        for n in 1..=4 {
            broadcast(&pubsub, "t", n);
        }
        pubsub.flush().unwrap();
        for (i, placed) in all.iter().enumerate() {
            let last = at(i as u64).unwrap_or(4);
            assert_eq!(placed.notes.take(), (1..=last).collect::<Vec<_>>(), "handler {i}");
            assert_eq!(placed.handler.close_reason(), at(i as u64).map(|_| CloseReason::Panicked));
            assert!(placed.ended.lock().unwrap().is_empty(), "on_close is not called after a panic");
        }
        assert_eq!(numbers(&mut mailbox), [1, 2, 3, 4]);
        assert_eq!(pubsub.stats().panics, 5);
        // The calls that returned: of those that panicked the ones before, and of the mailbox its messages.
        assert_eq!(pubsub.stats().delivered, 35 * 4 + 2 + 3 * 2 + 4);
        pubsub.flush().unwrap();
        assert_eq!(pubsub.subscriber_count("t"), 36);
        assert_eq!(all[0].handler.subscribe("u"), Err(SubscribeError::SubscriberClosed));
        broadcast(&pubsub, "t", 5);
        pubsub.flush().unwrap();
        assert!(all.iter().enumerate().all(|(i, placed)| placed.notes.take().is_empty() == at(i as u64).is_some()));
    });
}

#[test]
fn on_close_is_called_once_with_the_reason() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let [closed, dropped, left, both] = [(); 4].map(|()| fragile(&pubsub, None));
        closed.handler.close();
        both.handler.close();
        drop(both.handler);
        drop(dropped.handler);
        pubsub.flush().unwrap();
        for ended in [&closed.ended, &dropped.ended, &both.ended] {
            assert_eq!(*ended.lock().unwrap(), [CloseReason::Dropped]);
        }
        assert_eq!(closed.handler.close_reason(), Some(CloseReason::Dropped));
        assert_eq!(closed.handler.unsubscribe("t"), Err(SubscribeError::SubscriberClosed));
        assert!(left.ended.lock().unwrap().is_empty());
        assert_eq!(pubsub.subscriber_count("t"), 1);
        pubsub.shutdown(LONG).unwrap();
        assert_eq!(*left.ended.lock().unwrap(), [CloseReason::Shutdown]);
        assert_eq!(closed.ended.lock().unwrap().len(), 1);
    });
}

#[test]
fn a_panic_in_on_close_hurts_no_one() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let (bad, good) = (fragile(&pubsub, Some(u64::MAX)), fragile(&pubsub, None));
    let at_the_end = fragile(&pubsub, Some(u64::MAX));
    bad.handler.close();
    broadcast(&pubsub, "t", 1);
    pubsub.flush().unwrap();
    assert_eq!(good.notes.take(), [1]);
    assert_eq!(*bad.ended.lock().unwrap(), [CloseReason::Dropped]);
    assert_eq!(pubsub.shutdown(LONG).unwrap().running, 0);
    assert_eq!(*at_the_end.ended.lock().unwrap(), [CloseReason::Shutdown]);
    assert_eq!(*good.ended.lock().unwrap(), [CloseReason::Shutdown]);
}

#[test]
fn a_handler_that_closes_itself_gets_nothing_more() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let notes = Notes::new();
        let noted = notes.clone();
        let close = move |message: &Message, context: &mut Context<'_>| {
            noted.note(value(message));
            if value(message) == 2 {
                context.close();
            }
        };
        let handler = pubsub.subscriber().handler(close).unwrap();
        // Twice, so that the message that ends it was still to come once more.
        handler.subscribe("t").unwrap();
        handler.subscribe("t").unwrap();
        let other = fragile(&pubsub, None);
        for n in 1..=3 {
            broadcast(&pubsub, "t", n);
        }
        pubsub.flush().unwrap();
        assert_eq!(notes.take(), [1, 1, 2]);
        assert_eq!(other.notes.take(), [1, 2, 3]);
        assert_eq!(handler.close_reason(), Some(CloseReason::Dropped));
        pubsub.flush().unwrap();
        assert_eq!(pubsub.subscriber_count("t"), 1);
        assert_eq!(pubsub.stats().panics, 0);
    });
}

#[test]
fn handlers_of_many_types_come_and_go() {
    fn one<const N: usize>(pubsub: &PubSub, notes: &Notes) -> HandlerSubscriber {
        let notes = notes.clone();
        let handler = move |message: &Message, _: &mut Context<'_>| notes.note(value(message) + N as u64);
        let handler = pubsub.subscriber().worker(0).handler(handler).unwrap();
        handler.subscribe("t").unwrap();
        handler
    }
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let notes = Notes::new();
    for round in 0..50 {
        let n = round * 10;
        let (a, b, c) = (one::<0>(&pubsub, &notes), one::<1>(&pubsub, &notes), one::<2>(&pubsub, &notes));
        let mut mailbox = pubsub.subscriber().build().unwrap();
        mailbox.subscribe("t").unwrap();
        broadcast(&pubsub, "t", n);
        drop(b);
        broadcast(&pubsub, "t", n + 4);
        drop(a);
        pubsub.flush().unwrap();
        let mut got = notes.take();
        got.sort_unstable();
        assert_eq!(got, [n, n + 1, n + 2, n + 4, n + 6]);
        assert_eq!(numbers(&mut mailbox), [n, n + 4]);
        drop((mailbox, c));
        pubsub.broadcast("t", "n", number(0)).unwrap();
        pubsub.flush().unwrap();
        assert!(notes.take().is_empty());
    }
    assert!(pubsub.topics().is_empty());
}

#[test]
fn what_a_handler_subscribes_takes_effect_behind_what_was_called_before() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let notes = Notes::new();
        let noted = notes.clone();
        let switch = move |message: &Message, context: &mut Context<'_>| {
            noted.note(value(message));
            if message.event() == "switch" {
                context.unsubscribe("t").unwrap();
                context.subscribe("u").unwrap();
                context.broadcast("u", "n", number(10)).unwrap();
                context.broadcast("t", "n", number(11)).unwrap();
            }
        };
        let handler = pubsub.subscriber().worker(0).handler(switch).unwrap();
        handler.subscribe("t").unwrap();
        // Somebody else on the same worker, so that both topics have members.
        let mut other = pubsub.subscriber().worker(0).build().unwrap();
        other.subscribe("t").unwrap();
        other.subscribe("u").unwrap();
        let blocker = Blocker::new(&pubsub, 0);
        blocker.block(&pubsub);
        pubsub.broadcast("t", "switch", number(1)).unwrap();
        // One entry is all that the smallest inbox has room for: the others wait until the worker goes on.
        let waiting = pubsub.clone();
        let two = thread::spawn(move || broadcast(&waiting, "u", 2));
        if let Err(error) = pubsub.try_broadcast("t", "n", number(3)) {
            assert!(matches!(error, BroadcastError::Full(_)));
        }
        blocker.let_go();
        two.join().unwrap();
        pubsub.flush().unwrap();
        pubsub.flush().unwrap();
        let got = notes.take();
        // What was called before the switch ran is as it was; what was called in it sees the change.
        assert!(got.contains(&10) && !got.contains(&11), "{got:?}");
        assert_eq!(got[0], 1);
        broadcast(&pubsub, "t", 4);
        broadcast(&pubsub, "u", 5);
        pubsub.flush().unwrap();
        assert_eq!(notes.take(), [5]);
        let seen = numbers(&mut other);
        assert!([1, 2, 4, 5, 10, 11].iter().all(|n| seen.contains(n)), "{seen:?}");
    });
}

#[test]
fn broadcasts_in_the_inbox_are_older_than_what_a_handler_subscribes() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let notes = Notes::new();
    let noted = notes.clone();
    let switch = move |message: &Message, context: &mut Context<'_>| {
        noted.note(value(message));
        if message.event() == "switch" {
            context.subscribe("u").unwrap();
            context.unsubscribe("t").unwrap();
        }
    };
    let handler = pubsub.subscriber().worker(0).handler(switch).unwrap();
    handler.subscribe("t").unwrap();
    let other = pubsub.subscriber().worker(0).build().unwrap();
    other.subscribe("u").unwrap();
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    pubsub.broadcast("t", "switch", number(1)).unwrap();
    broadcast(&pubsub, "u", 2);
    broadcast(&pubsub, "t", 3);
    blocker.let_go();
    pubsub.flush().unwrap();
    broadcast(&pubsub, "u", 4);
    pubsub.broadcast("t", "n", number(5)).unwrap();
    pubsub.flush().unwrap();
    assert_eq!(notes.take(), [1, 3, 4], "2 was called before it subscribed, 3 before it unsubscribed");
}

#[test]
fn a_broadcast_from_inside_goes_out_also_when_every_inbox_is_full() {
    let _watchdog = watch();
    for workers in 1..=3 {
        let pubsub = Setup { inbox: 2, ..Setup::workers(workers) }.build();
        let sinks: Vec<_> = (0..workers)
            .map(|worker| {
                let notes = Notes::new();
                let sink = pubsub.subscriber().worker(worker).handler(notes.handler()).unwrap();
                sink.subscribe("sink").unwrap();
                (notes, sink)
            })
            .collect();
        let source = |message: &Message, context: &mut Context<'_>| {
            (0..100).for_each(|n| {
                assert_eq!(context.broadcast("sink", "n", number(value(message) * 100 + n)).unwrap(), Outcome::Sent);
            });
        };
        let source = pubsub.subscriber().worker(0).handler(source).unwrap();
        source.subscribe("source").unwrap();
        (0..10).for_each(|n| broadcast(&pubsub, "source", n));
        pubsub.shutdown(LONG).unwrap();
        for (notes, _) in &sinks {
            assert_eq!(notes.take(), (0..1000).collect::<Vec<_>>());
        }
    }
}

#[test]
fn a_broadcast_from_inside_that_fits_nowhere_comes_back_and_nobody_has_it() {
    let _watchdog = watch();
    let pubsub = Setup { inbox: 2, ..Setup::workers(2) }.build();
    let mut mailboxes: Vec<_> = (0..2)
        .map(|worker| {
            let mailbox = pubsub.subscriber().worker(worker).capacity(60_000).build().unwrap();
            mailbox.subscribe("sink").unwrap();
            mailbox
        })
        .collect();
    let (tell, told) = channel();
    let source = move |_: &Message, context: &mut Context<'_>| {
        let mut sent = 0;
        let rejected = loop {
            match context.broadcast("sink", "n", number(sent)) {
                Ok(_) => sent += 1,
                Err(BroadcastError::Full(rejected)) => break rejected,
                Err(other) => panic!("{other}"),
            }
        };
        assert_eq!(rejected.topic(), "sink");
        let (event, payload) = rejected.into_parts();
        assert_eq!(&*event, "n");
        assert_eq!(payload.downcast_ref::<u64>(), Some(&sent));
        tell.send(sent).unwrap();
    };
    let source = pubsub.subscriber().worker(0).handler(source).unwrap();
    source.subscribe("source").unwrap();
    let blocker = Blocker::new(&pubsub, 1);
    blocker.block(&pubsub);
    broadcast(&pubsub, "source", 0);
    let sent = told.recv().unwrap();
    blocker.let_go();
    pubsub.shutdown(LONG).unwrap();
    for mailbox in &mut mailboxes {
        let mut got = read_all(mailbox);
        assert_eq!(got.pop(), Some(Read::Closed(CloseReason::Shutdown)));
        assert_eq!(got, (0..sent).map(Read::Number).collect::<Vec<_>>());
    }
}

/// Answers each message with two on the other topic, until so many have been accepted.
fn flood(
    pubsub: &PubSub,
    worker: usize,
    topics: [&'static str; 2],
    left: &Arc<AtomicU64>,
    counts: &Arc<Counts>,
) -> HandlerSubscriber {
    let (left, counts) = (left.clone(), counts.clone());
    let answer = move |_: &Message, context: &mut Context<'_>| {
        counts.received.fetch_add(1, Ordering::Relaxed);
        for _ in 0..2 {
            if left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
                return;
            }
            match context.broadcast(topics[1], "n", number(0)) {
                Ok(_) => counts.accepted.fetch_add(1, Ordering::Relaxed),
                Err(BroadcastError::Full(_)) => counts.full.fetch_add(1, Ordering::Relaxed),
                Err(other) => panic!("{other}"),
            };
        }
    };
    let handler = pubsub.subscriber().worker(worker).handler(answer).unwrap();
    handler.subscribe(topics[0]).unwrap();
    handler
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    accepted: AtomicU64,
    full: AtomicU64,
}

impl Counts {
    fn check(&self) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        assert_eq!(read(&self.received), read(&self.accepted), "what was accepted is delivered, and nothing else");
        assert!(read(&self.accepted) > 1000, "{self:?}");
    }
}

#[test]
fn handlers_of_two_workers_that_flood_each_other_come_to_an_end() {
    let _watchdog = watch();
    for inbox in [2, 64] {
        let pubsub = Setup { inbox, ..Setup::workers(2) }.build();
        let (left, counts) = (Arc::new(AtomicU64::new(40_000)), Arc::new(Counts::default()));
        let _a = flood(&pubsub, 0, ["a", "b"], &left, &counts);
        let _b = flood(&pubsub, 1, ["b", "a"], &left, &counts);
        for topic in ["a", "b"] {
            broadcast(&pubsub, topic, 0);
            counts.accepted.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(pubsub.shutdown(LONG).unwrap().undelivered, 0);
        counts.check();
        assert_eq!(left.load(Ordering::Relaxed), 0);
    }
}

#[test]
fn handlers_that_flood_each_other_for_ever_end_at_the_deadline() {
    let _watchdog = watch();
    let pubsub = Setup { inbox: 2, ..Setup::workers(2) }.build();
    let forever = |worker, topics: [&'static str; 2]| {
        let answer = move |_: &Message, context: &mut Context<'_>| {
            // Refused while everything is full, and at the end.
            (0..2).for_each(|_| drop(context.broadcast(topics[1], "n", number(0))));
        };
        let handler = pubsub.subscriber().worker(worker).handler(answer).unwrap();
        handler.subscribe(topics[0]).unwrap();
        handler
    };
    let handlers = [forever(0, ["a", "b"]), forever(1, ["b", "a"])];
    broadcast(&pubsub, "a", 0);
    let report = pubsub.shutdown(Duration::from_millis(20)).unwrap();
    assert_eq!(report.running, 0);
    assert!(report.undelivered > 0, "there is always something on its way");
    assert_eq!(handlers[0].close_reason(), Some(CloseReason::Shutdown));
}

/// Answers each message with one in the other engine.
struct Across {
    other: PubSub,
    topic: &'static str,
    counts: Arc<Counts>,
    left: Arc<AtomicU64>,
}

impl Handler for Across {
    fn on_message(&mut self, _: &Message, _: &mut Context<'_>) {
        self.counts.received.fetch_add(1, Ordering::Relaxed);
        for _ in 0..2 {
            if self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_err() {
                return;
            }
            match self.other.broadcast(self.topic, "n", number(0)) {
                Ok(_) => self.counts.accepted.fetch_add(1, Ordering::Relaxed),
                Err(BroadcastError::Full(_)) => self.counts.full.fetch_add(1, Ordering::Relaxed),
                Err(other) => panic!("{other}"),
            };
        }
    }
}

#[test]
fn handlers_of_two_engines_that_flood_each_other_come_to_an_end() {
    let _watchdog = watch();
    let engines = [(); 2].map(|()| Setup { inbox: 2, ..Setup::workers(1) }.build());
    let (left, counts) = (Arc::new(AtomicU64::new(20_000)), Arc::new(Counts::default()));
    let across = |here: usize| {
        let other = engines[1 - here].clone();
        let handler = Across { other, topic: "t", counts: counts.clone(), left: left.clone() };
        let handler = engines[here].subscriber().handler(handler).unwrap();
        handler.subscribe("t").unwrap();
        handler
    };
    let handlers = [across(0), across(1)];
    broadcast(&engines[0], "t", 0);
    counts.accepted.fetch_add(1, Ordering::Relaxed);
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    while read(&left) > 0 || read(&counts.received) < read(&counts.accepted) {
        thread::yield_now();
    }
    drop(handlers);
    for engine in &engines {
        assert_eq!(engine.shutdown(LONG).unwrap().running, 0);
    }
    counts.check();
}

#[test]
fn a_broadcast_to_a_closed_engine_from_a_worker_of_another_says_so() {
    let _watchdog = watch();
    let (one, other) = (Setup::PLAIN.build(), Setup::PLAIN.build());
    let (tell, told): (Sender<bool>, _) = channel();
    let target = other.clone();
    let ask = move |_: &Message, _: &mut Context<'_>| {
        let result = target.broadcast("t", "n", number(0));
        tell.send(matches!(result, Err(BroadcastError::Closed))).unwrap();
    };
    let handler = one.subscriber().handler(ask).unwrap();
    handler.subscribe("ask").unwrap();
    let mailbox = other.subscriber().build().unwrap();
    mailbox.subscribe("t").unwrap();
    broadcast(&one, "ask", 0);
    assert!(!told.recv().unwrap());
    other.shutdown(LONG).unwrap();
    broadcast(&one, "ask", 0);
    assert!(told.recv().unwrap());
}

#[test]
fn broadcast_from_self_skips_every_subscription_of_the_handler() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let notes = Notes::new();
        let noted = notes.clone();
        let talk = move |message: &Message, context: &mut Context<'_>| {
            noted.note(value(message));
            if value(message) == 0 {
                context.broadcast_from_self("t", "n", number(1)).unwrap();
                context.broadcast_from_self("u", "n", number(2)).unwrap();
                context.broadcast("u", "n", number(3)).unwrap();
            }
        };
        let handler = pubsub.subscriber().handler(talk).unwrap();
        handler.subscribe("t").unwrap();
        handler.subscribe("t").unwrap();
        handler.subscribe("u").unwrap();
        handler.subscribe("go").unwrap();
        let others: Vec<_> = (0..3).map(|_| fragile(&pubsub, None)).collect();
        broadcast(&pubsub, "go", 0);
        pubsub.shutdown(LONG).unwrap();
        assert_eq!(notes.take(), [0, 3]);
        others.iter().for_each(|other| assert_eq!(other.notes.take(), [1]));
    });
}

#[test]
fn a_handler_may_use_the_engine_that_it_runs_in() {
    let _watchdog = watch();
    let pubsub = Setup::workers(3).build();
    let (tell, told) = channel();
    let work = move |_: &Message, context: &mut Context<'_>| {
        let pubsub = context.pubsub().expect("it has not gone");
        assert!(matches!(pubsub.flush(), Err(BroadcastError::OnWorker)));
        let child = pubsub.subscriber().build().unwrap();
        child.subscribe("child").unwrap();
        pubsub.topic("child").unwrap().broadcast("n", number(7)).unwrap();
        tell.send((context.id(), child)).unwrap();
    };
    let handler = pubsub.subscriber().worker(1).handler(work).unwrap();
    handler.subscribe("go").unwrap();
    broadcast(&pubsub, "go", 0);
    let (id, mut child) = told.recv().unwrap();
    assert_eq!(id, handler.id());
    assert_eq!(value(&child.recv().unwrap()), 7);
    // Those made on a worker live there.
    assert_eq!(pubsub.stats().workers[1].delivered, 2);
}

#[test]
fn an_engine_whose_last_handle_has_gone_gives_its_handlers_none() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let (tell, told) = channel();
    let ask = move |_: &Message, context: &mut Context<'_>| {
        tell.send(context.pubsub().is_some()).unwrap();
        // What it is given may become the last handle here.
        while context.pubsub().is_some() {
            thread::yield_now();
        }
        tell.send(false).unwrap();
    };
    let handler = pubsub.subscriber().handler(ask).unwrap();
    handler.subscribe("go").unwrap();
    broadcast(&pubsub, "go", 0);
    assert!(told.recv().unwrap());
    drop(pubsub);
    assert!(!told.recv().unwrap());
}
