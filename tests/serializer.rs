//! The serializers: exact frames both ways, what is refused, and `serde_json::Value` as oracle.

use bytes::Bytes;
use fanfare::Payload;
use fanfare::channel::serializer::DEPTH_MAX;
use fanfare::channel::{
    DecodeError, EncodeError, Field, Frame, Incoming, Reply, Scalar, Serializer, V1, V2, VersionError, Versions,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::error::Error;

fn text(text: &str) -> Frame {
    Frame::Text(Bytes::copy_from_slice(text.as_bytes()))
}

fn binary(bytes: &[u8]) -> Frame {
    Frame::Binary(Bytes::copy_from_slice(bytes))
}

fn written(frame: &Frame) -> &str {
    match frame {
        Frame::Text(bytes) => std::str::from_utf8(bytes).unwrap(),
        Frame::Binary(bytes) => panic!("a binary frame: {bytes:?}"),
    }
}

fn refusal(serializer: &dyn Serializer, frame: &Frame) -> DecodeError {
    serializer.decode(frame).expect_err("a frame that is to be refused")
}

fn raw(json: &str) -> Payload {
    Payload::json_bytes(json.to_owned())
}

fn null() -> Scalar {
    Scalar::Null
}

fn other(json: &str) -> Scalar {
    Scalar::Other(json.into())
}

fn reply(
    serializer: &dyn Serializer,
    [join_ref, reference, topic]: [&Scalar; 3],
    status: &str,
    response: &Payload,
) -> Result<Frame, EncodeError> {
    serializer.reply(&Reply { join_ref, reference, topic, status, response })
}

/// (join_ref, ref, topic, event, payload), the first three as JSON.
fn told(message: &Incoming) -> (Value, Value, Value, String, Bytes) {
    let payload = message.payload.bytes().expect("a payload from a client is bytes").clone();
    let scalars = [&message.join_ref, &message.reference, &message.topic].map(value);
    let [join_ref, reference, topic] = scalars;
    (join_ref, reference, topic, message.event.to_string(), payload)
}

fn value(scalar: &Scalar) -> Value {
    match scalar {
        Scalar::Null => Value::Null,
        Scalar::Str(text) => Value::String(text.to_string()),
        Scalar::Other(json) => serde_json::from_str(json).unwrap(),
    }
}

fn nested(depth: usize) -> String {
    format!("{}{}", "[".repeat(depth), "]".repeat(depth))
}

mod version_1 {
    use super::*;

    #[test]
    fn a_client_sends_an_object_with_or_without_join_ref() {
        let message = V1.decode(&text(r#"{"topic":"room:1","event":"ev","payload":{"a": 1},"ref":"4"}"#)).unwrap();
        assert_eq!(told(&message), (Value::Null, json!("4"), json!("room:1"), "ev".into(), r#"{"a": 1}"#.into()));
        let frame = r#" { "join_ref" : "3" , "ref":"4","payload":[ 1 ] ,"event":"ev","x":{"ref":9},"topic":"t" } "#;
        let message = V1.decode(&text(frame)).unwrap();
        assert_eq!(told(&message), (json!("3"), json!("4"), json!("t"), "ev".into(), "[ 1 ]".into()));
    }

    #[test]
    fn every_key_but_join_ref_must_be_there_and_may_be_null() {
        let whole = json!({"topic": null, "event": "e", "payload": null, "ref": null});
        let message = V1.decode(&text(&whole.to_string())).unwrap();
        assert_eq!(told(&message), (Value::Null, Value::Null, Value::Null, "e".into(), "null".into()));
        for field in [Field::Topic, Field::Event, Field::Payload, Field::Reference] {
            let mut lacking = whole.clone();
            lacking.as_object_mut().unwrap().remove(field.name()).unwrap();
            assert_eq!(refusal(&V1, &text(&lacking.to_string())), DecodeError::Missing(field));
        }
    }

    #[test]
    fn of_a_key_that_comes_twice_the_last_counts() {
        let frame = r#"{"topic":"a","event":"e","payload":1,"ref":"1","topic":"b","\u0072ef":null,"payload":2}"#;
        let message = V1.decode(&text(frame)).unwrap();
        assert_eq!(told(&message), (Value::Null, Value::Null, json!("b"), "e".into(), "2".into()));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for frame in ["[null,null,\"t\",\"e\",{}]", "1", "null", "\"{}\""] {
            assert_eq!(refusal(&V1, &text(frame)), DecodeError::NotEnvelope, "{frame}");
        }
        for frame in ["", " ", "{", "{}}", "{\"a\"}", "{\"a\":}", "{1:2}", "{\"ref\":tru}"] {
            assert!(matches!(refusal(&V1, &text(frame)), DecodeError::Json(_)), "{frame}");
        }
        let frame = r#"{"topic":"t","event":null,"payload":{},"ref":"1"}"#;
        assert_eq!(refusal(&V1, &text(frame)), DecodeError::EventNotString);
        assert_eq!(refusal(&V1, &binary(b"\0\0\0\0\0")), DecodeError::Binary);
        assert_eq!(refusal(&V1, &Frame::Text(b"{\"\xff\":1}"[..].into())), DecodeError::NotUtf8);
    }

    #[test]
    fn the_server_sends_four_keys_and_never_join_ref() {
        let (join_ref, payload) = ("3".into(), raw(r#"{"a":1}"#));
        let sent = r#"{"topic":"room:1","event":"ev","payload":{"a":1},"ref":null}"#;
        assert_eq!(written(&V1.push(&join_ref, "room:1", "ev", &payload).unwrap()), sent);
        assert_eq!(written(&V1.broadcast("room:1", "ev", &payload).unwrap()), sent);
        assert_eq!(
            written(&V1.control(&join_ref, "room:1", "phx_close", &raw("{}")).unwrap()),
            r#"{"topic":"room:1","event":"phx_close","payload":{},"ref":"3"}"#
        );
        assert_eq!(
            written(&V1.control(&null(), "room:1", "phx_error", &raw("{}")).unwrap()),
            r#"{"topic":"room:1","event":"phx_error","payload":{},"ref":null}"#
        );
    }

    #[test]
    fn a_reply_has_status_and_response_in_its_payload() {
        let frame = reply(&V1, [&"3".into(), &"4".into(), &"room:1".into()], "ok", &raw("[1]")).unwrap();
        let expected = r#"{"topic":"room:1","event":"phx_reply","payload":{"status":"ok","response":[1]},"ref":"4"}"#;
        assert_eq!(written(&frame), expected);
        let frame = reply(&V1, [&null(), &other("5"), &null()], "error", &raw("{}")).unwrap();
        let expected = r#"{"topic":null,"event":"phx_reply","payload":{"status":"error","response":{}},"ref":5}"#;
        assert_eq!(written(&frame), expected);
    }

    #[test]
    fn a_payload_is_any_json_but_never_bytes() {
        for json in ["[1]", "\"a\"", "null", "1.5"] {
            let frame = V1.broadcast("t", "e", &raw(json)).unwrap();
            assert_eq!(written(&frame), format!(r#"{{"topic":"t","event":"e","payload":{json},"ref":null}}"#));
        }
        let bytes = Payload::binary(&b"x"[..]);
        let refs = [&null(), &null(), &null()];
        assert_eq!(V1.push(&null(), "t", "e", &bytes), Err(EncodeError::Binary));
        assert_eq!(V1.broadcast("t", "e", &bytes), Err(EncodeError::Binary));
        assert_eq!(V1.control(&null(), "t", "e", &bytes), Err(EncodeError::Binary));
        assert_eq!(reply(&V1, refs, "ok", &bytes), Err(EncodeError::Binary));
    }
}

mod version_2_text {
    use super::*;

    #[test]
    fn what_a_client_sends_is_read() {
        let rows = [
            (r#"[null,"5","phoenix","heartbeat",{}]"#, (json!(null), json!("5"), json!("phoenix"), "heartbeat", "{}")),
            (
                r#"["3","3","room:1","phx_join",{"a":1}]"#,
                (json!("3"), json!("3"), json!("room:1"), "phx_join", r#"{"a":1}"#),
            ),
            (r#"["3","3","nope","phx_join",{}]"#, (json!("3"), json!("3"), json!("nope"), "phx_join", "{}")),
            (r#"["3","4","room:1","ev",{}]"#, (json!("3"), json!("4"), json!("room:1"), "ev", "{}")),
            (r#"["3","6","room:1","phx_leave",{}]"#, (json!("3"), json!("6"), json!("room:1"), "phx_leave", "{}")),
            ("\n[ \"3\" , 5 ,\tnull,\"e\\u0076\" , [ 1 ] ]\r\n", (json!("3"), json!(5), json!(null), "ev", "[ 1 ]")),
        ];
        for (frame, (join_ref, reference, topic, event, payload)) in rows {
            let message = V2.decode(&text(frame)).unwrap();
            assert_eq!(told(&message), (join_ref, reference, topic, event.into(), payload.into()), "{frame}");
        }
    }

    #[test]
    fn more_than_five_elements_are_ignored_and_fewer_refused() {
        let message = V2.decode(&text(r#"["1","2","t","e",{},{"a":[]},7]"#)).unwrap();
        assert_eq!(told(&message), (json!("1"), json!("2"), json!("t"), "e".into(), "{}".into()));
        let fields = [Field::JoinRef, Field::Reference, Field::Topic, Field::Event, Field::Payload];
        for (frame, field) in ["[]", "[1]", "[1,2]", "[1,2,3]", r#"[1,2,3,"e"]"#].into_iter().zip(fields) {
            assert_eq!(refusal(&V2, &text(frame)), DecodeError::Missing(field), "{frame}");
        }
        assert!(matches!(refusal(&V2, &text(r#"[1,2,3,"e",5,]"#)), DecodeError::Json(_)));
        assert!(matches!(refusal(&V2, &text(r#"[1,2,3,"e",5,tru]"#)), DecodeError::Json(_)));
    }

    #[test]
    fn what_is_no_array_is_refused() {
        for frame in [r#"{"topic":"t","event":"e","payload":{},"ref":"1"}"#, "1", "\"[]\"", "x"] {
            assert_eq!(refusal(&V2, &text(frame)), DecodeError::NotEnvelope, "{frame}");
        }
        for frame in ["", "\n", "[", "[1 2]", "[,]", r#"["1","1","t","e",{}]]"#, r#"["1","1","t","e",{"a"}]"#] {
            assert!(matches!(refusal(&V2, &text(frame)), DecodeError::Json(_)), "{frame}");
        }
        for event in ["null", "1", "{}", "[]", "true"] {
            let frame = text(&format!(r#"["1","1","t",{event},{{}}]"#));
            assert_eq!(refusal(&V2, &frame), DecodeError::EventNotString, "{event}");
        }
        assert!(matches!(refusal(&V2, &text(r#"["1","1","t","\ud800",{}]"#)), DecodeError::Json(_)));
        assert!(matches!(refusal(&V2, &text(r#"["1","1","\ud800","e",{}]"#)), DecodeError::Json(_)));
        assert_eq!(refusal(&V2, &Frame::Text(b"[\"\xc3\",1,1,\"e\",1]"[..].into())), DecodeError::NotUtf8);
        assert_eq!(refusal(&V2, &Frame::Text(b"[1,1,1,\"e\",\"\xed\xa0\x80\"]"[..].into())), DecodeError::NotUtf8);
    }

    #[test]
    fn a_payload_is_cut_out_of_its_frame() {
        let bytes = Bytes::from_static(br#"["1","1","t","e", {"a":"b"} ]"#);
        let message = V2.decode(&Frame::Text(bytes.clone())).unwrap();
        let payload = message.payload.bytes().unwrap();
        assert_eq!(payload.as_ptr(), bytes[18..].as_ptr(), "not a copy");
        assert_eq!(payload, &br#"{"a":"b"}"#[..]);
    }

    #[test]
    fn refs_are_echoed_as_they_came() {
        let frame = text(r#"["\u0031\"",5.0,[1, null],"e",{}]"#);
        let message = V2.decode(&frame).unwrap();
        let refs = [&message.join_ref, &message.reference, &message.topic];
        let echo = reply(&V2, refs, "ok", &raw("{}")).unwrap();
        let expected = r#"["1\"",5.0,[1, null],"phx_reply",{"status":"ok","response":{}}]"#;
        assert_eq!(written(&echo), expected);
    }

    #[test]
    fn what_the_server_sends_is_exact() {
        let (three, empty, topic) = (Scalar::from("3"), raw("{}"), Scalar::from("room:1"));
        let heartbeat = reply(&V2, [&null(), &"5".into(), &"phoenix".into()], "ok", &empty).unwrap();
        let join = reply(&V2, [&three, &three, &topic], "ok", &empty).unwrap();
        let refused =
            reply(&V2, [&three, &three, &topic], "error", &Payload::typed(json!({"reason": "unauthorized"}))).unwrap();
        let unmatched =
            reply(&V2, [&null(), &three, &"nope".into()], "error", &raw(r#"{"reason":"unmatched topic"}"#)).unwrap();
        let answer = reply(&V2, [&three, &"4".into(), &topic], "ok", &raw("[1,2]")).unwrap();
        let push = V2.push(&three, "room:1", "ev", &empty).unwrap();
        let broadcast = V2.broadcast("room:1", "ev", &empty).unwrap();
        let close = V2.control(&three, "room:1", "phx_close", &empty).unwrap();
        let crash = V2.control(&three, "room:1", "phx_error", &raw(r#"{"reason":"channel_crash"}"#)).unwrap();
        let rows = [
            (heartbeat, r#"[null,"5","phoenix","phx_reply",{"status":"ok","response":{}}]"#),
            (join, r#"["3","3","room:1","phx_reply",{"status":"ok","response":{}}]"#),
            (refused, r#"["3","3","room:1","phx_reply",{"status":"error","response":{"reason":"unauthorized"}}]"#),
            (unmatched, r#"[null,"3","nope","phx_reply",{"status":"error","response":{"reason":"unmatched topic"}}]"#),
            (answer, r#"["3","4","room:1","phx_reply",{"status":"ok","response":[1,2]}]"#),
            (push, r#"["3",null,"room:1","ev",{}]"#),
            (broadcast, r#"[null,null,"room:1","ev",{}]"#),
            (close, r#"["3","3","room:1","phx_close",{}]"#),
            (crash, r#"["3","3","room:1","phx_error",{"reason":"channel_crash"}]"#),
        ];
        for (frame, expected) in rows {
            assert_eq!(written(&frame), expected);
        }
    }

    #[test]
    fn names_are_escaped() {
        let frame = V2.push(&"\"".into(), "a\"b\\c\n", "\u{1}é😀\u{7f}", &raw("{}")).unwrap();
        assert_eq!(written(&frame), "[\"\\\"\",null,\"a\\\"b\\\\c\\n\",\"\\u0001é😀\u{7f}\",{}]");
        let frame = reply(&V2, [&null(), &null(), &null()], "\t", &raw("null")).unwrap();
        assert_eq!(written(&frame), r#"[null,null,null,"phx_reply",{"status":"\t","response":null}]"#);
    }

    #[test]
    fn what_is_pushed_must_be_an_object() {
        for json in ["[1]", "\"a\"", "null", "1", " [{}]"] {
            let payload = raw(json);
            assert_eq!(V2.push(&null(), "t", "e", &payload), Err(EncodeError::NotObject), "{json}");
            assert_eq!(V2.broadcast("t", "e", &payload), Err(EncodeError::NotObject), "{json}");
            assert_eq!(V2.control(&null(), "t", "e", &payload), Err(EncodeError::NotObject), "{json}");
            let replied = reply(&V2, [&null(), &null(), &null()], "ok", &payload).unwrap();
            let expected = format!(r#"[null,null,null,"phx_reply",{{"status":"ok","response":{json}}}]"#);
            assert_eq!(written(&replied), expected);
        }
        assert_eq!(V2.broadcast("t", "e", &Payload::typed(vec![1])), Err(EncodeError::NotObject));
        assert_eq!(written(&V2.broadcast("t", "e", &raw("\n {}")).unwrap()), "[null,null,\"t\",\"e\",\n {}]");
    }

    #[test]
    fn a_payload_that_is_no_text_is_refused() {
        for bytes in [&b""[..], b" \n", b"{\"a\":\"\xff\"}"] {
            let payload = Payload::Json(Bytes::from_static(bytes));
            for serializer in [&V1 as &dyn Serializer, &V2] {
                assert_eq!(serializer.broadcast("t", "e", &payload), Err(EncodeError::NotJson), "{bytes:?}");
                let refs = [&null(), &null(), &null()];
                assert_eq!(reply(serializer, refs, "ok", &payload), Err(EncodeError::NotJson), "{bytes:?}");
            }
        }
    }

    #[test]
    fn a_value_that_cannot_be_encoded_says_why() {
        let payload = Payload::typed(std::collections::BTreeMap::from([((1, 2), 3)]));
        for serializer in [&V1 as &dyn Serializer, &V2] {
            let error = serializer.broadcast("t", "e", &payload).unwrap_err();
            assert!(matches!(error, EncodeError::Payload(fanfare::EncodeError::Failed(_))), "{error:?}");
            assert!(error.source().is_some_and(|cause| cause.to_string().contains("key must be a string")));
        }
    }
}

mod version_2_binary {
    use super::*;

    #[test]
    fn a_client_pushes_with_five_bytes_of_header() {
        let message = V2.decode(&binary(b"\0\x01\x02\x06\x023")).unwrap_err();
        assert_eq!(message, DecodeError::Truncated);
        let bytes = Bytes::from_static(b"\0\x01\x02\x06\x03342room:1ev\xc3\xa9\x01\xff");
        assert_eq!(V2.decode(&Frame::Binary(bytes)).unwrap_err(), DecodeError::NotUtf8, "the event ends inside é");
        let bytes = Bytes::from_static(b"\0\x01\x02\x06\x04342room:1ev\xc3\xa9\x01\xff");
        let message = V2.decode(&Frame::Binary(bytes.clone())).unwrap();
        assert_eq!(told(&message), (json!("3"), json!("42"), json!("room:1"), "evé".into(), b"\x01\xff"[..].into()));
        let Payload::Binary(data) = &message.payload else { panic!("{:?}", message.payload) };
        assert_eq!(data.as_ptr(), bytes[18..].as_ptr(), "not a copy");
    }

    #[test]
    fn empty_fields_are_empty_strings_and_not_null() {
        let message = V2.decode(&binary(b"\0\0\0\0\0")).unwrap();
        assert_eq!(told(&message), (json!(""), json!(""), json!(""), String::new(), Bytes::new()));
    }

    #[test]
    fn other_kinds_and_frames_that_end_early_are_refused() {
        let whole = b"\0\x01\x01\x01\x01abcd";
        assert_eq!(told(&V2.decode(&binary(whole)).unwrap()).3, "d");
        for end in 0..whole.len() {
            assert_eq!(refusal(&V2, &binary(&whole[..end])), DecodeError::Truncated, "{end}");
        }
        for kind in 1..=255 {
            assert_eq!(refusal(&V2, &binary(&[kind, 0, 0, 0, 0])), DecodeError::Kind(kind));
        }
        for at in 5..whole.len() {
            let mut bad = *whole;
            bad[at] = 0xff;
            assert_eq!(refusal(&V2, &binary(&bad)), DecodeError::NotUtf8, "{at}");
        }
    }

    #[test]
    fn what_the_server_sends_is_exact() {
        let data = Payload::binary(&b"\x00\xff"[..]);
        let push = V2.push(&"3".into(), "room:1", "evé", &data).unwrap();
        assert_eq!(push, binary(b"\x00\x01\x06\x043room:1ev\xc3\xa9\x00\xff"));
        let push = V2.push(&null(), "room:1", "ev", &data).unwrap();
        assert_eq!(push, binary(b"\x00\x00\x06\x02room:1ev\x00\xff"), "null is empty");
        let refs: [&Scalar; 3] = [&"3".into(), &"42".into(), &"room:1".into()];
        let answer = reply(&V2, refs, "ok", &data).unwrap();
        assert_eq!(answer, binary(b"\x01\x01\x02\x06\x02342room:1ok\x00\xff"));
        let answer = reply(&V2, [&null(), &other("5"), &"".into()], "error", &Payload::binary(&b""[..])).unwrap();
        assert_eq!(answer, binary(b"\x01\x00\x01\x00\x055error"), "a number as its text");
        let broadcast = V2.broadcast("room:1", "ev", &data).unwrap();
        assert_eq!(broadcast, binary(b"\x02\x06\x02room:1ev\x00\xff"));
    }

    #[test]
    fn a_field_of_more_than_255_bytes_is_named() {
        let (fits, long) = ("é".repeat(127) + "x", "é".repeat(128));
        let (data, short) = (Payload::binary(&b""[..]), Scalar::from("1"));
        let long_ref = Scalar::from(long.as_str());
        let too_long = |field| Err(EncodeError::TooLong { field, bytes: 256 });
        assert_eq!(V2.push(&long_ref, "t", "e", &data), too_long(Field::JoinRef));
        assert_eq!(V2.push(&short, &long, "e", &data), too_long(Field::Topic));
        assert_eq!(V2.push(&short, "t", &long, &data), too_long(Field::Event));
        assert_eq!(V2.broadcast(&long, "e", &data), too_long(Field::Topic));
        assert_eq!(V2.broadcast("t", &long, &data), too_long(Field::Event));
        assert_eq!(reply(&V2, [&long_ref, &short, &short], "ok", &data), too_long(Field::JoinRef));
        assert_eq!(reply(&V2, [&short, &long_ref, &short], "ok", &data), too_long(Field::Reference));
        assert_eq!(reply(&V2, [&short, &short, &long_ref], "ok", &data), too_long(Field::Topic));
        assert_eq!(reply(&V2, [&short, &short, &short], &long, &data), too_long(Field::Status));
        let frame = V2.broadcast(&fits, &fits, &data).unwrap();
        assert_eq!(frame, binary(&[&[2, 255, 255], fits.as_bytes(), fits.as_bytes()].concat()));
        assert!(too_long(Field::Topic).unwrap_err().to_string().contains("topic"));
        assert!(V2.broadcast(&long, &long, &raw("{}")).is_ok(), "text has room for it");
    }

    #[test]
    fn what_cannot_be_bytes_is_refused() {
        let (data, short) = (Payload::binary(&b""[..]), Scalar::from("1"));
        assert_eq!(V2.control(&short, "t", "phx_close", &data), Err(EncodeError::Binary));
        for json in ["[]", "{}"] {
            assert_eq!(V2.push(&other(json), "t", "e", &data), Err(EncodeError::NotText(Field::JoinRef)));
            let refs = [&short, &other(json), &short];
            assert_eq!(reply(&V2, refs, "ok", &data), Err(EncodeError::NotText(Field::Reference)));
        }
        for topic in [null(), other("5")] {
            let refs = [&short, &short, &topic];
            assert_eq!(reply(&V2, refs, "ok", &data), Err(EncodeError::NotText(Field::Topic)));
        }
    }
}

#[test]
fn deep_frames_are_refused_without_using_the_stack() {
    let cases: [(&dyn Serializer, &str, &str); 3] = [
        (&V1, r#"{"topic":"t","event":"e","ref":"1","payload":"#, "}"),
        (&V2, r#"["1","1","t","e","#, "]"),
        (&V2, r#"["1","1","t","e",{},"#, "]"),
    ];
    for (serializer, before, behind) in cases {
        let frame = |inner: &str| text(&format!("{before}{inner}{behind}"));
        assert!(serializer.decode(&frame(&nested(DEPTH_MAX - 1))).is_ok());
        assert_eq!(refusal(serializer, &frame(&nested(DEPTH_MAX))), DecodeError::TooDeep);
        assert_eq!(refusal(serializer, &frame(&nested(1_000_000))), DecodeError::TooDeep);
        assert_eq!(refusal(serializer, &frame(&"[".repeat(1_000_000))), DecodeError::TooDeep);
        assert_eq!(refusal(serializer, &frame(&r#"{"a":"#.repeat(1_000_000))), DecodeError::TooDeep);
        let wide = format!("[{}0]", "[[]],".repeat(10_000));
        assert!(serializer.decode(&frame(&wide)).is_ok());
        let quoted = format!("\"\\\"{}\"", "[".repeat(10_000));
        assert!(serializer.decode(&frame(&quoted)).is_ok());
    }
    let deepest = text(&format!(r#"["1","1","t","e",{}]"#, nested(DEPTH_MAX - 1)));
    let payload = V2.decode(&deepest).unwrap().payload;
    assert!(serde_json::from_slice::<Value>(payload.bytes().unwrap()).is_ok(), "what is let in can be parsed");
}

#[derive(Debug)]
struct Custom;

impl Serializer for Custom {
    fn decode(&self, _: &Frame) -> Result<Incoming, DecodeError> {
        Err(DecodeError::NotEnvelope)
    }
    fn push(&self, _: &Scalar, _: &str, _: &str, _: &Payload) -> Result<Frame, EncodeError> {
        Err(EncodeError::NotJson)
    }
    fn reply(&self, _: &Reply<'_>) -> Result<Frame, EncodeError> {
        Err(EncodeError::NotJson)
    }
    fn broadcast(&self, _: &str, _: &str, _: &Payload) -> Result<Frame, EncodeError> {
        Err(EncodeError::NotJson)
    }
    fn control(&self, _: &Scalar, _: &str, _: &str, _: &Payload) -> Result<Frame, EncodeError> {
        Err(EncodeError::NotJson)
    }
}

#[test]
fn the_version_selects_the_serializer() {
    let versions = Versions::default();
    let selected = |vsn| versions.select(vsn).map(|(at, serializer)| (at, format!("{serializer:?}")));
    for vsn in [None, Some("1.0.0"), Some("1.0.9"), Some("1.0.1-rc.1+b")] {
        assert_eq!(selected(vsn), Ok((0, "V1".into())), "{vsn:?}");
    }
    for vsn in ["2.0.0", "2.0.33"] {
        assert_eq!(selected(Some(vsn)), Ok((1, "V2".into())), "{vsn}");
    }
    for vsn in ["", "2", "2.0", "2.0.0.0", "v2.0.0", "2.0.x", "02.0.0"] {
        assert_eq!(selected(Some(vsn)), Err(VersionError::Malformed(vsn.into())));
    }
    for vsn in ["123.1.1", "2.1.0", "1.1.0", "2.0.0-rc.1", "0.0.0"] {
        assert_eq!(selected(Some(vsn)), Err(VersionError::Unsupported(vsn.into())));
    }
}

#[test]
fn the_first_entry_that_speaks_a_version_wins() {
    let versions = Versions::default().with(3, 1, Custom).with(2, 0, Custom);
    assert_eq!(versions.len(), 4);
    let selected = |vsn| versions.select(Some(vsn)).map(|(at, serializer)| (at, format!("{serializer:?}")));
    assert_eq!(selected("2.0.0"), Ok((0, "Custom".into())));
    assert_eq!(selected("3.1.4"), Ok((1, "Custom".into())));
    assert_eq!(selected("1.0.0"), Ok((2, "V1".into())));
    assert!(Versions::empty().is_empty());
    assert_eq!(Versions::empty().select(None).unwrap_err(), VersionError::Unsupported("1.0.0".into()));
}

/// Any JSON value that is not too deep.
fn any_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(any::<String>(), inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![4 => any::<String>().prop_map(Value::from), 2 => Just(Value::Null), 1 => any_value()]
}

/// As some client may write it: close, wide, or with every character of its strings that may be escaped escaped.
fn spelled(value: &Value, style: u8) -> String {
    match style % 3 {
        0 => value.to_string(),
        1 => serde_json::to_string_pretty(value).unwrap(),
        _ => {
            let mut spelled = String::new();
            for c in value.to_string().chars() {
                if c.is_ascii() {
                    spelled.push(c);
                } else {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        spelled.push_str(&format!("\\u{unit:04x}"));
                    }
                }
            }
            spelled
        }
    }
}

/// The value of a payload from a client.
fn payload_value(payload: &Payload) -> Value {
    serde_json::from_slice(payload.json().unwrap()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_frame_means_what_its_json_means(
        refs in [any_scalar(), any_scalar(), any_scalar()], event: String, payload in any_value(), style: u8,
    ) {
        let [join_ref, reference, topic] = refs;
        let object = json!({
            "join_ref": join_ref, "ref": reference, "topic": topic, "event": event, "payload": payload, "x": payload,
        });
        let array = json!([join_ref, reference, topic, event, payload, payload]);
        for (serializer, sent) in [(&V1 as &dyn Serializer, object), (&V2, array)] {
            let sent = spelled(&sent, style);
            // Read again, since numbers may lose their last digit on their way through text.
            let means: Value = serde_json::from_str(&sent).unwrap();
            let of = |key: &str, at: usize| means.get(key).or_else(|| means.get(at)).unwrap().clone();
            let message = serializer.decode(&text(&sent)).unwrap();
            prop_assert_eq!(value(&message.join_ref), of("join_ref", 0));
            prop_assert_eq!(value(&message.reference), of("ref", 1));
            prop_assert_eq!(value(&message.topic), of("topic", 2));
            prop_assert_eq!(json!(message.event), of("event", 3));
            prop_assert_eq!(payload_value(&message.payload), of("payload", 4));

            let refs = [&message.join_ref, &message.reference, &message.topic];
            let echo = reply(serializer, refs, &message.event, &message.payload).unwrap();
            let echo: Value = serde_json::from_str(written(&echo)).unwrap();
            let answer = json!({"status": of("event", 3), "response": of("payload", 4)});
            let expected = if means.is_object() {
                json!({"topic": of("topic", 2), "event": "phx_reply", "payload": answer, "ref": of("ref", 1)})
            } else {
                json!([of("join_ref", 0), of("ref", 1), of("topic", 2), "phx_reply", answer])
            };
            prop_assert_eq!(echo, expected);
        }
    }

    #[test]
    fn what_is_sent_means_what_was_given(
        join_ref: Option<String>, topic: String, event: String, key: String, inner in any_value(),
    ) {
        let payload = json!({ key: inner });
        let typed = Payload::typed(payload.clone());
        let scalar = Scalar::from(join_ref.clone());
        for serializer in [&V1 as &dyn Serializer, &V2] {
            let envelope = |join_ref: Value, reference: Value| {
                let payload = payload_value(&typed);
                match format!("{serializer:?}").as_str() {
                    "V1" => json!({"topic": topic, "event": event, "payload": payload, "ref": reference}),
                    _ => json!([join_ref, reference, topic, event, payload]),
                }
            };
            let means = |frame: Frame| serde_json::from_str::<Value>(written(&frame)).unwrap();
            let push = means(serializer.push(&scalar, &topic, &event, &typed).unwrap());
            prop_assert_eq!(push, envelope(json!(join_ref), Value::Null));
            let broadcast = means(serializer.broadcast(&topic, &event, &typed).unwrap());
            prop_assert_eq!(broadcast, envelope(Value::Null, Value::Null));
            let control = means(serializer.control(&scalar, &topic, &event, &typed).unwrap());
            prop_assert_eq!(control, envelope(json!(join_ref), json!(join_ref)));
        }
    }
}
