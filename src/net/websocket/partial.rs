//! What has come of a frame or message that is not whole yet. It is on the heap and lives no longer than that.
//!
//! Invariant: the text of a message is valid UTF-8 at every moment, but for at most three bytes that begin a character.
//! So the end of a message needs no second look at it, and a wrong byte is found when it comes.

use super::header::{Frame, HEADER_BYTES_MAX};
use super::{Close, DecodeError, Event, Opcode, header};
use std::borrow::Cow;

#[derive(Debug, Default)]
pub(crate) struct Partial {
    /// The beginning of a header, and how much of it there is. 0 while the bytes are those of a payload.
    header: [u8; HEADER_BYTES_MAX],
    header_bytes: usize,
    /// The frame whose payload is coming, and how much of that has come.
    pub(crate) frame: Option<(Frame, u64)>,
    /// The payload of a control frame that is coming.
    control: Vec<u8>,
    /// The message of which a frame has begun, until its last has ended.
    message: Option<Message>,
}

#[derive(Debug)]
enum Message {
    Text(Text),
    Binary(Vec<u8>),
}

impl Partial {
    /// Adds what is missing of a header from the front of `input`; gives the frame, if the header is whole, and how
    /// much of `input` belongs to it.
    pub(crate) fn header(&mut self, input: &[u8]) -> Result<(Option<Frame>, usize), DecodeError> {
        let had = self.header_bytes;
        let added = input.len().min(HEADER_BYTES_MAX - had);
        self.header[had..had + added].copy_from_slice(&input[..added]);
        match header::parse(&self.header[..had + added])? {
            Some((frame, size)) => {
                self.header_bytes = 0;
                // What was there before was not whole, so the header ends after it.
                Ok((Some(frame), size.saturating_sub(had)))
            }
            None => {
                self.header_bytes = had + added;
                Ok((None, added))
            }
        }
    }

    /// Whether the first frame of a message has begun and its last has not ended.
    pub(crate) fn in_message(&self) -> bool {
        self.message.is_some()
    }

    /// Whether nothing is kept here.
    pub(crate) fn is_empty(&self) -> bool {
        self.message.is_none() && self.frame.is_none() && self.header_bytes == 0
    }

    /// How long the message is so far.
    pub(crate) fn message_bytes(&self) -> usize {
        match &self.message {
            None => 0,
            Some(Message::Text(text)) => text.whole.len() + text.begun_bytes,
            Some(Message::Binary(bytes)) => bytes.len(),
        }
    }

    /// What this takes of memory.
    pub(crate) fn heap_bytes(&self) -> usize {
        let message = match &self.message {
            None => 0,
            Some(Message::Text(text)) => text.whole.capacity(),
            Some(Message::Binary(bytes)) => bytes.capacity(),
        };
        size_of::<Self>() + message + self.control.capacity()
    }

    /// Adds `chunk`, unmasked, to the payload of `frame`, of which `got` bytes have come before. Gives the event that
    /// the frame ends, if it does.
    pub(crate) fn push(&mut self, frame: Frame, got: u64, chunk: &[u8]) -> Result<Option<Event<'static>>, DecodeError> {
        match frame.opcode {
            Opcode::Text => self.message.get_or_insert_with(|| Message::Text(Text::default())).push(chunk)?,
            Opcode::Binary => self.message.get_or_insert_with(|| Message::Binary(Vec::new())).push(chunk)?,
            Opcode::Continuation => {
                self.message.as_mut().ok_or(DecodeError::UnexpectedContinuation)?.push(chunk)?;
            }
            Opcode::Close | Opcode::Ping | Opcode::Pong => self.control.extend_from_slice(chunk),
        }
        let got = got + chunk.len() as u64;
        if got < frame.length {
            self.frame = Some((frame, got));
            return Ok(None);
        }
        self.frame = None;
        if frame.opcode.is_control() {
            let payload = std::mem::take(&mut self.control);
            return match frame.opcode {
                Opcode::Ping => Ok(Some(Event::Ping(payload.into()))),
                Opcode::Pong => Ok(Some(Event::Pong(payload.into()))),
                _ => Ok(Some(Event::Close(Close::parse(&payload)?.into_owned()))),
            };
        }
        if !frame.fin {
            return Ok(None);
        }
        self.message.take().map(Message::finish).transpose()
    }
}

