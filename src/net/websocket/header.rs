//! The header of a client's frame (RFC 6455, section 5.2), read from a slice.
//!
//! Own code and not a crate's: see `docs/decisions/0005-own-frame-headers.md`.

use super::{CONTROL_BYTES_MAX, DecodeError};

/// What a frame carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// More of the message before it.
    Continuation,
    /// A message of UTF-8, or its beginning.
    Text,
    /// A message of bytes, or its beginning.
    Binary,
    /// The end.
    Close,
    /// A question whether the peer is there.
    Ping,
    /// The answer.
    Pong,
}

impl Opcode {
    fn parse(bits: u8) -> Result<Opcode, DecodeError> {
        Ok(match bits {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Text,
            0x2 => Opcode::Binary,
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xA => Opcode::Pong,
            reserved => return Err(DecodeError::ReservedOpcode(reserved)),
        })
    }

    /// The four bits of the wire.
    pub(crate) fn bits(self) -> u8 {
        match self {
            Opcode::Continuation => 0x0,
            Opcode::Text => 0x1,
            Opcode::Binary => 0x2,
            Opcode::Close => 0x8,
            Opcode::Ping => 0x9,
            Opcode::Pong => 0xA,
        }
    }

    /// Whether this is a close, ping or pong.
    #[must_use]
    pub fn is_control(self) -> bool {
        matches!(self, Opcode::Close | Opcode::Ping | Opcode::Pong)
    }
}

/// A frame whose header has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    pub(crate) key: [u8; 4],
    /// The length of the payload.
    pub(crate) length: u64,
}

/// The longest header: two bytes, eight of length, four of key.
pub(crate) const HEADER_BYTES_MAX: usize = 14;

/// Reads the header that `bytes` begin with; gives the frame and the header's length, or nothing if it goes on. What is
/// wrong is told as soon as its byte is there.
pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Frame, usize)>, DecodeError> {
    let Some(&first) = bytes.first() else { return Ok(None) };
    if first & 0x70 != 0 {
        return Err(DecodeError::ReservedBits);
    }
    let opcode = Opcode::parse(first & 0x0F)?;
    let fin = first & 0x80 != 0;
    if opcode.is_control() && !fin {
        return Err(DecodeError::FragmentedControl);
    }
    let Some(&second) = bytes.get(1) else { return Ok(None) };
    if second & 0x80 == 0 {
        return Err(DecodeError::Unmasked);
    }
    let short = second & 0x7F;
    if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
        return Err(DecodeError::ControlTooLong);
    }
    let rest = &bytes[2..];
    let (length, rest, size) = match short {
        126 => {
            let Some((long, rest)) = rest.split_first_chunk::<2>() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*long)), rest, 4)
        }
        127 => {
            let Some((long, rest)) = rest.split_first_chunk::<8>() else { return Ok(None) };
            (u64::from_be_bytes(*long), rest, 10)
        }
        short => (u64::from(short), rest, 2),
    };
    let (least, most) = match short {
        126 => (126, u64::from(u16::MAX)),
        127 => (u64::from(u16::MAX) + 1, i64::MAX as u64),
        _ => (0, 125),
    };
    if !(least..=most).contains(&length) {
        return Err(DecodeError::Length);
    }
    let Some(key) = rest.first_chunk::<4>() else { return Ok(None) };
    Ok(Some((Frame { opcode, fin, key: *key, length }, size + 4)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 4] = [1, 2, 3, 4];

    fn with_key(head: &[u8]) -> Vec<u8> {
        [head, &KEY].concat()
    }

    #[test]
    fn a_length_has_one_of_three_forms() {
        let long = |length: u64| [&[0x82, 0xFF][..], &length.to_be_bytes()].concat();
        for (head, length) in [
            (vec![0x82, 0x80], 0),
            (vec![0x82, 0xFD], 125),
            (vec![0x82, 0xFE, 0, 126], 126),
            (vec![0x82, 0xFE, 0xFF, 0xFF], 0xFFFF),
            (long(0x1_0000), 0x1_0000),
            (long(i64::MAX as u64), i64::MAX as u64),
        ] {
            let bytes = with_key(&head);
            let frame = Frame { opcode: Opcode::Binary, fin: true, key: KEY, length };
            assert_eq!(parse(&bytes), Ok(Some((frame, bytes.len()))));
            for end in 0..bytes.len() {
                assert_eq!(parse(&bytes[..end]), Ok(None), "{end} bytes of {bytes:?}");
            }
        }
    }

    #[test]
    fn a_length_that_is_not_minimal_is_refused() {
        for head in [
            &[0x82, 0xFE, 0, 125][..],
            &[0x82, 0xFE, 0, 0],
            &[0x82, 0xFF, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF],
            &[0x82, 0xFF, 0x80, 0, 0, 0, 0, 0, 0, 0],
        ] {
            assert_eq!(parse(head), Err(DecodeError::Length));
        }
    }

    #[test]
    fn what_is_reserved_is_refused_at_its_byte() {
        for bits in [0x10, 0x20, 0x40] {
            assert_eq!(parse(&[0x81 | bits]), Err(DecodeError::ReservedBits));
        }
        for opcode in (0x3..=0x7).chain(0xB..=0xF) {
            assert_eq!(parse(&[0x80 | opcode]), Err(DecodeError::ReservedOpcode(opcode)));
        }
    }

    #[test]
    fn a_clients_frame_is_masked() {
        assert_eq!(parse(&[0x81, 0x05]), Err(DecodeError::Unmasked));
    }

    #[test]
    fn a_control_frame_is_whole_and_short() {
        for opcode in [0x8, 0x9, 0xA] {
            assert_eq!(parse(&[opcode]), Err(DecodeError::FragmentedControl));
            assert_eq!(parse(&[0x80 | opcode, 0xFE]), Err(DecodeError::ControlTooLong));
            assert_eq!(parse(&[0x80 | opcode, 0xFF]), Err(DecodeError::ControlTooLong));
            assert!(parse(&with_key(&[0x80 | opcode, 0xFD])).unwrap().is_some());
        }
    }
}
