//! What is refused, and how that is said.

use super::{House, ROOM};
use fanfare::presence::{BuildError, DIFF_PERIOD_MAX, FlushError, MetaError, Owner, Presence, Scope, TrackError};
use fanfare::{Context, Message, PubSub, TopicError};
use serde_json::json;
use std::sync::mpsc::channel;
use std::time::Duration;

#[test]
fn metas_are_objects_within_their_limit() {
    let house = House::with(Presence::builder().meta_bytes_max(10));
    let owner = Owner::new();
    let track = |meta: serde_json::Value| house.presence.track((&owner, ROOM), "a", meta);
    assert_eq!(track(json!([1])), Err(TrackError::Meta(MetaError::NotAnObject)));
    assert_eq!(track(json!(null)), Err(TrackError::Meta(MetaError::NotAnObject)));
    assert_eq!(track(json!({ "a": "xxxxxx" })), Err(TrackError::Meta(MetaError::TooLong { bytes: 14, max: 10 })));
    struct Broken;
    impl serde::Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("broken"))
        }
    }
    let broken = house.presence.track((&owner, ROOM), "a", Broken);
    assert_eq!(broken, Err(TrackError::Meta(MetaError::Encode("broken".into()))));
    assert_eq!(house.presence.count(ROOM), 0);
    track(json!({ "a": "xx" })).unwrap();
}

#[test]
fn keys_topics_and_rooms_have_limits() {
    let house = House::with(Presence::builder().key_bytes_max(3).topic_metas_max(2));
    let owner = Owner::new();
    let track = |topic: &str, key: &str| house.presence.track((&owner, topic), key, json!({}));
    assert_eq!(track(ROOM, "four"), Err(TrackError::KeyTooLong { bytes: 4, max: 3 }));
    assert!(matches!(track("", "a"), Err(TrackError::Topic(TopicError::Empty))), "{:?}", track("", "a"));
    let long = "x".repeat(100_000);
    assert!(matches!(track(&long, "a"), Err(TrackError::Topic(_))));
    assert!(house.presence.with_state(&long, Scope::Full, |_| ()).is_err());
    track(ROOM, "a").unwrap();
    track(ROOM, "b").unwrap();
    assert_eq!(track(ROOM, "c"), Err(TrackError::TopicFull { max: 2 }));
    assert_eq!(track(ROOM, "a"), Err(TrackError::AlreadyTracked));
    house.presence.untrack((&owner, ROOM), "a");
    track(ROOM, "c").unwrap();
}

#[test]
fn a_presence_is_built_only_of_sense() {
    let pubsub = PubSub::builder().workers(1).build().unwrap();
    let refused = |builder: fanfare::presence::Builder| builder.start(&pubsub).unwrap_err();
    assert!(matches!(refused(Presence::builder().diff_metas_max(0)), BuildError::Zero("diff_metas_max")));
    assert!(matches!(refused(Presence::builder().state_metas_max(0)), BuildError::Zero("state_metas_max")));
    assert!(matches!(refused(Presence::builder().topic_metas_max(0)), BuildError::Zero("topic_metas_max")));
    let long = DIFF_PERIOD_MAX + Duration::from_nanos(1);
    assert!(
        matches!(refused(Presence::builder().diff_period(long)), BuildError::PeriodTooLong(period) if period == long)
    );
}

#[test]
fn nobody_waits_for_a_flush_who_would_wait_for_itself() {
    let house = House::new();
    let (sender, results) = channel();
    let (presence, on_worker) = (house.presence.clone(), sender.clone());
    let handle = move |_: &Message, _: &mut Context<'_>| on_worker.send(presence.flush()).unwrap();
    let handler = house.pubsub.subscriber().handler(handle).unwrap();
    handler.subscribe("go").unwrap();
    house.pubsub.broadcast("go", "go", json!({})).unwrap();
    assert_eq!(results.recv().unwrap(), Err(FlushError::OnWorker));
    let presence = house.presence.clone();
    house.presence.with_state(ROOM, Scope::Count, move |_| sender.send(presence.flush()).unwrap()).unwrap();
    assert_eq!(results.recv().unwrap(), Err(FlushError::OnWorker));
}

#[test]
fn after_the_engine_s_end_presence_goes_on_for_those_who_look() {
    let house = House::new();
    house.pubsub.shutdown(Duration::from_secs(1)).unwrap();
    let owner = Owner::new();
    house.presence.track((&owner, ROOM), "a", json!({})).unwrap();
    house.presence.flush().unwrap();
    assert_eq!(house.presence.count(ROOM), 1);
}
