//! Events and payloads.

use crate::sync::{Arc, OnceLock};
use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::any::Any;
use std::fmt;

/// The name of an event: a static string, or a shared one.
#[derive(Clone)]
pub struct Event(Text);

#[derive(Clone)]
enum Text {
    Static(&'static str),
    Shared(Arc<str>),
}

impl std::ops::Deref for Event {
    type Target = str;
    fn deref(&self) -> &str {
        match &self.0 {
            Text::Static(text) => text,
            Text::Shared(text) => text,
        }
    }
}

impl From<&'static str> for Event {
    fn from(text: &'static str) -> Self {
        Event(Text::Static(text))
    }
}

impl From<String> for Event {
    fn from(text: String) -> Self {
        Event(Text::Shared(text.into()))
    }
}

impl From<Arc<str>> for Event {
    fn from(text: Arc<str>) -> Self {
        Event(Text::Shared(text))
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&**self, f)
    }
}

/// What a message carries.
#[derive(Clone)]
#[non_exhaustive]
pub enum Payload {
    /// JSON, already encoded. Not checked.
    Json(Bytes),
    /// Bytes that mean something to the receivers.
    Binary(Bytes),
    /// A Rust value: receivers in the process see it as it is, others get its JSON.
    Typed(Typed),
}

/// A typed payload, shared. Made by [`Payload::typed`].
#[derive(Clone)]
pub struct Typed(Arc<dyn Value>);

/// A value, and its encoding once somebody has asked for it.
struct WithEncoding<T> {
    json: OnceLock<Result<Bytes, EncodeError>>,
    encode: fn(&T) -> Result<Bytes, EncodeError>,
    value: T,
}

trait Value: Send + Sync {
    fn value(&self) -> &dyn Any;
    fn json(&self) -> &Result<Bytes, EncodeError>;
}

impl<T: Any + Send + Sync> Value for WithEncoding<T> {
    fn value(&self) -> &dyn Any {
        &self.value
    }

    fn json(&self) -> &Result<Bytes, EncodeError> {
        self.json.get_or_init(|| (self.encode)(&self.value))
    }
}

/// Why a payload has no JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload is binary: its sender and its receivers know what it means, nobody else does.
    Binary,
    /// The value's own `Serialize` failed, with this text.
    Failed(Arc<str>),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Binary => f.write_str("a binary payload has no JSON"),
            EncodeError::Failed(why) => write!(f, "the payload cannot be serialized: {why}"),
        }
    }
}

impl std::error::Error for EncodeError {}

/// Why a payload is not of the type that is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ParseError {
    /// It has no JSON.
    Encode(EncodeError),
    /// Its JSON is not that of such a value; what is wrong with it, and where.
    Mismatch(Arc<str>),
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ParseError::Encode(error) => error.fmt(f),
            ParseError::Mismatch(why) => write!(f, "the payload is not what was expected: {why}"),
        }
    }
}

impl std::error::Error for ParseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ParseError::Encode(error) => Some(error),
            ParseError::Mismatch(_) => None,
        }
    }
}

impl Payload {
    /// JSON that is already encoded. It is not checked.
    pub fn json_bytes(json: impl Into<Bytes>) -> Payload {
        Payload::Json(json.into())
    }

    /// Bytes.
    pub fn binary(bytes: impl Into<Bytes>) -> Payload {
        Payload::Binary(bytes.into())
    }

    /// A Rust value. Receivers in the process downcast it at no cost; it is encoded at most once, when the first
    /// receiver asks for its JSON.
    pub fn typed<T: Serialize + Any + Send + Sync>(value: T) -> Payload {
        Payload::encoded_by(value, |value| match serde_json::to_vec(value) {
            Ok(json) => Ok(json.into()),
            Err(error) => Err(EncodeError::Failed(error.to_string().into())),
        })
    }

    /// As [`typed`](Self::typed), for a value that has a way of its own to be encoded as JSON.
    pub(crate) fn encoded_by<T: Any + Send + Sync>(value: T, encode: fn(&T) -> Result<Bytes, EncodeError>) -> Payload {
        Payload::Typed(Typed(Arc::new(WithEncoding { json: OnceLock::new(), encode, value })))
    }

    /// The typed value, if it is a `T`.
    pub fn downcast_ref<T: Any>(&self) -> Option<&T> {
        match self {
            Payload::Typed(typed) => typed.0.value().downcast_ref(),
            _ => None,
        }
    }

    /// As JSON: as it came, or encoded once for all who ask.
    ///
    /// # Errors
    ///
    /// [`EncodeError`] if it is binary, or if its `Serialize` fails; the failure is kept like a success.
    ///
    /// # Panics
    ///
    /// If the value's `Serialize` panics. The next caller then tries again.
    pub fn json(&self) -> Result<&[u8], EncodeError> {
        match self {
            Payload::Json(json) => Ok(json),
            Payload::Binary(_) => Err(EncodeError::Binary),
            Payload::Typed(typed) => typed.0.json().as_ref().map(|json| &**json).map_err(Clone::clone),
        }
    }

    /// As a value of another type, read from its JSON.
    ///
    /// ```
    /// # use fanfare::Payload;
    /// #[derive(serde::Deserialize)]
    /// struct NewMessage {
    ///     body: String,
    /// }
    ///
    /// let payload = Payload::json_bytes(r#"{"body":"hello"}"#);
    /// let message: NewMessage = payload.parse()?;
    /// assert_eq!(message.body, "hello");
    /// # Ok::<(), fanfare::ParseError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`ParseError`] if it has no JSON, as [`json`](Self::json) says, or other JSON than such a value has.
    ///
    /// # Panics
    ///
    /// As [`json`](Self::json).
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ParseError> {
        let json = self.json().map_err(ParseError::Encode)?;
        serde_json::from_slice(json).map_err(|error| ParseError::Mismatch(error.to_string().into()))
    }

    /// The bytes, if it came as bytes.
    pub fn bytes(&self) -> Option<&Bytes> {
        match self {
            Payload::Json(bytes) | Payload::Binary(bytes) => Some(bytes),
            Payload::Typed(_) => None,
        }
    }
}

impl From<serde_json::Value> for Payload {
    fn from(value: serde_json::Value) -> Self {
        Payload::typed(value)
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Payload::Json(bytes) => f.debug_tuple("Json").field(bytes).finish(),
            Payload::Binary(bytes) => f.debug_tuple("Binary").field(bytes).finish(),
            Payload::Typed(typed) => typed.fmt(f),
        }
    }
}

impl fmt::Debug for Typed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Typed(..)")
    }
}
