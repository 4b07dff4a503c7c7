//! Clients of both versions of the protocol, alone and on one topic.

use super::{Kit, expect, matrix, text};
use fanfare::channel::serializer::VersionError;
use fanfare::channel::test::Client;
use fanfare::channel::{Close, ConnectError, Frame};
use serde_json::{Value, json};

fn version(kit: &Kit, vsn: Value) -> Result<Client, ConnectError> {
    Client::connect(&kit.endpoint, "/socket", json!({ "vsn": vsn }))
}

fn v1(kit: &Kit) -> Client {
    version(kit, json!("1.0.0")).unwrap()
}

fn say(client: &mut Client, topic: &str, event: &str, payload: Value, reference: &str) {
    client.send_text(&json!({ "topic": topic, "event": event, "payload": payload, "ref": reference }));
}

fn told(topic: &str, event: &str, payload: Value, reference: Value) -> Value {
    json!({ "topic": topic, "event": event, "payload": payload, "ref": reference })
}

fn ok(topic: &str, reference: &str) -> Value {
    told(topic, "phx_reply", json!({ "status": "ok", "response": {} }), json!(reference))
}

#[test]
fn a_client_of_version_1_joins_talks_and_leaves() {
    matrix(|kit| {
        let mut client = v1(&kit);
        say(&mut client, "phoenix", "heartbeat", json!({}), "1");
        say(&mut client, "room:1", "phx_join", json!({}), "2");
        assert_eq!([text(&mut client), text(&mut client)], [ok("phoenix", "1"), ok("room:1", "2")]);
        say(&mut client, "room:1", "broadcast", json!({ "a": 1 }), "3");
        expect(&mut client, [told("room:1", "shout", json!({ "a": 1 }), Value::Null), ok("room:1", "3")]);
        say(&mut client, "room:1", "push", json!({ "a": 2 }), "4");
        expect(&mut client, [told("room:1", "pushed", json!({ "a": 2 }), Value::Null)]);
        say(&mut client, "room:1", "phx_leave", json!({}), "5");
        expect(
            &mut client,
            [
                ok("room:1", "5"),
                told("room:1", "phx_close", json!({}), Value::Null),
                told("room:1", "last", json!({}), Value::Null),
            ],
        );
    });
}

#[test]
fn a_crash_is_told_to_version_1_without_a_ref() {
    matrix(|kit| {
        let mut client = v1(&kit);
        say(&mut client, "room:1", "phx_join", json!({}), "2");
        say(&mut client, "room:1", "panic", json!({}), "3");
        let error = told("room:1", "phx_error", json!({ "reason": "channel_crash" }), Value::Null);
        expect(&mut client, [ok("room:1", "2"), told("room:1", "last", json!({}), Value::Null), error]);
    });
}

#[test]
fn a_client_of_version_1_that_has_a_join_ref_only_later_is_not_heard() {
    matrix(|kit| {
        let mut client = v1(&kit);
        say(&mut client, "room:1", "phx_join", json!({}), "2");
        client.send_text(&json!({ "topic": "room:1", "event": "echo", "payload": {}, "ref": "3", "join_ref": "2" }));
        expect(&mut client, [ok("room:1", "2")]);
    });
}

#[test]
fn version_1_has_no_binary_frames() {
    matrix(|kit| {
        let mut client = v1(&kit);
        client.send(Frame::Binary(b"\0\x01\x01\x06\x0412room:1echo".to_vec().into()));
        client.assert_closed(Close::Undecodable);
    });
}

#[test]
fn clients_of_both_versions_share_a_topic() {
    matrix(|kit| {
        let mut new = kit.joined("room:1");
        let mut old = v1(&kit);
        say(&mut old, "room:1", "phx_join", json!({}), "2");
        expect(&mut old, [ok("room:1", "2")]);
        say(&mut old, "room:1", "broadcast", json!({ "from": "old" }), "3");
        expect(&mut old, [told("room:1", "shout", json!({ "from": "old" }), Value::Null), ok("room:1", "3")]);
        new.assert_broadcast("room:1", "shout", json!({ "from": "old" }));
        let reference = new.push("room:1", "broadcast", json!({ "from": "new" }));
        new.assert_broadcast("room:1", "shout", json!({ "from": "new" }));
        new.assert_reply(&reference, "ok", json!({}));
        expect(&mut old, [told("room:1", "shout", json!({ "from": "new" }), Value::Null)]);
    });
}

#[test]
fn a_binary_broadcast_reaches_version_2_and_is_counted_for_version_1() {
    matrix(|kit| {
        let mut new = kit.joined("room:1");
        let mut old = v1(&kit);
        say(&mut old, "room:1", "phx_join", json!({}), "2");
        expect(&mut old, [ok("room:1", "2")]);
        kit.endpoint.broadcast("room:1", "bin", fanfare::Payload::binary(vec![1, 2])).unwrap();
        old.assert_nothing();
        let frame = b"\x02\x06\x03room:1bin\x01\x02".to_vec();
        assert_eq!(new.next_event(), fanfare::channel::test::Event::Binary(frame));
        assert_eq!((kit.endpoint.encoded(), kit.endpoint.unencodable()), (1, 1));
    });
}

#[test]
fn a_version_that_nothing_speaks_is_refused() {
    matrix(|kit| {
        for good in ["1.0.0", "1.0.7", "2.0.0", "2.0.3"] {
            assert!(version(&kit, json!(good)).is_ok(), "{good}");
        }
        for bad in ["123.1.1", "2.1.0", "1.1.0"] {
            let error = version(&kit, json!(bad)).unwrap_err();
            assert!(matches!(error, ConnectError::Version(VersionError::Unsupported(_))), "{bad}: {error:?}");
        }
        for bad in [json!(""), json!("2.0"), json!("two"), json!(["2.0.0"]), json!(2), json!(null)] {
            let error = version(&kit, bad.clone()).unwrap_err();
            assert!(matches!(error, ConnectError::Version(VersionError::Malformed(_))), "{bad}: {error:?}");
        }
    });
}

#[test]
fn a_socket_may_refuse_with_a_status_of_its_choice() {
    matrix(|kit| {
        let refused = |name| Client::connect(&kit.endpoint, "/socket", json!({ "name": name })).unwrap_err();
        assert_eq!(refused("nobody"), ConnectError::Refused { status: 403, body: String::new() });
        assert_eq!(refused("too many"), ConnectError::Refused { status: 429, body: "later".to_owned() });
    });
}
