//! What channels do: replies, pushes, broadcasts, messages of others, and their ends.

use super::{Kit, expect, matrix, text};
use fanfare::channel::{Close, PatternError, Router, test::Client};
use serde_json::{Value, json};
use std::thread;

fn reply(reference: &str, status: &str, response: Value) -> Value {
    json!(["1", reference, "room:1", "phx_reply", { "status": status, "response": response }])
}

fn push(event: &str, payload: Value) -> Value {
    json!(["1", null, "room:1", event, payload])
}

fn broadcast(event: &str, payload: Value) -> Value {
    json!([null, null, "room:1", event, payload])
}

fn ended(event: &str) -> Value {
    let payload = if event == "phx_close" { json!({}) } else { json!({ "reason": "channel_crash" }) };
    json!(["1", "1", "room:1", event, payload])
}

/// A joined client that has said one thing.
fn said(kit: &Kit, event: &str, payload: Value) -> Client {
    let mut client = kit.joined("room:1");
    client.send_text(&json!(["1", "4", "room:1", event, payload]));
    client
}

#[test]
fn a_push_is_replied_to_with_any_status_or_not_at_all() {
    matrix(|kit| {
        expect(&mut said(&kit, "echo", json!({ "a": 1 })), [reply("4", "ok", json!({ "a": 1 }))]);
        expect(&mut said(&kit, "refuse", json!({})), [reply("4", "error", json!({ "reason": "no" }))]);
        expect(&mut said(&kit, "status", json!({ "status": "maybe" })), [reply("4", "maybe", json!({}))]);
        expect(&mut said(&kit, "try", json!(1)), [reply("4", "ok", json!({}))]);
        let reason = text(&mut said(&kit, "try", json!("one")))[4]["response"]["reason"].clone();
        assert!(reason.as_str().unwrap().contains("string"), "{reason}");
        expect(&mut said(&kit, "unknown", json!({})), []);
    });
}

#[test]
fn a_push_without_a_ref_wants_no_reply() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        client.send_text(&json!(["1", null, "room:1", "echo", {}]));
        client.send_text(&json!(["1", null, "room:1", "hand_out", {}]));
        expect(&mut client, [push("no_ref", json!({}))]);
    });
}

#[test]
fn events_of_the_protocol_that_a_client_sends_have_no_meaning() {
    matrix(|kit| {
        for event in ["phx_close", "phx_error", "phx_reply"] {
            expect(&mut said(&kit, event, json!({})), [reply("4", "ok", json!({ "event": event }))]);
        }
    });
}

#[test]
fn a_push_goes_to_one_client_alone_and_has_no_ref() {
    matrix(|kit| {
        let mut other = kit.joined("room:1");
        expect(&mut said(&kit, "push", json!({ "a": 1 })), [push("pushed", json!({ "a": 1 }))]);
        other.assert_nothing();
    });
}

#[test]
fn a_broadcast_reaches_everyone_on_the_topic_before_the_reply() {
    matrix(|kit| {
        let (mut other, mut elsewhere) = (kit.joined("room:1"), kit.joined("room:2"));
        let mut client = said(&kit, "broadcast", json!({ "a": 1 }));
        expect(&mut client, [broadcast("shout", json!({ "a": 1 })), reply("4", "ok", json!({}))]);
        expect(&mut other, [broadcast("shout", json!({ "a": 1 }))]);
        elsewhere.assert_nothing();
    });
}

#[test]
fn a_broadcast_from_a_channel_reaches_all_others() {
    matrix(|kit| {
        let mut other = kit.joined("room:1");
        said(&kit, "broadcast_from", json!({ "a": 1 })).assert_nothing();
        expect(&mut other, [broadcast("shout", json!({ "a": 1 }))]);
    });
}

#[test]
fn replies_come_later_and_from_any_thread_and_as_often_as_one_likes() {
    matrix(|kit| {
        let mut client = said(&kit, "hand_out", json!({}));
        let reference = kit.refs.recv().unwrap();
        client.assert_nothing();
        thread::spawn(move || {
            reference.reply("ok", json!({ "n": 1 })).unwrap();
            reference.reply("progress", json!([2])).unwrap();
            reference.reply("error", json!({})).unwrap();
        })
        .join()
        .unwrap();
        expect(
            &mut client,
            [reply("4", "ok", json!({ "n": 1 })), reply("4", "progress", json!([2])), reply("4", "error", json!({}))],
        );
    });
}

#[test]
fn what_is_sent_to_a_channel_in_its_join_comes_right_after_it() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["1", "1", "room:1", "phx_join", { "send": 5 }]));
        client.send_text(&json!(["1", "4", "room:1", "echo", {}]));
        expect(
            &mut client,
            [reply("1", "ok", json!({})), push("info", json!({ "told": "5" })), reply("4", "ok", json!({}))],
        );
    });
}

