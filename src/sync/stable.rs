//! `StableVec`: an array that grows while it is read, and whose elements never move.
//!
//! Elements live in chunks of [`CHUNK`]; a directory of chunk pointers is allocated once. Growing allocates a chunk of
//! default values and stores its pointer; nothing is ever moved or freed before the array itself is dropped, so a
//! reference to an element is good as long as the array is borrowed. This is what makes the engine's slabs
//! type-stable.
//!
//! - I1. A directory entry goes from null to a chunk once, under `grow`, and never changes again.
//! - I2. A chunk is a boxed slice of `CHUNK` elements, given up to the directory when it is published.
//!
//! Not modelled under loom: the entry is a plain release/acquire publication.

use super::{AtomicPtr, Mutex, Ordering};

/// Elements in a chunk: a power of two.
pub const CHUNK: usize = 1 << CHUNK_BITS;
const CHUNK_BITS: usize = 12;

/// An array that grows in place of reads. See the module's text.
#[derive(Debug)]
pub struct StableVec<T: Default> {
    /// Written once each by `grow` (release), read by everyone (acquire).
    chunks: Box<[AtomicPtr<T>]>,
    /// Held while a chunk is added.
    growing: Mutex<()>,
}

impl<T: Default> StableVec<T> {
    /// An array that can grow to `len_max` elements. Allocates the directory only.
    pub fn new(len_max: usize) -> Self {
        let chunks = len_max.div_ceil(CHUNK);
        StableVec {
            chunks: (0..chunks).map(|_| AtomicPtr::new(std::ptr::null_mut())).collect(),
            growing: Mutex::new(()),
        }
    }

    /// The element at `index`, or `None` if the array has not grown that far.
    #[inline(always)]
    pub fn get(&self, index: u32) -> Option<&T> {
        let index = index as usize;
        // Pairs with the store in `grow`: the chunk's values are seen.
        let chunk = self.chunks.get(index >> CHUNK_BITS)?.load(Ordering::Acquire);
        if chunk.is_null() {
            return None;
        }
        // SAFETY: I1 and I2: `chunk` points to CHUNK valid elements that live as long as `self`, and the offset is
        // below CHUNK.
        Some(unsafe { &*chunk.add(index & (CHUNK - 1)) })
    }

    /// Makes sure that the element at `index` exists, and returns it; `None` past the array's greatest length.
    pub fn grow(&self, index: u32) -> Option<&T> {
        if let Some(found) = self.get(index) {
            return Some(found);
        }
        let entry = self.chunks.get(index as usize >> CHUNK_BITS)?;
        let growing = self.growing.lock();
        if entry.load(Ordering::Relaxed).is_null() {
            let chunk: Box<[T]> = (0..CHUNK).map(|_| T::default()).collect();
            // Pairs with the load in `get`.
            entry.store(Box::into_raw(chunk).cast(), Ordering::Release);
        }
        drop(growing);
        self.get(index)
    }
}

impl<T: Default> Drop for StableVec<T> {
    fn drop(&mut self) {
        for entry in &self.chunks {
            let chunk = entry.load(Ordering::Relaxed);
            if !chunk.is_null() {
                // SAFETY: I2: this is the boxed slice that `grow` gave up, and nobody borrows the array any more.
                drop(unsafe { Box::from_raw(std::ptr::slice_from_raw_parts_mut(chunk, CHUNK)) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;

    #[test]
    fn grows_without_moving_and_stops_at_its_limit() {
        let array: StableVec<AtomicU32> = StableVec::new(2 * CHUNK);
        assert!(array.get(0).is_none());
        let first = array.grow(0).expect("within the limit");
        first.store(7, Ordering::Relaxed);
        assert!(array.get(CHUNK as u32).is_none(), "only the chunk asked for is allocated");
        array.grow(2 * CHUNK as u32 - 1).expect("the last element");
        assert_eq!(first.load(Ordering::Relaxed), 7);
        assert!(std::ptr::eq(first, array.get(0).expect("grown")));
        assert!(array.grow(2 * CHUNK as u32).is_none());
    }
}
