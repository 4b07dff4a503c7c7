//! The decoder of one connection.
//!
//! It goes frame by frame. A frame whose payload lies whole in the input is unmasked there and lent out; only one that
//! is cut, or a message in fragments, goes through [`Partial`]. Invariant: there is a `Partial` exactly while something
//! is kept in it.

use super::header::{self, Frame, HEADER_BYTES_MAX};
use super::partial::Partial;
use super::{Close, DecodeError, Opcode, mask};
use std::borrow::Cow;

/// The most that a peer may send at once.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The longest frame; 1 MiB by default. The length counts that the header gives, before the payload has come.
    pub frame_bytes_max: usize,
    /// The longest message, the sum of its fragments; 1 MiB by default.
    pub message_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { frame_bytes_max: 1 << 20, message_bytes_max: 1 << 20 }
    }
}

/// What a peer has sent. What lay whole in the input is borrowed from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'b> {
    /// A message of text.
    Text(Cow<'b, str>),
    /// A message of bytes.
    Binary(Cow<'b, [u8]>),
    /// To be answered with a [`pong`](super::pong) of the same payload.
    Ping(Cow<'b, [u8]>),
    /// An answer to a ping, or a sign of life that nobody asked for.
    Pong(Cow<'b, [u8]>),
    /// The last that the peer says: to be answered with a close frame, unless one was sent. The decoder ignores all
    /// that comes after it.
    Close(Close<'b>),
}

impl Event<'_> {
    /// The same, of its own bytes.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        match self {
            Event::Text(text) => Event::Text(Cow::Owned(text.into_owned())),
            Event::Binary(bytes) => Event::Binary(Cow::Owned(bytes.into_owned())),
            Event::Ping(bytes) => Event::Ping(Cow::Owned(bytes.into_owned())),
            Event::Pong(bytes) => Event::Pong(Cow::Owned(bytes.into_owned())),
            Event::Close(close) => Event::Close(close.into_owned()),
        }
    }
}

/// Whether more is to come.
#[derive(Debug, Default)]
enum DecoderState {
    #[default]
    Open,
    /// The peer has closed.
    Closed,
    Failed(DecodeError),
}

/// Takes messages out of what one client sends. See the [module](super).
#[derive(Debug, Default)]
pub struct Decoder {
    partial: Option<Box<Partial>>,
    state: DecoderState,
}

const _: () = assert!(size_of::<Decoder>() <= 40);

impl Decoder {
    /// A decoder for a connection that has just been upgraded.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The next event from the front of `input`, which is moved past what was read. Nothing when all of it was read: it
    /// need not be kept, and more may follow. The bytes of `input` are overwritten.
    ///
    /// After [`Event::Close`] further input is dropped, and there are no more events.
    ///
    /// # Errors
    ///
    /// What the connection must be failed for; also at every later call. The events before it have been given.
    pub fn next<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits) -> Result<Option<Event<'b>>, DecodeError> {
        let result = match self.state {
            DecoderState::Open => self.step(input, limits),
            DecoderState::Closed => Ok(None),
            DecoderState::Failed(error) => Err(error),
        };
        match &result {
            Ok(Some(Event::Close(_))) => self.state = DecoderState::Closed,
            Err(error) => self.state = DecoderState::Failed(*error),
            Ok(_) => {}
        }
        if !matches!(self.state, DecoderState::Open) {
            *input = &mut [];
            self.partial = None;
        }
        result
    }

    /// How much of the heap this takes; 0 when the input has ended with a message.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.heap_bytes())
    }

    fn step<'b>(&mut self, input: &mut &'b mut [u8], limits: &Limits) -> Result<Option<Event<'b>>, DecodeError> {
        loop {
            let Some((frame, got)) = self.frame(input, limits)? else { return Ok(None) };
            let here = usize::try_from(frame.length - got).map_or(input.len(), |missing| missing.min(input.len()));
            let chunk = split_off(input, here);
            mask::unmask(chunk, frame.key, got);
            let is_whole = got == 0 && here as u64 == frame.length;
            if is_whole && (frame.opcode.is_control() || frame.fin && !self.in_message()) {
                // Its header may have come alone, before.
                if let Some(partial) = &mut self.partial {
                    partial.frame = None;
                }
                self.shed();
                return whole(frame.opcode, chunk).map(Some);
            }
            let event = self.partial.get_or_insert_default().push(frame, got, chunk)?;
            let is_cut = self.partial.as_ref().is_some_and(|partial| partial.frame.is_some());
            self.shed();
            if event.is_some() || is_cut {
                return Ok(event);
            }
        }
    }

    /// The frame that the next bytes belong to, and how much of its payload has come. Nothing when the input ends
    /// before its header does.
    fn frame(&mut self, input: &mut &mut [u8], limits: &Limits) -> Result<Option<(Frame, u64)>, DecodeError> {
        if let Some(partial) = &self.partial
            && partial.frame.is_some()
        {
            return Ok(partial.frame);
        }
        if input.is_empty() {
            return Ok(None);
        }
        let (frame, size) = match &mut self.partial {
            Some(partial) => partial.header(input)?,
            None => match header::parse(&input[..input.len().min(HEADER_BYTES_MAX)])? {
                Some((frame, size)) => (Some(frame), size),
                None => self.partial.insert(Box::default()).header(input)?,
            },
        };
        split_off(input, size);
        let Some(frame) = frame else { return Ok(None) };
        self.admit(&frame, limits)?;
        Ok(Some((frame, 0)))
    }

    /// Refuses a frame that may not come now, or is too long.
    fn admit(&self, frame: &Frame, limits: &Limits) -> Result<(), DecodeError> {
        match frame.opcode {
            Opcode::Continuation if !self.in_message() => return Err(DecodeError::UnexpectedContinuation),
            Opcode::Text | Opcode::Binary if self.in_message() => return Err(DecodeError::ExpectedContinuation),
            _ => {}
        }
        if frame.length > limits.frame_bytes_max as u64 {
            return Err(DecodeError::FrameTooLong { bytes: frame.length, max: limits.frame_bytes_max });
        }
        let before = self.partial.as_ref().map_or(0, |partial| partial.message_bytes()) as u64;
        let bytes = before.saturating_add(frame.length);
        if !frame.opcode.is_control() && bytes > limits.message_bytes_max as u64 {
            return Err(DecodeError::MessageTooLong { bytes, max: limits.message_bytes_max });
        }
        Ok(())
    }

    fn in_message(&self) -> bool {
        self.partial.as_ref().is_some_and(|partial| partial.in_message())
    }

    /// Gives the buffer back when nothing is kept in it.
    fn shed(&mut self) {
        if self.partial.as_ref().is_some_and(|partial| partial.is_empty()) {
            self.partial = None;
        }
    }
}

