//! Heartbeats, joins, leaves and ends: the rules of the socket, frame by frame.

use super::{Kit, expect, matrix, text};
use crate::common::{Blocker, watch};
use fanfare::PubSub;
use fanfare::channel::test::Event;
use fanfare::channel::{Close, Frame};
use serde_json::{Value, json};

const OK: &str = "ok";

fn reply(join_ref: Value, reference: Value, topic: &str, status: &str, response: Value) -> Value {
    json!([join_ref, reference, topic, "phx_reply", { "status": status, "response": response }])
}

#[test]
fn a_heartbeat_is_answered_with_its_ref_and_without_a_join_ref() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!([null, "5", "phoenix", "heartbeat", {}]));
        client.send_text(&json!(["1", "6", "phoenix", "heartbeat", {}]));
        expect(
            &mut client,
            [
                reply(Value::Null, json!("5"), "phoenix", OK, json!({})),
                reply(Value::Null, json!("6"), "phoenix", OK, json!({})),
            ],
        );
    });
}

#[test]
fn another_event_on_the_topic_of_heartbeats_is_unmatched() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!([null, "5", "phoenix", "other", {}]));
        client.send_text(&json!(["6", "6", "phoenix", "phx_join", {}]));
        let unmatched = |reference| {
            reply(Value::Null, json!(reference), "phoenix", "error", json!({ "reason": "unmatched topic" }))
        };
        expect(&mut client, [unmatched("5"), unmatched("6")]);
    });
}

#[test]
fn a_join_is_answered_with_its_join_ref_and_its_ref_whatever_they_are() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["j", "r", "room:1", "phx_join", { "a": 1 }]));
        client.send_text(&json!([7, 8, "room:2", "phx_join", {}]));
        client.send_text(&json!([null, null, "room:3", "phx_join", {}]));
        let mut frames: Vec<Value> = (0..3).map(|_| text(&mut client)).collect();
        frames.sort_by_key(|frame| frame[2].to_string());
        assert_eq!(
            frames,
            [
                reply(json!("j"), json!("r"), "room:1", OK, json!({})),
                reply(json!(7), json!(8), "room:2", OK, json!({})),
                reply(Value::Null, Value::Null, "room:3", OK, json!({})),
            ]
        );
        client.assert_nothing();
    });
}

#[test]
fn a_join_is_answered_with_what_the_channel_replies_which_may_be_any_json() {
    matrix(|kit| {
        for (number, response) in [json!({ "a": [1] }), json!([1, 2]), json!(null), json!("text")].iter().enumerate() {
            let mut client = kit.client();
            let topic = format!("room:{number}");
            assert_eq!(&client.join_ok(&topic, json!({ "reply": response })), response);
            client.assert_nothing();
        }
    });
}

#[test]
fn a_join_that_is_refused_is_told_why_and_nothing_else_and_may_be_tried_again() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["3", "4", "room:1", "phx_join", { "refuse": { "reason": "unauthorized" } }]));
        expect(&mut client, [reply(json!("3"), json!("4"), "room:1", "error", json!({ "reason": "unauthorized" }))]);
        assert!(kit.log.take().is_empty(), "a channel that was not joined has no end");
        client.join_ok("room:1", json!({}));
    });
}

#[test]
fn a_join_that_crashes_is_told_so_and_harms_nothing_else() {
    matrix(|kit| {
        let mut client = kit.client();
        client.join_ok("room:other", json!({}));
        client.send_text(&json!(["3", "4", "room:1", "phx_join", { "panic": true }]));
        expect(&mut client, [reply(json!("3"), json!("4"), "room:1", "error", json!({ "reason": "join crashed" }))]);
        client.join_ok("room:1", json!({}));
        client.push("room:other", "push", json!({ "n": 1 }));
        client.assert_push("room:other", "pushed", json!({ "n": 1 }));
    });
}

#[test]
fn what_no_route_matches_is_unmatched_without_a_join_ref() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["3", "3", "nope", "phx_join", {}]));
        client.send_text(&json!(["3", "4", "exactly", "phx_join", {}]));
        let unmatched = |reference, topic| {
            reply(Value::Null, json!(reference), topic, "error", json!({ "reason": "unmatched topic" }))
        };
        expect(&mut client, [unmatched("3", "nope"), unmatched("4", "exactly")]);
    });
}

#[test]
fn what_is_sent_on_a_topic_that_is_not_joined_is_unmatched() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["3", "4", "room:1", "echo", {}]));
        expect(
            &mut client,
            [reply(Value::Null, json!("4"), "room:1", "error", json!({ "reason": "unmatched topic" }))],
        );
    });
}

#[test]
fn refs_that_are_numbers_and_topics_that_are_no_strings_are_echoed() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!([null, 5, "phoenix", "heartbeat", {}]));
        client.send_text(&json!([1, 2, 5, "echo", {}]));
        client.send_text(&json!([1, 3, null, "phx_join", {}]));
        client.send_text(&json!([1, 4, ["room:1"], "phx_leave", {}]));
        let unmatched = json!({ "status": "error", "response": { "reason": "unmatched topic" } });
        expect(
            &mut client,
            [
                reply(Value::Null, json!(5), "phoenix", OK, json!({})),
                json!([null, 2, 5, "phx_reply", unmatched]),
                json!([null, 3, null, "phx_reply", unmatched]),
                json!([1, 4, ["room:1"], "phx_reply", { "status": "ok", "response": {} }]),
            ],
        );
    });
}

