//! The control log of a worker: subscribes, unsubscribes and everything else that changes its lists.
//!
//! Callers append under a short lock; a broadcast's inbox entry carries the number of entries that were in the log when
//! it was called, and the worker applies the log exactly so far before it walks. So a broadcast reaches exactly those
//! who were subscribed when it was called, and neither waits for the other.
//!
//! - I1. `tail` is the number of entries ever appended. It changes only under the lock, after the entry is in.
//! - I2. Whoever reads `tail == p` and then takes the lock finds the first `p` entries in, or already fetched: the
//!   store of `p` is inside the critical section that appended.
//! - I3. The worker applies entries in order, each once, and never one whose position is not below the position that it
//!   was told.
//!
//! The locked part also holds the state that must change together with the log: the free places of subscribers.
//! A topic's bit for this worker is set under this lock and cleared under it only when no entry is waiting, so a clear
//! can't run over the bit of a subscribe whose entry is still to come (`Topic`, "the bits").
//!
//! Models: `loom-tests/tests/control_log.rs`, `remote_in_place.rs`.

use crate::sync::{AtomicU64, CachePadded, Mutex, MutexGuard, Ordering, mutated, ord};
use std::collections::VecDeque;

/// Entries for which memory is kept when there are none: more than usually come together.
const KEPT: usize = 8192;

/// What the lock protects.
#[derive(Debug)]
pub struct Locked<O, S> {
    pending: VecDeque<O>,
    /// State that changes together with the log.
    pub state: S,
}

/// The log's shared side. See the module's text.
#[derive(Debug)]
pub struct ControlLog<O, S> {
    /// Entries ever appended. Stored under the lock, read by publishers.
    tail: CachePadded<AtomicU64>,
    locked: Mutex<Locked<O, S>>,
}

/// The log's lock, held.
#[derive(Debug)]
pub struct ControlLogGuard<'a, O, S> {
    tail: &'a AtomicU64,
    locked: MutexGuard<'a, Locked<O, S>>,
}

impl<O, S> ControlLog<O, S> {
    /// An empty log.
    pub fn new(state: S) -> Self {
        ControlLog {
            tail: CachePadded::new(AtomicU64::new(0)),
            locked: Mutex::new(Locked { pending: VecDeque::new(), state }),
        }
    }

    /// Takes the lock.
    pub fn lock(&self) -> ControlLogGuard<'_, O, S> {
        ControlLogGuard { tail: &self.tail, locked: self.locked.lock() }
    }

    /// The position to give to a broadcast that is called now.
    #[inline]
    pub fn position(&self) -> u64 {
        // A subscribe that returned before this call is counted, by coherence. Acquire pairs with the store in
        // `append`: what happened before a counted entry was appended is seen, the pushes of earlier broadcasts above
        // all (`Remote::position_if_drained`).
        self.tail.load(ord!("control_log.position", Acquire))
    }
}

impl<O, S> ControlLogGuard<'_, O, S> {
    /// Appends an entry. Returns how many now wait for the worker to fetch them.
    pub fn append(&mut self, entry: O) -> usize {
        self.locked.pending.push_back(entry);
        // Relaxed load: changes only under the lock. The store pairs with the load in `position`; I2 needs only that it
        // is made under the lock: nobody can read it and still be the one who has the lock before it was made.
        let tail = self.tail.load(Ordering::Relaxed);
        self.tail.store(tail + 1, ord!("control_log.append", Release));
        self.locked.pending.len()
    }

    /// The state beside the log.
    pub fn state(&mut self) -> &mut S {
        &mut self.locked.state
    }

    /// The entries that wait to be fetched.
    pub fn pending(&self) -> impl Iterator<Item = &O> {
        let hidden = mutated!("control_log.hide_over_pending");
        self.locked.pending.iter().filter(move |_| !hidden)
    }
}

/// The worker's side: entries fetched and not yet applied.
#[derive(Debug)]
pub struct ControlLogReader<O> {
    fetched: VecDeque<O>,
    applied: u64,
}

impl<O> ControlLogReader<O> {
    /// A reader at the log's start.
    pub fn new() -> Self {
        ControlLogReader { fetched: VecDeque::new(), applied: 0 }
    }

    /// The next entry below `position`, fetching from the log if need be (I3).
    pub fn next<S>(&mut self, log: &ControlLog<O, S>, position: u64) -> Option<O> {
        if self.applied >= position && !mutated!("control_log.apply_all") {
            return None;
        }
        if self.fetched.is_empty() {
            let mut guard = log.lock();
            std::mem::swap(&mut self.fetched, &mut guard.locked.pending);
        }
        let entry = self.fetched.pop_front();
        debug_assert!(entry.is_some() || mutated!("control_log.apply_all"), "I2: what was counted is in the log");
        self.applied += u64::from(entry.is_some());
        if self.fetched.is_empty() && self.fetched.capacity() > KEPT {
            // A burst of a million entries should not hold its memory for ever.
            self.fetched = VecDeque::new();
        }
        entry
    }

    /// The entry so many behind the next one, if it has been fetched.
    pub fn ahead(&self, count: usize) -> Option<&O> {
        self.fetched.get(count)
    }

    /// Entries applied so far.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The entries fetched and not yet applied.
    pub fn waiting(&self) -> impl Iterator<Item = &O> {
        let hidden = mutated!("control_log.hide_over_fetched");
        self.fetched.iter().filter(move |_| !hidden)
    }
}
