//! Code of users that takes part in telling.

use super::view::View;
use super::{House, ROOM};
use fanfare::presence::{Owner, Presence, Scope};
use serde_json::{Value, json};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};

fn log() -> (Arc<Mutex<Vec<String>>>, impl Fn(String) + Clone + Send + Sync + 'static) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let to = log.clone();
    (log, move |line| to.lock().unwrap().push(line))
}

#[test]
fn fetch_is_asked_once_for_all_keys_of_a_diff_and_of_a_state() {
    let (calls, note) = log();
    let house = House::with(Presence::builder().fetch(move |topic, batch| {
        let mut keys: Vec<&str> = batch.keys().collect();
        keys.sort_unstable();
        note(format!("{topic} {keys:?}"));
        assert_eq!((batch.len(), batch.is_empty()), (3, false));
        for fetched in batch.iter_mut() {
            let name = fetched.key().to_uppercase();
            fetched.extra.insert("name".to_owned(), name.into());
            fetched.extra.insert("metas".to_owned(), "nonsense".into());
            fetched.extra.insert("count".to_owned(), fetched.metas().len().into());
        }
    }));
    let mut subscriber = house.subscriber(ROOM);
    let owners = [Owner::new(), Owner::new()];
    let (sender, states) = channel();
    house.gather(ROOM);
    for key in ["a", "b", "c"] {
        house.presence.track((&owners[0], ROOM), key, json!({})).unwrap();
    }
    house.presence.track((&owners[1], ROOM), "a", json!({})).unwrap();
    house.presence.with_state(ROOM, Scope::Full, move |state| sender.send(state.json().cloned()).unwrap()).unwrap();
    house.told();
    let mut view = View::strict();
    view.read(&mut subscriber);
    let state: Value = serde_json::from_slice(&states.recv().unwrap().unwrap()).unwrap();
    for all in [&view.diffs[0]["joins"], &state] {
        assert_eq!((&all["a"]["name"], &all["a"]["count"]), (&json!("A"), &json!(2)));
        assert_eq!((&all["c"]["name"], all["c"]["metas"].as_array().unwrap().len()), (&json!("C"), 1));
    }
    let asked = format!("{ROOM} {:?}", ["a", "b", "c"]);
    assert_eq!(*calls.lock().unwrap(), [asked.clone(), asked]);
    // And so may whoever lists.
    let list = house.presence.list_fetched(ROOM);
    let names = |(present, extra): &(fanfare::presence::Present, serde_json::Map<String, Value>)| {
        (present.key().to_owned(), present.metas().len(), extra["name"].clone())
    };
    let mut list: Vec<_> = list.iter().map(names).collect();
    list.sort_by_key(|(key, ..)| key.clone());
    let expected = [("a", 2, "A"), ("b", 1, "B"), ("c", 1, "C")];
    assert_eq!(list, expected.map(|(key, metas, name)| (key.to_owned(), metas, json!(name))));
}

/// A presence whose fetch of `ROOM` waits until it is let go.
fn slow() -> (House, impl Fn()) {
    let (let_go, wait) = channel::<()>();
    let wait: Mutex<Receiver<()>> = Mutex::new(wait);
    let house = House::with(Presence::builder().fetch(move |topic, _| {
        if topic == ROOM {
            wait.lock().unwrap().recv().unwrap();
        }
    }));
    (house, move || let_go.send(()).unwrap())
}

