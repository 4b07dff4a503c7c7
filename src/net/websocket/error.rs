//! Why the bytes of a peer are refused, and the close code that tells it so.

use super::CloseCode;
use std::fmt;

/// Why a connection must be failed. After it the decoder takes no more input: it gives the same error again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// A reserved bit is set, and no extension was agreed on.
    ReservedBits,
    /// An opcode that RFC 6455 reserves.
    ReservedOpcode(u8),
    /// A frame of a client that is not masked.
    Unmasked,
    /// A length that takes more bytes than it needs, or has its highest bit set.
    Length,
    /// A control frame in fragments.
    FragmentedControl,
    /// A control frame of more than 125 bytes.
    ControlTooLong,
    /// A continuation frame where no message is to be continued.
    UnexpectedContinuation,
    /// The first frame of a message while another is not complete.
    ExpectedContinuation,
    /// A close frame of one byte, or with a code that may not be sent.
    CloseCode,
    /// Text, or the reason of a close, that is no UTF-8.
    Utf8,
    /// A frame of more than [`Limits::frame_bytes_max`](super::Limits::frame_bytes_max).
    FrameTooLong {
        /// Its length.
        bytes: u64,
        /// The limit.
        max: usize,
    },
    /// A message of more than [`Limits::message_bytes_max`](super::Limits::message_bytes_max).
    MessageTooLong {
        /// How long it is at the least: its fragments, with the one that has just begun.
        bytes: u64,
        /// The limit.
        max: usize,
    },
}

impl DecodeError {
    /// The code to close the connection with: 1002, 1007 or 1009.
    #[must_use]
    pub fn close_code(&self) -> CloseCode {
        match self {
            DecodeError::Utf8 => CloseCode::INVALID_PAYLOAD,
            DecodeError::FrameTooLong { .. } | DecodeError::MessageTooLong { .. } => CloseCode::TOO_BIG,
            _ => CloseCode::PROTOCOL_ERROR,
        }
    }
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DecodeError::ReservedBits => f.write_str("a reserved bit is set"),
            DecodeError::ReservedOpcode(opcode) => write!(f, "the opcode {opcode} is reserved"),
            DecodeError::Unmasked => f.write_str("a client's frame is not masked"),
            DecodeError::Length => f.write_str("a frame's length is not in its shortest form"),
            DecodeError::FragmentedControl => f.write_str("a control frame comes in fragments"),
            DecodeError::ControlTooLong => f.write_str("a control frame has more than 125 bytes"),
            DecodeError::UnexpectedContinuation => f.write_str("a continuation of no message"),
            DecodeError::ExpectedContinuation => f.write_str("a new message before the end of another"),
            DecodeError::CloseCode => f.write_str("a close frame with a code that may not be sent"),
            DecodeError::Utf8 => f.write_str("text that is no UTF-8"),
            DecodeError::FrameTooLong { bytes, max } => {
                write!(f, "a frame of {bytes} bytes is over the limit of {max}")
            }
            DecodeError::MessageTooLong { bytes, max } => {
                write!(f, "a message of {bytes} bytes or more is over the limit of {max}")
            }
        }
    }
}

impl std::error::Error for DecodeError {}
