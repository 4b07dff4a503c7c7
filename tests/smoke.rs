//! The few lines that everyone writes first.

use fanfare::{PubSub, TryRecvError};

#[test]
fn a_message_arrives() {
    let pubsub = PubSub::new().unwrap();
    let mut subscriber = pubsub.subscriber().build().unwrap();
    subscriber.subscribe("room:1").unwrap();
    pubsub.broadcast("room:1", "new_msg", serde_json::json!({"body": "hello"})).unwrap();
    let message = subscriber.recv().unwrap();
    assert_eq!(message.topic(), "room:1");
    assert_eq!(message.event(), "new_msg");
    assert_eq!(message.json().unwrap(), br#"{"body":"hello"}"#);
    pubsub.flush().unwrap();
    assert_eq!(subscriber.try_recv().unwrap_err(), TryRecvError::Empty);
}
