//! Gossip as bytes. Numbers are little-endian; counts and lengths have 4 bytes.
//!
//! | message | kind | what |
//! |---|---|---|
//! | heartbeat | 0 | sender, number, clocks, 1 and a part or 0 |
//! | request | 1 | sender, clocks |
//! | transfer | 2 | count, parts |
//! | goodbye | 3 | sender |
//! | name taken | 4 | elder, younger |
//! | piece | 5 | sender, which parcel (8 bytes), number, how many, bytes |
//! | taken | 6 | sender, which parcel (8 bytes), how many pieces |
//!
//! A node is the length of its name, the name, and which life. Clocks are a count, and for each a node and a number. A
//! part is a node, from, to, 1 if it is whole, a count of joins and the joins (dot; lengths of topic, key and meta;
//! these three), a count of leaves and the leaves (dot, what it killed).
//!
//! A later version may add kinds, and fields at the end of a kind: who does not know them passes over them. Nothing
//! else may change; the tests hold the bytes of each kind.

use super::parcel::Piece;
use crate::cluster::WireError;
use crate::cluster::wire::Reader;
use crate::presence::crdt::{Clocks, Message, Node, Part, Tracked};
use crate::presence::rooms::meta::Meta;
use bytes::BufMut;

const HEARTBEAT: u8 = 0;
const REQUEST: u8 = 1;
const TRANSFER: u8 = 2;
const GOODBYE: u8 = 3;
const NAME_TAKEN: u8 = 4;
const PIECE: u8 = 5;
const TAKEN: u8 = 6;

/// What another node tells.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told<'a> {
    /// Something for the replica.
    Message(Message<Tracked>),
    /// A part of such a thing.
    Piece(Node, Piece<'a>),
    /// So many pieces of a parcel have been taken.
    Taken { by: Node, parcel: u64, pieces: u32 },
}

/// The fewest bytes that a join has: what is counted is not believed beyond what is there.
const JOIN_BYTES_MIN: usize = 8 + 3 * 4;
const LEAVE_BYTES: usize = 16;

pub(crate) fn encode(message: &Message<Tracked>) -> Vec<u8> {
    let mut to = Vec::new();
    match message {
        Message::Heartbeat { from, beat, clocks, delta } => {
            to.put_u8(HEARTBEAT);
            put_node(&mut to, from);
            to.put_u64_le(*beat);
            put_clocks(&mut to, clocks);
            to.put_u8(u8::from(delta.is_some()));
            delta.iter().for_each(|part| put_part(&mut to, part));
        }
        Message::TransferRequest { from, clocks } => {
            to.put_u8(REQUEST);
            put_node(&mut to, from);
            put_clocks(&mut to, clocks);
        }
        Message::Transfer { parts } => {
            to.put_u8(TRANSFER);
            put_count(&mut to, parts.len());
            parts.iter().for_each(|part| put_part(&mut to, part));
        }
        Message::Leave { from } => {
            to.put_u8(GOODBYE);
            put_node(&mut to, from);
        }
        Message::Taken { elder, younger } => {
            to.put_u8(NAME_TAKEN);
            put_node(&mut to, elder);
            put_node(&mut to, younger);
        }
    }
    to
}

pub(crate) fn encode_piece(from: &Node, piece: Piece<'_>) -> Vec<u8> {
    let mut to = Vec::with_capacity(64 + from.name.len() + piece.bytes.len());
    to.put_u8(PIECE);
    put_node(&mut to, from);
    to.put_u64_le(piece.parcel);
    to.put_u32_le(piece.index);
    to.put_u32_le(piece.count);
    put_count(&mut to, piece.bytes.len());
    to.put_slice(piece.bytes);
    to
}

pub(crate) fn encode_taken(by: &Node, parcel: u64, pieces: u32) -> Vec<u8> {
    let mut to = Vec::new();
    to.put_u8(TAKEN);
    put_node(&mut to, by);
    to.put_u64_le(parcel);
    to.put_u32_le(pieces);
    to
}

