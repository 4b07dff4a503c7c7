//! Coming, changing and going.

use super::view::{View, live};
use super::{House, ROOM};
use fanfare::presence::{Meta, Owner, TrackError, UpdateError};
use serde_json::{Value, json};
use std::collections::BTreeSet;

#[test]
fn track_gives_a_ref_of_16_characters_that_is_in_the_meta_and_unique() {
    let house = House::new();
    let owners: Vec<Owner> = (0..100).map(|_| Owner::new()).collect();
    let mut refs = BTreeSet::new();
    for (number, owner) in owners.iter().enumerate() {
        let key = format!("user{number}");
        let phx_ref = house.presence.track((owner, ROOM), &key, json!({ "n": number })).unwrap();
        assert_eq!(phx_ref.as_str().len(), 16);
        let metas = house.presence.get_by_key(ROOM, &key).unwrap();
        let expected = format!(r#"{{"phx_ref":"{phx_ref}","n":{number}}}"#);
        assert_eq!(metas.iter().map(Meta::json).collect::<Vec<_>>(), [expected]);
        refs.insert(phx_ref);
    }
    assert_eq!(refs.len(), 100);
}

#[test]
fn an_owner_is_tracked_once_on_a_topic_by_a_key_and_otherwise_as_often_as_it_likes() {
    let house = House::new();
    let (one, other) = (Owner::new(), Owner::new());
    let track = |owner, topic, key| house.presence.track((owner, topic), key, json!({}));
    track(&one, ROOM, "a").unwrap();
    assert_eq!(track(&one, ROOM, "a"), Err(TrackError::AlreadyTracked));
    track(&one, ROOM, "b").unwrap();
    assert_eq!(track(&one, ROOM, "a"), Err(TrackError::AlreadyTracked));
    assert_eq!(track(&one, ROOM, "b"), Err(TrackError::AlreadyTracked));
    track(&one, "room:2", "a").unwrap();
    track(&other, ROOM, "a").unwrap();
    assert_eq!((house.presence.count(ROOM), house.presence.count_metas(ROOM)), (2, 3));
    assert!(house.presence.untrack((&one, ROOM), "a"));
    track(&one, ROOM, "a").unwrap();
}

#[test]
fn a_key_leaves_with_its_last_meta() {
    let house = House::new();
    let mut tabs: Vec<Owner> = (0..3).map(|_| Owner::new()).collect();
    for tab in &tabs {
        house.presence.track((tab, ROOM), "alice", json!({})).unwrap();
    }
    for left in (0..3).rev() {
        assert_eq!((house.presence.count(ROOM), house.presence.count_metas(ROOM)), (1, left + 1));
        tabs.pop();
        assert_eq!(house.presence.get_by_key(ROOM, "alice").map_or(0, |metas| metas.len()), left);
    }
    assert_eq!((house.presence.count(ROOM), house.presence.get_by_key(ROOM, "alice")), (0, None));
    assert!(house.presence.list(ROOM).is_empty());
}

#[test]
fn an_update_is_one_diff_with_both_metas_and_the_key_never_vanishes() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::strict();
    let owner = Owner::new();
    let old = house.presence.track((&owner, ROOM), "alice", json!({ "status": "online" })).unwrap();
    house.told();
    view.read(&mut subscriber);
    let new = house.presence.update((&owner, ROOM), "alice", json!({ "status": "away" })).unwrap();
    let metas = house.presence.get_by_key(ROOM, "alice").unwrap();
    assert_eq!((metas.len(), metas[0].phx_ref(), metas[0].phx_ref_prev()), (1, new, Some(old)));
    house.told();
    view.read(&mut subscriber);
    assert_eq!(
        view.diffs[1],
        json!({
            "joins": {
                "alice": { "metas": [{ "phx_ref": new.as_str(), "phx_ref_prev": old.as_str(), "status": "away" }] },
            },
            "leaves": { "alice": { "metas": [{ "phx_ref": old.as_str(), "status": "online" }] } },
        })
    );
    assert_eq!((view.diffs.len(), &view.state), (2, &live(&house.presence, ROOM)));
}

#[test]
fn after_updates_that_were_gathered_the_previous_ref_is_the_last_that_was_told() {
    let house = House::new();
    let owner = Owner::new();
    house.gather(ROOM);
    let update = |n: u32| house.presence.update((&owner, ROOM), "a", json!({ "n": n })).unwrap();
    let prev = || house.presence.get_by_key(ROOM, "a").unwrap()[0].phx_ref_prev();
    // Never told: the last there was.
    let first = house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    let second = update(1);
    assert_eq!(prev(), Some(first));
    let third = update(2);
    assert_eq!(prev(), Some(second));
    house.told();
    update(3);
    assert_eq!(prev(), Some(third));
    update(4);
    let last = update(5);
    assert_eq!(prev(), Some(third));
    house.told();
    update(6);
    assert_eq!(prev(), Some(last));
}