#[test]
fn a_channel_sends_itself_messages() {
    matrix(|kit| {
        expect(&mut said(&kit, "send", json!({ "text": "hi" })), [push("info", json!({ "told": "hi" }))]);
    });
}

#[test]
fn an_intercepted_event_goes_to_handle_out_in_place_of_the_client() {
    matrix(|kit| {
        let (mut one, mut two) = (kit.joined("room:1"), kit.joined("room:1"));
        kit.endpoint.broadcast("room:1", "secret", json!({ "a": 1 })).unwrap();
        kit.endpoint.broadcast("room:1", "public", json!({ "a": 2 })).unwrap();
        for client in [&mut one, &mut two] {
            let mut frames = [text(client), text(client)];
            frames.sort_by_key(|frame| frame[3].to_string());
            assert_eq!(frames, [broadcast("public", json!({ "a": 2 })), push("secret", json!({ "out": { "a": 1 } }))]);
            client.assert_nothing();
        }
        one.send_text(&json!(["1", "4", "room:1", "broadcast_secret", { "stop": true }]));
        expect(&mut one, [ended("phx_close"), push("last", json!({}))]);
    });
}

#[test]
fn messages_of_other_topics_come_to_handle_info_and_not_to_the_client() {
    matrix(|kit| {
        let mut client = said(&kit, "subscribe", json!({ "topic": "news" }));
        client.assert_reply("4", "ok", json!({}));
        let again = client.push("room:1", "subscribe", json!({ "topic": "news" }));
        client.assert_reply(&again, "ok", json!({}));
        kit.endpoint.broadcast("news", "flash", json!({ "n": 1 })).unwrap();
        kit.endpoint.pubsub().broadcast("news", "flash", json!({ "n": 2 })).unwrap();
        let told = |n: u64| push("info", json!({ "told": ["news", "flash", { "n": n }] }));
        expect(&mut client, [told(1), told(2)]);
        let end = client.push("room:1", "unsubscribe", json!({ "topic": "news" }));
        client.assert_reply(&end, "ok", json!({}));
        kit.endpoint.broadcast("news", "flash", json!({ "n": 3 })).unwrap();
        client.assert_nothing();
    });
}

#[test]
fn a_raw_broadcast_on_the_own_topic_comes_to_handle_info_and_not_to_the_client() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        kit.endpoint.pubsub().broadcast("room:1", "raw", json!({ "n": 1 })).unwrap();
        expect(&mut client, [push("info", json!({ "told": ["room:1", "raw", { "n": 1 }] }))]);
    });
}

#[test]
fn a_channel_that_has_ended_gets_nothing_of_its_other_topics() {
    matrix(|kit| {
        let mut client = said(&kit, "subscribe", json!({ "topic": "news" }));
        client.assert_reply("4", "ok", json!({}));
        client.leave("room:1");
        client.settle();
        kit.endpoint.pubsub().flush().unwrap();
        assert_eq!(kit.endpoint.pubsub().topics(), Vec::<String>::new(), "nobody is subscribed to anything");
    });
}

#[test]
fn a_crash_is_told_behind_what_terminate_pushes() {
    matrix(|kit| {
        let crashes: [(&str, Value, &str); 3] = [
            ("panic", json!({}), "handle_in"),
            ("send", json!({ "text": "panic" }), "handle_info"),
            ("broadcast_secret", json!({ "panic": true }), "handle_out"),
        ];
        for (event, payload, callback) in crashes {
            let mut client = said(&kit, event, payload);
            expect(&mut client, [push("last", json!({})), ended("phx_error")]);
            let log = kit.log.take();
            assert_eq!(log, [format!("anyone room:1 Crashed(\"asked to panic in {callback}\")")]);
            client.send_text(&json!(["1", "5", "room:1", "echo", {}]));
            let unmatched = json!({ "status": "error", "response": { "reason": "unmatched topic" } });
            expect(&mut client, [json!([null, "5", "room:1", "phx_reply", unmatched])]);
            client.join_ok("room:1", json!({}));
            drop(client);
            kit.client().settle();
            assert_eq!(kit.log.take(), ["anyone room:1 Closed"]);
        }
    });
}

#[test]
fn a_crash_in_terminate_changes_nothing() {
    matrix(|kit| {
        let mut client = kit.named("bomb");
        client.join_ok("room:1", json!({}));
        client.send_text(&json!(["1", "4", "room:1", "phx_leave", {}]));
        expect(&mut client, [reply("4", "ok", json!({})), ended("phx_close")]);
        client.join_ok("room:2", json!({}));
        client.push("room:2", "panic", json!({}));
        client.assert_ended("room:2", "phx_error");
        client.assert_nothing();
    });
}

