//! The mailbox ring: what a delivery writes and what its reader takes, in one cache line.
//!
//! A bounded ring of 32-bit message handles between one writer (whoever holds the worker's baton) and one reader, with
//! a twist: on overflow the writer may take the oldest entry away. Positions count up from 0 and never wrap.
//!
//! - I1. `tail` is moved by the writer alone; the slot of a position is written before the tail passes it (release).
//! - I2. `head` is moved by compare-and-swap, by the reader over what it takes and, with [`Policy::DropOldest`], by the
//!   writer over the one it evicts. An entry belongs to whoever moved the head over it. With the other policies the
//!   reader alone moves it.
//! - I3. `tail - head <= capacity`. The writer evicts with one try: if the compare-and-swap fails, the reader has taken
//!   something, so there is room. It never loops.
//! - I4. The reader copies slots first and uses the copies only if its compare-and-swap succeeds; a slot that the
//!   writer overwrote meanwhile means that the head had moved, so the compare-and-swap fails.
//! - I5. The positions between where the reader's last take ended and where its next one starts were evicted: that is
//!   the exact number of lost messages, at the place of the gap.
//!
//! A ring of up to [`INLINE`] entries lies in the line. A larger one has its slots in a slice that the writer and the
//! reader share.
//!
//! Does not promise: that a full ring with `DropNewest` or `Close` accepts after the reader began, but has not
//! finished, to take.
//!
//! Models: `loom-tests/tests/ring.rs` (I1 to I5), `ready_wake.rs` (the ready word). Trusted: that a relaxed load of a
//! slot is not delayed past the reader's compare-and-swap, by its release half and the writer's acquiring looks at the
//! head; loom does not run loads late.

use super::ready::ReadyWord;
use crate::sync::{AtomicPtr, AtomicU32, AtomicU64, Ordering, fence, mutated, ord};

/// Entries of a ring that lies in its line.
pub const INLINE: usize = 8;

/// Greatest capacity that the line's configuration word can hold.
pub const CAPACITY_MAX: usize = (1 << POLICY_SHIFT) - 1;

const POLICY_SHIFT: u32 = 24;
const BIT_SHIFT: u32 = 26;
const BIT_MASK: u32 = 0x3F;

/// What a full ring does with the next message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Policy {
    /// The oldest unread one goes.
    DropOldest = 0,
    /// The new one is refused.
    DropNewest = 1,
    /// The subscriber is ended.
    Close = 2,
}

/// A mailbox's line. See the module's text.
#[derive(Debug)]
#[repr(C, align(64))]
pub struct Line {
    /// Written by the writer, copied by the reader (I1, I4).
    slots: [AtomicU32; INLINE],
    /// See I2.
    head: AtomicU64,
    /// See I1.
    tail: AtomicU64,
    /// See [`notify`](super::notify).
    pub flags: AtomicU32,
    /// Capacity (24 bits), policy (2 bits), place in the ready word (6 bits). Written by the subscriber's owner before
    /// the first subscription and, for the place, before `ready` is set.
    config: AtomicU32,
    /// The ready word of the `MailboxSet` that the mailbox is in, or null. Stored by the reader, read by the writer.
    ready: AtomicPtr<ReadyWord>,
}

#[cfg(not(fanfare_loom))]
const _: () = assert!(size_of::<Line>() == 64);

/// What a delivery came to.
#[derive(Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The message is in the ring.
    Stored,
    /// The message is in the ring, and this handle, the oldest, is no longer.
    Evicted(u32),
    /// The ring is full and keeps what it has.
    Refused,
}

/// What the reader took.
#[derive(Debug, PartialEq, Eq)]
pub struct Taken {
    /// The position of the first entry taken.
    pub first: u64,
    /// How many entries were taken.
    pub count: usize,
    /// Whether there were more.
    pub more: bool,
}

impl Line {
    /// A line as fresh memory has it. Production takes lines from zeroed slabs.
    pub fn new() -> Self {
        Line {
            slots: std::array::from_fn(|_| AtomicU32::new(0)),
            head: AtomicU64::new(0),
            tail: AtomicU64::new(0),
            flags: AtomicU32::new(0),
            config: AtomicU32::new(0),
            ready: AtomicPtr::new(std::ptr::null_mut()),
        }
    }

    /// Prepares the line for a new owner.
    /// Nobody else may be using the line; what makes it known to the writer later publishes these stores.
    pub fn reset(&self, capacity: usize, policy: Policy) {
        debug_assert!((1..=CAPACITY_MAX).contains(&capacity));
        self.head.store(0, Ordering::Relaxed);
        self.tail.store(0, Ordering::Relaxed);
        self.flags.store(0, Ordering::Relaxed);
        self.config.store(capacity as u32 | (policy as u32) << POLICY_SHIFT, Ordering::Relaxed);
        self.ready.store(std::ptr::null_mut(), Ordering::Relaxed);
    }

    /// The most entries that the ring holds.
    #[inline(always)]
    pub fn capacity(&self) -> usize {
        self.config.load(Ordering::Relaxed) as usize & CAPACITY_MAX
    }

