//! Presence against a plain model: whatever is done in whatever order, and wherever epochs end, what is listed is what
//! was done, and whoever applies what is told ends up with that.

use super::House;
use super::view::{Refs, View, live};
use fanfare::Subscriber;
use fanfare::presence::{Owner, Presence, Scope, TrackError, UpdateError};
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, channel};

const OWNERS: usize = 5;
const KEYS: [&str; 4] = ["a", "b", "c", "d"];
const TOPICS: [&str; 2] = ["room:1", "room:2"];

#[derive(Debug, Clone)]
enum Step {
    Track {
        owner: usize,
        topic: usize,
        key: usize,
    },
    Update {
        owner: usize,
        topic: usize,
        key: usize,
    },
    Untrack {
        owner: usize,
        topic: usize,
        key: usize,
    },
    UntrackAll {
        owner: usize,
    },
    /// The owner ends, and another takes its number.
    End {
        owner: usize,
    },
    /// Somebody subscribes and asks for the state.
    Join {
        topic: usize,
    },
    Told,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || (0..OWNERS, 0..TOPICS.len(), 0..KEYS.len());
    prop_oneof![
        6 => who().prop_map(|(owner, topic, key)| Step::Track { owner, topic, key }),
        4 => who().prop_map(|(owner, topic, key)| Step::Update { owner, topic, key }),
        3 => who().prop_map(|(owner, topic, key)| Step::Untrack { owner, topic, key }),
        1 => (0..OWNERS).prop_map(|owner| Step::UntrackAll { owner }),
        1 => (0..OWNERS).prop_map(|owner| Step::End { owner }),
        1 => (0..TOPICS.len()).prop_map(|topic| Step::Join { topic }),
        3 => Just(Step::Told),
    ]
}

/// A consumer of a topic's diffs.
struct Consumer {
    topic: usize,
    subscriber: Subscriber,
    view: View,
    state: Option<Receiver<bytes::Bytes>>,
}

impl Consumer {
    fn strict(house: &House, topic: usize) -> Self {
        Consumer { topic, subscriber: house.subscriber(TOPICS[topic]), view: View::strict(), state: None }
    }

    fn joining(house: &House, topic: usize) -> Self {
        let subscriber = house.subscriber(TOPICS[topic]);
        let (sender, state) = channel();
        let tell = move |state: &fanfare::presence::Aligned| sender.send(state.json().cloned().unwrap()).unwrap();
        house.presence.with_state(TOPICS[topic], Scope::Full, tell).unwrap();
        Consumer { topic, subscriber, view: View::waiting(), state: Some(state) }
    }

    fn read(&mut self) {
        // The diffs of before and after the state are told apart by nothing: all are applied.
        self.view.read(&mut self.subscriber);
        if let Some(state) = self.state.as_ref().and_then(|state| state.try_recv().ok()) {
            self.view.seed(&state);
            self.state = None;
        }
    }
}

/// By topic, key and owner: the ref.
type Plain = BTreeMap<(usize, usize, usize), String>;

fn refs(plain: &Plain, topic: usize) -> Refs {
    let mut refs = Refs::new();
    for ((_, key, _), phx_ref) in plain.iter().filter(|((at, ..), _)| *at == topic) {
        refs.entry(KEYS[*key].to_owned()).or_default().insert(phx_ref.clone());
    }
    refs
}

