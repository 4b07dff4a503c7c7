//! When changes are told, and how.

use super::view::{View, live};
use super::{House, ROOM};
use fanfare::presence::{Diff, Owner, Presence};
use serde_json::json;

#[test]
fn the_first_change_after_a_quiet_time_is_told_at_once() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let owner = Owner::new();
    let phx_ref = house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    // The period is an hour.
    let message = subscriber.recv().unwrap();
    let diff: &Diff = message.downcast_ref().unwrap();
    assert_eq!((diff.joins().len(), diff.leaves().len()), (1, 0));
    assert_eq!(diff.joins()[0].metas()[0].phx_ref(), phx_ref);
}

#[test]
fn what_is_gathered_is_one_diff_and_who_came_and_went_is_not_in_it() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::strict();
    let (stays, goes) = (Owner::new(), Owner::new());
    house.gather(ROOM);
    for n in 0..100 {
        house.presence.track((&stays, ROOM), &format!("stays{n}"), json!({})).unwrap();
        house.presence.track((&goes, ROOM), &format!("goes{n}"), json!({})).unwrap();
        house.presence.update((&stays, ROOM), &format!("stays{n}"), json!({ "n": n })).unwrap();
    }
    goes.end();
    house.told();
    view.read(&mut subscriber);
    assert_eq!(view.diffs.len(), 1);
    assert_eq!(view.diffs[0]["joins"].as_object().unwrap().len(), 100);
    assert_eq!(view.diffs[0]["leaves"], json!({}));
    assert_eq!(view.state, live(&house.presence, ROOM));
}

#[test]
fn an_epoch_in_which_all_cancels_out_is_not_told() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    house.gather(ROOM);
    for _ in 0..10 {
        let owner = Owner::new();
        house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    }
    house.told();
    assert!(subscriber.try_recv().is_err());
}

#[test]
fn a_large_diff_comes_in_parts_and_the_key_never_vanishes() {
    let house = House::with(Presence::builder().diff_metas_max(7));
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::strict();
    let owner = Owner::new();
    house.gather(ROOM);
    for n in 0..20 {
        house.presence.track((&owner, ROOM), &format!("user{n}"), json!({})).unwrap();
    }
    house.told();
    view.read(&mut subscriber);
    assert_eq!(view.diffs.len(), 3);
    for n in 0..20 {
        house.presence.update((&owner, ROOM), &format!("user{n}"), json!({})).unwrap();
    }
    house.told();
    while let Ok(message) = subscriber.try_recv() {
        view.message(&message);
        assert_eq!(view.state.len(), 20);
        let diff: &Diff = message.downcast_ref().unwrap();
        assert!(diff.joins().len() + diff.leaves().len() <= 7);
    }
    assert_eq!(view.diffs.len(), 3 + 6);
    assert_eq!(view.state, live(&house.presence, ROOM));
}

#[test]
fn each_topic_has_its_own_epochs() {
    let house = House::new();
    let mut quiet = house.subscriber("room:quiet");
    let mut busy = house.subscriber("room:busy");
    let owner = Owner::new();
    house.gather("room:busy");
    house.presence.track((&owner, "room:busy"), "a", json!({})).unwrap();
    // That one waits for an hour, this one not.
    house.presence.track((&owner, "room:quiet"), "a", json!({})).unwrap();
    assert_eq!(quiet.recv().unwrap().topic(), "room:quiet");
    assert!(busy.try_recv().is_err());
    house.told();
    assert_eq!(busy.recv().unwrap().topic(), "room:busy");
}

#[test]
fn without_subscribers_nothing_is_published() {
    let house = House::new();
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    house.told();
    assert_eq!(house.presence.stats().diffs, 0);
    assert_eq!((house.presence.stats().joins, house.pubsub.stats().published), (1, 0));
}

#[test]
fn keys_are_written_as_json_has_them() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let owner = Owner::new();
    let keys = ["", "plain", "with \"quotes\" and \\", "line\nend", "Grüße 👋", "__proto__"];
    house.gather(ROOM);
    for key in keys {
        house.presence.track((&owner, ROOM), key, json!({})).unwrap();
    }
    house.told();
    let mut view = View::strict();
    view.read(&mut subscriber);
    let mut expected = keys.map(str::to_owned);
    expected.sort();
    assert_eq!(view.state.keys().cloned().collect::<Vec<_>>(), expected);
}

#[test]
fn what_was_not_told_is_told_when_the_last_handle_goes() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let owner = Owner::new();
    house.gather(ROOM);
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    assert!(subscriber.try_recv().is_err());
    drop(house.presence);
    assert_eq!(subscriber.recv().unwrap().event(), "presence_diff");
}
