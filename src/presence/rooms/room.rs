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
//! - I3. Each presence is in exactly one of these: in a diff, or fresh. `PresenceEntry::fresh` is its place in the
//!   index's `fresh`; a small room has no index: it counts the fresh ones, and finds them by looking at all.
//! - I4. `next` and `prev` link the presences of one key; the index has the slot of each key's first.
//!
//! - I5. Who listens is asked under the lock, behind all changes of the epoch: who listened before one of them is
//!   found.
//!
//! Models: `loom-tests/tests/presence_seal.rs` (I1, I2: nothing is lost, nothing told twice, the state is aligned),
//! `presence_retire.rs` (I2), `presence_heard.rs` (I5).

use super::aligned::Aligned;
use super::entries::{Entries, FEW, NONE, PresenceEntry, Snapshot};
use super::meta::{Meta, Metas, PhxRef};
use super::signal::Shard;
use crate::sync::{Arc, AtomicU32, Mutex, MutexGuard, OnceLock, Ordering, mutated, prefetch_line};
use hashbrown::HashTable;
use smallvec::SmallVec;
use smol_str::SmolStr;
use std::cell::Cell;
use std::hash::BuildHasher;

/// See the module's text.
#[derive(Debug)]
pub struct Room {
    /// In the room's own memory, if it is short: a piece less to be allocated, and to be read by whoever comes here.
    name: SmolStr,
    shard: Arc<Shard>,
    /// Keys and presences. Written under the lock, read without: relaxed, since each says nothing of anything else.
    keys: AtomicU32,
    metas: AtomicU32,
    state: Mutex<RoomState>,
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
pub struct RoomState {
    entries: Entries,
    keys: u32,
    /// None while there are few.
    index: Option<Box<Index>>,
    /// What the open epoch has beside those that are fresh. Most have nothing, and a room at rest is to be small.
    aside: Option<Box<Aside>>,
    /// How many are fresh while there is no index. Counted, since a room that has nothing to tell is to be known by its
    /// own lines, without those of its list.
    few_fresh: u8,
    phase: Phase,
}

/// Who is not here, but of the open epoch. Never empty.
#[derive(Debug, Default)]
struct Aside {
    /// Those that are in a diff, and have left.
    left: SmallVec<[Meta; 1]>,
    waiting: Vec<Waiter>,
}

/// Where things are in a room that is not small.
#[derive(Debug, Default)]
struct Index {
    heads: HashTable<Head>,
    /// The slot of each number.
    slots: Vec<u32>,
    /// Numbers that nobody has.
    free: Vec<u32>,
    /// Slots of those that are in no diff (I3).
    fresh: Vec<u32>,
}

/// Where a key's first presence is.
#[derive(Debug)]
struct Head {
    hash: u32,
    slot: u32,
    /// The address of its meta as it was when it was last seen from here: only to ask for that memory before the slot,
    /// which may be far away as well, has said where it is.
    seen: Cell<usize>,
}

impl Head {
    fn of(hash: u32, slot: u32, meta: &Meta) -> Self {
        Head { hash, slot, seen: Cell::new(meta.address()) }
    }

    fn table_hash(&self) -> u64 {
        spread(self.hash)
    }

    /// Asks for a meta's memory: its count, which lies in front, and its key of so many bytes.
    fn prefetch(&self, key_bytes: usize) {
        const COUNTS: usize = 2 * size_of::<usize>();
        prefetch_line(self.seen.get().wrapping_sub(COUNTS));
        prefetch_line(self.seen.get().wrapping_add(key_bytes));
    }
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

/// What of an epoch is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Wanted {
    /// How many have come and gone: nobody hears of it.
    Counts,
    /// Who.
    Changes,
    /// And all metas of their keys.
    Metas,
}

/// What a seal found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sealing {
    /// Nothing: the room is quiet.
    Quiet,
    /// Nothing, and nobody is there: it is to be taken out of the table.
    Retired,
    /// An epoch. The room cools.
    Epoch,
}

