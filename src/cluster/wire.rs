//! What nodes send each other: packets of records.
//!
//! A packet is one payload of the [`Cluster`](super::Cluster). Numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 2 | `FF` |
//! | 1 | the version of the format that the sender writes, 1 |
//! | 1 | the oldest version whose readers can read it, 1 |
//! | 1 | 0: records; 1: a piece of one record that does not fit into a packet |
//! | 8 | the sender's boot: a number that no other life of a node has |
//! | 8 | the number of the packet in its partition, from 1 |
//! | 1, n | the sender's name |
//! | 4, 4 | of a piece: its number, from 0, and how many there are |
//! | rest | records, or the piece |
//!
//! A record is its kind (1 byte), its length without these five bytes (4), and
//!
//! | kind | what |
//! |---|---|
//! | 0, a broadcast | flags (1 byte: 1 for clients too, 2 binary); lengths of topic and event (4 each); both; payload |
//! | 1, gossip of presences | bytes |
//!
//! Whatever comes is checked: lengths lie within the packet, texts are UTF-8.
//!
//! # Two versions side by side
//!
//! A later version must leave the nodes of this one able to talk to it. It may
//!
//! - add kinds of records: who does not know one passes over it;
//! - add flags: who does not know one of the lower four passes over the flag, of the upper four over the record;
//! - add kinds of gossip, and to a kind at its end: see `presence/replication/codec.rs`;
//! - raise the second version byte, for packets that this version must not read: they are refused as a whole.
//!
//! What was passed over is counted and told ([`ClusterStats`](super::ClusterStats)). All else is as it is for good:
//! `tests` below holds packets of each version, byte for byte.

use crate::message::payload::Payload;
use bytes::{BufMut, Bytes};
use std::fmt;

const MAGIC: [u8; 2] = *b"FF";
/// The version that this node writes, and can read.
const VERSION: u8 = 1;
/// The oldest version that can read what this node writes.
const READABLE_FROM: u8 = 1;
const RECORDS: u8 = 0;
const PIECE: u8 = 1;
const BROADCAST: u8 = 0;
const GOSSIP: u8 = 1;
const FOR_CLIENTS: u8 = 1;
const BINARY: u8 = 2;
/// Flags that a reader must know.
const MUST_KNOW: u8 = 0xf0;
/// Of a packet, without the sender's name, and with what a piece has.
pub(crate) const HEAD_BYTES: usize = 2 + 2 + 1 + 8 + 8 + 1 + 8;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sender<'a> {
    /// Which life of the node.
    pub boot: u64,
    /// The node.
    pub node: &'a str,
}

/// A packet that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet<'a> {
    /// Who sent it.
    pub sender: Sender<'a>,
    /// Its number in its partition.
    pub number: u64,
    /// What is in it.
    pub body: Body,
}

/// What is in a packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Body {
    /// Records: [`records`].
    Records(Bytes),
    /// A part of one record.
    Piece {
        /// Its number, from 0.
        index: u32,
        /// How many there are.
        count: u32,
        /// The part.
        bytes: Bytes,
    },
}

/// A record that has come.
#[derive(Debug, Clone)]
pub(crate) enum Record<'a> {
    /// A broadcast.
    Broadcast {
        /// The topic.
        topic: &'a str,
        /// The event.
        event: &'a str,
        /// The payload: JSON or binary.
        payload: Payload,
        /// Whether clients get it.
        for_clients: bool,
    },
    /// Gossip of presences.
    Gossip(Bytes),
    /// Of a later version.
    Unknown,
}

/// Why what has come is not what it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WireError {
    /// It is no packet at all.
    NoPacket,
    /// It is of a later version of the format, and not for readers of this one.
    Version {
        /// The version of its sender.
        of: u8,
        /// The oldest version that can read it.
        readable_from: u8,
    },
    /// It ends too early, or a length leads out of it.
    Short,
    /// A text is not UTF-8.
    Text,
    /// A kind that there is not, or numbers that contradict each other.
    Kind,
}

impl fmt::Display for WireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WireError::NoPacket => f.write_str("it is no packet of fanfare"),
            WireError::Version { of, readable_from } => {
                write!(f, "it is of version {of} of the format and readable from version {readable_from} on; ")?;
                write!(f, "this node has {VERSION}")
            }
            WireError::Short => f.write_str("it is cut short"),
            WireError::Text => f.write_str("a text in it is not UTF-8"),
            WireError::Kind => f.write_str("something in it is of no known kind"),
        }
    }
}

impl std::error::Error for WireError {}

fn head(to: &mut Vec<u8>, kind: u8, sender: Sender<'_>, number: u64) {
    to.put_slice(&MAGIC);
    to.put_slice(&[VERSION, READABLE_FROM, kind]);
    to.put_u64_le(sender.boot);
    to.put_u64_le(number);
    to.put_u8(u8::try_from(sender.node.len()).expect("a node's name has at most 255 bytes"));
    to.put_slice(sender.node.as_bytes());
}

