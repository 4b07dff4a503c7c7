//! Owners: when one goes, it is nowhere any more.

use super::view::{View, live};
use super::{House, ROOM};
use fanfare::presence::{Diff, Owner, Presence, TrackError, UpdateError};
use fanfare::{Context, Message, Overflow};
use serde_json::json;
use std::sync::Barrier;

#[test]
fn an_owner_that_is_dropped_or_ended_leaves_everything() {
    let house = House::new();
    for ends in [true, false] {
        let owner = Owner::new();
        for topic in ["room:1", "room:2", "room:3"] {
            for key in ["a", "b"] {
                house.presence.track((&owner, topic), key, json!({})).unwrap();
            }
        }
        assert_eq!(house.presence.count("room:3"), 2);
        if ends {
            owner.end();
            owner.end();
        } else {
            drop(owner);
        }
        ["room:1", "room:2", "room:3"].iter().for_each(|topic| assert_eq!(house.presence.count(topic), 0));
    }
}

/// The period is an hour: a topic has two epochs, that which a first change begins at once and that which the flush
/// ends.
#[test]
fn owners_that_go_at_once_are_told_in_at_most_a_diff_for_each_topic_and_epoch() {
    const OWNERS: usize = 1_000;
    let house = House::with(Presence::builder().diff_metas_max(10 * OWNERS));
    let topics: Vec<String> = (0..10).map(|n| format!("room:{n}")).collect();
    let owners: Vec<Owner> = (0..OWNERS).map(|_| Owner::new()).collect();
    for topic in &topics {
        for (n, owner) in owners.iter().enumerate() {
            house.presence.track((owner, topic.as_str()), &n.to_string(), json!({})).unwrap();
        }
    }
    house.told();
    let mut watchers: Vec<_> = topics.iter().map(|topic| house.subscriber(topic)).collect();
    std::thread::scope(|scope| {
        let mut owners = owners.into_iter();
        for _ in 0..4 {
            let part: Vec<Owner> = owners.by_ref().take(OWNERS / 4).collect();
            scope.spawn(move || drop(part));
        }
    });
    house.told();
    for (watcher, topic) in watchers.iter_mut().zip(&topics) {
        let diffs: Vec<_> = std::iter::from_fn(|| watcher.try_recv().ok()).collect();
        let leaves = diffs.iter().map(|diff| diff.downcast_ref::<Diff>().unwrap().leaves().len()).sum::<usize>();
        assert_eq!((leaves, house.presence.count(topic)), (OWNERS, 0));
        assert!(diffs.len() <= 2, "{} diffs on {topic}", diffs.len());
    }
}

#[test]
fn an_owner_that_has_ended_can_t_come_back() {
    let house = House::new();
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    owner.end();
    assert_eq!(house.presence.track((&owner, ROOM), "a", json!({})), Err(TrackError::OwnerGone));
    assert_eq!(house.presence.update((&owner, ROOM), "a", json!({})), Err(UpdateError::OwnerGone));
    assert_eq!(house.presence.update((&owner, "elsewhere"), "a", json!({})), Err(UpdateError::OwnerGone));
    assert!(!house.presence.untrack((&owner, ROOM), "a"));
    assert_eq!(house.presence.count(ROOM), 0);
}

#[test]
fn nobody_stays_who_came_while_its_owner_ended() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::strict();
    for round in 0..300 {
        let owner = Owner::new();
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                for n in 0..20 {
                    let tracked = house.presence.track((&owner, ROOM), &format!("{round}:{n}"), json!({}));
                    assert!(matches!(tracked, Ok(_) | Err(TrackError::OwnerGone)), "{tracked:?}");
                }
            });
            start.wait();
            owner.end();
        });
        assert_eq!(house.presence.count(ROOM), 0);
    }
    house.told();
    view.read(&mut subscriber);
    assert_eq!(view.state, live(&house.presence, ROOM));
}