#[test]
fn a_crash_is_that_channels_alone() {
    matrix(|kit| {
        let mut other = kit.joined("room:1");
        let mut client = kit.client();
        client.join_ok("room:2", json!({}));
        client.join_ok("room:1", json!({}));
        client.push("room:1", "panic", json!({}));
        client.assert_push("room:1", "last", json!({}));
        client.assert_ended("room:1", "phx_error");
        let reference = client.push("room:2", "echo", json!({}));
        client.assert_reply(&reference, "ok", json!({}));
        kit.endpoint.broadcast("room:1", "shout", json!({})).unwrap();
        expect(&mut other, [broadcast("shout", json!({}))]);
        client.assert_nothing();
    });
}

#[test]
fn a_channel_that_stops_normally_replies_closes_and_says_its_last_words() {
    matrix(|kit| {
        let mut client = said(&kit, "stop", json!({}));
        expect(&mut client, [reply("4", "ok", json!({})), ended("phx_close"), push("last", json!({}))]);
        assert_eq!(kit.log.take(), ["anyone room:1 Stopped(Normal)"]);
    });
}

#[test]
fn a_channel_that_stops_for_a_failure_ends_like_a_crash() {
    matrix(|kit| {
        for (event, payload) in [("fail", json!({})), ("send", json!({ "text": "fail" }))] {
            expect(&mut said(&kit, event, payload), [push("last", json!({})), ended("phx_error")]);
            assert_eq!(kit.log.take(), ["anyone room:1 Stopped(Failed(\"asked to\"))"]);
        }
    });
}

#[test]
fn a_disconnect_closes_all_connections_of_an_id_and_no_others() {
    matrix(|kit| {
        let (mut one, mut two, mut other) = (kit.named("alice"), kit.named("alice"), kit.named("bob"));
        one.join_ok("room:1", json!({}));
        kit.endpoint.broadcast("users:alice", "anything else", json!({})).unwrap();
        one.assert_nothing();
        kit.endpoint.disconnect("users:alice").unwrap();
        one.assert_closed(Close::Disconnected);
        two.assert_closed(Close::Disconnected);
        other.assert_nothing();
        one.settle();
        assert_eq!(kit.log.take(), ["alice room:1 Closed"]);
        other.join_ok("room:1", json!({}));
    });
}

#[test]
fn a_subscriber_of_the_endpoint_gets_its_broadcasts() {
    matrix(|kit| {
        let mut subscriber = kit.endpoint.subscribe("room:1").unwrap();
        said(&kit, "broadcast", json!({ "a": 1 })).settle();
        kit.endpoint.local_broadcast("room:1", "local", json!({ "a": 2 })).unwrap();
        kit.endpoint.broadcast_from(subscriber.id(), "room:1", "from", json!({})).unwrap();
        kit.endpoint.pubsub().flush().unwrap();
        let mut next = || subscriber.try_recv().map(|message| message.event().to_owned());
        assert_eq!([next().unwrap(), next().unwrap()], ["shout", "local"]);
        assert!(next().is_err());
    });
}

#[test]
fn a_channel_sees_what_its_connection_and_its_topic_are() {
    matrix(|kit| {
        let mut client = kit.named("alice");
        client.join_ok("exact", json!({}));
        let reference = client.push("exact", "assigns", json!({}));
        client.assert_reply(&reference, "ok", json!({ "name": "alice", "topic": "exact" }));
    });
}

#[test]
fn routes_are_tried_in_order_and_carry_assigns() {
    matrix(|kit| {
        let mut client = kit.client();
        let mut route = |topic: &str| client.join_ok(topic, json!({ "route": true }))["route"].clone();
        assert_eq!(route("food:1"), "food");
        assert_eq!(route("foo:1"), "foo");
        assert_eq!(route("foo"), "foo");
        assert_eq!(route("room:special"), "special");
        assert_eq!(route("room:specially"), Value::Null);
        assert_eq!(route("exact"), Value::Null);
    });
}

#[test]
fn a_pattern_has_its_star_at_the_end_or_not_at_all() {
    let add = |pattern| Router::new().channel::<super::Room<false>>(pattern).map(drop);
    for good in ["a", "a:*", "a*", "*", ":"] {
        assert_eq!(add(good), Ok(()), "{good}");
    }
    for bad in ["", "*a", "a*b", "a**", "a:*:b"] {
        assert_eq!(add(bad), Err(PatternError(bad.to_owned())), "{bad}");
    }
}
