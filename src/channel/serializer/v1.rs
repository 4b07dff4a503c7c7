//! Version 1: objects, as text only.
//!
//! A client sends the keys `topic`, `event`, `payload` and `ref`, maybe `join_ref`, in any order; others are ignored.
//! Of a key that comes twice the last counts, as with most parsers. The server sends the first four and never
//! `join_ref`; a reply has its status and its response in the payload.

use super::json::{self, Piece, any_json, join};
use super::{DecodeError, EncodeError, Field, Incoming, Reply, Serializer};
use crate::channel::{Frame, Scalar};
use crate::message::payload::Payload;
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// Version 1 of the wire protocol, which clients that name no version speak: see the [module](super)'s text.
///
/// It has no binary frames. Each message may carry any JSON value.
#[derive(Debug, Clone, Copy, Default)]
pub struct V1;

impl Serializer for V1 {
    fn decode(&self, frame: &Frame) -> Result<Incoming, DecodeError> {
        let Frame::Text(bytes) = frame else { return Err(DecodeError::Binary) };
        let text = json::envelope(bytes, b'{')?;
        let envelope: Envelope<'_> = serde_json::from_str(text).map_err(json::bad_json)?;
        Ok(Incoming {
            join_ref: envelope.join_ref.map_or(Ok(Scalar::Null), json::scalar)?,
            reference: json::scalar(json::required(envelope.reference, Field::Reference)?)?,
            topic: json::scalar(json::required(envelope.topic, Field::Topic)?)?,
            event: json::event(json::required(envelope.event, Field::Event)?)?,
            payload: json::payload(bytes, json::required(envelope.payload, Field::Payload)?),
        })
    }

    fn push(&self, _: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        message(&Scalar::Null, topic, event, payload)
    }

    fn reply(&self, reply: &Reply<'_>) -> Result<Frame, EncodeError> {
        Ok(Frame::Text(join(&[
            Piece::Raw(b"{\"topic\":"),
            Piece::scalar(reply.topic),
            Piece::Raw(b",\"event\":\"phx_reply\",\"payload\":{\"status\":"),
            Piece::Str(reply.status),
            Piece::Raw(b",\"response\":"),
            Piece::Raw(any_json(reply.response)?),
            Piece::Raw(b"},\"ref\":"),
            Piece::scalar(reply.reference),
            Piece::Raw(b"}"),
        ])))
    }

    fn broadcast(&self, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        message(&Scalar::Null, topic, event, payload)
    }

    fn control(&self, join_ref: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
        message(join_ref, topic, event, payload)
    }
}

fn message(reference: &Scalar, topic: &str, event: &str, payload: &Payload) -> Result<Frame, EncodeError> {
    Ok(Frame::Text(join(&[
        Piece::Raw(b"{\"topic\":"),
        Piece::Str(topic),
        Piece::Raw(b",\"event\":"),
        Piece::Str(event),
        Piece::Raw(b",\"payload\":"),
        Piece::Raw(any_json(payload)?),
        Piece::Raw(b",\"ref\":"),
        Piece::scalar(reference),
        Piece::Raw(b"}"),
    ])))
}

/// The values of the keys that count.
#[derive(Default)]
struct Envelope<'a> {
    join_ref: Option<&'a RawValue>,
    reference: Option<&'a RawValue>,
    topic: Option<&'a RawValue>,
    event: Option<&'a RawValue>,
    payload: Option<&'a RawValue>,
}

impl<'de> Deserialize<'de> for Envelope<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keys;
        impl<'de> Visitor<'de> for Keys {
            type Value = Envelope<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut envelope = Envelope::default();
                while let Some(Key(key)) = object.next_key()? {
                    let slot = match key {
                        Some(Field::JoinRef) => &mut envelope.join_ref,
                        Some(Field::Reference) => &mut envelope.reference,
                        Some(Field::Topic) => &mut envelope.topic,
                        Some(Field::Event) => &mut envelope.event,
                        Some(Field::Payload) => &mut envelope.payload,
                        Some(Field::Status) | None => {
                            object.next_value::<IgnoredAny>()?;
                            continue;
                        }
                    };
                    *slot = Some(object.next_value()?);
                }
                Ok(envelope)
            }
        }
        deserializer.deserialize_map(Keys)
    }
}

/// A key: the field that it names, if any.
struct Key(Option<Field>);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;
        impl Visitor<'_> for Name {
            type Value = Key;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a key")
            }

            fn visit_str<E>(self, name: &str) -> Result<Key, E> {
                let fields = [Field::JoinRef, Field::Reference, Field::Topic, Field::Event, Field::Payload];
                Ok(Key(fields.into_iter().find(|field| field.name() == name)))
            }
        }
        deserializer.deserialize_str(Name)
    }
}
