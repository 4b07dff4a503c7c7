//! What is too long for one message, to one node: in pieces, as fast as that node takes them.
//!
//! A million presences are 160 MB on their way to a new node. In one go they would not fit into any queue between here
//! and there; so the sender keeps at most [`WINDOW`] pieces on the way, and sends the next when one has been taken.
//!
//! - I1. A parcel is handed over once, whole, with its pieces in order, or not at all. A gap in it drops what has come:
//!   the replica sees what it lacks, and asks again.
//! - I2. To a node goes one parcel at a time. While that is being taken another one for it is not begun: it would be
//!   about the same, and restarting would never end on a slow link. One that nobody takes any more gives way.
//!
//! Does not promise: that a parcel arrives.

use crate::cluster::WireError;
use crate::presence::crdt::Node;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Bytes of a piece: what any cluster takes in one payload.
pub(crate) const PIECE_BYTES: usize = 512 << 10;
/// Pieces on the way.
const WINDOW: u32 = 8;
/// Parcels on their way to different nodes: each is held in memory until it has been taken.
const SENDING_MAX: usize = 4;
/// Pieces of the longest parcel: 4 GiB.
const PIECES_MAX: u32 = 8192;
/// How long one end waits for the other.
const STALE: Duration = Duration::from_secs(15);

/// A part of a parcel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    /// Which parcel of its sender.
    pub(crate) parcel: u64,
    /// Its number, from 0.
    pub(crate) index: u32,
    /// How many there are.
    pub(crate) count: u32,
    /// The part.
    pub(crate) bytes: &'a [u8],
}

/// The parcels that this node sends.
#[derive(Debug, Default)]
pub(crate) struct OutgoingParcel {
    parcels: BTreeMap<Node, Parcel>,
    last: u64,
}

#[derive(Debug)]
struct Parcel {
    number: u64,
    bytes: Vec<u8>,
    sent: u32,
    at: Instant,
}

