//! A room: who is present on one topic, and what of that is in no diff yet.
//!
//! All of it is under one lock, which is held for one change, for one look, or for one seal; never while anything is
//! published, encoded, or run that is a user's.
//!
//! # Epochs
//!
//! What changes between two seals is the room's open epoch. It is kept as its net effect: the presences that are
//! *fresh* (here, but in no diff) and those that have *left* (in a diff, but no longer here). One that comes and goes
//! within an epoch leaves no trace. An update is a presence that leaves and one that comes, in one slot: the key is
//! never without a meta.
//!
//! Joiners who wait for the state are told with the next seal. At that moment nothing is fresh or left: the state that
//! they get is exactly what the diffs so far add up to, and every later diff comes behind it.
//!
//! # Pace
//!
//! The first change after a quiet time is sealed at once, later ones when `diff_period` has passed since. A room is
//! `Quiet`, `Queued` (it is to be sealed at once), `Cooling` (it was sealed less than a period ago) or `Retired`.
//!
//! - I1. A room that is `Queued` is in its shard's queue, once; one that is `Cooling` is in the sealer's list, once; a
//!   `Quiet` or `Retired` one is in neither. Only who makes it `Queued` puts it into the queue, and only the sealer
//!   makes it `Cooling`, `Quiet` or `Retired`. So a change to a room that is `Queued` or `Cooling` need not tell
//!   anybody: it will be looked at.
//! - I2. A `Quiet` room has nothing fresh, nothing left and nobody waiting. A `Retired` one is empty as well, and stays
//!   so: who finds it in the table makes a new one in its place.
//! - I3. Each presence is in exactly one of these: in a diff, or fresh. `Entry::fresh` is its place in `fresh`.
//! - I4. `next` and `prev` link the presences of one key; the index has the slot of each key's first.
//!
//! Models: `loom-tests/tests/presence_seal.rs` (I1, I2: nothing is lost, nothing told twice, the state is aligned),
//! `presence_retire.rs` (I2).

use super::aligned::Aligned;
use super::entries::{Entries, Entry, NONE, Snapshot};
use super::meta::{Meta, PhxRef};
use super::signal::Shard;
use crate::sync::{Arc, AtomicU32, Mutex, MutexGuard, OnceLock, Ordering, Text};
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Presences up to which a room has no index.
const FEW: usize = 8;

/// See the module's text.
#[derive(Debug)]
pub struct Room {
    name: Box<str>,
    shard: Arc<Shard>,
    /// Keys and presences. Written under the lock, read without: relaxed, since each says nothing of anything else.
    keys: AtomicU32,
    metas: AtomicU32,
    state: Mutex<State>,
}

/// See the module's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Quiet,
    Queued,
    Cooling,
    Retired,
}

/// What the lock guards.
#[derive(Debug)]
pub struct State {
    entries: Entries,
    /// The slot of each presence's number.
    slots: Vec<u32>,
    /// Numbers that nobody has.
    free: Vec<u32>,
    keys: u32,
    /// The hash and the slot of each key's first presence; none while there are few.
    index: Option<Box<HashTable<(u32, u32)>>>,
    /// Slots of those that are in no diff (I3).
    fresh: Vec<u32>,
    /// Those that are in a diff, and have left.
    left: Vec<Change>,
    waiting: Vec<Waiter>,
    phase: Phase,
}

/// A key and a meta that came or went.
#[derive(Debug, Clone)]
pub struct Change {
    /// The key.
    pub key: Text,
    /// The meta.
    pub meta: Meta,
}

/// How much of the state somebody wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All of it, or the first page of a large one.
    Full,
    /// The counts alone.
    Count,
    /// The page below this slot.
    Below(u32),
}

/// Somebody who waits for the state.
pub struct Waiter {
    /// How much of it.
    pub scope: Scope,
    /// Takes it.
    pub tell: Box<dyn FnOnce(&Aligned) + Send>,
}

impl std::fmt::Debug for Waiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiter").field("scope", &self.scope).finish_non_exhaustive()
    }
}

/// What a seal found.
#[derive(Debug)]
pub enum Sealing {
    /// Nothing: the room is quiet.
    Quiet,
    /// Nothing, and nobody is there: it is to be taken out of the table.
    Retired,
    /// An epoch. The room cools.
    Epoch(Epoch),
}

/// What one epoch came to.
#[derive(Debug, Default)]
pub struct Epoch {
    /// Those that have come.
    pub joins: Vec<Change>,
    /// Those that have gone.
    pub leaves: Vec<Change>,
    /// Who is to be told the state.
    pub waiting: Vec<Waiter>,
    /// The state, if somebody wants it.
    pub snapshot: Option<Snapshot>,
    /// Keys and presences.
    pub counts: (u32, u32),
    /// The metas that each changed key now has, if that was wanted.
    pub after: Vec<(Text, Vec<Meta>)>,
}