fn run(steps: &[Step], many: usize) {
    let house = House::with(Presence::builder().diff_metas_max(3));
    let mut owners: Vec<Owner> = (0..OWNERS).map(|_| Owner::new()).collect();
    let mut plain = Plain::new();
    let mut consumers = vec![Consumer::strict(&house, 0), Consumer::strict(&house, 1)];
    // A crowd that moves other entries about, and makes rooms that are not small.
    let crowd = Owner::new();
    for n in 0..many {
        house.presence.track((&crowd, TOPICS[0]), &format!("crowd{n}"), json!({})).unwrap();
    }
    let without_crowd = |mut refs: Refs| {
        refs.retain(|key, _| !key.starts_with("crowd"));
        refs
    };
    for step in steps {
        match *step {
            Step::Track { owner, topic, key } => {
                let tracked = house.presence.track((&owners[owner], TOPICS[topic]), KEYS[key], json!({ "o": owner }));
                match plain.get(&(topic, key, owner)) {
                    Some(_) => assert_eq!(tracked, Err(TrackError::AlreadyTracked)),
                    None => {
                        plain.insert((topic, key, owner), tracked.unwrap().to_string());
                    }
                }
            }
            Step::Update { owner, topic, key } => {
                let updated = house.presence.update((&owners[owner], TOPICS[topic]), KEYS[key], json!({ "u": 1 }));
                match plain.get_mut(&(topic, key, owner)) {
                    Some(phx_ref) => *phx_ref = updated.unwrap().to_string(),
                    None => assert_eq!(updated, Err(UpdateError::NotTracked)),
                }
            }
            Step::Untrack { owner, topic, key } => {
                let was = house.presence.untrack((&owners[owner], TOPICS[topic]), KEYS[key]);
                assert_eq!(was, plain.remove(&(topic, key, owner)).is_some());
            }
            Step::UntrackAll { owner } => {
                let before = plain.len();
                plain.retain(|(_, _, who), _| *who != owner);
                assert_eq!(house.presence.untrack_all(&owners[owner]), before - plain.len());
            }
            Step::End { owner } => {
                plain.retain(|(_, _, who), _| *who != owner);
                owners[owner] = Owner::new();
            }
            Step::Join { topic } => consumers.push(Consumer::joining(&house, topic)),
            Step::Told => {
                house.told();
                for consumer in &mut consumers {
                    consumer.read();
                    let now = live(&house.presence, TOPICS[consumer.topic]);
                    assert_eq!(consumer.view.state, now, "after an epoch");
                }
            }
        }
        for (topic, name) in TOPICS.iter().enumerate() {
            assert_eq!(without_crowd(live(&house.presence, name)), refs(&plain, topic));
        }
        for (key, name) in KEYS.iter().enumerate() {
            let metas = house.presence.get_by_key(TOPICS[0], name).map_or(0, |metas| metas.len());
            assert_eq!(metas, plain.keys().filter(|(topic, at, _)| (*topic, *at) == (0, key)).count());
        }
    }
    drop(owners);
    crowd.end();
    house.told();
    for consumer in &mut consumers {
        consumer.read();
        assert!(consumer.view.seeded && consumer.view.state.is_empty(), "all have gone: {:?}", consumer.view.state);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_adds_up_to_what_was_done(steps in prop::collection::vec(step(), 1..60)) {
        run(&steps, 0);
    }

    #[test]
    fn also_in_a_crowd(steps in prop::collection::vec(step(), 1..40), many in 1_usize..600) {
        run(&steps, many);
    }
}

/// Four threads change one room while epochs end at any moment; a consumer from the start and some who join later end
/// up with what is so.
#[test]
fn what_is_told_adds_up_also_when_threads_race() {
    for round in 0..20 {
        let watchdog = crate::common::watch();
        let pubsub = fanfare::PubSub::builder().workers(2).build().unwrap();
        let period = std::time::Duration::from_micros([0, 50, 500][round % 3]);
        let presence = Presence::builder().diff_period(period).start(&pubsub).unwrap();
        let house = House { _watchdog: watchdog, pubsub, presence };
        let mut first = Consumer::strict(&house, 0);
        let stays: Vec<Owner> = (0..4).map(|_| Owner::new()).collect();
        let mut joiners = std::thread::scope(|scope| {
            for (thread, stays) in stays.iter().enumerate() {
                let house = &house;
                scope.spawn(move || {
                    let track = |owner: &Owner, key: &str| house.presence.track((owner, TOPICS[0]), key, json!({}));
                    for n in 0..200 {
                        let goes = Owner::new();
                        track(&goes, KEYS[n % 4]).unwrap();
                        track(&goes, &format!("{thread}:{n}")).unwrap();
                        if n % 3 == 0 {
                            track(stays, &format!("stays{thread}:{n}")).unwrap();
                            house
                                .presence
                                .update((stays, TOPICS[0]), &format!("stays{thread}:{n}"), json!({}))
                                .unwrap();
                        }
                        house.presence.update((&goes, TOPICS[0]), KEYS[n % 4], json!({ "n": n })).unwrap();
                    }
                });
            }
            (0..10).map(|_| Consumer::joining(&house, 0)).collect::<Vec<_>>()
        });
        house.told();
        let now = live(&house.presence, TOPICS[0]);
        assert_eq!(now.len(), 4 * 67);
        first.read();
        assert_eq!(first.view.state, now);
        for joiner in &mut joiners {
            joiner.read();
            assert!(joiner.view.seeded);
            assert_eq!(joiner.view.state, now);
        }
    }
}
