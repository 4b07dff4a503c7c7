//! What the versions have in common: reading an envelope's fields, and writing frames from pieces.

use super::scalar::unescape;
use super::{DEPTH_MAX, DecodeError, EncodeError, Field};
use crate::channel::Scalar;
use crate::message::payload::Payload;
use bytes::Bytes;
use serde_json::value::RawValue;

/// The text of a text frame, whose first byte other than space must be `opening`.
pub(crate) fn envelope(bytes: &[u8], opening: u8) -> Result<&str, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::NotUtf8)?;
    match first_byte(bytes) {
        Some(first) if first == opening => {}
        Some(_) => return Err(DecodeError::NotEnvelope),
        None => return Err(DecodeError::Json("it is empty".into())),
    }
    if is_too_deep(bytes) { Err(DecodeError::TooDeep) } else { Ok(text) }
}

pub(crate) fn bad_json(error: serde_json::Error) -> DecodeError {
    DecodeError::Json(error.to_string().into())
}

/// The first byte that is not JSON's space.
fn first_byte(json: &[u8]) -> Option<u8> {
    json.iter().copied().find(|byte| !matches!(byte, b' ' | b'\t' | b'\n' | b'\r'))
}

/// Whether more than `DEPTH_MAX` arrays and objects are open at once. Of text that is not JSON it may say either.
fn is_too_deep(json: &[u8]) -> bool {
    // Nearly every frame opens fewer than that in all, which is seen many bytes at a time.
    if json.iter().filter(|byte| matches!(byte, b'[' | b'{')).count() <= DEPTH_MAX {
        return false;
    }
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > DEPTH_MAX {
            return true;
        }
    }
    false
}

/// The field as it was found in the envelope.
pub(crate) fn required(raw: Option<&RawValue>, field: Field) -> Result<&RawValue, DecodeError> {
    raw.ok_or(DecodeError::Missing(field))
}

pub(crate) fn scalar(raw: &RawValue) -> Result<Scalar, DecodeError> {
    Scalar::from_json(raw.get()).map_err(bad_json)
}

pub(crate) fn event(raw: &RawValue) -> Result<Box<str>, DecodeError> {
    if !raw.get().starts_with('"') {
        return Err(DecodeError::EventNotString);
    }
    unescape(raw.get()).map_err(bad_json)
}

/// The payload, cut out of the frame that it was found in.
pub(crate) fn payload(frame: &Bytes, raw: &RawValue) -> Payload {
    Payload::Json(frame.slice_ref(raw.get().as_bytes()))
}

/// A payload's JSON: any value.
pub(crate) fn any_json(payload: &Payload) -> Result<&[u8], EncodeError> {
    let json = payload.json().map_err(|error| match error {
        crate::EncodeError::Binary => EncodeError::Binary,
        failed @ crate::EncodeError::Failed(_) => EncodeError::Payload(failed),
    })?;
    // What `Serialize` made is text; what came encoded may be anything.
    let is_text = || std::str::from_utf8(json).is_ok() && first_byte(json).is_some();
    if matches!(payload, Payload::Typed(_)) || is_text() { Ok(json) } else { Err(EncodeError::NotJson) }
}

/// A payload's JSON, which must be an object: its first byte tells.
pub(crate) fn object(payload: &Payload) -> Result<&[u8], EncodeError> {
    let json = any_json(payload)?;
    if first_byte(json) == Some(b'{') { Ok(json) } else { Err(EncodeError::NotObject) }
}

/// A part of a frame that is to be written.
pub(crate) enum Piece<'a> {
    /// As it is.
    Raw(&'a [u8]),
    /// As a JSON string.
    Str(&'a str),
}

impl<'a> Piece<'a> {
    pub(crate) fn scalar(scalar: &'a Scalar) -> Piece<'a> {
        match scalar {
            Scalar::Null => Piece::Raw(b"null"),
            Scalar::Str(text) => Piece::Str(text),
            Scalar::Other(json) => Piece::Raw(json.as_bytes()),
        }
    }

    fn len(&self) -> usize {
        match self {
            Piece::Raw(bytes) => bytes.len(),
            Piece::Str(text) => text.bytes().map(|byte| 1 + escape_len(byte)).sum::<usize>() + 2,
        }
    }

    fn write(&self, to: &mut Vec<u8>) {
        match self {
            Piece::Raw(bytes) => to.extend_from_slice(bytes),
            Piece::Str(text) => {
                to.push(b'"');
                write_escaped(text.as_bytes(), to);
                to.push(b'"');
            }
        }
    }
}

/// The pieces as one: one allocation of exactly their length.
pub(crate) fn join(pieces: &[Piece<'_>]) -> Bytes {
    let len = pieces.iter().map(Piece::len).sum();
    let mut bytes = Vec::with_capacity(len);
    for piece in pieces {
        piece.write(&mut bytes);
    }
    debug_assert_eq!(bytes.len(), len, "a piece is as long as it says");
    bytes.into()
}

/// How many bytes more than one this byte takes in a JSON string.
fn escape_len(byte: u8) -> usize {
    match byte {
        b'"' | b'\\' | 0x08 | 0x09 | 0x0a | 0x0c | 0x0d => 1,
        0..=0x1f => 5,
        _ => 0,
    }
}

fn write_escaped(mut text: &[u8], to: &mut Vec<u8>) {
    while let Some(at) = text.iter().position(|&byte| escape_len(byte) > 0) {
        to.extend_from_slice(&text[..at]);
        let byte = text[at];
        let short = match byte {
            0x08 => b'b',
            0x09 => b't',
            0x0a => b'n',
            0x0c => b'f',
            0x0d => b'r',
            b'"' | b'\\' => byte,
            _ => b'u',
        };
        to.extend_from_slice(&[b'\\', short]);
        if short == b'u' {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            to.extend_from_slice(&[b'0', b'0', HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
        }
        text = &text[at + 1..];
    }
    to.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_character_is_escaped_as_json_wants() {
        let text: String = (0..0x250).chain([0x2028, 0x2029, 0xfeff, 0x1f600]).filter_map(char::from_u32).collect();
        let written = join(&[Piece::Str(&text)]);
        assert_eq!(written, serde_json::to_vec(&text).unwrap());
    }

    #[test]
    fn depth_is_that_of_brackets_outside_of_strings() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(!is_too_deep(nested(DEPTH_MAX).as_bytes()));
        assert!(is_too_deep(nested(DEPTH_MAX + 1).as_bytes()));
        assert!(serde_json::from_str::<serde_json::Value>(&nested(DEPTH_MAX)).is_ok(), "the parser's own limit");
        assert!(serde_json::from_str::<serde_json::Value>(&nested(DEPTH_MAX + 1)).is_err(), "the parser's own limit");
        assert!(!is_too_deep(format!("[{}1]", "[],{},".repeat(DEPTH_MAX)).as_bytes()), "wide is not deep");
        let quoted = format!(r#"["\\", "\"{}", {}]"#, "[".repeat(200), nested(DEPTH_MAX - 1));
        assert!(!is_too_deep(quoted.as_bytes()), "brackets in strings open nothing");
        let behind = format!(r#"["\\", {}]"#, nested(DEPTH_MAX));
        assert!(is_too_deep(behind.as_bytes()), "an escaped backslash escapes nothing");
    }
}
