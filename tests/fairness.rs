//! A walk over many subscribers holds up another topic for a slice at most, and a topic's own next broadcast waits for
//! it. Shown by counting deliveries, not by time.

mod common;

use common::{Blocker, MANY, Notes, Setup, fill, number, numbers, value, watch};
use fanfare::{Context, HandlerSubscriber, Message, PubSub};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Deliveries between two looks at what else there is to do: a slice for what is new, and one for what was suspended.
const SLICES: u64 = 2 * 4096;
const MEMBERS: usize = 50_000;

/// Handlers that count each delivery.
fn count(pubsub: &PubSub, topic: &str, members: usize, counter: &Arc<AtomicU64>) -> Vec<HandlerSubscriber> {
    let one = |_| {
        let counter = counter.clone();
        let handler = move |_: &Message, _: &mut Context<'_>| {
            counter.fetch_add(1, Ordering::Relaxed);
        };
        let handler = pubsub.subscriber().worker(0).handler(handler).unwrap();
        handler.subscribe(topic).unwrap();
        handler
    };
    (0..members).map(one).collect()
}

/// Notes how far a counter was when its message came. Each `N` is a type of its own, with lists of its own.
fn observe<const N: usize>(pubsub: &PubSub, topic: &str, counter: &Arc<AtomicU64>) -> (Notes, HandlerSubscriber) {
    let notes = Notes::new();
    let (noted, counter) = (notes.clone(), counter.clone());
    let handler = move |_: &Message, _: &mut Context<'_>| noted.note(counter.load(Ordering::Relaxed));
    let handler = pubsub.subscriber().worker(0).handler(handler).unwrap();
    handler.subscribe(topic).unwrap();
    (notes, handler)
}

#[test]
fn a_long_walk_holds_up_another_topic_for_a_slice_at_most() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let counter = Arc::new(AtomicU64::new(0));
    let _handlers = count(&pubsub, "big", MEMBERS, &counter);
    let (notes, _observer) = observe::<0>(&pubsub, "small", &counter);
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    for n in 0..3 {
        pubsub.broadcast("big", "n", number(n)).unwrap();
    }
    for n in 0..10 {
        pubsub.broadcast("small", "n", number(n)).unwrap();
    }
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(counter.load(Ordering::Relaxed), 3 * MEMBERS as u64);
    let notes = notes.take();
    assert_eq!(notes.len(), 10);
    assert!(notes.iter().all(|&so_far| so_far <= SLICES), "{notes:?}");
    assert!(notes[0] > 0, "the walk had begun: it was suspended, not put off");
}

#[test]
fn mailboxes_too_are_walked_in_slices() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let fillers = fill(&pubsub, 0, &["big"], MEMBERS);
    // Behind all of them.
    let mut last = pubsub.subscriber().worker(0).build().unwrap();
    last.subscribe("big").unwrap();
    let (notes, _observer) = {
        let notes = Notes::new();
        let noted = notes.clone();
        let stats = pubsub.clone();
        let mut before = 0;
        let handler = move |message: &Message, _: &mut Context<'_>| {
            let delivered = stats.stats().delivered;
            noted.note(delivered - std::mem::replace(&mut before, delivered));
            assert!(value(message) < 10);
        };
        let handler = pubsub.subscriber().worker(0).handler(handler).unwrap();
        handler.subscribe("small").unwrap();
        (notes, handler)
    };
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    pubsub.broadcast("big", "n", number(0)).unwrap();
    pubsub.broadcast("small", "n", number(1)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    let notes = notes.take();
    assert!(notes.len() == 1 && (1..=SLICES + 1).contains(&notes[0]), "{notes:?}");
    assert_eq!(numbers(&mut last), [0]);
    drop(fillers);
}

#[test]
fn long_walks_take_turns() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let topics = ["a", "b"];
    // On either side of the many, wherever a walk begins, there is one who notes how far the other topic was.
    let counters = topics.map(|_| Arc::new(AtomicU64::new(0)));
    let before = [0, 1].map(|i| observe::<0>(&pubsub, topics[i], &counters[1 - i]));
    let _many = [0, 1].map(|i| count(&pubsub, topics[i], MEMBERS, &counters[i]));
    let behind = [0, 1].map(|i| observe::<1>(&pubsub, topics[i], &counters[1 - i]));
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    for topic in topics {
        pubsub.broadcast(topic, "n", number(0)).unwrap();
    }
    blocker.let_go();
    pubsub.flush().unwrap();
    for i in 0..2 {
        let at_the_end = before[i].0.take()[0].max(behind[i].0.take()[0]);
        assert!(at_the_end as usize > MEMBERS / 2, "when one had ended the other was only at {at_the_end}");
    }
}

#[test]
fn a_topics_next_broadcast_waits_for_its_walk() {
    let _watchdog = watch();
    let pubsub = Setup::workers(1).build();
    let counter = Arc::new(AtomicU64::new(0));
    let _handlers = count(&pubsub, "big", MEMBERS, &counter);
    let (last, _last) = observe::<0>(&pubsub, "big", &counter);
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    for n in 0..3 {
        pubsub.broadcast("big", "n", number(n)).unwrap();
    }
    blocker.let_go();
    pubsub.flush().unwrap();
    // Observers are of another type, and their list may come first or last in each walk, but always at the same place.
    let last = last.take();
    let first = last[0];
    assert!(first == 0 || first == MEMBERS as u64, "{last:?}");
    assert_eq!(last, [first, first + MEMBERS as u64, first + 2 * MEMBERS as u64]);
}

#[test]
fn as_many_broadcasts_of_a_large_topic_as_an_inbox_takes_leave_room_for_others() {
    let _watchdog = watch();
    let pubsub = Setup { inbox: 4096, ..Setup::workers(1) }.build();
    let counter = Arc::new(AtomicU64::new(0));
    let _handlers = count(&pubsub, "big", MANY, &counter);
    let (notes, _observer) = observe::<0>(&pubsub, "small", &counter);
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    let mut sent = 0;
    while pubsub.try_broadcast("big", "n", number(sent)).is_ok() {
        sent += 1;
    }
    // By work, not by entries: others still fit, and come long before all of that is done.
    for n in 0..15 {
        assert_eq!(pubsub.try_broadcast("small", "n", number(n)).unwrap(), fanfare::Outcome::Sent);
    }
    blocker.let_go();
    // What did not fit waits for room.
    for n in sent..sent + 100 {
        pubsub.broadcast("big", "n", number(n)).unwrap();
    }
    pubsub.flush().unwrap();
    assert_eq!(counter.load(Ordering::Relaxed), (sent + 100) * MANY as u64);
    let notes = notes.take();
    assert_eq!(notes.len(), 15);
    assert!(notes.iter().all(|&so_far| so_far < sent * MANY as u64 / 2), "{notes:?} of {}", sent * MANY as u64);
}