/// What one epoch came to.
#[derive(Debug, Default)]
pub struct Epoch {
    /// How many have come and gone.
    pub changes: (usize, usize),
    /// Those that have come, if they were wanted.
    pub joins: Vec<Meta>,
    /// Those that have gone, if they were wanted.
    pub leaves: Vec<Meta>,
    /// Who is to be told the state.
    pub waiting: Vec<Waiter>,
    /// The state, if somebody wants it.
    pub snapshot: Option<Snapshot>,
    /// Keys and presences.
    pub counts: (u32, u32),
    /// Of each changed key one that came or went, and all that there are now, if they were wanted.
    pub after: Vec<(Meta, Metas)>,
}

impl Epoch {
    /// Forgets it, and keeps its memory, unless it is much.
    pub fn clear(&mut self) {
        const KEPT: usize = 1024;
        if self.joins.capacity().max(self.leaves.capacity()) > KEPT {
            *self = Epoch::default();
        }
        self.changes = (0, 0);
        self.joins.clear();
        self.leaves.clear();
        self.waiting.clear();
        self.snapshot = None;
        self.after.clear();
    }
}

impl Room {
    /// An empty, quiet room.
    pub fn new(name: &str, shard: Arc<Shard>) -> Self {
        let state =
            RoomState { entries: Entries::new(), keys: 0, index: None, aside: None, few_fresh: 0, phase: Phase::Quiet };
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

    fn lock(&self) -> MutexGuard<'_, RoomState> {
        self.state.lock()
    }

    /// Changes the room, unless it is retired; then `None`.
    pub fn change<R>(this: &Arc<Self>, change: impl FnOnce(&mut RoomState) -> R) -> Option<R> {
        let mut state = this.lock();
        if state.phase == Phase::Retired && !mutated!("room.join_retired") {
            return None;
        }
        let result = change(&mut state);
        this.keys.store(state.keys, Ordering::Relaxed);
        this.metas.store(state.entries.len() as u32, Ordering::Relaxed);
        let is_quiet = state.phase == Phase::Quiet && !mutated!("room.queue_nothing");
        let is_first = is_quiet && !state.is_sealed();
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
    pub fn look<R>(&self, look: impl FnOnce(&RoomState) -> R) -> R {
        look(&self.lock())
    }

    /// For the sealer: ends the open epoch. What it came to goes into `epoch`, which is empty.
    /// `wanted` is asked under the lock (I5).
    pub fn seal(&self, wanted: impl Fn() -> Wanted, epoch: &mut Epoch) -> Sealing {
        let early = mutated!("room.ask_early").then(&wanted);
        let mut state = self.lock();
        if !state.is_sealed() {
            state.phase = Phase::Cooling;
            state.seal(early.unwrap_or_else(wanted), epoch);
            Sealing::Epoch
        } else if state.entries.len() == 0 {
            state.phase = Phase::Retired;
            Sealing::Retired
        } else {
            state.phase = Phase::Quiet;
            Sealing::Quiet
        }
    }
}

impl RoomState {
    /// Whether the diffs so far add up to what is here, and nobody waits.
    fn is_sealed(&self) -> bool {
        self.aside.is_none()
            && match &self.index {
                Some(index) => index.fresh.is_empty(),
                None => self.few_fresh == 0,
            }
    }

    /// How many presences there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many keys there are.
    pub fn keys(&self) -> usize {
        self.keys as usize
    }

    /// Somebody comes. Returns the presence's number.
    pub fn join(&mut self, hash: u32, meta: Meta) -> u32 {
        let slot = self.entries.len() as u32;
        let head = self.head(meta.key(), hash);
        // Behind the first, so that the index need not change.
        let next = head.map_or(NONE, |head| std::mem::replace(&mut self.entries.at_mut(head).next, slot));
        if next != NONE {
            self.entries.at_mut(next).prev = slot;
        }
        let id = self.take_id(slot);
        let fresh = self.add_fresh(slot);
        let prev = head.unwrap_or(NONE);
        if head.is_none() {
            self.keys += 1;
            if let Some(index) = &mut self.index {
                index.add_head(Head::of(hash, slot, &meta));
            }
        }
        self.entries.push(PresenceEntry { meta, id, next, prev, fresh, hash, told_prev: false });
        if self.index.is_none() && self.entries.len() > FEW {
            self.index = Some(Box::new(Index::of(&mut self.entries)));
            self.few_fresh = 0;
        }
        id
    }

    /// The place of one more that is fresh, in that slot.
    fn add_fresh(&mut self, slot: u32) -> u32 {
        let Some(index) = &mut self.index else {
            self.few_fresh += 1;
            return 0;
        };
        index.fresh.push(slot);
        index.fresh.len() as u32 - 1
    }

