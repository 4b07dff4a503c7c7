//! The inbox of a worker: a bounded queue of many producers and one consumer, bounded by entries and by work.
//!
//! The slots carry sequence numbers, after D. Vyukov's bounded queue. What differs: the consumer polls only the slot it
//! will read next, and producers look at the consumer's line only when the queue seems full, so that in the steady
//! state a push touches the tail's line and one slot, and a pop touches one slot and the head's line.
//!
//! Each entry has a *weight*, the work it will cause. `tail` and `head` are words of two halves: the low 32 bits count
//! entries, the high 32 bits count weight, both wrapping. One compare-and-swap claims a slot and its weight together.
//!
//! - I1. Slot `p % capacity` belongs to the producer whose compare-and-swap moved the tail from `p`, from then until it
//!   stores `p + 1` into the slot's `sequence` (release). It then belongs to the consumer until the head passes `p`.
//! - I2. `tail - head` never exceeds the capacity: a producer claims only after it has seen a head that leaves room,
//!   and the head it saw is at most the true one.
//! - I3. Only the consumer (whoever holds the worker's baton) moves `head`; a pop takes the entry out before it does.
//! - I4. [`Inbox::is_drained`] counts claimed but unwritten slots as entries: it is false while a push is unfinished.
//! - I5. An empty inbox accepts an entry of any weight.
//!
//! Does not promise: that `pop` returns an entry whose push has finished while an earlier push has not.
//!
//! Models: `loom-tests/tests/inbox.rs` (I1, I2, I3, I5), `sleep_wake.rs` (with the sleep protocol), `baton.rs` (I4).

use crate::sync::{AtomicU32, AtomicU64, CachePadded, Ordering, UnsafeCell, mutated, ord, spin_loop};
use std::mem::MaybeUninit;

/// A line to itself: an entry that lay in two would be waited for twice by a worker that polls.
#[repr(align(64))]
struct Slot<T> {
    /// `p + 1` once the entry of position `p` is written. Written by the producer that claimed the slot, read by the
    /// consumer.
    sequence: AtomicU32,
    /// The entry. Access by I1.
    value: UnsafeCell<MaybeUninit<T>>,
}

/// What the producers write.
struct Producers {
    /// Entries and weight pushed so far. Moved by producers' compare-and-swap.
    tail: AtomicU64,
    /// A head that some producer has seen: never ahead of the true one. Saves the look at the consumer's line.
    seen_head: AtomicU64,
}

/// What the consumer writes.
struct Consumer {
    /// Entries popped and weight done so far. Stored by the consumer, read by producers that find no room.
    head: AtomicU64,
    /// Entries whose work is finished, wrapping. Stored by the consumer, read by whoever looks for quiescence.
    completed: AtomicU32,
}

/// A bounded queue of many producers and one consumer. See the module's text.
pub struct Inbox<T> {
    producers: CachePadded<Producers>,
    consumer: CachePadded<Consumer>,
    slots: Box<[Slot<T>]>,
    weight_max: u32,
}

// SAFETY: values move from one thread to another through the slots, one owner at a time (I1).
unsafe impl<T: Send> Send for Inbox<T> {}
// SAFETY: as above; no method hands out a reference to a value.
unsafe impl<T: Send> Sync for Inbox<T> {}

const fn entries(word: u64) -> u32 {
    word as u32
}

const fn weight(word: u64) -> u32 {
    (word >> 32) as u32
}

const fn word(entries: u32, weight: u32) -> u64 {
    (weight as u64) << 32 | entries as u64
}

impl<T> Inbox<T> {
    /// An inbox of `entries_max` entries, a power of two, that together weigh at most `weight_max`.
    pub fn new(entries_max: usize, weight_max: u32) -> Self {
        assert!(entries_max.is_power_of_two() && entries_max <= 1 << 30, "a power of two that leaves room to wrap");
        assert!(weight_max <= 1 << 30, "weights are compared as wrapping 32-bit numbers");
        let slot = |_| Slot { sequence: AtomicU32::new(0), value: UnsafeCell::new(MaybeUninit::uninit()) };
        Inbox {
            producers: CachePadded::new(Producers { tail: AtomicU64::new(0), seen_head: AtomicU64::new(0) }),
            consumer: CachePadded::new(Consumer { head: AtomicU64::new(0), completed: AtomicU32::new(0) }),
            slots: (0..entries_max).map(slot).collect(),
            weight_max,
        }
    }

    fn slot(&self, position: u32) -> &Slot<T> {
        &self.slots[position as usize & (self.slots.len() - 1)]
    }

    /// Whether an entry of `weight` fits between this head and this tail; `None` if one of the two is too
    /// old to go with the other.
    fn fits(&self, tail: u64, head: u64, new: u32) -> Option<bool> {
        let length = entries(tail).wrapping_sub(entries(head));
        if length > self.slots.len() as u32 {
            return None;
        }
        let outstanding = weight(tail).wrapping_sub(weight(head));
        Some(
            length == 0 && outstanding == 0
                || length < self.slots.len() as u32 && outstanding.saturating_add(new) <= self.weight_max,
        )
    }

    /// Whether an entry of `weight` would fit now, looking at the true head.
    pub fn has_room(&self, weight: u32) -> bool {
        loop {
            let tail = self.producers.tail.load(Ordering::Relaxed);
            if let Some(fits) = self.fits(tail, self.consumer.head.load(Ordering::Acquire), weight) {
                return fits;
            }
            spin_loop();
        }
    }

