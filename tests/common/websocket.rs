//! The WebSocket codec beside whole tungstenite: what both make of the same bytes. Used by `tests/wire_codec.rs` and by
//! the fuzz target `websocket`.
//!
//! Where they may differ: ours fails as soon as a byte is wrong, tungstenite when the frame is whole, so that it is
//! given the rest of the frame. Ours refuses a length that is not in its shortest form. And a close with a code that
//! may not be sent is an error of ours, while tungstenite turns it into a close of its own; it takes 1014 for such a
//! code.

use fanfare::net::websocket::{Close, CloseCode, DecodeError, Decoder, Event, Limits};
use std::io::{Cursor, ErrorKind, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

/// The longest frame and message of the comparison.
pub(crate) const BYTES_MAX: usize = 3_000;

/// How the length of a frame is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Shortest,
    Two,
    Eight,
}

/// A client's frame, right or wrong.
#[derive(Debug, Clone)]
pub(crate) struct ClientFrame {
    /// FIN, the reserved bits and the opcode.
    pub first: u8,
    pub key: Option<[u8; 4]>,
    pub form: Form,
    pub payload: Vec<u8>,
}

impl ClientFrame {
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        let length = self.payload.len();
        let masked = if self.key.is_some() { 0x80 } else { 0 };
        bytes.push(self.first);
        let form = match self.form {
            Form::Shortest if length > 0xFFFF => Form::Eight,
            Form::Shortest if length > 125 => Form::Two,
            form => form,
        };
        match form {
            Form::Shortest => bytes.push(masked | length as u8),
            Form::Two => {
                bytes.push(masked | 126);
                bytes.extend((length as u16).to_be_bytes());
            }
            Form::Eight => {
                bytes.push(masked | 127);
                bytes.extend((length as u64).to_be_bytes());
            }
        }
        let key = self.key.unwrap_or_default();
        bytes.extend(self.key.into_iter().flatten());
        bytes.extend(self.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
}

pub(crate) fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.frame_bytes_max = BYTES_MAX;
    limits.message_bytes_max = BYTES_MAX;
    limits
}

/// What came out, and the error that ended it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Outcome<E> {
    pub events: Vec<Event<'static>>,
    pub error: Option<E>,
}

/// What our decoder makes of `bytes`, given in pieces of these sizes, over and over; in one piece if there are none.
pub(crate) fn ours(bytes: &[u8], sizes: &[usize]) -> Outcome<DecodeError> {
    let mut decoder = Decoder::new();
    let mut outcome = Outcome { events: Vec::new(), error: None };
    let mut rest = bytes.to_vec();
    let mut rest = &mut rest[..];
    let mut sizes = sizes.iter().cycle();
    while !rest.is_empty() && outcome.error.is_none() {
        let size = sizes.next().map_or(rest.len(), |&size| size.clamp(1, rest.len()));
        let (mut piece, others) = rest.split_at_mut(size);
        rest = others;
        loop {
            match decoder.next(&mut piece, &limits()) {
                Ok(Some(event)) => outcome.events.push(event.into_owned()),
                Ok(None) => break,
                Err(error) => {
                    outcome.error = Some(error);
                    break;
                }
            }
        }
        assert!(piece.is_empty(), "all that is given is taken");
        assert!(decoder.heap_bytes() < 4 * BYTES_MAX, "it keeps no more than a message");
    }
    outcome
}

/// A socket that has `input` to read, then nothing for now, and takes all that is written.
#[derive(Debug)]
pub(crate) struct Pipe {
    input: Cursor<Vec<u8>>,
    pub output: Vec<u8>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        match self.input.read(buffer)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            bytes => Ok(bytes),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(crate) fn tungstenite(input: &[u8], role: Role) -> WebSocket<Pipe> {
    let config = WebSocketConfig::default().max_message_size(Some(BYTES_MAX)).max_frame_size(Some(BYTES_MAX));
    WebSocket::from_raw_socket(Pipe { input: Cursor::new(input.to_vec()), output: Vec::new() }, role, Some(config))
}

/// What tungstenite makes of `bytes` up to a close, in this role.
pub(crate) fn theirs(bytes: &[u8], role: Role) -> Outcome<Error> {
    let mut socket = tungstenite(bytes, role);
    let mut events = Vec::new();
    loop {
        let event = match socket.read() {
            Ok(Message::Text(text)) => Event::Text(text.as_str().to_owned().into()),
            Ok(Message::Binary(bytes)) => Event::Binary(bytes.to_vec().into()),
            Ok(Message::Ping(bytes)) => Event::Ping(bytes.to_vec().into()),
            Ok(Message::Pong(bytes)) => Event::Pong(bytes.to_vec().into()),
            Ok(Message::Close(None)) => Event::Close(Close { code: None, reason: "".into() }),
            Ok(Message::Close(Some(close))) => {
                let reason = close.reason.as_str().to_owned().into();
                Event::Close(Close { code: CloseCode::new(close.code.into()), reason })
            }
            Ok(other) => panic!("{other:?} is never read"),
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => return Outcome { events, error: None },
            Err(error) => return Outcome { events, error: Some(error) },
        };
        let is_last = matches!(event, Event::Close(_));
        events.push(event);
        if is_last {
            return Outcome { events, error: None };
        }
    }
}

/// Panics unless both make the same of `bytes`.
pub(crate) fn compare(bytes: &[u8], sizes: &[usize]) {
    let ours = ours(bytes, sizes);
    // Enough to end the frame that has begun; as a header it says nothing that could be right.
    let whole = if ours.error.is_some() { [bytes, &[1; BYTES_MAX + 20]].concat() } else { bytes.to_vec() };
    let mut theirs = theirs(&whole, Role::Server);
    let violation = Event::Close(Close { code: Some(CloseCode::PROTOCOL_ERROR), reason: "Protocol violation".into() });
    let common = ours.events.len();
    match ours.error {
        None => {
            if let (Some(Event::Close(own)), Some(last)) = (ours.events.last(), theirs.events.last_mut())
                && own.code == CloseCode::new(1014)
                && *last == violation
            {
                *last = Event::Close(own.clone());
            }
            assert_eq!(ours.events, theirs.events);
            assert!(theirs.error.is_none(), "{:?}", theirs.error);
        }
        // It may be a length of theirs.
        Some(DecodeError::Length | DecodeError::ControlTooLong) => {
            assert_eq!(Some(&ours.events[..]), theirs.events.get(..common));
        }
        Some(DecodeError::CloseCode) if theirs.error.is_none() => {
            assert_eq!(ours.events, theirs.events[..theirs.events.len() - 1]);
            assert_eq!(theirs.events.last(), Some(&violation));
        }
        Some(error) => {
            assert_eq!(ours.events, theirs.events, "{error}");
            assert!(theirs.error.is_some(), "only ours: {error}");
        }
    }
}