    /// One that is in a diff has left.
    fn add_left(&mut self, meta: Meta) {
        self.aside.get_or_insert_default().left.push(meta);
    }

    /// A number that nobody has, for the presence in that slot.
    fn take_id(&mut self, slot: u32) -> u32 {
        let Some(index) = &mut self.index else {
            let is_free = |id: &u32| (0..slot).all(|slot| self.entries.at(slot).id != *id);
            return (0..=slot).find(is_free).expect("there are more numbers than presences");
        };
        let id = index.free.pop().unwrap_or_else(|| {
            index.slots.push(NONE);
            index.slots.len() as u32 - 1
        });
        index.slots[id as usize] = slot;
        id
    }

    /// The slot of the presence with that number.
    fn slot(&self, id: u32) -> u32 {
        match &self.index {
            Some(index) => index.slots[id as usize],
            None => {
                let slots = 0..self.entries.len() as u32;
                slots.into_iter().find(|&slot| self.entries.at(slot).id == id).expect("the owner knows who is there")
            }
        }
    }

    /// The meta of a presence.
    pub fn meta(&self, id: u32) -> &Meta {
        &self.entries.at(self.slot(id)).meta
    }

    /// The ref that a new meta of a presence takes the place of: the last that was told, or else the last that was.
    pub fn prev_ref(&self, id: u32) -> (PhxRef, bool) {
        let entry = self.entries.at(self.slot(id));
        match entry.meta.phx_ref_prev() {
            Some(prev) if entry.fresh != NONE && entry.told_prev => (prev, true),
            _ => (entry.meta.phx_ref(), entry.fresh == NONE),
        }
    }

    /// A presence gets another meta. `told_prev`: what the meta says that it takes the place of was told.
    pub fn update(&mut self, id: u32, meta: Meta, told_prev: bool) {
        let slot = self.slot(id);
        let entry = self.entries.at_mut(slot);
        let old = std::mem::replace(&mut entry.meta, meta);
        entry.told_prev = told_prev;
        if entry.fresh == NONE {
            self.entries.at_mut(slot).fresh = self.add_fresh(slot);
            self.add_left(old);
        }
    }

    /// A presence goes.
    pub fn leave(&mut self, id: u32) {
        let slot = self.slot(id);
        if let Some(index) = &mut self.index {
            index.free.push(id);
        }
        self.unlink(slot);
        let last = self.entries.len() as u32 - 1;
        let gone = self.entries.swap_remove(slot);
        if slot != last {
            self.moved(last, slot);
        }
        if gone.fresh == NONE {
            self.add_left(gone.meta);
        } else if let Some(index) = &mut self.index {
            let place = gone.fresh as usize;
            index.fresh.swap_remove(place);
            if let Some(&other) = index.fresh.get(place) {
                self.entries.at_mut(other).fresh = place as u32;
            }
        } else {
            self.few_fresh -= 1;
        }
        if self.entries.len() == 0 {
            // A room that empties gives its memory back.
            self.entries = Entries::new();
            self.index = None;
        }
    }

    /// Takes the one in `slot` out of its key's list and the index.
    fn unlink(&mut self, slot: u32) {
        let PresenceEntry { next, prev, hash, .. } = *self.entries.at(slot);
        if next != NONE {
            self.entries.at_mut(next).prev = prev;
        }
        if prev != NONE {
            self.entries.at_mut(prev).next = next;
            return;
        }
        self.keys -= u32::from(next == NONE);
        if let Some(index) = &mut self.index
            && let Ok(mut found) = index.heads.find_entry(spread(hash), |head| head.slot == slot)
        {
            if next == NONE {
                found.remove();
            } else {
                found.get_mut().slot = next;
            }
        }
    }

    /// The last one has moved from slot `from` to slot `to`.
    fn moved(&mut self, from: u32, to: u32) {
        let PresenceEntry { next, prev, hash, id, fresh, .. } = *self.entries.at(to);
        if next != NONE {
            self.entries.at_mut(next).prev = to;
        }
        if prev != NONE {
            self.entries.at_mut(prev).next = to;
        }
        let Some(index) = &mut self.index else { return };
        index.slots[id as usize] = to;
        if fresh != NONE {
            index.fresh[fresh as usize] = to;
        }
        if prev == NONE
            && let Some(found) = index.heads.find_mut(spread(hash), |head| head.slot == from)
        {
            found.slot = to;
        }
    }