    /// Appends an entry, or hands it back if there is no room.
    #[inline]
    pub fn push(&self, value: T, new: u32) -> Result<(), T> {
        // Relaxed: a stale tail makes the compare-and-swap below fail.
        let mut tail = self.producers.tail.load(Ordering::Relaxed);
        loop {
            // Pairs with the store below: the producer that stored it had acquired the consumer's head, and so have we,
            // through it; the slot that we may claim was emptied before (I1).
            let seen = self.producers.seen_head.load(ord!("inbox.seen_head", Acquire));
            if self.fits(tail, seen, new) != Some(true) {
                // Pairs with the consumer's stores in `pop` and `release`.
                let head = self.consumer.head.load(ord!("inbox.head", Acquire));
                match self.fits(tail, head, new) {
                    Some(true) => self.producers.seen_head.store(head, ord!("inbox.seen_head_store", Release)),
                    // Full when `head` was read: the true tail was this one or a later one.
                    Some(false) => return Err(value),
                    None => {
                        spin_loop();
                        tail = self.producers.tail.load(Ordering::Relaxed);
                        continue;
                    }
                }
            }
            let next = word(entries(tail).wrapping_add(1), weight(tail).wrapping_add(new));
            // Relaxed: the claim publishes nothing; the entry is published by its slot's sequence.
            match self.producers.tail.compare_exchange_weak(tail, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => tail = now,
            }
        }
        let position = entries(tail);
        let slot = self.slot(position);
        slot.value.with_mut(|cell| {
            // SAFETY: I1: the slot is ours from the claim to the store of its sequence, and holds no value (I2).
            unsafe { (*cell).write(value) };
        });
        // Pairs with the load in `pop`.
        slot.sequence.store(position.wrapping_add(1), ord!("inbox.publish", Release));
        Ok(())
    }

    /// Whether the next entry is there to be popped. For the consumer.
    pub fn has_next(&self) -> bool {
        let position = entries(self.consumer.head.load(Ordering::Relaxed));
        // Relaxed: whoever acts on it pops, and that acquires. A sleep protocol's fence orders it where it must.
        self.slot(position).sequence.load(Ordering::Relaxed) == position.wrapping_add(1)
    }

    /// Takes the next entry. Its weight counts against the bound until [`release`](Self::release).
    ///
    /// # Safety
    ///
    /// Only one thread at a time may call it, each call happening after the one before (the baton's holder does).
    pub unsafe fn pop(&self) -> Option<T> {
        // Relaxed: only the consumer writes it (I3).
        let head = self.consumer.head.load(Ordering::Relaxed);
        let position = entries(head);
        let slot = self.slot(position);
        // Pairs with the store in `push`.
        if slot.sequence.load(ord!("inbox.poll", Acquire)) != position.wrapping_add(1) {
            return None;
        }
        let value = slot.value.with(|cell| {
            // SAFETY: I1: the sequence says that the entry is written and ours; moving the head below means that it is
            // read out once.
            unsafe { (*cell).assume_init_read() }
        });
        // Pairs with the load of `head` in `push`: the slot is empty before a producer may claim it again.
        self.consumer.head.store(word(position.wrapping_add(1), weight(head)), ord!("inbox.pop", Release));
        Some(value)
    }

    /// Takes the weight of a popped entry off the bound: its work is done. For the consumer.
    pub fn release(&self, done: u32) {
        if done != 0 {
            let head = self.consumer.head.load(Ordering::Relaxed);
            let head = word(entries(head), weight(head).wrapping_add(done));
            // Pairs with the load of `head` in `push`, as the store in `pop` does: it takes that one's place.
            self.consumer.head.store(head, ord!("inbox.release", Release));
        }
    }

    /// Counts entries as completed: their work is done, and all that it published has been pushed. For the consumer.
    pub fn count_completed(&self, count: u32) {
        let completed = self.consumer.completed.load(Ordering::Relaxed);
        // Pairs with the load in `completed`: what the work has pushed elsewhere is seen with its completion.
        self.consumer.completed.store(completed.wrapping_add(count), ord!("inbox.completed", Release));
    }

    /// Whether nothing is in it, not even an unfinished push (I4). Certain only under the baton.
    #[inline]
    pub fn is_drained(&self) -> bool {
        if mutated!("baton.slot_emptiness") {
            return !self.has_next();
        }
        // Relaxed: a caller that must not miss a push has seen it happen before, and then coherence shows it here.
        let tail = self.producers.tail.load(Ordering::Relaxed);
        entries(tail) == entries(self.consumer.head.load(Ordering::Relaxed))
    }

    /// Entries pushed so far, wrapping.
    pub fn pushed(&self) -> u32 {
        // Relaxed: a push that the caller must count has happened before, and then coherence shows it here.
        entries(self.producers.tail.load(Ordering::Relaxed))
    }

    /// Entries whose work is finished, wrapping.
    pub fn completed(&self) -> u32 {
        // Pairs with the store in `count_completed`.
        self.consumer.completed.load(ord!("inbox.read_completed", Acquire))
    }

    /// Entries waiting, for statistics.
    pub fn len(&self) -> u32 {
        let head = entries(self.consumer.head.load(Ordering::Relaxed));
        entries(self.producers.tail.load(Ordering::Relaxed)).wrapping_sub(head)
    }
}

impl<T> Drop for Inbox<T> {
    fn drop(&mut self) {
        // SAFETY: `&mut self`: there is no other thread.
        while unsafe { self.pop() }.is_some() {}
    }
}

impl<T> std::fmt::Debug for Inbox<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").field("len", &self.len()).finish_non_exhaustive()
    }
}
