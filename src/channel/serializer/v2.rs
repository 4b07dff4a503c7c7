//! Version 2: arrays of five as text, and binary frames.
//!
//! A text frame is `[join_ref, ref, topic, event, payload]` both ways; more elements are ignored. A binary frame has a
//! kind, the lengths of its fields as one byte each, the fields, and the payload up to its end:
//!
//! | kind | sent by | fields |
//! |---|---|---|
//! | 0, push | client | join_ref, ref, topic, event |
//! | 0, push | server | join_ref, topic, event |
//! | 1, reply | server | join_ref, ref, topic, status |
//! | 2, broadcast | server | topic, event |
//!
//! Null is written as an empty field, but an empty field from a client is the empty string.

use super::json::{self, Piece, any_json, join, object};
use super::{DecodeError, EncodeError, Field, Incoming, Reply, Serializer};
use crate::channel::{Frame, Scalar};
use crate::message::payload::Payload;
use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

const PUSH: u8 = 0;
const REPLY: u8 = 1;
const BROADCAST: u8 = 2;

/// Version 2 of the wire protocol, which `phoenix.js` speaks: see the [module](super)'s text.
///
/// Pushes and broadcasts carry an object or bytes, control messages an object, replies any JSON value or bytes.
#[derive(Debug, Clone, Copy, Default)]
pub struct V2;

impl Serializer for V2 {
    fn decode(&self, frame: &Frame) -> Result<Incoming, DecodeError> {
        match frame {
            Frame::Text(bytes) => decode_text(bytes),
            Frame::Binary(bytes) => decode_binary(bytes),
        }
    }

    fn push(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        if let Payload::Binary(data) = payload {
            let join_ref = text(join_ref, Field::JoinRef)?;
            return binary(PUSH, &[(Field::JoinRef, join_ref), (Field::Topic, topic), (Field::Event, event)], data);
        }
        message(join_ref, &Scalar::Null, topic, event, payload)
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<Frame, EncodeError> {
        if let Payload::Binary(data) = reply.response {
            let fields = [
                (Field::JoinRef, text(reply.join_ref, Field::JoinRef)?),
                (Field::Reference, text(reply.reference, Field::Reference)?),
                (Field::Topic, reply.topic.as_str().ok_or(EncodeError::NotText(Field::Topic))?),
                (Field::Status, reply.status),
            ];
            return binary(REPLY, &fields, data);
        }
        Ok(Frame::Text(join(&[
            Piece::Raw(b"["),
            Piece::scalar(reply.join_ref),
            Piece::Raw(b","),
            Piece::scalar(reply.reference),
            Piece::Raw(b","),
            Piece::scalar(reply.topic),
            Piece::Raw(b",\"phx_reply\",{\"status\":"),
            Piece::Str(reply.status),
            Piece::Raw(b",\"response\":"),
            Piece::Raw(any_json(reply.response)?),
            Piece::Raw(b"}]"),
        ])))
    }

    fn broadcast(&self, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        if let Payload::Binary(data) = payload {
            return binary(BROADCAST, &[(Field::Topic, topic), (Field::Event, event)], data);
        }
        message(&Scalar::Null, &Scalar::Null, topic, event, payload)
    }

    fn control(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        message(join_ref, join_ref, topic, event, payload)
    }
}

fn message(
    join_ref: &Scalar,
    reference: &Scalar,
    topic: &str,
    event: &str,
    payload: &Payload,
) -> Result<Frame, EncodeError> {
    Ok(Frame::Text(join(&[
        Piece::Raw(b"["),
        Piece::scalar(join_ref),
        Piece::Raw(b","),
        Piece::scalar(reference),
        Piece::Raw(b","),
        Piece::Str(topic),
        Piece::Raw(b","),
        Piece::Str(event),
        Piece::Raw(b","),
        Piece::Raw(object(payload)?),
        Piece::Raw(b"]"),
    ])))
}

/// A ref as a binary frame has it.
fn text(scalar: &Scalar, field: Field) -> Result<&str, EncodeError> {
    match scalar {
        Scalar::Null => Ok(""),
        Scalar::Str(text) => Ok(text),
        Scalar::Other(json) if json.starts_with(['[', '{']) => Err(EncodeError::NotText(field)),
        Scalar::Other(json) => Ok(json),
    }
}

fn binary<const N: usize>(kind: u8, fields: &[(Field, &str); N], data: &[u8]) -> Result<Frame, EncodeError> {
    let mut lengths = [0; N];
    for (length, (field, text)) in lengths.iter_mut().zip(fields) {
        let too_long = |_| EncodeError::TooLong { field: *field, bytes: text.len() };
        *length = u8::try_from(text.len()).map_err(too_long)?;
    }
    let len = 1 + N + fields.iter().map(|(_, text)| text.len()).sum::<usize>() + data.len();
    let mut bytes = Vec::with_capacity(len);
    bytes.push(kind);
    bytes.extend_from_slice(&lengths);
    for (_, text) in fields {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes.extend_from_slice(data);
    debug_assert_eq!(bytes.len(), len);
    Ok(Frame::Binary(bytes.into()))
}

fn decode_text(bytes: &Bytes) -> Result<Incoming, DecodeError> {
    let text = json::envelope(bytes, b'[')?;
    let Envelope([join_ref, reference, topic, event, payload]) = serde_json::from_str(text).map_err(json::bad_json)?;
    Ok(Incoming {
        join_ref: json::scalar(json::required(join_ref, Field::JoinRef)?)?,
        reference: json::scalar(json::required(reference, Field::Reference)?)?,
        topic: json::scalar(json::required(topic, Field::Topic)?)?,
        event: json::event(json::required(event, Field::Event)?)?,
        payload: json::payload(bytes, json::required(payload, Field::Payload)?),
    })
}

/// The first five elements of an array.
struct Envelope<'a>([Option<&'a RawValue>; 5]);

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Elements;
        impl<'de> Visitor<'de> for Elements {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of five")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Self::Value, A::Error> {
                let mut elements = [None; 5];
                for element in &mut elements {
                    *element = array.next_element()?;
                    if element.is_none() {
                        // Asking on behind the end is an error.
                        return Ok(Envelope(elements));
                    }
                }
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Envelope(elements))
            }
        }
        deserializer.deserialize_seq(Elements)
    }
}

fn decode_binary(bytes: &Bytes) -> Result<Incoming, DecodeError> {
    match bytes.first() {
        None => return Err(DecodeError::Truncated),
        Some(&PUSH) => {}
        Some(&kind) => return Err(DecodeError::Kind(kind)),
    }
    let (lengths, mut rest) = bytes[1..].split_first_chunk::<4>().ok_or(DecodeError::Truncated)?;
    let mut fields = [""; 4];
    for (field, length) in fields.iter_mut().zip(lengths) {
        let (text, behind) = rest.split_at_checked(usize::from(*length)).ok_or(DecodeError::Truncated)?;
        *field = std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)?;
        rest = behind;
    }
    let [join_ref, reference, topic, event] = fields;
    Ok(Incoming {
        join_ref: join_ref.into(),
        reference: reference.into(),
        topic: topic.into(),
        event: event.into(),
        payload: Payload::Binary(bytes.slice_ref(rest)),
    })
}
