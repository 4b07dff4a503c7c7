//! Targets `serializer_v1` and `serializer_v2`: arbitrary frames, with `serde_json::Value` and a client's own encoder
//! and decoder as oracles.
//!
//! The first byte of an input says whether the rest is a text frame (even) or a binary one. What decodes is what the
//! oracle reads, means the same after a client has encoded it anew, and is sent back by every call of the serializer.

use bytes::Bytes;
use fanfare::Payload;
use fanfare::channel::{DecodeError, EncodeError, Frame, Incoming, Reply, Scalar, Serializer, V1, V2};
use serde::de::IgnoredAny;
use serde_json::{Value, json};

/// The harness of version 1.
pub fn serializer_v1(bytes: &[u8]) {
    run(Version::One, bytes);
}

/// The harness of version 2.
pub fn serializer_v2(bytes: &[u8]) {
    run(Version::Two, bytes);
}

#[derive(Clone, Copy, PartialEq)]
enum Version {
    One,
    Two,
}

impl Version {
    fn serializer(self) -> &'static dyn Serializer {
        match self {
            Version::One => &V1,
            Version::Two => &V2,
        }
    }

    /// The array or object of a message, for the oracle.
    fn envelope(self, [join_ref, reference, topic]: [Value; 3], event: Value, payload: Value) -> Value {
        match self {
            Version::One => json!({"topic": topic, "event": event, "payload": payload, "ref": reference}),
            Version::Two => json!([join_ref, reference, topic, event, payload]),
        }
    }
}

fn run(version: Version, bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let rest = Bytes::copy_from_slice(rest);
    let frame = if kind % 2 == 0 { Frame::Text(rest) } else { Frame::Binary(rest) };
    let decoded = version.serializer().decode(&frame);
    match &frame {
        Frame::Text(bytes) => check_text(version, bytes, &decoded),
        Frame::Binary(bytes) => check_binary(version, bytes, &decoded),
    }
    if let Ok(message) = decoded {
        check_again(version, &message);
        check_sent(version, &message);
    }
}

/// Holds what was decoded against the oracle.
fn check_text(version: Version, bytes: &[u8], decoded: &Result<Incoming, DecodeError>) {
    if decoded.is_ok() {
        assert!(serde_json::from_slice::<IgnoredAny>(bytes).is_ok(), "decoded what is not JSON");
    }
    // An oracle that reads values of every size; where it cannot (numbers out of range, halves of surrogate pairs) a
    // payload passes unread.
    let Some(value) = parse(bytes) else { return };
    let at = |key: &str, at: usize| match version {
        Version::One => value.as_object().and_then(|object| object.get(key)),
        Version::Two => value.as_array().filter(|array| array.len() >= 5).map(|array| &array[at]),
    };
    let fields = (at("ref", 1), at("topic", 2), at("event", 3).and_then(Value::as_str), at("payload", 4));
    let (Some(reference), Some(topic), Some(event), Some(payload)) = fields else {
        assert!(decoded.is_err(), "decoded what lacks a field");
        return;
    };
    let message = decoded.as_ref().expect("every field is there");
    assert_eq!(scalar_value(&message.join_ref).as_ref(), Some(at("join_ref", 0).unwrap_or(&Value::Null)));
    assert_eq!(scalar_value(&message.reference).as_ref(), Some(reference));
    assert_eq!(scalar_value(&message.topic).as_ref(), Some(topic));
    assert_eq!(&*message.event, event);
    assert_eq!(parse(payload_bytes(message)).as_ref(), Some(payload));
}

/// Holds what was decoded against the layout: the fields in order, then the data.
fn check_binary(version: Version, bytes: &[u8], decoded: &Result<Incoming, DecodeError>) {
    let read = if version == Version::Two { fields::<4>(0, bytes) } else { None };
    let Some(([join_ref, reference, topic, event], data)) = read else {
        assert!(decoded.is_err(), "decoded what has no such layout");
        return;
    };
    let message = decoded.as_ref().expect("every field is there");
    assert_eq!(message.join_ref, Scalar::from(join_ref));
    assert_eq!(message.reference, Scalar::from(reference));
    assert_eq!(message.topic, Scalar::from(topic));
    assert_eq!(&*message.event, event);
    assert!(matches!(&message.payload, Payload::Binary(payload) if payload == data));
}

