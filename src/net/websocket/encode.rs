//! Frames from the server: never masked, never in fragments, so that the bytes of one frame serve every socket.

use super::close::fitting;
use super::{CONTROL_BYTES_MAX, CloseCode, Opcode};
use bytes::{BufMut, Bytes, BytesMut};
use std::fmt;

/// The longest header of a frame that is not masked.
const HEADER_BYTES_MAX: usize = 10;

/// The header of a frame, to be written in front of its payload. It is a slice of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    bytes: [u8; HEADER_BYTES_MAX],
    size: u8,
}

impl std::ops::Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.size)]
    }
}

impl AsRef<[u8]> for Header {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// The header of a whole message, or of a control frame, whose payload has `payload_bytes` bytes. Whether these are few
/// enough for a control frame is for the caller to see.
#[must_use]
pub fn header(opcode: Opcode, payload_bytes: usize) -> Header {
    let mut bytes = [0; HEADER_BYTES_MAX];
    bytes[0] = 0x80 | opcode.bits();
    let size = if let Ok(short) = u8::try_from(payload_bytes)
        && short <= 125
    {
        bytes[1] = short;
        2
    } else if let Ok(long) = u16::try_from(payload_bytes) {
        bytes[1] = 126;
        bytes[2..4].copy_from_slice(&long.to_be_bytes());
        4
    } else {
        bytes[1] = 127;
        bytes[2..10].copy_from_slice(&(payload_bytes as u64).to_be_bytes());
        10
    };
    Header { bytes, size }
}

/// One frame. The payload of a control frame is for the caller to keep within 125 bytes; [`ping`], [`pong`] and
/// [`close`] see to it.
#[must_use]
pub fn frame(opcode: Opcode, payload: &[u8]) -> Bytes {
    let header = header(opcode, payload.len());
    let mut frame = BytesMut::with_capacity(header.len() + payload.len());
    frame.put_slice(&header);
    frame.put_slice(payload);
    frame.freeze()
}

/// A message of text.
#[must_use]
pub fn text(message: &str) -> Bytes {
    frame(Opcode::Text, message.as_bytes())
}

/// A message of bytes.
#[must_use]
pub fn binary(message: &[u8]) -> Bytes {
    frame(Opcode::Binary, message)
}

/// A payload that no control frame can carry: it has more than 125 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlTooLong(
    /// Its length.
    pub usize,
);

impl fmt::Display for ControlTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a control frame's payload of {} bytes is over the limit of {CONTROL_BYTES_MAX}", self.0)
    }
}

impl std::error::Error for ControlTooLong {}

/// A ping.
///
/// # Errors
///
/// A payload of more than 125 bytes.
pub fn ping(payload: &[u8]) -> Result<Bytes, ControlTooLong> {
    control(Opcode::Ping, payload)
}

/// A pong: the answer to a ping has the payload of the ping.
///
/// # Errors
///
/// A payload of more than 125 bytes, which that of a ping never has.
pub fn pong(payload: &[u8]) -> Result<Bytes, ControlTooLong> {
    control(Opcode::Pong, payload)
}

fn control(opcode: Opcode, payload: &[u8]) -> Result<Bytes, ControlTooLong> {
    if payload.len() > CONTROL_BYTES_MAX { Err(ControlTooLong(payload.len())) } else { Ok(frame(opcode, payload)) }
}

/// A close frame. A reason of more than 123 bytes is cut at the end of a character.
#[must_use]
pub fn close(code: CloseCode, reason: &str) -> Bytes {
    let payload = [&code.code().to_be_bytes()[..], fitting(reason).as_bytes()].concat();
    frame(Opcode::Close, &payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_takes_the_fewest_bytes() {
        let head = |bytes: usize| header(Opcode::Binary, bytes).to_vec();
        assert_eq!(head(0), [0x82, 0]);
        assert_eq!(head(125), [0x82, 125]);
        assert_eq!(head(126), [0x82, 126, 0, 126]);
        assert_eq!(head(0xFFFF), [0x82, 126, 0xFF, 0xFF]);
        assert_eq!(head(0x1_0000), [0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]);
    }

    #[test]
    fn a_frame_is_its_header_and_its_payload() {
        assert_eq!(text("hi")[..], [0x81, 2, b'h', b'i']);
        assert_eq!(binary(&[7])[..], [0x82, 1, 7]);
        assert_eq!(ping(b"p").unwrap()[..], [0x89, 1, b'p']);
        assert_eq!(pong(b"").unwrap()[..], [0x8A, 0]);
        assert_eq!(close(CloseCode::GOING_AWAY, "x")[..], [0x88, 3, 0x03, 0xE9, b'x']);
        assert_eq!(frame(Opcode::Binary, &[1; 300])[..4], [0x82, 126, 1, 44]);
    }

    #[test]
    fn a_control_frame_never_gets_too_long() {
        assert_eq!(ping(&[0; 126]), Err(ControlTooLong(126)));
        assert_eq!(pong(&[0; 125]).map(|frame| frame.len()), Ok(127));
        assert_eq!(close(CloseCode::NORMAL, &"x".repeat(500)).len(), 127);
    }
}