impl Message {
    fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        match self {
            Message::Text(text) => text.push(chunk),
            Message::Binary(bytes) => {
                bytes.extend_from_slice(chunk);
                Ok(())
            }
        }
    }

    fn finish(self) -> Result<Event<'static>, DecodeError> {
        match self {
            Message::Binary(bytes) => Ok(Event::Binary(Cow::Owned(bytes))),
            Message::Text(text) if text.begun_bytes == 0 => Ok(Event::Text(Cow::Owned(text.whole))),
            Message::Text(_) => Err(DecodeError::Utf8),
        }
    }
}

/// Text that comes in pieces, which may end inside of a character.
#[derive(Debug, Default)]
struct Text {
    whole: String,
    /// The bytes of a character that has begun: none to three.
    begun: [u8; 4],
    begun_bytes: usize,
}

impl Text {
    fn push(&mut self, chunk: &[u8]) -> Result<(), DecodeError> {
        let mut chunk = chunk;
        while self.begun_bytes > 0 {
            let Some((&byte, rest)) = chunk.split_first() else { return Ok(()) };
            chunk = rest;
            self.begun[self.begun_bytes] = byte;
            self.begun_bytes += 1;
            match std::str::from_utf8(&self.begun[..self.begun_bytes]) {
                Ok(character) => {
                    self.whole.push_str(character);
                    self.begun_bytes = 0;
                }
                Err(error) if error.error_len().is_none() => {}
                Err(_) => return Err(DecodeError::Utf8),
            }
        }
        match simdutf8::compat::from_utf8(chunk) {
            Ok(text) => self.whole.push_str(text),
            Err(error) if error.error_len().is_none() => {
                let (valid, begun) = chunk.split_at(error.valid_up_to());
                let valid = std::str::from_utf8(valid).map_err(|_| DecodeError::Utf8)?;
                self.whole.push_str(valid);
                self.begun[..begun.len()].copy_from_slice(begun);
                self.begun_bytes = begun.len();
            }
            Err(_) => return Err(DecodeError::Utf8),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Feeds `bytes` in pieces of `size`; gives the text, or how many bytes were taken before the refusal.
    fn in_pieces(bytes: &[u8], size: usize) -> Result<Text, usize> {
        let mut text = Text::default();
        for (at, piece) in bytes.chunks(size).enumerate() {
            text.push(piece).map_err(|_| at * size)?;
        }
        Ok(text)
    }

    #[test]
    fn text_is_whole_however_it_is_cut() {
        let whole = "aé€𝄞 κόσμε\u{10ffff}\u{7ff}\u{800}";
        for size in 1..=whole.len() {
            let text = in_pieces(whole.as_bytes(), size).unwrap();
            assert_eq!((text.whole.as_str(), text.begun_bytes), (whole, 0));
        }
    }

    #[test]
    fn a_wrong_byte_is_refused_when_it_comes() {
        for (bytes, at) in [
            (&b"a\x80"[..], 1),
            (b"\xc0\x80", 0),
            (b"\xc3a", 1),
            (b"\xe0\x80\x80", 1),
            (b"\xed\xa0\x80", 1),
            (b"\xf0\x80\x80\x80", 1),
            (b"\xf4\x90\x80\x80", 1),
            (b"\xf5", 0),
            (b"\xe2\x82a", 2),
        ] {
            assert_eq!(in_pieces(bytes, 1).map(|text| text.whole), Err(at), "{bytes:x?}");
            assert!(in_pieces(bytes, 16).is_err());
        }
    }

    #[test]
    fn the_end_inside_of_a_character_is_refused() {
        let text = in_pieces("€".as_bytes(), 1).unwrap();
        assert_eq!(Message::Text(text).finish(), Ok(Event::Text("€".into())));
        for end in 1..3 {
            let text = in_pieces(&"€".as_bytes()[..end], 1).unwrap();
            assert_eq!(Message::Text(text).finish(), Err(DecodeError::Utf8));
        }
    }
}
