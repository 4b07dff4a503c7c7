//! Owners: when one goes, it is nowhere any more.

use super::view::{View, live};
use super::{House, ROOM};
use fanfare::presence::{Owner, TrackError, UpdateError};
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