impl OutgoingParcel {
    /// Begins to send, unless something is on the way to that node, or to too many others.
    pub(crate) fn begin(&mut self, now: Instant, to: &Node, bytes: Vec<u8>, send: impl FnMut(Piece<'_>)) {
        self.parcels.retain(|_, parcel| now.duration_since(parcel.at) <= STALE);
        let is_too_long = bytes.len() > PIECES_MAX as usize * PIECE_BYTES;
        if self.parcels.contains_key(to) || self.parcels.len() >= SENDING_MAX || is_too_long {
            return;
        }
        self.last += 1;
        let parcel = self.parcels.entry(to.clone()).or_insert(Parcel { number: self.last, bytes, sent: 0, at: now });
        parcel.send_up_to(WINDOW, send);
    }

    /// A node has taken the first `taken` pieces of a parcel.
    pub(crate) fn taken(&mut self, now: Instant, by: &Node, number: u64, taken: u32, send: impl FnMut(Piece<'_>)) {
        let Some(parcel) = self.parcels.get_mut(by).filter(|parcel| parcel.number == number) else { return };
        parcel.at = now;
        if taken >= parcel.count() {
            self.parcels.remove(by);
        } else {
            parcel.send_up_to(taken.saturating_add(WINDOW), send);
        }
    }
}

impl Parcel {
    fn count(&self) -> u32 {
        self.bytes.len().div_ceil(PIECE_BYTES) as u32
    }

    fn send_up_to(&mut self, end: u32, mut send: impl FnMut(Piece<'_>)) {
        let count = self.count();
        let pieces = (0..).zip(self.bytes.chunks(PIECE_BYTES)).take(end as usize).skip(self.sent as usize);
        for (index, bytes) in pieces {
            send(Piece { parcel: self.number, index, count, bytes });
            self.sent = index + 1;
        }
    }
}

/// The parcels that come.
#[derive(Debug, Default)]
pub(crate) struct IncomingParcel(BTreeMap<Node, Begun>);

#[derive(Debug)]
struct Begun {
    number: u64,
    bytes: Vec<u8>,
    taken: u32,
    at: Instant,
}

/// What a piece came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Took {
    /// How many pieces of its parcel have been taken, for the sender; `None`: this one was of no use.
    pub(crate) taken: Option<u32>,
    /// The parcel, with its last piece.
    pub(crate) whole: Option<Vec<u8>>,
}

impl IncomingParcel {
    /// Whether a parcel is on its way.
    pub(crate) fn is_busy(&self, now: Instant) -> bool {
        self.0.values().any(|begun| now.duration_since(begun.at) <= STALE)
    }

    /// Takes a piece.
    ///
    /// # Errors
    ///
    /// [`WireError::Kind`]: no sender cuts a parcel so.
    pub(crate) fn take(&mut self, now: Instant, from: &Node, piece: Piece<'_>) -> Result<Took, WireError> {
        let Piece { parcel, index, count, bytes } = piece;
        let is_sound = index < count && count <= PIECES_MAX && bytes.len() <= PIECE_BYTES;
        // All but the last are full: so what a count promises is what must come before anything is believed.
        if !is_sound || bytes.len() < PIECE_BYTES && index + 1 < count {
            return Err(WireError::Kind);
        }
        self.0.retain(|_, begun| now.duration_since(begun.at) <= STALE);
        if index == 0 && self.0.get(from).is_none_or(|begun| begun.number != parcel) {
            self.0.insert(from.clone(), Begun { number: parcel, bytes: Vec::new(), taken: 0, at: now });
        }
        let Some(begun) = self.0.get_mut(from).filter(|begun| begun.number == parcel) else {
            return Ok(Took::default());
        };
        if index < begun.taken {
            return Ok(Took::default());
        }
        if index > begun.taken {
            self.0.remove(from);
            return Ok(Took::default());
        }
        begun.bytes.extend_from_slice(bytes);
        (begun.taken, begun.at) = (index + 1, now);
        let whole = if begun.taken == count { self.0.remove(from).map(|begun| begun.bytes) } else { None };
        Ok(Took { taken: Some(index + 1), whole })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    fn node(name: &str) -> Node {
        Node { name: name.into(), vsn: 1 }
    }

    /// Both ends, and the pieces between them.
    struct Road {
        now: Instant,
        sending: OutgoingParcel,
        coming: IncomingParcel,
        pieces: VecDeque<(u64, u32, u32, Vec<u8>)>,
        got: Vec<Vec<u8>>,
        most_on_the_way: usize,
    }

    impl Road {
        fn new() -> Self {
            let (sending, coming) = (OutgoingParcel::default(), IncomingParcel::default());
            Road { now: Instant::now(), sending, coming, pieces: VecDeque::new(), got: Vec::new(), most_on_the_way: 0 }
        }

        fn begin(&mut self, bytes: Vec<u8>) {
            let pieces = &mut self.pieces;
            self.sending.begin(self.now, &node("to"), bytes, |piece| {
                pieces.push_back((piece.parcel, piece.index, piece.count, piece.bytes.to_vec()));
            });
        }

        /// Lets one piece arrive.
        fn step(&mut self) -> bool {
            self.most_on_the_way = self.most_on_the_way.max(self.pieces.len());
            let Some((parcel, index, count, bytes)) = self.pieces.pop_front() else { return false };
            let piece = Piece { parcel, index, count, bytes: &bytes };
            let took = self.coming.take(self.now, &node("from"), piece).unwrap();
            self.got.extend(took.whole);
            if let Some(taken) = took.taken {
                let pieces = &mut self.pieces;
                self.sending.taken(self.now, &node("to"), parcel, taken, |piece| {
                    pieces.push_back((piece.parcel, piece.index, piece.count, piece.bytes.to_vec()));
                });
            }
            true
        }

        fn run(&mut self) {
            while self.step() {}
        }
    }

    fn long(pieces: usize, more: usize) -> Vec<u8> {
        (0..pieces * PIECE_BYTES + more).map(|n| (n / 7) as u8).collect()
    }

    #[test]
    fn a_parcel_comes_whole_with_few_pieces_on_the_way() {
        for (pieces, more) in [(0, 1), (1, 0), (1, 1), (7, 5), (8, 0), (20, 3)] {
            let mut road = Road::new();
            road.begin(long(pieces, more));
            road.run();
            assert_eq!(road.got, [long(pieces, more)]);
            assert!(road.most_on_the_way <= WINDOW as usize);
            assert!(road.sending.parcels.is_empty() && road.coming.0.is_empty());
        }
    }

    #[test]
    fn a_piece_that_is_lost_drops_the_parcel_and_the_next_one_comes() {
        for lost in 0..10 {
            let mut road = Road::new();
            road.begin(long(9, 1));
            (0..lost).for_each(|_| assert!(road.step()));
            assert_eq!(road.coming.is_busy(road.now), lost > 0);
            road.pieces.pop_front();
            road.run();
            assert!(road.got.is_empty(), "{lost}");
            // While the sender believes that it is being taken, nothing is begun.
            road.begin(long(1, 0));
            assert!(road.pieces.is_empty());
            road.now += STALE + Duration::from_millis(1);
            assert!(!road.coming.is_busy(road.now));
            road.begin(long(2, 7));
            road.run();
            assert_eq!(road.got, [long(2, 7)], "{lost}");
        }
    }

    #[test]
    fn a_piece_that_comes_twice_counts_once() {
        let mut road = Road::new();
        road.begin(long(20, 3));
        while let Some(piece) = road.pieces.front().cloned() {
            road.pieces.push_front(piece);
            road.step();
            road.step();
        }
        assert_eq!(road.got, [long(20, 3)]);
    }

    #[test]
    fn few_parcels_are_held_at_once() {
        let mut sending = OutgoingParcel::default();
        let now = Instant::now();
        let mut begun = 0;
        for n in 0..10 {
            sending.begin(now, &node(&n.to_string()), long(0, 5), |_| begun += 1);
        }
        assert_eq!(begun, SENDING_MAX);
        sending.taken(now, &node("0"), 1, 1, |_| panic!("it is taken"));
        sending.begin(now, &node("9"), long(0, 5), |_| begun += 1);
        assert_eq!(begun, SENDING_MAX + 1);
    }

    #[test]
    fn what_no_sender_sends_is_refused() {
        let full = vec![0; PIECE_BYTES + 1];
        let take = |index, count, bytes: usize| {
            let piece = Piece { parcel: 1, index, count, bytes: &full[..bytes] };
            IncomingParcel::default().take(Instant::now(), &node("x"), piece)
        };
        assert_eq!(take(1, 1, 5), Err(WireError::Kind));
        assert_eq!(take(0, 2, 5), Err(WireError::Kind), "not full, and not the last");
        assert_eq!(take(0, 1, PIECE_BYTES + 1), Err(WireError::Kind));
        assert_eq!(take(0, PIECES_MAX + 1, PIECE_BYTES), Err(WireError::Kind));
        assert_eq!(take(1, 2, 5), Ok(Took::default()), "its beginning never came");
    }
}
