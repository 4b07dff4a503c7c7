//! The WebSocket codec: the same events however the bytes are cut, and the same as whole tungstenite has, both ways.
#![cfg(feature = "server")]

#[path = "common/websocket.rs"]
mod websocket;

use fanfare::net::websocket::{self as codec, Close, CloseCode, Event, Opcode};
use proptest::prelude::*;
use tungstenite::Message;
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::{Role, frame::coding};
use websocket::{BYTES_MAX, ClientFrame, Form, compare, ours, theirs, tungstenite};

/// A payload: mostly text, at times cut in a character, at times any bytes, at times the payload of a close.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        2 => ("\\PC{1,20}", any::<prop::sample::Index>()).prop_map(|(text, end)| {
            let bytes = text.into_bytes();
            bytes[..end.index(bytes.len())].to_vec()
        }),
        2 => prop::collection::vec(any::<u8>(), 0..40),
        2 => (prop_oneof![990_u16..1020, 2990_u16..5010], "\\PC{0,20}")
            .prop_map(|(code, reason)| [&code.to_be_bytes()[..], reason.as_bytes()].concat()),
        1 => (100_usize..3_100).prop_map(|length| vec![b'x'; length]),
    ]
}

/// The first byte of a frame: mostly a right one.
fn first() -> impl Strategy<Value = u8> {
    let right = [0x01, 0x02, 0x00, 0x00, 0x80, 0x80, 0x81, 0x82, 0x88, 0x89, 0x8A];
    prop_oneof![12 => prop::sample::select(right.to_vec()), 1 => any::<u8>()]
}

fn client_frame() -> impl Strategy<Value = ClientFrame> {
    let form = prop_oneof![30 => Just(Form::Shortest), 1 => Just(Form::Two), 1 => Just(Form::Eight)];
    let key = prop_oneof![30 => any::<[u8; 4]>().prop_map(Some), 1 => Just(None)];
    (first(), key, form, payload()).prop_map(|(first, key, form, payload)| ClientFrame { first, key, form, payload })
}

/// The bytes of some frames, at times with an end missing.
fn stream() -> impl Strategy<Value = Vec<u8>> {
    let frames = prop::collection::vec(client_frame(), 1..8);
    (frames, any::<bool>(), any::<prop::sample::Index>()).prop_map(|(frames, is_cut, end)| {
        let mut bytes = Vec::new();
        frames.iter().for_each(|frame| frame.write(&mut bytes));
        if is_cut {
            bytes.truncate(end.index(bytes.len()));
        }
        bytes
    })
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop::collection::vec(prop_oneof![3 => 1_usize..8, 1 => 1_usize..200], 1..12)
}

/// What either side may say.
fn event() -> impl Strategy<Value = Event<'static>> {
    let short = || prop::collection::vec(any::<u8>(), 0..=125);
    prop_oneof![
        "\\PC{0,300}".prop_map(|text| Event::Text(text.into())),
        prop::collection::vec(any::<u8>(), 0..2_000).prop_map(|bytes| Event::Binary(bytes.into())),
        short().prop_map(|bytes| Event::Ping(bytes.into())),
        short().prop_map(|bytes| Event::Pong(bytes.into())),
    ]
}

fn close() -> impl Strategy<Value = Close<'static>> {
    let code = prop_oneof![1000_u16..=1003, 1007_u16..=1013, 3000_u16..=4999];
    (code, "[a-zé]{0,60}").prop_map(|(code, reason)| Close { code: CloseCode::new(code), reason: reason.into() })
}

/// The events, then the close if there is one.
fn dialogue() -> impl Strategy<Value = Vec<Event<'static>>> {
    (prop::collection::vec(event(), 0..8), prop::option::of(close())).prop_map(|(mut events, close)| {
        events.extend(close.map(Event::Close));
        events
    })
}

fn message_of(event: &Event<'_>) -> Message {
    match event.clone() {
        Event::Text(text) => Message::text(text.into_owned()),
        Event::Binary(bytes) => Message::binary(bytes.into_owned()),
        Event::Ping(bytes) => Message::Ping(bytes.into_owned().into()),
        Event::Pong(bytes) => Message::Pong(bytes.into_owned().into()),
        Event::Close(close) => {
            let code = coding::CloseCode::from(close.code.expect("each has a code").code());
            Message::Close(Some(CloseFrame { code, reason: close.reason.into_owned().into() }))
        }
    }
}