/// What a client makes of a message decodes to the same.
fn check_again(version: Version, message: &Incoming) {
    let string = |text: &str| serde_json::to_string(text).expect("text");
    let scalar = |scalar: &Scalar| match scalar {
        Scalar::Null => "null".to_owned(),
        Scalar::Str(text) => string(text),
        Scalar::Other(json) => json.to_string(),
    };
    let refs = [&message.join_ref, &message.reference, &message.topic];
    let frame = match &message.payload {
        Payload::Binary(data) => {
            let texts = refs.map(|field| field.as_str().expect("a field of a binary frame"));
            let fields = [texts[0], texts[1], texts[2], &message.event];
            let mut bytes = vec![0];
            bytes.extend(fields.iter().map(|field| u8::try_from(field.len()).expect("it came in one byte")));
            fields.iter().for_each(|field| bytes.extend_from_slice(field.as_bytes()));
            bytes.extend_from_slice(data);
            Frame::Binary(bytes.into())
        }
        _ => {
            let [join_ref, reference, topic] = refs.map(scalar);
            let payload = std::str::from_utf8(payload_bytes(message)).expect("a text frame is UTF-8");
            let event = string(&message.event);
            let text = match version {
                Version::One => {
                    let head = format!(r#""join_ref":{join_ref},"ref":{reference},"topic":{topic}"#);
                    format!(r#"{{{head},"payload":{payload},"event":{event}}}"#)
                }
                Version::Two => format!("[{join_ref},{reference},{topic},{event},{payload}]"),
            };
            Frame::Text(text.into())
        }
    };
    let again = version.serializer().decode(&frame).expect("a client's own frame decodes");
    assert_eq!([&again.join_ref, &again.reference, &again.topic], refs);
    assert_eq!(again.event, message.event);
    assert_eq!(payload_bytes(&again), payload_bytes(message));
    assert_eq!(is_binary(&again), is_binary(message));
}

/// Sends back what came in, by every call.
fn check_sent(version: Version, message: &Incoming) {
    let serializer = version.serializer();
    let Incoming { join_ref, reference, topic, event, payload } = message;
    let name = topic.as_str().unwrap_or(event);
    let reply = Reply { join_ref, reference, topic, status: event, response: payload };
    let sent = [
        serializer.push(join_ref, name, event, payload),
        serializer.broadcast(name, event, payload),
        serializer.control(join_ref, name, event, payload),
        serializer.reply(&reply),
    ];
    if is_binary(message) {
        check_sent_binary(message, &sent);
        return;
    }
    let is_object = payload_bytes(message).starts_with(b"{");
    let values = (scalar_value(join_ref), scalar_value(reference), scalar_value(topic), parse(payload_bytes(message)));
    let [push, broadcast, control, replied] = sent;
    for frame in [&push, &broadcast, &control] {
        match frame {
            Ok(_) => assert!(is_object || version == Version::One, "version 2 pushes objects alone"),
            Err(error) => assert!(!is_object && version == Version::Two && *error == EncodeError::NotObject),
        }
    }
    let (Some(join_ref), Some(reference), Some(topic), Some(payload)) = values else { return };
    let (none, event) = (Value::Null, json!(event));
    let refs = |join_ref: &Value, reference: &Value| [join_ref.clone(), reference.clone(), json!(name)];
    let expected =
        [(push, refs(&join_ref, &none)), (broadcast, refs(&none, &none)), (control, refs(&join_ref, &join_ref))];
    for (frame, refs) in expected {
        if let Ok(frame) = frame {
            check_value(&frame, &version.envelope(refs, event.clone(), payload.clone()));
        }
    }
    let answer = json!({"status": event, "response": payload});
    let replied = replied.expect("a reply carries any JSON");
    check_value(&replied, &version.envelope([join_ref, reference, topic], json!("phx_reply"), answer));
}

/// A binary message comes back in the layouts of the server; its fields fit, since they came in such a frame.
fn check_sent_binary(message: &Incoming, [push, broadcast, control, reply]: &[Result<Frame, EncodeError>; 4]) {
    let [join_ref, reference, topic] =
        [&message.join_ref, &message.reference, &message.topic].map(|field| field.as_str().expect("a binary field"));
    let (event, data) = (&*message.event, payload_bytes(message));
    let bytes = |frame: &Result<Frame, EncodeError>| match frame {
        Ok(Frame::Binary(bytes)) => bytes.clone(),
        other => panic!("no binary frame: {other:?}"),
    };
    assert_eq!(fields(0, &bytes(push)), Some(([join_ref, topic, event], data)));
    assert_eq!(fields(1, &bytes(reply)), Some(([join_ref, reference, topic, event], data)));
    assert_eq!(fields(2, &bytes(broadcast)), Some(([topic, event], data)));
    assert_eq!(*control, Err(EncodeError::Binary));
}

/// The fields and the data of a binary frame of this kind.
fn fields<const N: usize>(kind: u8, bytes: &[u8]) -> Option<([&str; N], &[u8])> {
    if *bytes.first()? != kind {
        return None;
    }
    let mut at = 1 + N;
    let mut fields = [""; N];
    for (number, field) in fields.iter_mut().enumerate() {
        let end = at + usize::from(*bytes.get(1 + number)?);
        *field = std::str::from_utf8(bytes.get(at..end)?).ok()?;
        at = end;
    }
    Some((fields, &bytes[at..]))
}

/// The frame is text, and says just this. A payload that came at the depth limit lies one deeper in a reply, where the
/// oracle no longer reads it.
fn check_value(frame: &Frame, expected: &Value) {
    let Frame::Text(bytes) = frame else { panic!("no text frame: {frame:?}") };
    match serde_json::from_slice::<Value>(bytes) {
        Ok(value) => assert_eq!(value, *expected),
        Err(error) => assert!(error.to_string().contains("recursion limit"), "{error} in {frame:?}"),
    }
}

/// The oracle's reading. It gives keys that serde_json uses for itself a meaning of their own: those it cannot judge.
fn parse(json: &[u8]) -> Option<Value> {
    let is_private = json.windows(10).any(|window| window == b"serde_json");
    if is_private { None } else { serde_json::from_slice(json).ok() }
}

fn scalar_value(scalar: &Scalar) -> Option<Value> {
    match scalar {
        Scalar::Null => Some(Value::Null),
        Scalar::Str(text) => Some(json!(text)),
        Scalar::Other(json) => parse(json.as_bytes()),
    }
}

fn payload_bytes(message: &Incoming) -> &[u8] {
    message.payload.bytes().expect("a payload from a client is bytes")
}

fn is_binary(message: &Incoming) -> bool {
    matches!(message.payload, Payload::Binary(_))
}