#[test]
fn while_fetch_waits_callers_and_other_topics_go_on_and_the_order_holds() {
    let (house, let_go) = slow();
    let mut here = house.subscriber(ROOM);
    let mut elsewhere = house.subscriber("elsewhere");
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    house.presence.track((&owner, "elsewhere"), "a", json!({})).unwrap();
    assert_eq!(elsewhere.recv().unwrap().topic(), "elsewhere");
    for key in ["b", "c"] {
        house.presence.track((&owner, ROOM), key, json!({})).unwrap();
    }
    assert_eq!(house.presence.count(ROOM), 3);
    assert!(here.try_recv().is_err());
    let_go();
    let_go();
    let mut view = View::strict();
    view.message(&here.recv().unwrap());
    house.told();
    view.read(&mut here);
    assert_eq!(view.diffs.len(), 2);
    assert_eq!(view.state.keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn a_panic_in_fetch_costs_what_it_would_have_added_and_nothing_else() {
    let house = House::with(Presence::builder().fetch(|_, batch| {
        batch.iter_mut().for_each(|fetched| {
            fetched.extra.insert("seen".to_owned(), true.into());
        });
        assert!(batch.keys().all(|key| key != "bad"), "a key that the database does not like");
    }));
    let mut subscriber = house.subscriber(ROOM);
    let mut view = View::strict();
    let owner = Owner::new();
    for key in ["bad", "good"] {
        house.presence.track((&owner, ROOM), key, json!({})).unwrap();
        house.told();
    }
    view.read(&mut subscriber);
    assert_eq!(view.state.keys().collect::<Vec<_>>(), ["bad", "good"]);
    assert_eq!(view.diffs[0]["joins"]["bad"].get("seen"), None);
    assert_eq!(view.diffs[1]["joins"]["good"]["seen"], true);
    assert_eq!(house.presence.stats().panics, 1);
}

#[test]
fn handle_diff_sees_each_diff_in_order_also_where_nobody_is_subscribed() {
    let (calls, note) = log();
    let house = House::with(Presence::builder().handle_diff(move |topic, diff| {
        let keys = |side: &[fanfare::presence::Present]| side.iter().map(|p| p.key().to_owned()).collect::<Vec<_>>();
        note(format!("{topic} +{:?} -{:?}", keys(diff.joins()), keys(diff.leaves())));
    }));
    let owner = Owner::new();
    for n in 0..20 {
        house.presence.track((&owner, ROOM), &n.to_string(), json!({})).unwrap();
        house.told();
        house.presence.untrack((&owner, ROOM), &n.to_string());
        house.told();
    }
    let expected = (0..20).flat_map(|n| {
        let key = [n.to_string()];
        [format!("{ROOM} +{key:?} -[]"), format!("{ROOM} +[] -{key:?}")]
    });
    assert_eq!(*calls.lock().unwrap(), expected.collect::<Vec<_>>());
}

#[test]
fn handle_metas_sees_the_whole_diff_and_what_each_key_in_it_has_then() {
    let (calls, note) = log();
    let house = House::with(Presence::builder().diff_metas_max(1).handle_metas(move |_, diff, after| {
        let mut after: Vec<String> = after.iter().map(|p| format!("{}={}", p.key(), p.metas().len())).collect();
        after.sort();
        note(format!("+{} -{} {}", diff.joins().len(), diff.leaves().len(), after.join(" ")));
    }));
    let (phone, laptop) = (Owner::new(), Owner::new());
    house.gather(ROOM);
    house.presence.track((&phone, ROOM), "alice", json!({})).unwrap();
    house.presence.track((&laptop, ROOM), "alice", json!({})).unwrap();
    house.presence.track((&laptop, ROOM), "bob", json!({})).unwrap();
    house.told();
    drop(laptop);
    house.told();
    // Each meta was told by a diff of its own; here they are together.
    assert_eq!(*calls.lock().unwrap(), ["+3 -0 alice=2 bob=1", "+0 -2 alice=1 bob=0"]);
}

#[test]
fn a_panic_of_who_takes_a_state_is_its_own() {
    let house = House::new();
    let (sender, states) = channel();
    house.gather(ROOM);
    house.presence.with_state(ROOM, Scope::Full, |_| panic!("not that one")).unwrap();
    house.presence.with_state(ROOM, Scope::Full, move |_| sender.send(()).unwrap()).unwrap();
    house.told();
    states.recv().unwrap();
    assert_eq!(house.presence.stats().panics, 1);
}