    /// What the ring does when full.
    pub fn policy(&self) -> Policy {
        match self.config.load(Ordering::Relaxed) >> POLICY_SHIFT & 3 {
            0 => Policy::DropOldest,
            1 => Policy::DropNewest,
            _ => Policy::Close,
        }
    }

    /// The slots in the line, for a ring of up to [`INLINE`] entries.
    #[inline(always)]
    pub fn inline(&self) -> &[AtomicU32; INLINE] {
        &self.slots
    }

    /// For the writer: puts `handle` into the ring, or does what the policy says. `slots` are the ring's own, a power
    /// of two of at least the capacity.
    #[inline(always)]
    pub fn deliver(&self, slots: &[AtomicU32], handle: u32) -> Delivery {
        // Relaxed: ours alone (I1).
        let tail = self.tail.load(Ordering::Relaxed);
        // Pairs with the reader's compare-and-swap: it has copied what we may now overwrite.
        let head = self.head.load(Ordering::Acquire);
        let mut delivery = Delivery::Stored;
        if tail - head >= self.capacity() as u64 {
            if self.policy() != Policy::DropOldest {
                return Delivery::Refused;
            }
            let oldest = slots[head as usize & (slots.len() - 1)].load(Ordering::Relaxed);
            if mutated!("ring.evict_without_claim") {
                self.head.store(head + 1, Ordering::Release);
                delivery = Delivery::Evicted(oldest);
            } else if self.head.compare_exchange(head, head + 1, ord!("ring.evict", AcqRel), Ordering::Acquire).is_ok()
            {
                // Release: a reader that sees this head sees the tail that we had.
                delivery = Delivery::Evicted(oldest);
            }
        }
        slots[tail as usize & (slots.len() - 1)].store(handle, Ordering::Relaxed);
        // Pairs with the load in `take`.
        self.tail.store(tail + 1, ord!("ring.publish", Release));
        delivery
    }

    /// For the reader: takes up to `out.len()` entries, the oldest first. With an empty ring the count is 0.
    #[inline]
    pub fn take(&self, slots: &[AtomicU32], out: &mut [u32]) -> Taken {
        loop {
            // Acquire: if the writer evicted, the slots and the tail from before are seen.
            let head = self.head.load(ord!("ring.head", Acquire));
            // Pairs with the store in `deliver`: what the handles name is seen.
            let tail = self.tail.load(ord!("ring.tail", Acquire));
            // A tail far ahead of an old head is capped: what it would reach has been overwritten, and I4 retries.
            let available = (tail - head) as usize;
            let count = available.min(out.len()).min(self.capacity());
            let taken = Taken { first: head, count, more: available > count };
            if count == 0 {
                return taken;
            }
            for (i, out) in out[..count].iter_mut().enumerate() {
                *out = slots[(head as usize + i) & (slots.len() - 1)].load(Ordering::Relaxed);
            }
            if mutated!("ring.take_without_claim") {
                self.head.store(head + count as u64, Ordering::Release);
                return taken;
            }
            let next = head + count as u64;
            // Release: pairs with the load of `head` in `deliver`; the copies are made (I4). What the head read above
            // came with was acquired there.
            if self.head.compare_exchange(head, next, Ordering::Release, Ordering::Relaxed).is_ok() {
                return taken;
            }
        }
    }

    /// Entries in the ring.
    pub fn len(&self) -> usize {
        let head = self.head.load(Ordering::Acquire);
        (self.tail.load(Ordering::Acquire).saturating_sub(head) as usize).min(self.capacity())
    }

    /// The position of the oldest entry: what was before was taken or evicted.
    #[inline]
    pub fn head(&self) -> u64 {
        self.head.load(Ordering::Acquire)
    }

    /// For the reader: names the ready word and the bit in it that the writer sets after each delivery. Then it must
    /// look at the ring once, by marking the bit itself: what was delivered before the writer knew the word is
    /// announced by no one.
    pub fn set_ready(&self, word: *mut ReadyWord, bit: u32) {
        let config = self.config.load(Ordering::Relaxed) & !(BIT_MASK << BIT_SHIFT);
        self.config.store(config | bit << BIT_SHIFT, Ordering::Relaxed);
        // Pairs with the load in `ready`: the bit's place and the group's memory are seen with the word.
        self.ready.store(word, Ordering::Release);
        // Pairs with the writer's fence between a delivery and its look at the word: either it sees the word, or the
        // reader, whose look at the ring comes after this, sees the delivery.
        fence!("ring.join");
    }

    /// For the writer: the ready word, or null, and the bit to set in it.
    #[inline(always)]
    pub fn ready(&self) -> (*mut ReadyWord, u32) {
        let word = self.ready.load(Ordering::Acquire);
        (word, self.config.load(Ordering::Relaxed) >> BIT_SHIFT)
    }
}

impl Default for Line {
    fn default() -> Self {
        Line::new()
    }
}
