//! What a message carries: typed values at no cost, and one encoding for all who ask.

mod common;

use common::{Setup, number};
use fanfare::{EncodeError, Event, Message, ParseError, Payload};
use serde::ser::{Error, SerializeStruct};
use serde::{Serialize, Serializer};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

/// Counts how often it is encoded.
struct Order {
    id: u64,
    encoded: Arc<AtomicUsize>,
}

impl Serialize for Order {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.encoded.fetch_add(1, Ordering::SeqCst);
        // Others that ask meanwhile have time to.
        (0..100).for_each(|_| thread::yield_now());
        let mut fields = serializer.serialize_struct("Order", 1)?;
        fields.serialize_field("id", &self.id)?;
        fields.end()
    }
}

/// Cannot be encoded.
struct Bad(Arc<AtomicUsize>);

impl Serialize for Bad {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Err(S::Error::custom("not today"))
    }
}

/// Each of so many subscribers' message of one broadcast.
fn received(payload: Payload, subscribers: usize) -> Vec<Message> {
    let pubsub = Setup::workers(2).build();
    let mut all: Vec<_> = (0..subscribers)
        .map(|_| {
            let subscriber = pubsub.subscriber().build().unwrap();
            subscriber.subscribe("t").unwrap();
            subscriber
        })
        .collect();
    pubsub.broadcast("t", "event", payload).unwrap();
    pubsub.flush().unwrap();
    all.iter_mut().map(|subscriber| subscriber.try_recv().unwrap()).collect()
}

#[test]
fn a_typed_value_is_seen_as_it_is_and_never_encoded_for_that() {
    let encoded = Arc::new(AtomicUsize::new(0));
    let messages = received(Payload::typed(Order { id: 7, encoded: encoded.clone() }), 10);
    let first: *const Order = messages[0].downcast_ref().unwrap();
    for message in &messages {
        let order: &Order = message.downcast_ref().unwrap();
        assert_eq!(order.id, 7);
        assert!(std::ptr::eq(order, first), "one value for all");
        assert!(message.downcast_ref::<u64>().is_none());
        assert!(message.payload().bytes().is_none());
    }
    assert_eq!(encoded.load(Ordering::SeqCst), 0);
}

#[test]
fn a_typed_value_is_encoded_at_most_once_however_many_ask_at_once() {
    let encoded = Arc::new(AtomicUsize::new(0));
    let messages = received(Payload::typed(Order { id: 7, encoded: encoded.clone() }), 16);
    let start = Barrier::new(messages.len());
    thread::scope(|scope| {
        for message in &messages {
            scope.spawn(|| {
                start.wait();
                assert_eq!(message.json().unwrap(), br#"{"id":7}"#);
                // Whoever holds it on shares the encoding.
                assert_eq!(message.payload().clone().json().unwrap(), br#"{"id":7}"#);
            });
        }
    });
    assert_eq!(encoded.load(Ordering::SeqCst), 1);
}

#[test]
fn a_failed_encoding_is_told_to_all_who_ask_and_not_tried_again() {
    let tried = Arc::new(AtomicUsize::new(0));
    for message in received(Payload::typed(Bad(tried.clone())), 5) {
        assert_eq!(message.json(), Err(EncodeError::Failed("not today".into())));
        assert!(message.downcast_ref::<Bad>().is_some(), "those in the process have it all the same");
    }
    assert_eq!(tried.load(Ordering::SeqCst), 1);
}

#[test]
fn bytes_come_as_they_were_sent() {
    for message in received(Payload::json_bytes(&br#"{"a": 1}"#[..]), 2) {
        assert_eq!(message.json().unwrap(), br#"{"a": 1}"#, "not encoded anew");
        assert_eq!(message.payload().bytes().unwrap().as_ref(), br#"{"a": 1}"#);
        assert!(message.downcast_ref::<String>().is_none());
    }
    for message in received(Payload::binary(vec![0, 255, 1]), 2) {
        assert_eq!(message.payload().bytes().unwrap().as_ref(), [0, 255, 1]);
        assert_eq!(message.json(), Err(EncodeError::Binary));
        assert_eq!(message.json().unwrap_err().to_string(), "a binary payload has no JSON");
    }
    for message in received(Payload::binary(Vec::new()), 1) {
        assert_eq!(message.payload().bytes().unwrap().len(), 0);
    }
}

#[test]
fn a_json_value_is_a_payload() {
    let value = serde_json::json!({"body": "ünï", "n": [1, null]});
    for message in received(value.clone().into(), 2) {
        assert_eq!(message.downcast_ref::<serde_json::Value>(), Some(&value));
        assert_eq!(serde_json::from_slice::<serde_json::Value>(message.json().unwrap()).unwrap(), value);
    }
}

#[test]
fn a_message_has_its_topic_and_its_event_however_they_were_given() {
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = pubsub.subscriber().build().unwrap();
    subscriber.subscribe("t").unwrap();
    let events: [Event; 4] =
        ["static".into(), String::from("owned").into(), Arc::<str>::from("shared").into(), "".into()];
    for event in events.clone() {
        pubsub.broadcast("t", event, number(1)).unwrap();
    }
    pubsub.flush().unwrap();
    for event in events {
        let message = subscriber.try_recv().unwrap();
        assert_eq!((message.topic(), message.event()), ("t", &*event));
        assert!(format!("{message:?}").contains(&*event));
    }
}

#[test]
fn a_message_with_another_payload_keeps_the_rest() {
    let messages = received(number(1), 1);
    let other = messages[0].with_payload(number(2));
    assert_eq!((other.topic(), other.event(), common::value(&other)), ("t", "event", 2));
    assert_eq!(common::value(&messages[0]), 1);
    let clone = other.clone();
    drop(other);
    thread::spawn(move || assert_eq!(common::value(&clone), 2)).join().unwrap();
}

#[test]
fn a_payload_is_parsed_from_its_json_whoever_made_it() {
    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Point {
        x: u64,
        y: Option<u64>,
    }
    let point = Point { x: 1, y: None };
    assert_eq!(Payload::json_bytes(r#"{"x":1,"z":[]}"#).parse(), Ok(point));
    assert_eq!(Payload::typed((1_u64, "a")).parse(), Ok((1_u64, String::from("a"))));
    let missing = Payload::json_bytes(r#"{"y":1}"#).parse::<Point>().unwrap_err();
    assert!(matches!(&missing, ParseError::Mismatch(why) if why.contains('x')), "{missing}");
    assert!(matches!(Payload::json_bytes("{").parse::<Point>(), Err(ParseError::Mismatch(_))));
    assert_eq!(Payload::binary("{}").parse::<Point>(), Err(ParseError::Encode(EncodeError::Binary)));
}
