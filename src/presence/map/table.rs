//! The table of rooms, from topics to who is present there.
//!
//! A `papaya` map, as the table of topics is: lookups take no lock. A room is made by the first who comes or waits, and
//! is taken out by the sealer when it is empty, has been told and has cooled; who meets a retired one takes it out as
//! well, and makes another.

use super::room::Room;
use super::signal::{SHARDS, Shard, Signal};
use crate::sync::Arc;
use crate::topic::spread;
use papaya::HashMap;
use std::borrow::Borrow;
use std::hash::{Hash, Hasher};

/// A room as the table's element: equal and hashed by name.
#[derive(Debug)]
struct ByName(Arc<Room>);

impl Borrow<str> for ByName {
    fn borrow(&self) -> &str {
        self.0.name()
    }
}

impl Hash for ByName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.name().hash(state);
    }
}

impl PartialEq for ByName {
    fn eq(&self, other: &Self) -> bool {
        self.0.name() == other.0.name()
    }
}

impl Eq for ByName {}

/// See the module's text.
#[derive(Debug)]
pub struct Table {
    rooms: HashMap<ByName, (), foldhash::quality::RandomState>,
    shards: Box<[Arc<Shard>]>,
}

impl Table {
    /// An empty table.
    pub fn new(signal: &Arc<Signal>) -> Self {
        Table { rooms: HashMap::with_hasher(foldhash::quality::RandomState::default()), shards: Shard::all(signal) }
    }

    /// The room of a topic, if there is one. It may be retired.
    pub fn room(&self, topic: &str) -> Option<Arc<Room>> {
        self.with(topic, Arc::clone)
    }

    /// What `f` makes of the room of a topic, if there is one. It may be retired.
    pub fn with<R>(&self, topic: &str, f: impl FnOnce(&Arc<Room>) -> R) -> Option<R> {
        let guard = self.rooms.guard();
        self.rooms.get_key_value(topic, &guard).map(|(found, ())| f(&found.0))
    }

    /// Calls `f` with the room of a topic, made if need be, until it gives something: it gives `None` for a retired
    /// one.
    pub fn with_live<R>(&self, topic: &str, mut f: impl FnMut(&Arc<Room>) -> Option<R>) -> R {
        let guard = self.rooms.guard();
        loop {
            if let Some((found, ())) = self.rooms.get_key_value(topic, &guard) {
                match f(&found.0) {
                    Some(result) => return result,
                    // The sealer may not have come to that yet.
                    None => self.remove(&found.0),
                }
                continue;
            }
            let room = Arc::new(Room::new(topic, self.shards[shard_of(topic)].clone()));
            // An error means that somebody else was first.
            let _ = self.rooms.try_insert(ByName(room), (), &guard);
        }
    }

    /// Takes a retired room out, if it is still in.
    pub fn remove(&self, room: &Arc<Room>) {
        let guard = self.rooms.guard();
        // An error means that the topic has a new room already.
        let _ = self.rooms.remove_if(room.name(), |found, ()| Arc::ptr_eq(&found.0, room), &guard);
    }

    /// The shard of that number.
    pub fn shard(&self, number: usize) -> &Arc<Shard> {
        &self.shards[number]
    }

    /// How many rooms there are.
    pub fn len(&self) -> usize {
        self.rooms.len()
    }
}

/// The shard of a topic: the same on every node.
fn shard_of(topic: &str) -> usize {
    spread(topic) as usize % SHARDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_have_the_same_shard_on_every_node_and_spread() {
        // Written down: another version on another node must find the same.
        assert_eq!(["", "room:lobby", "room:1"].map(shard_of), [1, 13, 7]);
        let mut counts = [0; SHARDS];
        (0..6400).for_each(|number| counts[shard_of(&format!("room:{number}"))] += 1);
        assert!(counts.iter().all(|&count| (50..200).contains(&count)), "{counts:?}");
    }
}