#[test]
fn a_connection_has_so_many_channels_and_a_rejoin_is_not_one_more() {
    for inline in [false, true] {
        let kit = Kit::with(PubSub::new().unwrap(), inline, |limits| limits.channels_per_socket_max = 2);
        let mut client = kit.joined("room:1");
        client.join_ok("room:2", json!({}));
        client.send_text(&json!(["8", "9", "room:3", "phx_join", {}]));
        let refused = json!({ "reason": "too many channels joined" });
        expect(&mut client, [reply(json!("8"), json!("9"), "room:3", "error", refused)]);
        client.send_text(&json!(["10", "10", "room:2", "phx_join", {}]));
        expect(
            &mut client,
            [reply(json!("10"), json!("10"), "room:2", OK, json!({})), json!(["2", "2", "room:2", "phx_close", {}])],
        );
        client.leave("room:1");
        for _ in 0..3 {
            text(&mut client);
        }
        client.join_ok("room:3", json!({}));
    }
}

#[test]
fn a_topic_that_is_too_long_is_refused() {
    let kit = Kit::with(PubSub::new().unwrap(), false, |limits| limits.topic_bytes_max = 8);
    let mut client = kit.joined("room:123");
    client.send_text(&json!(["3", "4", "room:1234", "phx_join", {}]));
    expect(&mut client, [reply(json!("3"), json!("4"), "room:1234", "error", json!({ "reason": "topic too long" }))]);
}

#[test]
fn a_duplicate_join_is_told_its_reply_then_the_old_ones_leftovers_then_its_close_then_pushes() {
    let _watchdog = watch();
    for inline in [false, true] {
        let kit = Kit::new(1, inline);
        let mut client = kit.joined("room:1");
        client.send_text(&json!(["1", "2", "room:1", "hand_out", {}]));
        let old = kit.refs.recv().unwrap();
        let blocker = Blocker::new(kit.endpoint.pubsub(), 0);
        blocker.block(kit.endpoint.pubsub());
        client.send_text(&json!(["8", "9", "room:1", "phx_join", { "send": "hello" }]));
        // On their way when the join is handled, and behind it.
        old.reply("ok", json!({ "left": 1 })).unwrap();
        old.reply("ok", json!({ "left": 2 })).unwrap();
        blocker.let_go();
        expect(
            &mut client,
            [
                reply(json!("8"), json!("9"), "room:1", OK, json!({})),
                reply(json!("1"), json!("2"), "room:1", OK, json!({ "left": 1 })),
                reply(json!("1"), json!("2"), "room:1", OK, json!({ "left": 2 })),
                json!(["1", "1", "room:1", "phx_close", {}]),
                json!(["8", null, "room:1", "info", { "told": "\"hello\"" }]),
            ],
        );
        old.reply("ok", json!({ "left": "too late" })).unwrap();
        client.assert_nothing();
        assert!(kit.log.take().is_empty(), "a channel whose place is taken is not told");
    }
}

#[test]
fn a_duplicate_join_that_is_refused_leaves_nothing_joined() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        client.send_text(&json!(["8", "9", "room:1", "phx_join", { "refuse": {} }]));
        expect(
            &mut client,
            [reply(json!("8"), json!("9"), "room:1", "error", json!({})), json!(["1", "1", "room:1", "phx_close", {}])],
        );
        kit.endpoint.broadcast("room:1", "shout", json!({})).unwrap();
        client.assert_nothing();
    });
}

#[test]
fn a_broadcast_right_after_a_duplicate_join_comes_once() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        for n in 0..100 {
            let old = json!((n + 1).to_string());
            let reference = json!(client.join("room:1", json!({})));
            assert_eq!(text(&mut client), reply(reference.clone(), reference, "room:1", OK, json!({})));
            kit.endpoint.broadcast("room:1", "shout", json!({ "n": n })).unwrap();
            assert_eq!(text(&mut client), json!([old, old, "room:1", "phx_close", {}]));
            assert_eq!(text(&mut client), json!([null, null, "room:1", "shout", { "n": n }]));
        }
        client.assert_nothing();
    });
}

#[test]
fn a_broadcast_beside_a_duplicate_join_never_comes_twice() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        for n in 0..100 {
            client.join("room:1", json!({}));
            kit.endpoint.broadcast("room:1", "shout", json!({ "n": n })).unwrap();
        }
        client.settle();
        let mut seen = Vec::new();
        client.push("room:1", "push", json!({ "end": true }));
        loop {
            let frame = text(&mut client);
            match frame[3].as_str() {
                Some("shout") => seen.push(frame[4]["n"].as_u64().unwrap()),
                Some("pushed") => break,
                _ => {}
            }
        }
        assert!(seen.is_sorted_by(|a, b| a < b), "each at most once, and in order: {seen:?}");
    });
}

