//! The two ways to look: what `list` is for, and what it must not be used for.

use super::view::{View, live};
use super::{House, ROOM};
use fanfare::presence::{Cursor, Owner, Presence, Scope};
use serde_json::{Value, json};
use std::sync::mpsc::channel;

#[test]
fn the_ghost_case_a_consumer_that_begins_with_the_list_keeps_who_is_not_there() {
    // Why there are two ways: X comes, the joiner looks, X goes, all in one epoch. No diff tells of X.
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::waiting();
    house.gather(ROOM);
    let x = Owner::new();
    house.presence.track((&x, ROOM), "x", json!({})).unwrap();
    view.seed(&house.presence.list(ROOM).json());
    drop(x);
    house.told();
    view.read(&mut subscriber);
    assert!(live(&house.presence, ROOM).is_empty());
    assert_eq!(view.state.keys().collect::<Vec<_>>(), ["x"]);
}

#[test]
fn the_ghost_case_a_consumer_that_begins_with_the_aligned_state_has_no_ghost() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    house.gather(ROOM);
    let x = Owner::new();
    house.presence.track((&x, ROOM), "x", json!({})).unwrap();
    let (sender, states) = channel();
    house.presence.with_state(ROOM, Scope::Full, move |state| sender.send(state.json().cloned()).unwrap()).unwrap();
    assert!(states.try_recv().is_err(), "the epoch has not ended");
    drop(x);
    house.told();
    let mut view = View::waiting();
    view.read(&mut subscriber);
    view.seed(&states.recv().unwrap().unwrap());
    assert_eq!(view.state, live(&house.presence, ROOM));
    assert!(view.state.is_empty());
}

#[test]
fn a_state_with_the_diffs_before_and_after_it_is_what_is_so() {
    let house = House::new();
    let mut subscriber = house.subscriber(ROOM);
    let owner = Owner::new();
    let mut view = View::waiting();
    for n in 0..50 {
        house.presence.track((&owner, ROOM), &format!("user{n}"), json!({})).unwrap();
        if n % 7 == 0 {
            house.told();
        }
        if n == 20 {
            let (sender, states) = channel();
            let tell = move |state: &fanfare::presence::Aligned| sender.send(state.json().cloned()).unwrap();
            house.presence.with_state(ROOM, Scope::Full, tell).unwrap();
            house.presence.untrack((&owner, ROOM), "user3");
            house.told();
            view.read(&mut subscriber);
            view.seed(&states.recv().unwrap().unwrap());
        }
        house.presence.update((&owner, ROOM), &format!("user{n}"), json!({ "n": n })).unwrap();
    }
    house.told();
    view.read(&mut subscriber);
    assert_eq!((view.state.len(), &view.state), (49, &live(&house.presence, ROOM)));
}

#[test]
fn who_waits_for_one_epoch_shares_one_encoding() {
    let house = House::new();
    let owner = Owner::new();
    house.gather(ROOM);
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    let (sender, states) = channel();
    for _ in 0..100 {
        let sender = sender.clone();
        let tell = move |state: &fanfare::presence::Aligned| sender.send(state.json().cloned().unwrap()).unwrap();
        house.presence.with_state(ROOM, Scope::Full, tell).unwrap();
    }
    house.told();
    let states: Vec<_> = states.try_iter().collect();
    assert_eq!(states.len(), 100);
    assert!(states.iter().all(|state| std::ptr::eq(state.as_ptr(), states[0].as_ptr())), "the same bytes");
    assert_eq!((house.presence.stats().states_encoded, house.presence.stats().states), (1, 101));
}

#[test]
fn the_state_of_a_topic_without_anybody_is_empty_and_told_at_once() {
    let house = House::new();
    let (sender, states) = channel();
    house.presence.with_state(ROOM, Scope::Full, move |state| sender.send(state.json().cloned()).unwrap()).unwrap();
    assert_eq!(states.recv().unwrap().as_deref(), Some(&b"{}"[..]));
}

#[test]
fn a_large_state_is_read_page_by_page_while_others_come_and_go() {
    let house = House::with(Presence::builder().state_metas_max(10));
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::waiting();
    let (stays, goes) = (Owner::new(), Owner::new());
    house.gather(ROOM);
    for n in 0..60 {
        house.presence.track((&stays, ROOM), &format!("stays{n}"), json!({})).unwrap();
        house.presence.track((&goes, ROOM), &format!("goes{n}"), json!({})).unwrap();
    }
    let (mut scope, mut pages) = (Scope::Full, 0);
    loop {
        let (sender, states) = channel();
        let tell = move |state: &fanfare::presence::Aligned| {
            let next = state.next().map(u32::from);
            sender.send((state.json().cloned().unwrap(), state.keys(), state.metas(), next)).unwrap();
        };
        house.presence.with_state(ROOM, scope, tell).unwrap();
        house.told();
        view.read(&mut subscriber);
        let (page, keys, metas, next) = states.recv().unwrap();
        assert_eq!((keys, metas), (house.presence.count(ROOM), house.presence.count_metas(ROOM)));
        let page: Value = serde_json::from_slice(&page).unwrap();
        assert!(page.as_object().unwrap().len() <= 10);
        if pages == 0 {
            view.seed(page.to_string().as_bytes());
        } else if !page.as_object().unwrap().is_empty() {
            view.apply(&json!({ "joins": page, "leaves": {} }));
        }
        house.presence.untrack((&goes, ROOM), &format!("goes{pages}"));
        house.presence.track((&goes, ROOM), &format!("comes{pages}"), json!({})).unwrap();
        pages += 1;
        let Some(next) = next else { break };
        scope = Scope::From(Cursor::from(next));
    }
    house.told();
    view.read(&mut subscriber);
    assert_eq!(pages, 12);
    assert_eq!(view.state, live(&house.presence, ROOM));
}

#[test]
fn the_counts_alone_cost_no_encoding() {
    let house = House::new();
    let owner = Owner::new();
    for n in 0..30 {
        house.presence.track((&owner, ROOM), &format!("user{n}"), json!({})).unwrap();
    }
    let (sender, states) = channel();
    let tell = move |state: &fanfare::presence::Aligned| {
        sender.send((state.json().is_none(), state.keys(), state.metas(), state.next())).unwrap();
    };
    house.presence.with_state(ROOM, Scope::Count, tell).unwrap();
    house.told();
    assert_eq!(states.recv().unwrap(), (true, 30, 30, None));
    assert_eq!(house.presence.stats().states_encoded, 0);
}

#[test]
fn any_cursor_will_do() {
    let house = House::with(Presence::builder().state_metas_max(10));
    let owner = Owner::new();
    for n in 0..30 {
        house.presence.track((&owner, ROOM), &format!("user{n}"), json!({})).unwrap();
    }
    for cursor in [0, 1, 29, 30, 31, u32::MAX] {
        let (sender, states) = channel();
        let tell = move |state: &fanfare::presence::Aligned| sender.send(state.json().cloned().unwrap()).unwrap();
        house.presence.with_state(ROOM, Scope::From(cursor.into()), tell).unwrap();
        house.told();
        let page: Value = serde_json::from_slice(&states.recv().unwrap()).unwrap();
        assert_eq!(page.as_object().unwrap().len(), cursor.min(10) as usize);
        assert!(house.presence.page(ROOM, Some(cursor.into()), 7).present.len() <= 7);
    }
}