impl Room {
    /// An empty, quiet room.
    pub fn new(name: &str, shard: Arc<Shard>) -> Self {
        let state = State {
            entries: Entries::default(),
            slots: Vec::new(),
            free: Vec::new(),
            keys: 0,
            index: None,
            fresh: Vec::new(),
            left: Vec::new(),
            waiting: Vec::new(),
            phase: Phase::Quiet,
        };
        let zero = || AtomicU32::new(0);
        Room { name: name.into(), shard, keys: zero(), metas: zero(), state: Mutex::new(state) }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its epochs are sealed.
    pub fn shard(&self) -> &Arc<Shard> {
        &self.shard
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys.load(Ordering::Relaxed) as usize
    }

    /// How many presences there are.
    pub fn metas(&self) -> usize {
        self.metas.load(Ordering::Relaxed) as usize
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock()
    }

    /// Changes the room, unless it is retired; then `None`.
    pub fn change<R>(this: &Arc<Self>, change: impl FnOnce(&mut State) -> R) -> Option<R> {
        let mut state = this.lock();
        if state.phase == Phase::Retired {
            return None;
        }
        let result = change(&mut state);
        this.keys.store(state.keys, Ordering::Relaxed);
        this.metas.store(state.entries.len() as u32, Ordering::Relaxed);
        let is_first = state.phase == Phase::Quiet && !state.is_sealed();
        if is_first {
            state.phase = Phase::Queued;
        }
        drop(state);
        if is_first {
            this.shard.queue(this.clone());
        }
        Some(result)
    }

    /// Looks at the room.
    pub fn look<R>(&self, look: impl FnOnce(&State) -> R) -> R {
        look(&self.lock())
    }

    /// For the sealer: ends the open epoch. `after`: whether the metas of changed keys are wanted.
    pub fn seal(&self, after: bool) -> Sealing {
        let mut state = self.lock();
        if state.is_sealed() {
            if state.entries.len() == 0 {
                state.phase = Phase::Retired;
                return Sealing::Retired;
            }
            state.phase = Phase::Quiet;
            return Sealing::Quiet;
        }
        state.phase = Phase::Cooling;
        Sealing::Epoch(state.seal(after))
    }
}

impl State {
    /// Whether the diffs so far add up to what is here, and nobody waits.
    fn is_sealed(&self) -> bool {
        self.fresh.is_empty() && self.left.is_empty() && self.waiting.is_empty()
    }

    /// How many presences there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys as usize
    }