#[test]
fn what_carries_another_join_ref_is_dropped_and_null_is_of_every_join() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        client.send_text(&json!(["0", "2", "room:1", "echo", {}]));
        client.send_text(&json!([1, "3", "room:1", "echo", {}]));
        client.send_text(&json!(["0", "4", "room:1", "phx_leave", {}]));
        client.assert_nothing();
        client.send_text(&json!([null, "5", "room:1", "echo", { "a": 1 }]));
        client.send_text(&json!(["1", "6", "room:1", "echo", [2]]));
        expect(
            &mut client,
            [
                reply(json!("1"), json!("5"), "room:1", OK, json!({ "a": 1 })),
                reply(json!("1"), json!("6"), "room:1", OK, json!([2])),
            ],
        );
    });
}

#[test]
fn a_leave_is_told_its_reply_then_the_close_then_what_terminate_pushes() {
    matrix(|kit| {
        for join_ref in [json!("1"), Value::Null] {
            let mut client = kit.joined("room:1");
            client.send_text(&json!([join_ref, "6", "room:1", "phx_leave", {}]));
            expect(
                &mut client,
                [
                    reply(join_ref, json!("6"), "room:1", OK, json!({})),
                    json!(["1", "1", "room:1", "phx_close", {}]),
                    json!(["1", null, "room:1", "last", {}]),
                ],
            );
            assert_eq!(kit.log.take(), ["anyone room:1 Left"]);
            kit.endpoint.broadcast("room:1", "shout", json!({})).unwrap();
            client.assert_nothing();
        }
    });
}

#[test]
fn a_leave_of_a_topic_that_is_not_joined_is_answered_ok() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["5", "6", "room:1", "phx_leave", {}]));
        client.send_text(&json!(["5", "7", "nowhere", "phx_leave", {}]));
        expect(
            &mut client,
            [
                reply(json!("5"), json!("6"), "room:1", OK, json!({})),
                reply(json!("5"), json!("7"), "nowhere", OK, json!({})),
            ],
        );
    });
}

#[test]
fn a_leave_that_comes_while_the_join_is_decided_comes_after_it() {
    matrix(|kit| {
        let mut client = kit.client();
        client.send_text(&json!(["1", "1", "room:1", "phx_join", {}]));
        client.send_text(&json!(["1", "2", "room:1", "echo", {}]));
        client.send_text(&json!(["1", "3", "room:1", "phx_leave", {}]));
        client.send_text(&json!(["4", "4", "room:2", "phx_join", { "refuse": {} }]));
        client.send_text(&json!(["4", "5", "room:2", "phx_leave", {}]));
        let mut frames: Vec<Value> = (0..7).map(|_| text(&mut client)).collect();
        client.assert_nothing();
        frames.sort_by_key(|frame| frame[2].to_string());
        assert_eq!(
            frames,
            [
                reply(json!("1"), json!("1"), "room:1", OK, json!({})),
                reply(json!("1"), json!("2"), "room:1", OK, json!({})),
                reply(json!("1"), json!("3"), "room:1", OK, json!({})),
                json!(["1", "1", "room:1", "phx_close", {}]),
                json!(["1", null, "room:1", "last", {}]),
                reply(json!("4"), json!("4"), "room:2", "error", json!({})),
                reply(json!("4"), json!("5"), "room:2", OK, json!({})),
            ]
        );
    });
}

#[test]
fn a_frame_that_says_nothing_ends_the_connection_and_its_channels() {
    matrix(|kit| {
        for frame in [Frame::Text("{}".into()), Frame::Text("[1]".into()), Frame::Binary("".into())] {
            let mut client = kit.joined("room:1");
            client.send(frame);
            client.assert_closed(Close::Undecodable);
            client.settle();
            assert_eq!(kit.log.take(), ["anyone room:1 Closed"]);
            client.send_text(&json!(["1", "2", "room:1", "echo", {}]));
            client.settle();
        }
    });
}

#[test]
fn a_client_that_goes_ends_its_channels_behind_what_it_has_sent() {
    matrix(|kit| {
        let mut other = kit.joined("room:1");
        let mut client = kit.named("alice");
        client.join_ok("room:1", json!({}));
        client.push("room:1", "broadcast", json!({ "n": 1 }));
        drop(client);
        expect(&mut other, [json!([null, null, "room:1", "shout", { "n": 1 }])]);
        assert_eq!(kit.log.take(), ["alice room:1 Closed"]);
    });
}

#[test]
fn binary_pushes_arrive_as_bytes() {
    matrix(|kit| {
        let mut client = kit.joined("room:1");
        client.send(Frame::Binary(b"\0\x01\x01\x06\x0412room:1echo\xff\0".to_vec().into()));
        let expected = b"\x01\x01\x01\x06\x0212room:1ok\xff\0".to_vec();
        assert_eq!(client.next_event(), Event::Binary(expected));
        client.assert_nothing();
    });
}