fn put_count(to: &mut Vec<u8>, count: usize) {
    to.put_u32_le(count as u32);
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    put_count(to, text.len());
    to.put_slice(text.as_bytes());
}

fn put_node(to: &mut Vec<u8>, node: &Node) {
    put_text(to, &node.name);
    to.put_u64_le(node.vsn);
}

fn put_clocks(to: &mut Vec<u8>, clocks: &Clocks) {
    put_count(to, clocks.len());
    for (node, clock) in clocks {
        put_node(to, node);
        to.put_u64_le(*clock);
    }
}

fn put_part(to: &mut Vec<u8>, part: &Part<Tracked>) {
    put_node(to, &part.node);
    to.put_u64_le(part.from);
    to.put_u64_le(part.to);
    to.put_u8(u8::from(part.is_whole));
    put_count(to, part.joins.len());
    for (dot, Tracked { topic, meta }) in &part.joins {
        to.put_u64_le(*dot);
        let texts = [topic, meta.key(), meta.json()];
        texts.iter().for_each(|text| put_count(to, text.len()));
        texts.iter().for_each(|text| to.put_slice(text.as_bytes()));
    }
    put_count(to, part.leaves.len());
    for (at, dot) in &part.leaves {
        to.put_u64_le(*at);
        to.put_u64_le(*dot);
    }
}

/// `None`: it is of a kind of a later version.
pub(crate) fn decode(bytes: &[u8]) -> Result<Option<Told<'_>>, WireError> {
    let mut from = Reader(bytes);
    let message = match from.u8()? {
        HEARTBEAT => {
            let (sender, beat, clocks) = (node(&mut from)?, from.u64()?, clocks(&mut from)?);
            let delta = if flag(&mut from)? { Some(part(&mut from)?) } else { None };
            Message::Heartbeat { from: sender, beat, clocks, delta }
        }
        REQUEST => Message::TransferRequest { from: node(&mut from)?, clocks: clocks(&mut from)? },
        TRANSFER => {
            let count = from.u32()?;
            let parts = (0..count).map(|_| part(&mut from)).collect::<Result<_, _>>()?;
            Message::Transfer { parts }
        }
        GOODBYE => Message::Leave { from: node(&mut from)? },
        NAME_TAKEN => Message::Taken { elder: node(&mut from)?, younger: node(&mut from)? },
        PIECE => {
            let sender = node(&mut from)?;
            let (parcel, index, count, length) = (from.u64()?, from.u32()?, from.u32()?, from.u32()?);
            let bytes = from.take(length as usize)?;
            return Ok(Some(Told::Piece(sender, Piece { parcel, index, count, bytes })));
        }
        TAKEN => {
            let (by, parcel, pieces) = (node(&mut from)?, from.u64()?, from.u32()?);
            return Ok(Some(Told::Taken { by, parcel, pieces }));
        }
        _ => return Ok(None),
    };
    Ok(Some(Told::Message(message)))
}

fn flag(from: &mut Reader<'_>) -> Result<bool, WireError> {
    match from.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::Kind),
    }
}

/// A count of things of at least so many bytes each.
fn count(from: &mut Reader<'_>, bytes_min: usize) -> Result<usize, WireError> {
    let count = from.u32()? as usize;
    if count > from.0.len() / bytes_min { Err(WireError::Short) } else { Ok(count) }
}

fn node(from: &mut Reader<'_>) -> Result<Node, WireError> {
    let length = from.u32()? as usize;
    Ok(Node { name: from.text(length)?.into(), vsn: from.u64()? })
}

fn clocks(from: &mut Reader<'_>) -> Result<Clocks, WireError> {
    let count = count(from, 20)?;
    (0..count).map(|_| Ok((node(from)?, from.u64()?))).collect()
}

