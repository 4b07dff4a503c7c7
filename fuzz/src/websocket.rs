//! Target `websocket`: a client's bytes, right and wrong and cut anywhere, against whole tungstenite; and the events
//! that come out, encoded again, against its client.

#[path = "../../tests/common/websocket.rs"]
mod oracle;

use arbitrary::{Arbitrary, Unstructured};
use fanfare::net::websocket::{self, Event};
use oracle::{ClientFrame, Form, compare, ours, theirs};
use tungstenite::protocol::Role;

#[derive(Arbitrary, Debug)]
enum Piece<'a> {
    Right { opcode: u8, key: [u8; 4], payload: &'a [u8] },
    Text { opcode: u8, key: [u8; 4], text: &'a str, cut: u8 },
    Any { first: u8, key: Option<[u8; 4]>, form: u8, payload: &'a [u8] },
    Repeated { first: u8, byte: u8, times: u16 },
    Raw(&'a [u8]),
}

impl Piece<'_> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let right = |opcode: u8| [0x81, 0x82, 0x88, 0x89, 0x8A, 0x01, 0x02, 0x00, 0x80][usize::from(opcode) % 9];
        let frame = match *self {
            Piece::Right { opcode, key, payload } => {
                let payload = payload.to_vec();
                ClientFrame { first: right(opcode), key: Some(key), form: Form::Shortest, payload }
            }
            Piece::Text { opcode, key, text, cut } => {
                let payload = text.as_bytes()[..text.len().saturating_sub(usize::from(cut % 4))].to_vec();
                ClientFrame { first: right(opcode), key: Some(key), form: Form::Shortest, payload }
            }
            Piece::Any { first, key, form, payload } => {
                let form = [Form::Shortest, Form::Two, Form::Eight][usize::from(form) % 3];
                ClientFrame { first, key, form, payload: payload.to_vec() }
            }
            Piece::Repeated { first, byte, times } => {
                let payload = vec![byte; usize::from(times) % (oracle::BYTES_MAX + 10)];
                ClientFrame { first, key: Some([byte; 4]), form: Form::Shortest, payload }
            }
            Piece::Raw(raw) => return bytes.extend_from_slice(raw),
        };
        frame.write(bytes);
    }
}

/// See the module's text.
pub fn websocket(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(sizes) = <[u8; 4]>::arbitrary(&mut input) else { return };
    let sizes = sizes.map(usize::from);
    let mut stream = Vec::new();
    while !input.is_empty() && stream.len() < 20_000 {
        let Ok(piece) = Piece::arbitrary(&mut input) else { break };
        piece.write(&mut stream);
    }
    let outcome = ours(&stream, &[]);
    assert_eq!(ours(&stream, &sizes), outcome, "however the bytes are cut");
    compare(&stream, &sizes);

    let expected: Vec<Event<'static>> = outcome.events.into_iter().filter(|event| is_plain(event)).collect();
    let encoded: Vec<u8> = expected.iter().flat_map(frame).collect();
    let read = theirs(&encoded, Role::Client);
    assert_eq!(read.events, expected);
    assert!(read.error.is_none());
}

/// Whether tungstenite takes the event as it is: a close without a code, or with 1014, it does not.
fn is_plain(event: &Event<'_>) -> bool {
    match event {
        Event::Close(close) => close.code.is_some_and(|code| code.code() != 1014),
        _ => true,
    }
}

fn frame(event: &Event<'_>) -> Vec<u8> {
    let frame = match event {
        Event::Text(text) => websocket::text(text),
        Event::Binary(bytes) => websocket::binary(bytes),
        Event::Ping(bytes) => websocket::ping(bytes).expect("it came in a control frame"),
        Event::Pong(bytes) => websocket::pong(bytes).expect("it came in a control frame"),
        Event::Close(close) => websocket::close(close.code.expect("a plain close has one"), &close.reason),
    };
    frame.to_vec()
}
