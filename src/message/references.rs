//! References of messages, given back in bulk.

use super::slab::{self, CellRef};

/// References of one message, given back when dropped. Dropping the last drops the payload, which may run code of
/// users.
#[derive(Debug)]
pub(crate) struct References {
    pub(crate) cell: CellRef,
    pub(crate) count: u64,
}

impl References {
    /// References that came out of mailboxes as numbers.
    ///
    /// # Safety
    ///
    /// They must be the caller's.
    pub(crate) unsafe fn from_handle(handle: u32, count: u64) -> Self {
        // SAFETY: the caller's promise: a reference keeps the cell in use.
        References { cell: unsafe { CellRef::from_handle(handle) }, count }
    }
}

impl Drop for References {
    fn drop(&mut self) {
        // SAFETY: they are ours: the promise of whoever made this.
        unsafe { release(self.cell, self.count) };
    }
}

/// Gives references back.
///
/// # Safety
///
/// They must be the caller's.
pub(crate) unsafe fn release(cell: CellRef, count: u64) {
    if cell.refs().sub(count) {
        // SAFETY: the count is zero: nobody has it any more, and this is the one who brought it there.
        unsafe { slab::free(cell) };
    }
}

/// Gives back, in bulk, references that a reader has read: a direct-mapped cache of counts.
///
/// A reader of many mailboxes reads the same few messages over and over; one operation for many of them is what lets
/// two readers take in a hundred million messages a second. Whoever owns the cache empties it before waiting.
pub(crate) struct ReleaseCache {
    entries: [(u32, u32); CACHED],
    used: bool,
}

const CACHED: usize = 64;

impl ReleaseCache {
    pub(crate) const fn new() -> Self {
        ReleaseCache { entries: [(0, 0); CACHED], used: false }
    }

    /// Gives back one reference, now or later.
    ///
    /// # Safety
    ///
    /// The reference must be the caller's.
    #[inline]
    pub(crate) unsafe fn release(&mut self, handle: u32) {
        self.used = true;
        let entry = &mut self.entries[handle as usize % CACHED];
        if entry.0 == handle && entry.1 != 0 {
            entry.1 += 1;
            return;
        }
        let (old, count) = std::mem::replace(entry, (handle, 1));
        if count != 0 {
            // SAFETY: the entry's references were given to us, and are given back once.
            drop(unsafe { References::from_handle(old, u64::from(count)) });
        }
    }

    /// Gives back everything.
    pub(crate) fn flush(&mut self) {
        if !std::mem::replace(&mut self.used, false) {
            return;
        }
        for entry in &mut self.entries {
            let (handle, count) = std::mem::take(entry);
            if count != 0 {
                // SAFETY: as in `release`.
                drop(unsafe { References::from_handle(handle, u64::from(count)) });
            }
        }
    }
}

impl Drop for ReleaseCache {
    fn drop(&mut self) {
        self.flush();
    }
}