/// A packet of records.
pub(crate) fn packet(sender: Sender<'_>, number: u64, records: &[u8]) -> Bytes {
    let mut to = Vec::with_capacity(HEAD_BYTES + sender.node.len() + records.len());
    head(&mut to, RECORDS, sender, number);
    to.put_slice(records);
    to.into()
}

/// A packet with a piece of a record.
pub(crate) fn piece(sender: Sender<'_>, number: u64, (index, count): (u32, u32), bytes: &[u8]) -> Bytes {
    let mut to = Vec::with_capacity(HEAD_BYTES + sender.node.len() + bytes.len());
    head(&mut to, PIECE, sender, number);
    to.put_u32_le(index);
    to.put_u32_le(count);
    to.put_slice(bytes);
    to.into()
}

/// Appends a broadcast; its parts have less than 4 GiB together.
pub(crate) fn broadcast(
    to: &mut Vec<u8>,
    topic: &str,
    event: &str,
    (payload, is_binary): (&[u8], bool),
    for_clients: bool,
) {
    let length = 1 + 4 + 4 + topic.len() + event.len() + payload.len();
    to.reserve(5 + length);
    to.put_u8(BROADCAST);
    to.put_u32_le(length as u32);
    to.put_u8(if for_clients { FOR_CLIENTS } else { 0 } | if is_binary { BINARY } else { 0 });
    to.put_u32_le(topic.len() as u32);
    to.put_u32_le(event.len() as u32);
    for part in [topic.as_bytes(), event.as_bytes(), payload] {
        to.put_slice(part);
    }
}

/// Appends gossip, of less than 4 GiB.
pub(crate) fn gossip(to: &mut Vec<u8>, bytes: &[u8]) {
    to.put_u8(GOSSIP);
    to.put_u32_le(bytes.len() as u32);
    to.put_slice(bytes);
}

/// Reads a packet.
///
/// # Errors
///
/// [`WireError`].
pub(crate) fn parse(bytes: &Bytes) -> Result<Packet<'_>, WireError> {
    let mut from = Reader(bytes);
    if from.take(2).ok() != Some(&MAGIC) {
        return Err(WireError::NoPacket);
    }
    let (of, readable_from) = (from.u8()?, from.u8()?);
    if readable_from > VERSION {
        return Err(WireError::Version { of, readable_from });
    }
    let kind = from.u8()?;
    let (boot, number) = (from.u64()?, from.u64()?);
    let length = from.u8()?.into();
    let sender = Sender { boot, node: from.text(length)? };
    let body = match kind {
        RECORDS => Body::Records(bytes.slice_ref(from.0)),
        PIECE => {
            let (index, count) = (from.u32()?, from.u32()?);
            if index >= count {
                return Err(WireError::Kind);
            }
            Body::Piece { index, count, bytes: bytes.slice_ref(from.0) }
        }
        _ => return Err(WireError::Kind),
    };
    Ok(Packet { sender, number, body })
}

/// The records of a packet, or of pieces that were put together. Ends with the first error.
pub(crate) fn records(bytes: &Bytes) -> impl Iterator<Item = Result<Record<'_>, WireError>> {
    let mut from = Reader(bytes);
    std::iter::from_fn(move || {
        if from.0.is_empty() {
            return None;
        }
        let record = from.record(bytes);
        if record.is_err() {
            from.0 = &[];
        }
        Some(record)
    })
}

