//! The few bytes of HTTP, WebSocket and the channel protocol (version 2, text) that client and floor exchange.
//!
//! A payload is 64 bytes of JSON with a sequence number at a fixed place, so that whoever reads a frame checks it by
//! three comparisons.

use std::io::Write;

/// The handshake's key is always that of the example in RFC 6455, section 1.3, and so is the answer.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
pub(crate) const JOIN: &[u8] = br#"["1","1","bench:load","phx_join",{}]"#;
pub(crate) const JOINED: &[u8] = br#"["1","1","bench:load","phx_reply",{"status":"ok","response":{}}]"#;
/// How the text of a push begins; its payload and a `]` follow.
pub(crate) const PUSH: &[u8] = br#"["1","2","bench:load","new_msg","#;
/// How the text of a broadcast begins; its payload and a `]` follow.
pub(crate) const BROADCAST: &[u8] = br#"[null,null,"bench:load","new_msg","#;

pub(crate) const PAYLOAD_BYTES: usize = 64;
const DIGITS: usize = 16;
const PAYLOAD_HEAD: &[u8] = br#"{"n":""#;
const PAYLOAD_TAIL: &[u8; PAYLOAD_BYTES - PAYLOAD_HEAD.len() - DIGITS] =
    br#"","pad":"-------------------------------"}"#;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];

/// A frame that has come.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Frame<'a> {
    Text(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    Close(&'a [u8]),
}

/// The request that opens a WebSocket at `host`.
pub(crate) fn request(host: impl std::fmt::Display) -> String {
    format!(
        "GET /socket/websocket?vsn=2.0.0 HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
}

/// The answer to [`request`].
pub(crate) fn response() -> String {
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: {ACCEPT}\r\n\r\n"
    )
}

/// Appends the payload number `sequence`.
pub(crate) fn payload(to: &mut Vec<u8>, sequence: u64) {
    to.extend_from_slice(PAYLOAD_HEAD);
    write!(to, "{sequence:0DIGITS$}").expect("a vector takes all");
    to.extend_from_slice(PAYLOAD_TAIL);
}

/// The number of the broadcast that `text` is, if it is one.
pub(crate) fn sequence(text: &[u8]) -> Option<u64> {
    let payload = text.strip_prefix(BROADCAST)?.strip_prefix(PAYLOAD_HEAD)?;
    let (digits, tail) = payload.split_at_checked(DIGITS)?;
    if tail.strip_suffix(b"]")? != PAYLOAD_TAIL || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number, digit| number * 10 + u64::from(digit - b'0')))
}

/// Appends the header of a frame of `length` bytes.
fn header(to: &mut Vec<u8>, opcode: u8, mask: u8, length: usize) {
    to.push(0x80 | opcode);
    match u16::try_from(length).expect("frames here are short") {
        length @ ..126 => to.push(mask | length as u8),
        length => {
            to.push(mask | 126);
            to.extend_from_slice(&length.to_be_bytes());
        }
    }
}

/// Appends a text frame as a server sends it, of the pieces of its text.
pub(crate) fn server_text(to: &mut Vec<u8>, pieces: &[&[u8]]) {
    header(to, TEXT, 0, pieces.iter().map(|piece| piece.len()).sum());
    pieces.iter().for_each(|piece| to.extend_from_slice(piece));
}