fn part(from: &mut Reader<'_>) -> Result<Part<Tracked>, WireError> {
    let (node, begin, end, is_whole) = (node(from)?, from.u64()?, from.u64()?, flag(from)?);
    let joins = count(from, JOIN_BYTES_MIN)?;
    let joins = (0..joins).map(|_| join(from)).collect::<Result<_, _>>()?;
    let leaves = count(from, LEAVE_BYTES)?;
    let leaves = (0..leaves).map(|_| Ok((from.u64()?, from.u64()?))).collect::<Result<_, _>>()?;
    let part = Part { node, from: begin, to: end, joins, leaves, is_whole };
    if part.is_sound() { Ok(part) } else { Err(WireError::Kind) }
}

fn join(from: &mut Reader<'_>) -> Result<(u64, Tracked), WireError> {
    let dot = from.u64()?;
    let [topic, key, meta] = [from.u32()?, from.u32()?, from.u32()?].map(|length| length as usize);
    let topic = from.text(topic)?.into();
    let (key, json) = (from.text(key)?, from.text(meta)?);
    let meta = Meta::remote(key, json).ok_or(WireError::Kind)?;
    Ok((dot, Tracked { topic, meta }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::PhxRef;
    use crate::presence::rooms::meta::Fields;

    fn node(name: &str) -> Node {
        Node { name: name.into(), vsn: 1 << 60 }
    }

    fn tracked(key: &str, prev: Option<PhxRef>) -> Tracked {
        let meta = Fields::of(&serde_json::json!({ "a": [1, "]}"] }), 100).unwrap().with(key, PhxRef::unique(), prev);
        Tracked { topic: "room:1".into(), meta }
    }

    fn messages() -> Vec<Message<Tracked>> {
        let joins = vec![(2, tracked("ann", None)), (4, tracked("", Some(PhxRef::unique())))];
        let part = Part { node: node("a"), from: 1, to: 5, joins, leaves: vec![(3, 1)], is_whole: false };
        let whole = Part { from: 0, joins: vec![], leaves: vec![], is_whole: true, ..part.clone() };
        let clocks: Clocks = [(node("a"), 5), (node("b"), 0)].into();
        vec![
            Message::Heartbeat { from: node("a"), beat: 9, clocks: clocks.clone(), delta: Some(part.clone()) },
            Message::Heartbeat { from: node("a"), beat: 1, clocks: Clocks::new(), delta: None },
            Message::TransferRequest { from: node("b\u{00f6}"), clocks },
            Message::Transfer { parts: vec![part, whole] },
            Message::Leave { from: node("a") },
            Message::Taken { elder: node("a"), younger: node("b") },
        ]
    }

    #[test]
    fn what_was_told_comes() {
        for message in messages() {
            let bytes = encode(&message);
            for end in 0..bytes.len() {
                assert!(decode(&bytes[..end]).is_err(), "{end}");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(decode(&longer), decode(&bytes), "a later version has a field more");
            assert_eq!(decode(&bytes), Ok(Some(Told::Message(message))));
        }
        let Some(Message::Heartbeat { delta: Some(part), .. }) = messages().into_iter().next() else { panic!("one") };
        assert!(part.joins.iter().all(|(_, tracked)| !tracked.meta.is_remote()));
    }

    #[test]
    fn a_kind_of_a_later_version_is_passed_over() {
        assert_eq!(decode(&[7]), Ok(None));
        assert_eq!(decode(b"\xffwhatever"), Ok(None));
        assert_eq!(decode(b""), Err(WireError::Short));
    }

    /// What version 1 writes, and what all later ones must read.
    #[test]
    fn the_format_of_version_1_is_what_it_was() {
        let json = r#"{"phx_ref":"0123456789abcdef","a":1}"#;
        let tracked = Tracked { topic: "room:1".into(), meta: Meta::remote("ann", json).unwrap() };
        let a = || Node { name: "a".into(), vsn: 9 };
        let part = Part { node: a(), from: 1, to: 5, joins: vec![(2, tracked)], leaves: vec![(3, 1)], is_whole: false };
        let a_bytes = [&[1, 0, 0, 0][..], b"a", &[9, 0, 0, 0, 0, 0, 0, 0]].concat();
        let long = |n: u8| [n, 0, 0, 0, 0, 0, 0, 0];
        #[rustfmt::skip]
        let part_bytes = [
            &a_bytes[..], &long(1), &long(5), &[0],
            &[1, 0, 0, 0], &long(2), &[6, 0, 0, 0, 3, 0, 0, 0, 36, 0, 0, 0], b"room:1", b"ann", json.as_bytes(),
            &[1, 0, 0, 0], &long(3), &long(1),
        ].concat();
        let clocks_bytes = [&[1, 0, 0, 0][..], &a_bytes, &long(5)].concat();
        let clocks = || Clocks::from([(a(), 5)]);
        #[rustfmt::skip]
        let all = [
            (
                Message::Heartbeat { from: a(), beat: 7, clocks: clocks(), delta: Some(part.clone()) },
                [&[0], &a_bytes[..], &long(7), &clocks_bytes, &[1], &part_bytes].concat(),
            ),
            (
                Message::Heartbeat { from: a(), beat: 7, clocks: Clocks::new(), delta: None },
                [&[0], &a_bytes[..], &long(7), &[0, 0, 0, 0], &[0]].concat(),
            ),
            (Message::TransferRequest { from: a(), clocks: clocks() }, [&[1], &a_bytes[..], &clocks_bytes].concat()),
            (Message::Transfer { parts: vec![part] }, [&[2, 1, 0, 0, 0], &part_bytes[..]].concat()),
            (Message::Leave { from: a() }, [&[3], &a_bytes[..]].concat()),
            (Message::Taken { elder: a(), younger: a() }, [&[4], &a_bytes[..], &a_bytes].concat()),
        ];
        for (message, bytes) in all {
            assert_eq!(encode(&message), bytes);
            assert_eq!(decode(&bytes), Ok(Some(Told::Message(message))));
        }
        let piece = Piece { parcel: 3, index: 1, count: 2, bytes: b"xy" };
        let bytes = [&[5], &a_bytes[..], &long(3), &[1, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0], b"xy"].concat();
        assert_eq!(encode_piece(&a(), piece), bytes);
        assert_eq!(decode(&bytes), Ok(Some(Told::Piece(a(), piece))));
        let bytes = [&[6], &a_bytes[..], &long(3), &[2, 0, 0, 0]].concat();
        assert_eq!(encode_taken(&a(), 3, 2), bytes);
        assert_eq!(decode(&bytes), Ok(Some(Told::Taken { by: a(), parcel: 3, pieces: 2 })));
    }

    #[test]
    fn a_meta_that_is_none_is_refused() {
        let good = r#"{"phx_ref":"0123456789abcdef","a":1}"#;
        assert!(Meta::remote("k", good).is_some_and(|meta| meta.is_remote() && meta.phx_ref() == *"0123456789abcdef"));
        let prev = r#"{"phx_ref":"0123456789abcdef","phx_ref_prev":"0123456789abcdef"}"#;
        assert!(Meta::remote("k", prev).is_some_and(|meta| meta.phx_ref_prev().is_some()));
        for wrong in [
            "",
            "{}",
            r#"{"phx_ref":"0123456789abcde"}"#,
            r#"{"phx_ref":"0123456789abcde\""}"#,
            r#"{"phx_ref":"0123456789abcdef""#,
            r#"{"phx_ref":"0123456789abcdef","a":}"#,
            r#"{"phx_ref":"0123456789abcdef","phx_ref_prev":"0"}"#,
            r#"{"phx_ref":"0123456789abcdef"} "#,
            r#"["phx_ref","0123456789abcdef"]"#,
        ] {
            assert!(Meta::remote("k", wrong).is_none(), "{wrong}");
        }
    }
}
