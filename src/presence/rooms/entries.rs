//! The presences of a room, in segments that snapshots share.
//!
//! Entries lie densely: a new one goes to the end, and the last one moves into the place of one that leaves. A snapshot
//! takes a reference to each segment, so it costs a 256th of the entries and copies none. While it lives, the first
//! change to a segment copies that one segment. A small room has no segments: a snapshot of it is a copy. The presence
//! of a room of one, as most are, lies in the room itself.
//!
//! - I1. Only the last segment is not full, and none is empty.
//! - I2. A snapshot never changes.

use super::meta::Meta;
use crate::sync::Arc;

/// Entries in a segment.
const SEGMENT: usize = 256;
/// Entries up to which a room is small.
pub const FEW: usize = 8;
/// No slot.
pub const NONE: u32 = u32::MAX;

/// One presence.
#[derive(Debug, Clone)]
pub struct PresenceEntry {
    /// Its key and its meta.
    pub meta: Meta,
    /// The room's number of it, which does not change while it moves.
    pub id: u32,
    /// The slots of the next and the previous presence with this key.
    pub next: u32,
    /// See `next`. The first one is that which has none.
    pub prev: u32,
    /// Its place among those that are in no diff yet, or [`NONE`]. In a small room these have no places: it is zero.
    pub fresh: u32,
    /// The key's hash.
    pub hash: u32,
    /// What the meta's `phx_ref_prev` names was told.
    pub told_prev: bool,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<PresenceEntry>() <= 48);

type Segment = Arc<Vec<PresenceEntry>>;

/// See the module's text.
#[derive(Debug)]
pub enum Entries {
    /// Of a room that never had more.
    One(Option<PresenceEntry>),
    /// Of any other small room.
    Few(Vec<PresenceEntry>),
    /// Of any other.
    Many {
        /// See the module's text.
        segments: Vec<Segment>,
        /// How many there are.
        len: usize,
    },
}

// The others lie where an entry has its fields, and what tells them apart in a byte that has values to spare.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Entries>() == size_of::<PresenceEntry>());

impl Entries {
    /// None.
    pub fn new() -> Self {
        Entries::One(None)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Entries::One(one) => usize::from(one.is_some()),
            Entries::Few(few) => few.len(),
            Entries::Many { len, .. } => *len,
        }
    }

    /// The one in that slot.
    pub fn at(&self, slot: u32) -> &PresenceEntry {
        match self {
            Entries::One(one) => &one.as_slice()[slot as usize],
            Entries::Few(few) => &few[slot as usize],
            Entries::Many { segments, .. } => &segments[slot as usize / SEGMENT][slot as usize % SEGMENT],
        }
    }

    /// The one in that slot, to be changed.
    pub fn at_mut(&mut self, slot: u32) -> &mut PresenceEntry {
        match self {
            Entries::One(one) => &mut one.as_mut_slice()[slot as usize],
            Entries::Few(few) => &mut few[slot as usize],
            Entries::Many { segments, .. } => &mut own(&mut segments[slot as usize / SEGMENT])[slot as usize % SEGMENT],
        }
    }

    /// Puts one at the end. Its slot is the number of those that were there.
    pub fn push(&mut self, entry: PresenceEntry) {
        match self {
            Entries::One(one) => match one.take() {
                None => *one = Some(entry),
                Some(first) => *self = Entries::Few(vec![first, entry]),
            },
            Entries::Few(few) if few.len() < FEW => few.push(entry),
            Entries::Few(few) => {
                let mut all = std::mem::take(few);
                all.push(entry);
                let len = all.len();
                *self = Entries::Many { segments: vec![Arc::new(all)], len };
            }
            Entries::Many { segments, len } => {
                if len.is_multiple_of(SEGMENT) {
                    segments.push(Arc::new(Vec::with_capacity(SEGMENT)));
                }
                own(segments.last_mut().expect("one was pushed")).push(entry);
                *len += 1;
            }
        }
    }

    /// Takes one out. The last one comes into its slot, unless it was the last.
    pub fn swap_remove(&mut self, slot: u32) -> PresenceEntry {
        match self {
            Entries::One(one) => one.take().expect("there is an entry"),
            Entries::Few(few) => few.swap_remove(slot as usize),
            Entries::Many { segments, len } => {
                let segment = own(segments.last_mut().expect("there is an entry"));
                let last = segment.pop().expect("no segment is empty");
                if segment.is_empty() {
                    segments.pop();
                }
                *len -= 1;
                if slot as usize == *len { last } else { std::mem::replace(self.at_mut(slot), last) }
            }
        }
    }

    /// All of them as they are now.
    pub fn snapshot(&self) -> Snapshot {
        match self {
            Entries::One(one) => Snapshot::of(one.as_slice()),
            Entries::Few(few) => Snapshot::of(few),
            Entries::Many { segments, len } => Snapshot { segments: segments.clone(), len: *len },
        }
    }
}

/// The segment as its only holder's.
fn own(segment: &mut Segment) -> &mut Vec<PresenceEntry> {
    if Arc::get_mut(segment).is_none() {
        let mut copy = Vec::with_capacity(SEGMENT);
        copy.extend(segment.iter().cloned());
        *segment = Arc::new(copy);
    }
    Arc::get_mut(segment).expect("nobody else has it")
}

/// The presences of a room at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    segments: Vec<Segment>,
    len: usize,
}

impl Snapshot {
    fn of(few: &[PresenceEntry]) -> Self {
        let segments = if few.is_empty() { Vec::new() } else { vec![Arc::new(few.to_vec())] };
        Snapshot { segments, len: few.len() }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The one in that slot.
    pub fn at(&self, slot: u32) -> &PresenceEntry {
        &self.segments[slot as usize / SEGMENT][slot as usize % SEGMENT]
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &PresenceEntry> + Clone {
        self.segments.iter().flat_map(|segment| segment.iter())
    }

    /// The first of each key.
    pub fn heads(&self) -> impl Iterator<Item = &PresenceEntry> + Clone {
        self.iter().filter(|entry| entry.prev == NONE)
    }

    /// Those of one key, from its first on.
    pub fn chain<'a>(&'a self, head: &'a PresenceEntry) -> impl Iterator<Item = &'a PresenceEntry> + Clone {
        std::iter::successors(Some(head), |entry| (entry.next != NONE).then(|| self.at(entry.next)))
    }

    /// Up to `max` of those in the slots below `end`, from above.
    pub fn below(&self, end: usize, max: usize) -> impl Iterator<Item = &PresenceEntry> + Clone {
        let end = end.min(self.len);
        (end.saturating_sub(max)..end).rev().map(|slot| self.at(slot as u32))
    }
}