/// Appends a frame as a client sends it.
fn client(to: &mut Vec<u8>, opcode: u8, body: &[u8]) {
    header(to, opcode, 0x80, body.len());
    to.extend_from_slice(&MASK);
    to.extend(body.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends a text frame as a client sends it.
pub(crate) fn client_text(to: &mut Vec<u8>, text: &[u8]) {
    client(to, TEXT, text);
}

/// Appends the answer of a client to a ping.
pub(crate) fn client_pong(to: &mut Vec<u8>, body: &[u8]) {
    client(to, PONG, body);
}

/// The first frame of `bytes`, which came from a server, and its length with its header; `None` when it is not whole.
///
/// # Errors
///
/// What is wrong with it: fragments and masks have no place here.
pub(crate) fn next(bytes: &[u8]) -> Result<Option<(Frame<'_>, usize)>, &'static str> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    let (head, length) = match (second, rest) {
        (0..126, _) => (2, usize::from(*second)),
        (126, [high, low, ..]) => (4, usize::from(u16::from_be_bytes([*high, *low]))),
        (127, [0, 0, 0, 0, 0, a, b, c, ..]) => (10, u32::from_be_bytes([0, *a, *b, *c]) as usize),
        (126, _) => return Ok(None),
        (127, rest) if rest.len() < 8 => return Ok(None),
        (127, _) => return Err("a frame of 16 MiB or more"),
        _ => return Err("a masked frame"),
    };
    let Some(body) = bytes.get(head..head + length) else { return Ok(None) };
    let frame = match first ^ 0x80 {
        TEXT => Frame::Text(body),
        PING => Frame::Ping(body),
        PONG => Frame::Pong,
        CLOSE => Frame::Close(body),
        _ => return Err("a frame that is neither a whole text nor a control frame"),
    };
    Ok(Some((frame, head + length)))
}

/// The text of the first frame of `bytes`, which came from a client, unmasked in place; and what follows it. `None`
/// when it is not a whole text frame.
pub(crate) fn unmask(bytes: &mut [u8]) -> Option<(&[u8], &mut [u8])> {
    let (head, length) = match *bytes {
        [0x81, length @ 0x80..0xfe, ..] => (2, usize::from(length & 0x7f)),
        [0x81, 0xfe, high, low, ..] => (4, usize::from(u16::from_be_bytes([high, low]))),
        _ => return None,
    };
    let (mask, rest) = bytes.get_mut(head..)?.split_first_chunk_mut::<4>()?;
    let (body, rest) = rest.split_at_mut_checked(length)?;
    body.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
    Some((body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broadcast_has_its_number_and_64_bytes() {
        let mut text = BROADCAST.to_vec();
        payload(&mut text, 1_234);
        assert_eq!(text.len(), BROADCAST.len() + PAYLOAD_BYTES);
        text.push(b']');
        assert_eq!(sequence(&text), Some(1_234));
        for at in 0..text.len() {
            let mut other = text.clone();
            other[at] ^= 0x40;
            assert_eq!(sequence(&other), None, "byte {at}");
            assert_eq!(sequence(&text[..at]), None);
        }
    }

    #[test]
    fn a_frame_of_a_client_is_unmasked() {
        for length in [0, 1, 125, 126, 300] {
            let mut bytes = Vec::new();
            let text = vec![b'x'; length];
            client_text(&mut bytes, &text);
            client_text(&mut bytes, b"after");
            let (first, rest) = unmask(&mut bytes).unwrap();
            assert_eq!(first, text);
            let (second, rest) = unmask(rest).unwrap();
            assert_eq!((second, &*rest), (&b"after"[..], &[][..]));
        }
    }

    #[test]
    fn a_frame_of_a_server_is_read_when_it_is_whole() {
        for length in [0, 1, 125, 126, 300] {
            let mut bytes = Vec::new();
            let text = vec![b'x'; length];
            server_text(&mut bytes, &[&text]);
            let whole = bytes.len();
            bytes.push(0x81);
            assert_eq!(next(&bytes), Ok(Some((Frame::Text(&text), whole))));
            for part in 0..whole {
                assert_eq!(next(&bytes[..part]), Ok(None));
            }
        }
        assert_eq!(next(&[0x89, 1, 7]), Ok(Some((Frame::Ping(&[7]), 3))));
        assert_eq!(next(&[0x88, 0]), Ok(Some((Frame::Close(&[]), 2))));
        for wrong in [[0x01, 0], [0x81, 0x80], [0xc1, 0], [0x80, 0]] {
            assert!(next(&wrong).is_err(), "{wrong:?}");
        }
        let mut long = vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0];
        assert_eq!(next(&long), Ok(None));
        long.resize(10 + 65_536, b'x');
        assert_eq!(next(&long), Ok(Some((Frame::Text(&[b'x'; 65_536]), 10 + 65_536))));
        long[5] = 1;
        assert!(next(&long).is_err());
    }
}