#[test]
fn an_owner_of_a_subscriber_ends_with_it_however_that_ends() {
    let house = House::new();
    let mut watcher = house.subscriber(ROOM);
    let mut expect = |count: usize| {
        // Told at the latest when the epoch ends; the count is so at once.
        while house.presence.count(ROOM) != count {
            house.pubsub.flush().unwrap();
        }
        house.told();
        while watcher.try_recv().is_ok() {}
    };
    let track = |owner: &Owner| house.presence.track((owner, ROOM), "a", json!({})).unwrap();
    let subscriber = || house.pubsub.subscriber().capacity(1);

    // Dropped, while its worker sleeps: nothing but the drop wakes it.
    let mailbox = subscriber().build().unwrap();
    let owner = Owner::of_subscriber(&mailbox.control()).unwrap();
    track(&owner);
    expect(1);
    crate::common::wait_until_asleep(&house.pubsub);
    drop(mailbox);
    while house.presence.count(ROOM) != 0 {
        std::thread::yield_now();
    }
    assert_eq!(house.presence.track((&*owner, ROOM), "a", json!({})), Err(TrackError::OwnerGone));

    // Closed by its owner, or by what it missed; and a handler by a panic.
    let closed = subscriber().build().unwrap();
    track(&Owner::of_subscriber(&closed.control()).unwrap());
    expect(1);
    closed.control().close();
    expect(0);
    let slow = subscriber().overflow(Overflow::Close).build().unwrap();
    slow.subscribe("flood").unwrap();
    track(&Owner::of_subscriber(&slow.control()).unwrap());
    expect(1);
    for n in 0..10 {
        house.pubsub.broadcast("flood", "n", json!(n)).unwrap();
    }
    expect(0);
    let panics = |_: &Message, _: &mut Context<'_>| panic!("it was asked to");
    let handler = house.pubsub.subscriber().handler(panics).unwrap();
    handler.subscribe("panic").unwrap();
    track(&Owner::of_subscriber(&handler.control()).unwrap());
    expect(1);
    house.pubsub.broadcast("panic", "now", json!({})).unwrap();
    expect(0);
    assert!(Owner::of_subscriber(&handler.control()).is_err());
    let by_key = subscriber().conflate_by(|_: &Message| 1).unwrap();
    track(&Owner::of_subscriber(&by_key.control()).unwrap());
    expect(1);
    drop(by_key);
    expect(0);

    let last = subscriber().build().unwrap();
    track(&Owner::of_subscriber(&last.control()).unwrap());
    expect(1);
    house.pubsub.shutdown(std::time::Duration::from_secs(5)).unwrap();
    while house.presence.count(ROOM) != 0 {
        std::thread::yield_now();
    }
}

#[test]
fn owners_and_presences_may_outlive_each_other() {
    let house = House::new();
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    let House { pubsub, presence, _watchdog } = house;
    drop((presence, pubsub));
    owner.end();
    let house = House::new();
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    let another = house.presence.clone();
    drop(house.presence);
    drop(owner);
    assert_eq!(another.count(ROOM), 0);
}

#[test]
fn rooms_that_are_empty_go() {
    let house = House::new();
    let owner = Owner::new();
    for n in 0..1_000 {
        house.presence.track((&owner, &*format!("room:{n}")), "a", json!({})).unwrap();
    }
    house.told();
    assert_eq!(house.presence.stats().topics, 1_000);
    drop(owner);
    house.told();
    house.told();
    assert_eq!(house.presence.stats().topics, 0);
}

#[test]
fn somebody_comes_while_a_room_goes() {
    // The period is nothing: rooms retire as soon as they are empty.
    let watchdog = crate::common::watch();
    let pubsub = fanfare::PubSub::builder().workers(1).build().unwrap();
    let presence =
        fanfare::presence::Presence::builder().diff_period(std::time::Duration::ZERO).start(&pubsub).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let presence = &presence;
            scope.spawn(move || {
                for n in 0..20_000 {
                    let owner = Owner::new();
                    let key = format!("{thread}:{n}");
                    presence.track((&owner, ROOM), &key, json!({})).unwrap();
                    assert!(presence.get_by_key(ROOM, &key).is_some());
                }
            });
        }
    });
    assert_eq!(presence.count(ROOM), 0);
    drop(watchdog);
}
