//! A growing array of pairs `(place, record)` in two parallel columns, in pieces that never move once they are large.
//!
//! Up to [`FEW`] pairs lie inline: most topics have a member or two. From there to [`SEGMENT`] the columns are two
//! vectors; beyond, each further [`SEGMENT`] pairs are one allocation. So growing copies at most [`SEGMENT`] pairs,
//! whatever the size, and a walk reads places in long runs.

use crate::sync::prefetch;

/// Pairs that need no allocation.
const FEW: usize = 3;
/// Pairs in a segment.
const SEGMENT: usize = 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Segments(Columns);

#[derive(Debug)]
enum Columns {
    Few { len: u32, places: [u32; FEW], records: [u32; FEW] },
    Many(Box<Many>),
}

#[derive(Debug, Default)]
struct Many {
    len: usize,
    places: Vec<u32>,
    records: Vec<u32>,
    rest: Vec<Box<Segment>>,
}

#[derive(Debug)]
struct Segment {
    places: [u32; SEGMENT],
    records: [u32; SEGMENT],
}

impl Segments {
    /// No pairs.
    pub(crate) fn new() -> Self {
        Segments(Columns::Few { len: 0, places: [0; FEW], records: [0; FEW] })
    }

    /// How many pairs there are.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        match &self.0 {
            Columns::Few { len, .. } => *len as usize,
            Columns::Many(many) => many.len,
        }
    }

    /// The longest run of places that starts at `position` and lies in one piece; empty at the end.
    #[inline]
    pub(crate) fn run(&self, position: usize) -> &[u32] {
        match &self.0 {
            Columns::Few { len, places, .. } => &places[position..*len as usize],
            Columns::Many(many) if position < SEGMENT => &many.places[position..],
            Columns::Many(many) => match many.rest.get(position / SEGMENT - 1) {
                Some(segment) => {
                    let end = SEGMENT.min(many.len - position / SEGMENT * SEGMENT);
                    &segment.places[position % SEGMENT..end]
                }
                None => &[],
            },
        }
    }

    /// The record at `position`.
    pub(crate) fn record(&self, position: usize) -> u32 {
        match &self.0 {
            Columns::Few { records, .. } => records[position],
            Columns::Many(many) if position < SEGMENT => many.records[position],
            Columns::Many(many) => many.rest[position / SEGMENT - 1].records[position % SEGMENT],
        }
    }

    /// Asks for the pair at `position`.
    pub(crate) fn prefetch(&self, position: usize) {
        if let Columns::Many(many) = &self.0
            && let Some(rest) = (position / SEGMENT).checked_sub(1)
            && let Some(segment) = many.rest.get(rest)
        {
            prefetch(&segment.places[position % SEGMENT]);
            prefetch(&segment.records[position % SEGMENT]);
        }
    }

    /// The records of all pairs with that place.
    pub(crate) fn records_of(&self, place: u32) -> impl Iterator<Item = u32> {
        (0..self.len().div_ceil(SEGMENT)).flat_map(move |segment| {
            let start = segment * SEGMENT;
            let hit = move |(i, &here)| (here == place).then_some(start + i);
            self.run(start).iter().enumerate().filter_map(hit).map(|position| self.record(position))
        })
    }

    /// Appends a pair.
    pub(crate) fn push(&mut self, place: u32, record: u32) {
        match &mut self.0 {
            Columns::Few { len, places, records } if (*len as usize) < FEW => {
                places[*len as usize] = place;
                records[*len as usize] = record;
                *len += 1;
            }
            Columns::Few { places, records, .. } => {
                let mut many = Many { len: FEW, places: places.to_vec(), records: records.to_vec(), rest: Vec::new() };
                many.push(place, record);
                self.0 = Columns::Many(Box::new(many));
            }
            Columns::Many(many) => many.push(place, record),
        }
    }

    /// Removes the pair at `position` by moving the last one there. Returns the record of the moved one, if another.
    pub(crate) fn swap_remove(&mut self, position: usize) -> Option<u32> {
        match &mut self.0 {
            Columns::Few { len, places, records } => {
                *len -= 1;
                let last = *len as usize;
                places[position] = places[last];
                records[position] = records[last];
                (position != last).then(|| records[position])
            }
            Columns::Many(many) => {
                let (place, record) = many.pop();
                if position == many.len {
                    return None;
                }
                many.set(position, place, record);
                Some(record)
            }
        }
    }
}

impl Many {
    fn push(&mut self, place: u32, record: u32) {
        if self.len < SEGMENT {
            self.places.push(place);
            self.records.push(record);
        } else {
            if self.rest.len() < self.len / SEGMENT {
                self.rest.push(Box::new(Segment { places: [0; SEGMENT], records: [0; SEGMENT] }));
            }
            let segment = &mut self.rest[self.len / SEGMENT - 1];
            segment.places[self.len % SEGMENT] = place;
            segment.records[self.len % SEGMENT] = record;
        }
        self.len += 1;
    }

    fn pop(&mut self) -> (u32, u32) {
        self.len -= 1;
        if self.len < SEGMENT {
            let pair = self.places.pop().zip(self.records.pop());
            // A list that has shrunk far gives memory back; a quarter, so that it does not go up and down at a bound.
            if self.places.len() * 4 < self.places.capacity() && self.places.capacity() > 16 {
                self.places.shrink_to(self.places.len() * 2);
                self.records.shrink_to(self.records.len() * 2);
            }
            return pair.expect("the first segment holds `len` pairs");
        }
        let (segment, offset) = (self.len / SEGMENT - 1, self.len % SEGMENT);
        let pair = (self.rest[segment].places[offset], self.rest[segment].records[offset]);
        // One empty segment is kept, for the same reason.
        self.rest.truncate(segment + if offset == 0 { 1 } else { 2 });
        pair
    }

    fn set(&mut self, position: usize, place: u32, record: u32) {
        if position < SEGMENT {
            self.places[position] = place;
            self.records[position] = record;
        } else {
            let segment = &mut self.rest[position / SEGMENT - 1];
            segment.places[position % SEGMENT] = place;
            segment.records[position % SEGMENT] = record;
        }
    }
}
