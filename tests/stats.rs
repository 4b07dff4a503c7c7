//! The counters, exact once the engine has been flushed.

mod common;

use common::{Blocker, Notes, Setup, matrix, number, value, wait_until_asleep, watch};
use fanfare::{Context, Message, Overflow};
use std::time::Duration;

#[test]
fn everything_is_counted_once() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let read = || {
            // A flush is not a publication, however often it is called.
            pubsub.flush().unwrap();
            pubsub.flush().unwrap();
            pubsub.stats()
        };
        let stats = read();
        assert_eq!((stats.published, stats.delivered, stats.dropped, stats.panics), (0, 0, 0, 0));
        assert_eq!((stats.subscriptions, stats.topics, stats.workers.len()), (0, 0, setup.workers));

        let oldest = pubsub.subscriber().capacity(2).build().unwrap();
        let newest = pubsub.subscriber().capacity(2).overflow(Overflow::DropNewest).build().unwrap();
        let conflating = pubsub.subscriber().capacity(2).conflate_by(|_| 0).unwrap();
        let handler = pubsub.subscriber().handler(Notes::new().handler()).unwrap();
        for control in [oldest.control(), newest.control(), conflating.control(), handler.control()] {
            control.subscribe("t").unwrap();
            control.subscribe("u").unwrap();
        }
        let stats = read();
        assert_eq!((stats.subscriptions, stats.topics), (8, 2));
        assert_eq!(stats.workers.iter().map(|worker| worker.subscriptions).sum::<u64>(), 8);

        for n in 0..5 {
            pubsub.broadcast("t", "n", number(n)).unwrap();
            pubsub.broadcast("nobody", "n", number(n)).unwrap();
        }
        pubsub.topic("u").unwrap().broadcast_from(handler.id(), "n", number(0)).unwrap();
        let stats = read();
        assert_eq!(stats.published, 6, "without subscribers nothing is published");
        // Each of the six reached the three others, but that one mailbox refused four; the handler had five.
        assert_eq!(stats.delivered, 6 + 2 + 6 + 5);
        assert_eq!(stats.dropped, 4 + 4, "evicted by the one and refused by the other");
        assert_eq!(stats.workers.iter().map(|worker| worker.delivered).sum::<u64>(), stats.delivered);
        assert_eq!(stats.workers.iter().map(|worker| worker.dropped).sum::<u64>(), stats.dropped);
        assert!(stats.workers.iter().all(|worker| worker.inbox == 0));

        drop((oldest, newest, conflating));
        handler.unsubscribe("t").unwrap();
        let stats = read();
        assert_eq!((stats.subscriptions, stats.topics), (1, 1));
    });
}

#[test]
fn what_handlers_publish_is_delivered_but_not_published_from_outside() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let forward = |message: &Message, context: &mut Context<'_>| {
            context.broadcast("next", "n", message.payload().clone()).unwrap();
        };
        let forward = pubsub.subscriber().handler(forward).unwrap();
        forward.subscribe("first").unwrap();
        let mailbox = pubsub.subscriber().capacity(100).build().unwrap();
        mailbox.subscribe("next").unwrap();
        (0..10).for_each(|n| assert!(pubsub.broadcast("first", "n", number(n)).is_ok()));
        pubsub.shutdown(Duration::from_secs(100)).unwrap();
        let stats = pubsub.stats();
        assert_eq!((stats.published, stats.delivered), (10, 20));
    });
}

#[test]
fn an_inbox_shows_what_waits_in_it() {
    let _watchdog = watch();
    let pubsub = Setup::workers(2).build();
    let mailbox = pubsub.subscriber().worker(1).build().unwrap();
    mailbox.subscribe("t").unwrap();
    let blocker = Blocker::new(&pubsub, 1);
    blocker.block(&pubsub);
    (0..5).for_each(|n| assert!(pubsub.broadcast("t", "n", number(n)).is_ok()));
    let stats = pubsub.stats();
    assert_eq!((stats.workers[0].inbox, stats.workers[1].inbox), (0, 5));
    assert!(!stats.workers[1].sleeps);
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(pubsub.stats().workers[1].inbox, 0);
}

#[test]
fn wakes_and_deliveries_in_place_are_counted() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let mailbox = pubsub.subscriber().build().unwrap();
    mailbox.subscribe("t").unwrap();
    // As long as it takes until the worker was found asleep.
    while pubsub.stats().in_place == 0 {
        pubsub.broadcast("t", "n", number(0)).unwrap();
    }
    assert!(pubsub.stats().in_place <= pubsub.stats().published);
    // And likewise: a worker that is about to sleep needs no wake.
    let (before, mut flushes) = (pubsub.stats().wakes, 0);
    while pubsub.stats().wakes == before {
        pubsub.flush().unwrap();
        flushes += 1;
    }
    let woken = pubsub.stats().wakes - before;
    assert!(woken <= flushes, "one wake at most for what was one call");
    assert_eq!(pubsub.stats().workers[0].wakes, before + woken);
    let never = Setup { in_place: Some(0), ..Setup::workers(1) }.build();
    let mailbox = never.subscriber().build().unwrap();
    mailbox.subscribe("t").unwrap();
    (0..100).for_each(|n| assert!(never.broadcast("t", "n", number(n)).is_ok()));
    never.flush().unwrap();
    assert_eq!(never.stats().in_place, 0);
}

#[test]
fn a_publisher_delivers_in_place_to_the_members_of_several_idle_workers() {
    let _watchdog = watch();
    let pubsub = Setup { in_place: Some(100), ..Setup::workers(3) }.build();
    let mut mailboxes: Vec<_> = (0..30).map(|n| pubsub.subscriber().worker(n % 3).build().unwrap()).collect();
    mailboxes.iter().for_each(|mailbox| mailbox.subscribe("t").unwrap());
    // The members are in the log: a publisher applies as much of it as is little.
    loop {
        wait_until_asleep(&pubsub);
        let before = pubsub.stats();
        pubsub.broadcast("t", "n", number(1)).unwrap();
        let after = pubsub.stats();
        if after.in_place > before.in_place {
            assert_eq!(after.in_place, before.in_place + 1, "one broadcast, however many workers");
            assert_eq!(after.delivered, before.delivered + 30, "all have it when the call returns");
            break;
        }
        pubsub.flush().unwrap();
    }
    for mailbox in &mut mailboxes {
        assert_eq!(value(&mailbox.try_recv().unwrap()), 1);
    }
}

#[test]
fn a_broadcast_goes_in_place_to_all_workers_or_to_none() {
    let _watchdog = watch();
    let pubsub = Setup { in_place: Some(100), ..Setup::workers(2) }.build();
    let blocker = Blocker::new(&pubsub, 1);
    blocker.block(&pubsub);
    let mut mailboxes = [0, 1].map(|worker| pubsub.subscriber().worker(worker).build().unwrap());
    mailboxes.iter().for_each(|mailbox| mailbox.subscribe("t").unwrap());
    while !pubsub.stats().workers[0].sleeps {
        std::thread::yield_now();
    }
    pubsub.broadcast("t", "n", number(1)).unwrap();
    assert_eq!(pubsub.stats().in_place, 0, "one of two workers is busy");
    blocker.let_go();
    pubsub.flush().unwrap();
    mailboxes.iter_mut().for_each(|mailbox| assert_eq!(value(&mailbox.try_recv().unwrap()), 1));
}
