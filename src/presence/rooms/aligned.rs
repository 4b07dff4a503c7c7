//! The state that seeds a consumer of diffs.

use bytes::Bytes;

/// The state of a topic at the end of an epoch, for somebody who applies diffs to it: what the diffs so far add up to.
///
/// Every later diff comes behind it. A diff that came before it may be applied again, and changes nothing.
#[derive(Debug)]
pub struct Aligned {
    pub(crate) state: Option<Bytes>,
    pub(crate) keys: usize,
    pub(crate) metas: usize,
    pub(crate) next: Option<u32>,
}

impl Aligned {
    /// The state as the payload of `presence_state`, `{KEY: {"metas": [META, ..]}, ..}`: all of it, or a page. The
    /// bytes are shared by all who wait for the same. `None` if only the counts were asked for.
    pub fn json(&self) -> Option<&Bytes> {
        self.state.as_ref()
    }

    /// How many keys are present.
    pub fn keys(&self) -> usize {
        self.keys
    }

    /// How many metas they have.
    pub fn metas(&self) -> usize {
        self.metas
    }

    /// Where to read on, if this is not all.
    pub fn next(&self) -> Option<Cursor> {
        self.next.map(Cursor)
    }
}

/// Where a page ends and the next one begins. As a number it can travel to a client and back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(pub(crate) u32);

impl From<Cursor> for u32 {
    fn from(cursor: Cursor) -> u32 {
        cursor.0
    }
}

/// Any number will do: one that was never a cursor gives some page of the room, or an empty one.
impl From<u32> for Cursor {
    fn from(number: u32) -> Self {
        Cursor(number)
    }
}