    /// The slot of the first presence of a key.
    fn head(&self, key: &str, hash: u32) -> Option<u32> {
        let Some(index) = &self.index else {
            return (0..self.entries.len() as u32).find(|&slot| {
                let entry = self.entries.at(slot);
                entry.hash == hash && entry.prev == NONE && entry.meta.key() == key
            });
        };
        let found = index.heads.find(spread(hash), |head| {
            if head.hash != hash {
                return false;
            }
            head.prefetch(key.len());
            let meta = &self.entries.at(head.slot).meta;
            if head.seen.get() != meta.address() {
                head.seen.set(meta.address());
            }
            meta.key() == key
        });
        found.map(|head| head.slot)
    }

    /// The metas of a key.
    pub fn metas_of(&self, key: &str, hash: u32) -> Metas {
        let mut metas = Metas::default();
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
        self.aside.get_or_insert_default().waiting.push(waiter);
    }

    fn seal(&mut self, wanted: Wanted, epoch: &mut Epoch) {
        let entries = &mut self.entries;
        let few = 0..entries.len() as u32;
        epoch.changes.0 = self.index.as_ref().map_or(usize::from(self.few_fresh), |index| index.fresh.len());
        let join_fresh = |slot: u32| {
            let entry = entries.at_mut(slot);
            if entry.fresh != NONE {
                if wanted >= Wanted::Changes {
                    epoch.joins.push(entry.meta.clone());
                }
                if !mutated!("room.stay_fresh") {
                    entry.fresh = NONE;
                }
            }
        };
        match &mut self.index {
            Some(index) => std::mem::take(&mut index.fresh).into_iter().for_each(join_fresh),
            None => few.for_each(join_fresh),
        }
        if !mutated!("room.stay_fresh") {
            self.few_fresh = 0;
        }
        if let Some(mut aside) = self.aside.take() {
            epoch.changes.1 = aside.left.len();
            if wanted >= Wanted::Changes {
                epoch.leaves.extend(aside.left.drain(..));
            }
            epoch.waiting.append(&mut aside.waiting);
        }
        epoch.counts = (self.keys, self.entries.len() as u32);
        let wants_metas = epoch.waiting.iter().any(|waiter| waiter.scope != Scope::Count);
        epoch.snapshot = wants_metas.then(|| self.entries.snapshot());
        if wanted == Wanted::Metas {
            let mut seen = std::collections::HashSet::<&str>::new();
            let changed = epoch.joins.iter().chain(&epoch.leaves).filter(|meta| seen.insert(meta.key()));
            let now = |meta: &Meta| (meta.clone(), self.metas_of(meta.key(), hash_of(meta.key())));
            epoch.after.extend(changed.map(now));
        }
    }
}

impl Index {
    fn add_head(&mut self, head: Head) {
        self.heads.insert_unique(head.table_hash(), head, Head::table_hash);
    }

    fn of(entries: &mut Entries) -> Self {
        let mut index = Index::default();
        for slot in 0..entries.len() as u32 {
            let entry = entries.at_mut(slot);
            if entry.fresh != NONE {
                entry.fresh = index.fresh.len() as u32;
                index.fresh.push(slot);
            }
            if entry.prev == NONE {
                index.add_head(Head::of(entry.hash, slot, &entry.meta));
            }
            let id = entry.id as usize;
            index.slots.resize(index.slots.len().max(id + 1), NONE);
            index.slots[id] = slot;
        }
        index.free = (0..index.slots.len() as u32).filter(|&id| index.slots[id as usize] == NONE).collect();
        index
    }
}

/// A hash of 32 bits for a table that looks at both ends of 64.
fn spread(hash: u32) -> u64 {
    u64::from(hash).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The hash of a key. With a seed of this process: keys may come from an attacker.
pub fn hash_of(key: &str) -> u32 {
    static SEED: OnceLock<crate::hash::Quality> = OnceLock::new();
    let hash = SEED.get_or_init(crate::hash::Quality::default).hash_one(key);
    (hash ^ hash >> 32) as u32
}