/// What is left to be read.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(WireError::Short)?;
        self.0 = rest;
        Ok(*taken)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, WireError> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32(&mut self) -> Result<u32, WireError> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64, WireError> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn text(&mut self, bytes: usize) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.take(bytes)?).map_err(|_| WireError::Text)
    }

    fn record(&mut self, whole: &Bytes) -> Result<Record<'a>, WireError> {
        let (kind, length) = (self.u8()?, self.u32()? as usize);
        let body = Reader(self.take(length)?);
        match kind {
            BROADCAST => body.broadcast(whole),
            GOSSIP => Ok(Record::Gossip(whole.slice_ref(body.0))),
            _ => Ok(Record::Unknown),
        }
    }

    fn broadcast(mut self, whole: &Bytes) -> Result<Record<'a>, WireError> {
        let flags = self.u8()?;
        if flags & MUST_KNOW != 0 {
            return Ok(Record::Unknown);
        }
        let [topic, event] = [self.u32()?, self.u32()?].map(|length| length as usize);
        let (topic, event, payload) = (self.text(topic)?, self.text(event)?, self.0);
        // A subscriber may keep it for long, and with a slice all that has come with it.
        let is_most = payload.len() > whole.len() / 2;
        let payload = if is_most { whole.slice_ref(payload) } else { Bytes::copy_from_slice(payload) };
        let payload = if flags & BINARY != 0 { Payload::Binary(payload) } else { Payload::Json(payload) };
        Ok(Record::Broadcast { topic, event, payload, for_clients: flags & FOR_CLIENTS != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENDER: Sender<'_> = Sender { boot: 7, node: "n\u{00f6}de" };

    fn some_records() -> Vec<u8> {
        let mut to = Vec::new();
        broadcast(&mut to, "room:1", "new_msg", (b"{}", false), true);
        gossip(&mut to, b"xyz");
        broadcast(&mut to, "t", "", (b"\xff\0", true), false);
        to
    }

    #[test]
    fn what_was_sent_comes() {
        let sent = packet(SENDER, 3, &some_records());
        let Packet { sender, number, body: Body::Records(body) } = parse(&sent).unwrap() else { panic!("records") };
        assert_eq!((sender, number), (SENDER, 3));
        let all: Vec<Record<'_>> = records(&body).map(Result::unwrap).collect();
        use Record::{Broadcast, Gossip};
        assert!(matches!(
            &all[..],
            [
                Broadcast { topic: "room:1", event: "new_msg", payload: Payload::Json(json), for_clients: true },
                Gossip(gossip),
                Broadcast { topic: "t", event: "", payload: Payload::Binary(bytes), for_clients: false },
            ] if json == "{}" && gossip == "xyz" && &bytes[..] == b"\xff\0"
        ));
        let sent = piece(SENDER, 4, (1, 2), b"part");
        let body = Body::Piece { index: 1, count: 2, bytes: Bytes::from_static(b"part") };
        assert_eq!(parse(&sent), Ok(Packet { sender: SENDER, number: 4, body }));
    }

    #[test]
    fn what_is_cut_short_is_refused() {
        let sent = packet(SENDER, 3, b"");
        for end in 0..sent.len() {
            let error = parse(&sent.slice(..end)).unwrap_err();
            assert!(matches!(error, WireError::NoPacket | WireError::Short), "{end}");
        }
        let all = Bytes::from(some_records());
        let whole = |end| records(&all.slice(..end)).filter(|record| record.is_ok()).count();
        let lengths: Vec<usize> =
            (0..=all.len()).filter(|&end| records(&all.slice(..end)).all(|r| r.is_ok())).collect();
        assert_eq!(lengths.iter().map(|&end| whole(end)).collect::<Vec<_>>(), [0, 1, 2, 3]);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let with = |at: usize, byte: u8| {
            let mut bytes = piece(SENDER, 4, (1, 2), b"").to_vec();
            bytes[at] = byte;
            parse(&Bytes::from(bytes)).map(|_| ()).unwrap_err()
        };
        assert_eq!(with(0, b'G'), WireError::NoPacket);
        assert_eq!(with(3, 2), WireError::Version { of: 1, readable_from: 2 });
        assert_eq!(with(4, 9), WireError::Kind);
        assert_eq!(with(24, 0xff), WireError::Text);
        assert_eq!(with(27, 2), WireError::Kind, "a piece behind the last");
        let first = |bytes: &[u8]| records(&Bytes::copy_from_slice(bytes)).next().unwrap().map(|_| ()).unwrap_err();
        assert_eq!(first(&[1, 0xff, 0xff, 0xff, 0xff]), WireError::Short);
        assert_eq!(first(&[0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), WireError::Short);
        assert_eq!(
            first(&[0, 9, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]),
            WireError::Short,
            "longer than its record"
        );
        assert_eq!(first(&[0, 10, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xff]), WireError::Text);
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let mut later = packet(SENDER, 3, b"").to_vec();
        later[2] = 9;
        assert!(parse(&later.into()).is_ok(), "of a later version, and for all");
        let with_flags = |flags: u8| {
            let mut to = Vec::new();
            broadcast(&mut to, "t", "", (b"", false), false);
            to[5] = flags;
            to
        };
        let unknown = [&[7, 2, 0, 0, 0], &b"??"[..]].concat();
        let all = [unknown, with_flags(0x10), with_flags(0x08 | FOR_CLIENTS), some_records()].concat().into();
        let all: Vec<_> = records(&all).map(Result::unwrap).collect();
        assert!(matches!(all[0], Record::Unknown));
        assert!(matches!(all[1], Record::Unknown), "a flag that must be known");
        assert!(matches!(all[2], Record::Broadcast { for_clients: true, .. }), "a flag that need not be known");
        assert!(matches!(all[3..], [Record::Broadcast { .. }, Record::Gossip(_), Record::Broadcast { .. }]));
    }

    /// What version 1 writes, and what all later ones must read.
    #[test]
    fn the_format_of_version_1_is_what_it_was() {
        #[rustfmt::skip]
        let head = |kind, number| [
            b"FF", &[1, 1, kind][..], &[7, 0, 0, 0, 0, 0, 0, 0], &[number, 0, 0, 0, 0, 0, 0, 0], b"\x05n\xc3\xb6de",
        ].concat();
        #[rustfmt::skip]
        let body = [
            &[0, 24, 0, 0, 0, 1, 6, 0, 0, 0, 7, 0, 0, 0][..], b"room:1", b"new_msg", b"{}",
            &[1, 3, 0, 0, 0], b"xyz",
            &[0, 12, 0, 0, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0], b"t", b"\xff\0",
        ].concat();
        assert_eq!(packet(SENDER, 3, &some_records()), [&head(0, 3)[..], &body].concat());
        assert_eq!(piece(SENDER, 4, (1, 2), b"part"), [&head(1, 4)[..], &[1, 0, 0, 0, 2, 0, 0, 0], b"part"].concat());
    }
}