#[test]
fn an_update_by_a_function_sees_the_old_meta_and_again_if_another_came_between() {
    let house = House::new();
    let owner = Owner::new();
    let place = || (&owner, ROOM);
    house.presence.track(place(), "a", json!({ "n": 1 })).unwrap();
    let mut seen = Vec::new();
    house
        .presence
        .update_with(place(), "a", |old| {
            let n = old.parse::<Value>().unwrap()["n"].as_u64().unwrap();
            seen.push(n);
            if n == 1 {
                house.presence.update(place(), "a", json!({ "n": 10 })).unwrap();
            }
            json!({ "n": n + 1 })
        })
        .unwrap();
    assert_eq!(seen, [1, 10]);
    assert_eq!(house.presence.get_by_key(ROOM, "a").unwrap()[0].parse::<Value>().unwrap()["n"], 11);
}

#[test]
fn who_is_not_there_can_t_be_updated_and_untracking_it_does_nothing() {
    let house = House::new();
    let (owner, other) = (Owner::new(), Owner::new());
    let update = |owner, topic, key| house.presence.update((owner, topic), key, json!({}));
    assert_eq!(update(&owner, ROOM, "a"), Err(UpdateError::NotTracked));
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    assert_eq!(update(&other, ROOM, "a"), Err(UpdateError::NotTracked));
    assert_eq!(update(&owner, ROOM, "b"), Err(UpdateError::NotTracked));
    assert_eq!(update(&owner, "room:2", "a"), Err(UpdateError::NotTracked));
    assert!(!house.presence.untrack((&other, ROOM), "a"));
    assert!(!house.presence.untrack((&owner, ROOM), "b"));
    assert!(house.presence.untrack((&owner, ROOM), "a"));
    assert!(!house.presence.untrack((&owner, ROOM), "a"));
    assert_eq!(house.presence.count(ROOM), 0);
}

#[test]
fn list_and_its_like_see_what_their_caller_has_done() {
    let house = House::new();
    house.gather(ROOM);
    let owner = Owner::new();
    for n in 0..600 {
        let key = format!("user{n}");
        house.presence.track((&owner, ROOM), &key, json!({ "n": n })).unwrap();
        assert_eq!(house.presence.count(ROOM), n + 1);
        assert!(house.presence.get_by_key(ROOM, &key).is_some());
    }
    let before = house.presence.list(ROOM);
    assert_eq!(before.keys().collect::<BTreeSet<_>>().len(), 600);
    for n in (0..600).step_by(2) {
        assert!(house.presence.untrack((&owner, ROOM), &format!("user{n}")));
    }
    let after = house.presence.list(ROOM);
    assert!(after.keys().all(|key| key[4..].parse::<u32>().unwrap() % 2 == 1));
    assert_eq!((after.len(), house.presence.count(ROOM)), (300, 300));
    // What was taken does not change.
    assert_eq!((before.len(), before.iter().count()), (600, 600));
    let json: Value = serde_json::from_slice(&before.json()).unwrap();
    assert_eq!(json["user10"]["metas"][0]["n"], 10);
}

#[test]
fn untrack_all_takes_an_owner_from_one_presence_alone() {
    let (house, other) = (House::new(), House::new());
    let owner = Owner::new();
    for topic in ["room:1", "room:2"] {
        house.presence.track((&owner, topic), "a", json!({})).unwrap();
        house.presence.track((&owner, topic), "b", json!({})).unwrap();
        other.presence.track((&owner, topic), "a", json!({})).unwrap();
    }
    assert_eq!(house.presence.untrack_all(&owner), 4);
    assert_eq!(house.presence.untrack_all(&owner), 0);
    assert_eq!((house.presence.count("room:1"), other.presence.count("room:1")), (0, 1));
    // It goes on.
    house.presence.track((&owner, "room:1"), "a", json!({})).unwrap();
}

#[test]
fn whoever_is_there_all_the_while_is_on_a_page_however_many_come_and_go() {
    let house = House::new();
    let (stays, goes) = (Owner::new(), Owner::new());
    for n in 0..500 {
        house.presence.track((&stays, ROOM), &format!("stays{n}"), json!({})).unwrap();
        house.presence.track((&goes, ROOM), &format!("goes{n}"), json!({})).unwrap();
    }
    let (mut seen, mut from, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = house.presence.page(ROOM, from, 64);
        assert!(page.present.iter().map(|present| present.metas().len()).sum::<usize>() <= 64);
        seen.extend(page.present.iter().map(|present| present.key().to_owned()));
        for n in pages * 20..(pages + 1) * 20 {
            house.presence.untrack((&goes, ROOM), &format!("goes{n}"));
            house.presence.track((&goes, ROOM), &format!("comes{n}"), json!({})).unwrap();
        }
        pages += 1;
        from = page.next;
        if from.is_none() {
            break;
        }
    }
    assert!(pages >= 15, "{pages}");
    assert!((0..500).all(|n| seen.contains(&format!("stays{n}"))));
}
