//! What may go wrong between frames and messages.

use std::fmt;

/// A part of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The ref of the join that the message belongs to.
    JoinRef,
    /// The ref of the request.
    Reference,
    /// The topic.
    Topic,
    /// The event.
    Event,
    /// The payload.
    Payload,
    /// The status of a reply.
    Status,
}

impl Field {
    /// What it is called on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Field::JoinRef => "join_ref",
            Field::Reference => "ref",
            Field::Topic => "topic",
            Field::Event => "event",
            Field::Payload => "payload",
            Field::Status => "status",
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a frame is no message. The connection is at fault and should be closed, with the code 1011.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A text frame, or a field of a binary one, is not UTF-8.
    NotUtf8,
    /// The text is not JSON, or a string in it stands for no text; why, by the parser.
    Json(Box<str>),
    /// Arrays and objects lie deeper in one another than [`DEPTH_MAX`](super::DEPTH_MAX).
    TooDeep,
    /// The text is JSON of another kind than this version's envelope: an array in version 2, an object in version 1.
    NotEnvelope,
    /// The envelope lacks this field.
    Missing(Field),
    /// The event is not a string.
    EventNotString,
    /// A binary frame, in a version that has none.
    Binary,
    /// A binary frame that begins with a kind which clients do not send.
    Kind(u8),
    /// A binary frame that ends before its fields do.
    Truncated,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::NotUtf8 => f.write_str("the frame is not UTF-8"),
            DecodeError::Json(why) => write!(f, "the frame is not JSON: {why}"),
            DecodeError::TooDeep => write!(f, "the frame nests deeper than {}", super::DEPTH_MAX),
            DecodeError::NotEnvelope => f.write_str("the frame is not this version's envelope"),
            DecodeError::Missing(field) => write!(f, "the frame has no {field}"),
            DecodeError::EventNotString => f.write_str("the event is not a string"),
            DecodeError::Binary => f.write_str("this version has no binary frames"),
            DecodeError::Kind(kind) => write!(f, "a client sends no binary frame of kind {kind}"),
            DecodeError::Truncated => f.write_str("the binary frame ends before its fields do"),
        }
    }
}

impl std::error::Error for DecodeError {}

/// Why a message has no frame. The sender is at fault.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The payload has no JSON: its `Serialize` failed.
    Payload(crate::message::payload::EncodeError),
    /// The payload claims to be JSON that is already encoded, and is empty or not UTF-8.
    NotJson,
    /// The payload is not a JSON object, which this message needs in this version.
    NotObject,
    /// The payload is binary, which this version, or this kind of message, cannot carry.
    Binary,
    /// The field is longer than the 255 bytes that a binary frame has room for.
    TooLong {
        /// Which.
        field: Field,
        /// Its length.
        bytes: usize,
    },
    /// The field, as the client sent it, is a JSON value that a binary frame cannot carry.
    NotText(Field),
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EncodeError::Payload(error) => error.fmt(f),
            EncodeError::NotJson => f.write_str("the payload is not JSON text"),
            EncodeError::NotObject => f.write_str("the payload is not a JSON object"),
            EncodeError::Binary => f.write_str("the payload cannot be binary here"),
            EncodeError::TooLong { field, bytes } => {
                write!(f, "the {field} has {bytes} bytes, of at most 255 in a binary frame")
            }
            EncodeError::NotText(field) => write!(f, "the {field} is not text, as a binary frame needs"),
        }
    }
}

impl std::error::Error for EncodeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            EncodeError::Payload(error) => Some(error),
            _ => None,
        }
    }
}

/// Why no serializer speaks the version that a client asks for. The connection should be refused, with status 403.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VersionError {
    /// Not a version of three numbers: the text that was given.
    Malformed(Box<str>),
    /// A version that no entry of the table matches.
    Unsupported(Box<str>),
}

impl fmt::Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            VersionError::Malformed(given) => write!(f, "{given:?} is not a version"),
            VersionError::Unsupported(given) => write!(f, "no serializer speaks version {given}"),
        }
    }
}

impl std::error::Error for VersionError {}