fn frame_of(event: &Event<'_>) -> bytes::Bytes {
    match event {
        Event::Text(text) => codec::text(text),
        Event::Binary(bytes) => codec::binary(bytes),
        Event::Ping(bytes) => codec::ping(bytes).expect("short enough"),
        Event::Pong(bytes) => codec::pong(bytes).expect("short enough"),
        Event::Close(close) => codec::close(close.code.expect("each has a code"), &close.reason),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_events_are_the_same_however_the_bytes_are_cut(bytes in stream(), sizes in sizes()) {
        prop_assert_eq!(ours(&bytes, &sizes), ours(&bytes, &[]));
    }

    #[test]
    fn the_events_are_those_of_tungstenite(bytes in stream(), sizes in sizes()) {
        compare(&bytes, &[]);
        compare(&bytes, &sizes);
    }

    #[test]
    fn what_a_client_of_tungstenite_says_is_understood(events in dialogue(), sizes in sizes()) {
        let mut client = tungstenite(&[], Role::Client);
        for event in &events {
            client.write(message_of(event)).unwrap();
        }
        client.flush().unwrap();
        let outcome = ours(&client.get_ref().output, &sizes);
        prop_assert_eq!(outcome.error, None);
        prop_assert_eq!(outcome.events, events);
    }

    #[test]
    fn what_we_say_is_understood_by_a_client_of_tungstenite(events in dialogue()) {
        let bytes: Vec<u8> = events.iter().flat_map(frame_of).collect();
        let outcome = theirs(&bytes, Role::Client);
        prop_assert!(outcome.error.is_none());
        prop_assert_eq!(outcome.events, events);
    }
}

#[test]
fn every_beginning_of_a_frame_is_judged_as_by_tungstenite() {
    // The rest has a key and bytes for any short length; as a longer length it is over the limit or incomplete.
    let rest = [b'a'; 140];
    for first in 0..=u8::MAX {
        for second in 0..=u8::MAX {
            let bytes = [&[first, second][..], &rest].concat();
            compare(&bytes, &[]);
            // And as the second frame of a message.
            let begun = ClientFrame { first: 0x01, key: Some([7; 4]), form: Form::Shortest, payload: b"x".to_vec() };
            let mut both = Vec::new();
            begun.write(&mut both);
            both.extend(bytes);
            compare(&both, &[5, 1]);
        }
    }
}

#[test]
fn every_close_code_is_judged_as_by_tungstenite() {
    for code in 0..=u16::MAX {
        let payload = [&code.to_be_bytes()[..], b"why"].concat();
        let mut bytes = Vec::new();
        ClientFrame { first: 0x88, key: Some([9; 4]), form: Form::Shortest, payload }.write(&mut bytes);
        compare(&bytes, &[]);
    }
}

#[test]
fn a_message_of_every_size_around_a_limit_goes_both_ways() {
    for length in (0..=130).chain(BYTES_MAX - 2..=BYTES_MAX + 2).chain(0xFFFF - 2..=0xFFFF + 2) {
        let payload = vec![b'x'; length];
        let header = codec::header(Opcode::Binary, length);
        assert_eq!(codec::binary(&payload)[..], [&header[..], &payload].concat());
        if length <= BYTES_MAX {
            let outcome = theirs(&codec::binary(&payload), Role::Client);
            assert_eq!(outcome.events, [Event::Binary(payload.clone().into())]);
        }
        let (one, other) = payload.split_at(length / 2);
        for parts in [&[(0x82, &payload[..])][..], &[(0x02, one), (0x80, other)]] {
            let mut bytes = Vec::new();
            for &(first, part) in parts {
                let (form, payload) = (Form::Shortest, part.to_vec());
                ClientFrame { first, key: Some([1, 2, 3, 4]), form, payload }.write(&mut bytes);
            }
            compare(&bytes, &[1_000]);
            assert_eq!(ours(&bytes, &[]).error.is_none(), length <= BYTES_MAX);
        }
    }
}
