//! Who is present: an owner, whose presences go when it goes.
//!
//! An owner knows its presences. Its lock is taken before a room's: what it knows and what the rooms hold change
//! together. Its end is a state that is set under that lock first; then what it knew is taken out of the rooms.
//!
//! - I1. A presence is in its owner's list from before the room's lock is released until it has been taken out of the
//!   room, or the owner has ended; who ended it takes it out.
//! - I2. After the end nothing is added: `track` finds the end under the lock, or the end finds what it added.
//!
//! Model: `loom-tests/tests/presence_owner.rs` (I1, I2).

use super::room::{Room, RoomState};
use crate::sync::{Arc, Mutex, mutated};
use hashbrown::HashTable;

/// What an owner knows. See the module's text.
#[derive(Debug)]
pub struct Owned(Mutex<Items>);

/// Its presences.
#[derive(Debug)]
enum Items {
    None,
    One(Item),
    Many(HashTable<Item>),
    Ended,
}

/// A presence, as its owner knows it.
#[derive(Debug)]
struct Item {
    room: Arc<Room>,
    /// The key's hash. The room has the key.
    hash: u32,
    id: u32,
}

impl Item {
    fn is(&self, room: &Arc<Room>, key: &str, hash: u32) -> bool {
        self.hash == hash && Arc::ptr_eq(&self.room, room) && room.look(|state| state.meta(self.id).key() == key)
    }

    fn leave(&self) {
        Room::change(&self.room, |state| state.leave(self.id));
    }

    fn table_hash(&self) -> u64 {
        table_hash(&self.room, self.hash)
    }
}

/// Where a presence is to be found among those of its owner.
fn table_hash(room: &Arc<Room>, hash: u32) -> u64 {
    let room = std::ptr::from_ref(&**room).addr() as u64;
    (room ^ u64::from(hash)).wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// The owner has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gone;

/// What became of somebody who was to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It came.
    Yes,
    /// It is there already.
    Already,
    /// The room is retired: another is to be made.
    Retired,
    /// The room is full.
    Full,
}

impl Owned {
    /// One that is nowhere yet.
    pub fn new() -> Self {
        Owned(Mutex::new(Items::None))
    }

    /// Ends it: it leaves everything, and can't come back. Without effect the second time.
    pub fn end(&self) {
        let items = std::mem::replace(&mut *self.0.lock(), Items::Ended);
        items.leave_all();
    }

    /// Adds a presence in `room`. `join` makes it there, and gives the number.
    pub fn add(
        &self,
        room: &Arc<Room>,
        (key, hash): (&str, u32),
        metas_max: usize,
        join: impl FnOnce(&mut RoomState) -> u32,
    ) -> Result<Added, Gone> {
        let mut items = self.0.lock();
        if let Items::Ended = *items
            && !mutated!("owner.add_behind_the_end")
        {
            return Err(Gone);
        }
        if items.find(room, key, hash).is_some() {
            return Ok(Added::Already);
        }
        let joined = Room::change(room, |state| (state.len() < metas_max).then(|| join(state)));
        Ok(match joined {
            None => Added::Retired,
            Some(None) => Added::Full,
            Some(Some(id)) => {
                items.insert(Item { room: room.clone(), hash, id });
                Added::Yes
            }
        })
    }

    /// Calls `f` with the number of a presence in `room`, while neither it nor the owner can go.
    pub fn with<R>(
        &self,
        room: &Arc<Room>,
        (key, hash): (&str, u32),
        f: impl FnOnce(Option<u32>) -> R,
    ) -> Result<R, Gone> {
        let items = self.0.lock();
        if let Items::Ended = *items { Err(Gone) } else { Ok(f(items.find(room, key, hash))) }
    }

    /// Takes a presence out of `room`. Returns whether it was there.
    pub fn remove(&self, room: &Arc<Room>, (key, hash): (&str, u32)) -> bool {
        let mut items = self.0.lock();
        // Under the owner's lock: it must not come again before it has gone.
        items.remove(room, key, hash).inspect(Item::leave).is_some()
    }

    /// Takes all out of the rooms that `which` names. Returns how many.
    pub fn remove_where(&self, which: impl Fn(&Room) -> bool) -> usize {
        let mut items = self.0.lock();
        match &mut *items {
            Items::None | Items::Ended => 0,
            Items::One(item) if !which(&item.room) => 0,
            Items::One(_) => {
                std::mem::replace(&mut *items, Items::None).leave_all();
                1
            }
            Items::Many(table) => table.extract_if(|item| which(&item.room)).inspect(Item::leave).count(),
        }
    }

    /// Whether it has ended.
    pub fn is_gone(&self) -> bool {
        matches!(*self.0.lock(), Items::Ended)
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        self.end();
    }
}

impl Items {
    fn find(&self, room: &Arc<Room>, key: &str, hash: u32) -> Option<u32> {
        let found = match self {
            Items::None | Items::Ended => None,
            Items::One(item) => Some(item).filter(|item| item.is(room, key, hash)),
            Items::Many(table) => table.find(table_hash(room, hash), |item| item.is(room, key, hash)),
        };
        found.map(|item| item.id)
    }

    fn insert(&mut self, item: Item) {
        match std::mem::replace(self, Items::None) {
            Items::None => *self = Items::One(item),
            Items::One(first) => {
                let mut table = HashTable::with_capacity(2);
                table.insert_unique(first.table_hash(), first, Item::table_hash);
                table.insert_unique(item.table_hash(), item, Item::table_hash);
                *self = Items::Many(table);
            }
            Items::Many(mut table) => {
                table.insert_unique(item.table_hash(), item, Item::table_hash);
                *self = Items::Many(table);
            }
            Items::Ended => debug_assert!(mutated!("owner.add_behind_the_end"), "nothing is added behind the end"),
        }
    }

    fn remove(&mut self, room: &Arc<Room>, key: &str, hash: u32) -> Option<Item> {
        self.find(room, key, hash)?;
        match self {
            Items::Many(table) => {
                let found = table.find_entry(table_hash(room, hash), |item| item.is(room, key, hash)).ok()?;
                Some(found.remove().0)
            }
            _ => match std::mem::replace(self, Items::None) {
                Items::One(item) => Some(item),
                _ => None,
            },
        }
    }

    fn leave_all(self) {
        match self {
            Items::None | Items::Ended => {}
            Items::One(item) => item.leave(),
            Items::Many(table) => table.iter().for_each(Item::leave),
        }
    }
}
