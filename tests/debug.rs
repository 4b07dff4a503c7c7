//! What `{:?}` of a handle prints: one short line, however much the engine behind it holds.
//!
//! Goal: a `dbg!` or a log line of a user's own struct, which derives `Debug` around our handles, stays readable.
//! Method: an engine with a thousand subscribers and topics, and every public type that reaches the engine.

use fanfare::channel::{Connect, ConnectInfo, Endpoint, Params, Router, Socket};
use fanfare::presence::{Owner, Presence};
use fanfare::{Context, MailboxSet, Message, PubSub, Subscriber};
use std::fmt::Debug;

/// Enough for a type's name, a subscriber's id and a few numbers.
const BYTES_MAX: usize = 240;

const MANY: usize = 1_000;

fn assert_short(value: &impl Debug) -> String {
    let line = format!("{value:?}");
    assert!(line.len() <= BYTES_MAX, "{} bytes: {:.600}", line.len(), line);
    assert!(!line.contains('\n'), "{line}");
    line
}

/// An engine on which much goes on.
fn busy() -> (PubSub, Vec<Subscriber>) {
    let pubsub = PubSub::builder().workers(2).build().unwrap();
    let subscribers = (0..MANY).map(|number| {
        let subscriber = pubsub.subscriber().build().unwrap();
        subscriber.subscribe("room:lobby").unwrap();
        subscriber.subscribe(&format!("users_socket:{number}")).unwrap();
        subscriber
    });
    let subscribers = subscribers.collect();
    pubsub.broadcast("room:lobby", "new_msg", serde_json::json!({})).unwrap();
    pubsub.flush().unwrap();
    (pubsub, subscribers)
}

#[test]
fn a_handle_of_the_engine_prints_one_short_line() {
    let (pubsub, mut subscribers) = busy();
    assert_eq!(assert_short(&pubsub), r#"PubSub { node: "local", workers: 2, topics: 1001, .. }"#);
    let topic = pubsub.topic("room:lobby").unwrap();
    assert_eq!(assert_short(&topic), r#"Topic { name: "room:lobby", subscriptions: 1000, .. }"#);
    assert_short(&pubsub.subscriber());
    let subscriber = subscribers.pop().unwrap();
    assert!(assert_short(&subscriber).contains("len: 1"), "{subscriber:?}");
    assert_short(&subscriber.control());
    let (control, mailbox) = subscriber.split();
    assert_short(&control);
    assert!(assert_short(&mailbox).starts_with("Mailbox { id: "), "{mailbox:?}");
    let conflating = pubsub.subscriber().conflate_by(|message: &Message| message.topic().to_owned()).unwrap();
    assert_short(&conflating);
    let mut set = MailboxSet::new();
    subscribers.into_iter().for_each(|subscriber| _ = set.insert(subscriber));
    assert_eq!(assert_short(&set), "MailboxSet { len: 999, .. }");
}

#[test]
fn what_a_handler_gets_prints_one_short_line() {
    let (pubsub, _subscribers) = busy();
    let (lines, seen) = std::sync::mpsc::channel();
    let handler = pubsub.subscriber().handler(move |_: &Message, context: &mut Context<'_>| {
        lines.send((format!("{context:?}"), format!("{:?}", context.control()))).unwrap();
    });
    let handler = handler.unwrap();
    assert_short(&handler);
    handler.subscribe("room:lobby").unwrap();
    pubsub.broadcast("room:lobby", "new_msg", serde_json::json!({})).unwrap();
    let (context, control) = seen.recv().unwrap();
    assert!(context.len() <= 2 * BYTES_MAX, "{context}");
    assert!(control.len() <= BYTES_MAX, "{control}");
}

struct Anyone;

impl Socket for Anyone {
    type Assigns = ();
    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
        Connect::Accept(())
    }
}

#[test]
fn presence_and_an_endpoint_print_one_short_line() {
    let (pubsub, _subscribers) = busy();
    let presence = Presence::builder().start(&pubsub).unwrap();
    let owner = Owner::new();
    for number in 0..MANY {
        presence.track((&owner, "room:lobby"), &format!("user:{number}"), serde_json::json!({})).unwrap();
    }
    assert_short(&presence);
    assert_short(&owner);
    let endpoint = Endpoint::builder(pubsub).socket("/socket", Anyone, Router::new());
    let line = assert_short(&endpoint.build());
    assert_eq!(line, r#"Endpoint { node: "local", mounts: ["/socket"], .. }"#);
}