/// The event of a frame that is one alone, from its unmasked payload.
fn whole(opcode: Opcode, payload: &[u8]) -> Result<Event<'_>, DecodeError> {
    Ok(match opcode {
        Opcode::Text => Event::Text(Cow::Borrowed(simdutf8::basic::from_utf8(payload).map_err(|_| DecodeError::Utf8)?)),
        Opcode::Binary => Event::Binary(Cow::Borrowed(payload)),
        Opcode::Ping => Event::Ping(Cow::Borrowed(payload)),
        Opcode::Pong => Event::Pong(Cow::Borrowed(payload)),
        Opcode::Close => Event::Close(Close::parse(payload)?),
        Opcode::Continuation => return Err(DecodeError::UnexpectedContinuation),
    })
}

/// The first `bytes` of `input`, which is moved past them.
fn split_off<'b>(input: &mut &'b mut [u8], bytes: usize) -> &'b mut [u8] {
    let (head, rest) = std::mem::take(input).split_at_mut(bytes);
    *input = rest;
    head
}

#[cfg(test)]
mod tests {
    use super::super::CloseCode;
    use super::*;

    const FIN: u8 = 0x80;

    /// A client's frame: `first` is its first byte.
    fn client(first: u8, payload: &[u8]) -> Vec<u8> {
        let key = [0xA1, 0x02, 0xF3, 0x44];
        let mut bytes = vec![first];
        match payload.len() {
            short @ 0..=125 => bytes.push(0x80 | short as u8),
            long => {
                bytes.push(0x80 | 126);
                bytes.extend((long as u16).to_be_bytes());
            }
        }
        bytes.extend(key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// The events of `pieces`, read one after the other, and the error that ends them.
    fn read(pieces: &[&[u8]], limits: &Limits) -> (Vec<Event<'static>>, Option<DecodeError>) {
        let mut decoder = Decoder::new();
        let mut events = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            let mut input = &mut piece[..];
            loop {
                match decoder.next(&mut input, limits) {
                    Ok(Some(event)) => events.push(event.into_owned()),
                    Ok(None) => break,
                    Err(error) => return (events, Some(error)),
                }
            }
            assert!(input.is_empty(), "what was read need not be kept");
        }
        (events, None)
    }

    fn read_all(frames: &[Vec<u8>]) -> (Vec<Event<'static>>, Option<DecodeError>) {
        read(&[&frames.concat()], &Limits::default())
    }

    fn refusal(frames: &[Vec<u8>]) -> DecodeError {
        read_all(frames).1.expect("refused")
    }

    #[test]
    fn a_whole_message_is_borrowed_and_takes_no_heap() {
        let mut bytes = client(FIN | 1, "grüß".as_bytes());
        let place = bytes.as_ptr_range();
        let mut input = &mut bytes[..];
        let mut decoder = Decoder::new();
        let Ok(Some(Event::Text(Cow::Borrowed(text)))) = decoder.next(&mut input, &Limits::default()) else {
            panic!("borrowed text");
        };
        assert_eq!(text, "grüß");
        assert!(place.contains(&text.as_ptr()));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn messages_and_control_frames_come_in_order() {
        let frames = [client(FIN | 1, b"a"), client(FIN | 2, b""), client(FIN | 9, b"p"), client(FIN | 10, b"q")];
        let expected = vec![
            Event::Text("a".into()),
            Event::Binary(b"".into()),
            Event::Ping(b"p".into()),
            Event::Pong(b"q".into()),
        ];
        assert_eq!(read_all(&frames), (expected, None));
    }

    #[test]
    fn fragments_make_one_message_with_control_frames_between() {
        let frames = [
            client(1, b"\xe2\x82"),
            client(FIN | 9, b"p"),
            client(0, b""),
            client(FIN | 10, b""),
            client(FIN, b"\xac!"),
            client(FIN | 2, b"b"),
        ];
        let expected = vec![
            Event::Ping(b"p".into()),
            Event::Pong(b"".into()),
            Event::Text("€!".into()),
            Event::Binary(b"b".into()),
        ];
        assert_eq!(read_all(&frames), (expected, None));
    }

    #[test]
    fn the_buffer_lives_while_something_is_incomplete() {
        let mut decoder = Decoder::new();
        let frames = [client(2, &[7; 100]), client(FIN | 9, b"ping"), client(FIN, &[8; 100])].concat();
        let mut seen = 0;
        for (at, byte) in frames.iter().enumerate() {
            let mut piece = [*byte];
            let event = decoder.next(&mut &mut piece[..], &Limits::default()).unwrap();
            seen += usize::from(event.is_some());
            assert_eq!(decoder.heap_bytes() == 0, at + 1 == frames.len());
        }
        assert_eq!(seen, 2);
    }

    #[test]
    fn a_payload_may_come_apart_from_its_header() {
        let frames = [client(FIN | 9, b"p"), client(FIN | 1, b"text")];
        let pieces = [&frames[0][..6], &frames[0][6..], &frames[1][..6], &frames[1][6..]];
        let expected = vec![Event::Ping(b"p".into()), Event::Text("text".into())];
        assert_eq!(read(&pieces, &Limits::default()), (expected, None));
    }

    #[test]
    fn a_long_length_that_never_comes_takes_no_memory() {
        let mut decoder = Decoder::new();
        let mut bytes = client(FIN | 2, &[0; 60_000]);
        bytes.truncate(20);
        assert_eq!(decoder.next(&mut &mut bytes[..], &Limits::default()), Ok(None));
        assert!(decoder.heap_bytes() < 1_000);
    }

    #[test]
    fn fragments_must_follow_each_other() {
        assert_eq!(refusal(&[client(FIN, b"a")]), DecodeError::UnexpectedContinuation);
        assert_eq!(refusal(&[client(1, b"a"), client(FIN | 1, b"b")]), DecodeError::ExpectedContinuation);
        let ended = [client(1, b"a"), client(FIN, b"b"), client(0, b"c")];
        let (events, error) = read_all(&ended);
        assert_eq!(events, [Event::Text("ab".into())]);
        assert_eq!(error, Some(DecodeError::UnexpectedContinuation));
    }

    #[test]
    fn text_is_refused_at_its_first_wrong_byte() {
        assert_eq!(refusal(&[client(FIN | 1, b"a\xff")]), DecodeError::Utf8);
        assert_eq!(refusal(&[client(1, b"\xe2\x82"), client(FIN, b"")]), DecodeError::Utf8);
        // The frame has five bytes more, the message another frame.
        let begun = client(1, b"ok\xed\xa0\x80....");
        assert_eq!(read(&[&begun[..9]], &Limits::default()), (vec![], None));
        assert_eq!(read(&[&begun[..10]], &Limits::default()).1, Some(DecodeError::Utf8));
        assert_eq!(DecodeError::Utf8.close_code(), CloseCode::INVALID_PAYLOAD);
    }

    #[test]
    fn binary_may_be_any_bytes() {
        let expected = vec![Event::Binary(b"\xff\xc0".into())];
        assert_eq!(read_all(&[client(2, b"\xff"), client(FIN, b"\xc0")]), (expected, None));
    }

    #[test]
    fn a_frame_over_the_limit_is_refused_by_its_header() {
        let limits = Limits { frame_bytes_max: 10, message_bytes_max: 100 };
        assert_eq!(read(&[&client(FIN | 2, &[0; 10])], &limits).1, None);
        let error = DecodeError::FrameTooLong { bytes: 200, max: 10 };
        assert_eq!(read(&[&client(FIN | 2, &[0; 200])[..8]], &limits), (vec![], Some(error)));
        assert_eq!(error.close_code(), CloseCode::TOO_BIG);
    }

    #[test]
    fn a_message_over_the_limit_is_refused_by_the_header_that_exceeds_it() {
        let limits = Limits { frame_bytes_max: 100, message_bytes_max: 15 };
        let fits = [client(1, &[b'a'; 10]), client(FIN | 9, &[0; 100]), client(FIN, &[b'b'; 5])].concat();
        assert_eq!(read(&[&fits], &limits).1, None);
        let begun = [client(1, &[b'a'; 10]), client(FIN, &[b'b'; 6])[..6].to_vec()].concat();
        let error = DecodeError::MessageTooLong { bytes: 16, max: 15 };
        assert_eq!(read(&[&begun], &limits), (vec![], Some(error)));
        assert_eq!(error.close_code(), CloseCode::TOO_BIG);
        assert!(read(&[&client(FIN | 2, &[0; 16])], &limits).1.is_some());
    }

    #[test]
    fn nothing_follows_a_close() {
        let frames = [client(FIN | 8, b"\x03\xe9bye"), client(FIN | 1, b"a"), vec![0xFF; 9]];
        let close = Close { code: Some(CloseCode::GOING_AWAY), reason: "bye".into() };
        assert_eq!(read_all(&frames), (vec![Event::Close(close.clone())], None));
        assert_eq!(read(&[&frames[0], &frames[2]], &Limits::default()), (vec![Event::Close(close)], None));
    }

    #[test]
    fn a_close_ends_a_message_that_is_not_complete() {
        let mut decoder = Decoder::new();
        let mut bytes = [client(1, b"a"), client(FIN | 8, b"")].concat();
        let event = decoder.next(&mut &mut bytes[..], &Limits::default());
        assert_eq!(event, Ok(Some(Event::Close(Close { code: None, reason: "".into() }))));
        assert_eq!(decoder.heap_bytes(), 0);
    }

    #[test]
    fn a_wrong_close_is_refused() {
        assert_eq!(refusal(&[client(FIN | 8, b"\x03")]), DecodeError::CloseCode);
        assert_eq!(refusal(&[client(FIN | 8, b"\x03\xee")]), DecodeError::CloseCode);
        assert_eq!(refusal(&[client(FIN | 8, b"\x03\xe8\xff")]), DecodeError::Utf8);
    }

    #[test]
    fn after_an_error_no_input_is_taken() {
        let mut decoder = Decoder::new();
        let mut bytes = [client(0xF1, b"a"), client(FIN | 1, b"b")].concat();
        let mut input = &mut bytes[..];
        assert_eq!(decoder.next(&mut input, &Limits::default()), Err(DecodeError::ReservedBits));
        assert!(input.is_empty());
        let mut more = client(FIN | 1, b"b");
        for _ in 0..2 {
            assert_eq!(decoder.next(&mut &mut more[..], &Limits::default()), Err(DecodeError::ReservedBits));
        }
        assert_eq!(DecodeError::ReservedBits.close_code(), CloseCode::PROTOCOL_ERROR);
    }
}