    /// Somebody comes. Returns the key as the room has it, and the presence's number.
    pub fn join(&mut self, key: &str, hash: u32, meta: Meta) -> (Text, u32) {
        let slot = self.entries.len() as u32;
        let head = self.head(key, hash);
        let (key, next) = match head {
            // Behind the first, so that the index need not change.
            Some(head) => {
                let first = self.entries.at_mut(head);
                (first.key.clone(), std::mem::replace(&mut first.next, slot))
            }
            None => (key.into(), NONE),
        };
        if next != NONE {
            self.entries.at_mut(next).prev = slot;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(NONE);
            self.slots.len() as u32 - 1
        });
        self.slots[id as usize] = slot;
        let fresh = self.fresh.len() as u32;
        self.fresh.push(slot);
        let prev = head.unwrap_or(NONE);
        self.entries.push(Entry { key: key.clone(), meta, id, next, prev, fresh, hash, told_prev: false });
        if head.is_none() {
            self.keys += 1;
            match &mut self.index {
                Some(index) => {
                    index.insert_unique(spread(hash), (hash, slot), |&(hash, _)| spread(hash));
                }
                None if self.entries.len() > FEW => self.make_index(),
                None => {}
            }
        }
        (key, id)
    }

    /// The meta of a presence.
    pub fn meta(&self, id: u32) -> &Meta {
        &self.entries.at(self.slots[id as usize]).meta
    }

    /// The ref that a new meta of a presence takes the place of: the last that was told, or else the last that was.
    pub fn prev_ref(&self, id: u32) -> (PhxRef, bool) {
        let entry = self.entries.at(self.slots[id as usize]);
        match entry.meta.phx_ref_prev() {
            Some(prev) if entry.fresh != NONE && entry.told_prev => (prev, true),
            _ => (entry.meta.phx_ref(), entry.fresh == NONE),
        }
    }

    /// A presence gets another meta. `told_prev`: what the meta says that it takes the place of was told.
    pub fn update(&mut self, id: u32, meta: Meta, told_prev: bool) {
        let slot = self.slots[id as usize];
        let fresh = self.fresh.len() as u32;
        let entry = self.entries.at_mut(slot);
        let old = std::mem::replace(&mut entry.meta, meta);
        entry.told_prev = told_prev;
        if entry.fresh == NONE {
            entry.fresh = fresh;
            let key = entry.key.clone();
            self.fresh.push(slot);
            self.left.push(Change { key, meta: old });
        }
    }

    /// A presence goes.
    pub fn leave(&mut self, id: u32) {
        let slot = std::mem::replace(&mut self.slots[id as usize], NONE);
        self.free.push(id);
        self.unlink(slot);
        let last = self.entries.len() as u32 - 1;
        let gone = self.entries.swap_remove(slot);
        // The index first: while it names the last one's old slot, that is where it is looked for.
        if slot != last {
            self.moved(last, slot);
        }
        if gone.fresh == NONE {
            self.left.push(Change { key: gone.key, meta: gone.meta });
        } else {
            let place = gone.fresh as usize;
            self.fresh.swap_remove(place);
            if let Some(&other) = self.fresh.get(place) {
                self.entries.at_mut(other).fresh = place as u32;
            }
        }
        if self.entries.len() == 0 {
            // A room that empties gives its memory back.
            self.slots = Vec::new();
            self.free = Vec::new();
            self.index = None;
        }
    }

    /// Takes the one in `slot` out of its key's list and the index.
    fn unlink(&mut self, slot: u32) {
        let Entry { next, prev, hash, .. } = *self.entries.at(slot);
        if next != NONE {
            self.entries.at_mut(next).prev = prev;
        }
        if prev != NONE {
            self.entries.at_mut(prev).next = next;
            return;
        }
        self.keys -= u32::from(next == NONE);
        if let Some(index) = &mut self.index
            && let Ok(mut found) = index.find_entry(spread(hash), |&(_, head)| head == slot)
        {
            if next == NONE {
                found.remove();
            } else {
                found.get_mut().1 = next;
            }
        }
    }

    /// The last one has moved from slot `from` to slot `to`.
    fn moved(&mut self, from: u32, to: u32) {
        let Entry { next, prev, hash, id, fresh, .. } = *self.entries.at(to);
        self.slots[id as usize] = to;
        if fresh != NONE {
            self.fresh[fresh as usize] = to;
        }
        if next != NONE {
            self.entries.at_mut(next).prev = to;
        }
        if prev != NONE {
            self.entries.at_mut(prev).next = to;
        } else if let Some(index) = &mut self.index
            && let Some(found) = index.find_mut(spread(hash), |&(_, head)| head == from)
        {
            found.1 = to;
        }
    }

    fn make_index(&mut self) {
        let mut index = HashTable::with_capacity(2 * self.entries.len());
        for slot in 0..self.entries.len() as u32 {
            let entry = self.entries.at(slot);
            if entry.prev == NONE {
                index.insert_unique(spread(entry.hash), (entry.hash, slot), |&(hash, _)| spread(hash));
            }
        }
        self.index = Some(Box::new(index));
    }

    /// The slot of the first presence of a key.
    fn head(&self, key: &str, hash: u32) -> Option<u32> {
        let is_it = |slot: u32| {
            let entry = self.entries.at(slot);
            entry.hash == hash && entry.prev == NONE && *entry.key == *key
        };
        match &self.index {
            Some(index) => {
                let found = index.find(spread(hash), |&(other, slot)| other == hash && is_it(slot));
                found.map(|&(_, slot)| slot)
            }
            None => (0..self.entries.len() as u32).find(|&slot| is_it(slot)),
        }
    }

    /// The metas of a key.
    pub fn metas_of(&self, key: &str, hash: u32) -> Vec<Meta> {
        let mut metas = Vec::new();
        let mut slot = self.head(key, hash).unwrap_or(NONE);
        while slot != NONE {
            let entry = self.entries.at(slot);
            metas.push(entry.meta.clone());
            slot = entry.next;
        }
        metas
    }

    /// All that are here now.
    pub fn snapshot(&self) -> Snapshot {
        self.entries.snapshot()
    }

    /// Somebody waits for the state.
    pub fn wait(&mut self, waiter: Waiter) {
        self.waiting.push(waiter);
    }

    fn seal(&mut self, after: bool) -> Epoch {
        let fresh = std::mem::take(&mut self.fresh);
        let mut joins = Vec::with_capacity(fresh.len());
        for slot in fresh {
            let entry = self.entries.at_mut(slot);
            entry.fresh = NONE;
            joins.push(Change { key: entry.key.clone(), meta: entry.meta.clone() });
        }
        let leaves = std::mem::take(&mut self.left);
        let waiting = std::mem::take(&mut self.waiting);
        let wants_metas = waiting.iter().any(|waiter| waiter.scope != Scope::Count);
        let mut changed = Vec::new();
        if after {
            let mut seen = std::collections::HashSet::<&str>::new();
            let keys = joins.iter().chain(&leaves).map(|change| &change.key).filter(|key| seen.insert(key));
            changed.extend(keys.map(|key| (key.clone(), self.metas_of(key, hash_of(key)))));
        }
        Epoch {
            joins,
            leaves,
            waiting,
            snapshot: wants_metas.then(|| self.entries.snapshot()),
            counts: (self.keys, self.entries.len() as u32),
            after: changed,
        }
    }
}

/// A hash of 32 bits for a table that looks at both ends of 64.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of a key. With a seed of this process: keys may come from an attacker.
pub fn hash_of(key: &str) -> u32 {
    static SEED: OnceLock<foldhash::quality::RandomState> = OnceLock::new();
    let hash = SEED.get_or_init(foldhash::quality::RandomState::default).hash_one(key);
    (hash ^ hash >> 32) as u32
}
