//! The table of rooms, from topics to who is present there.
//!
//! A room is made by the first who comes or waits, and is taken out by the sealer when it is empty, has been told and
//! has cooled; who meets a retired one takes it out as well, and makes another.

use super::room::Room;
use super::signal::{SHARDS, Shard, Signal};
use crate::names::Names;
use crate::sync::Arc;
use crate::topic::spread;

impl AsRef<str> for Room {
    fn as_ref(&self) -> &str {
        self.name()
    }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Table {
    rooms: Names<Room>,
    shards: Box<[Arc<Shard>]>,
}

impl Table {
    /// An empty table.
    pub(crate) fn new(signal: &Arc<Signal>) -> Self {
        Table { rooms: Names::new(), shards: Shard::all(signal) }
    }

    /// The room of a topic, if there is one. It may be retired.
    pub(crate) fn room(&self, topic: &str) -> Option<Arc<Room>> {
        self.with(topic, Arc::clone)
    }

    /// What `f` makes of the room of a topic, if there is one. It may be retired.
    pub(crate) fn with<R>(&self, topic: &str, f: impl FnOnce(&Arc<Room>) -> R) -> Option<R> {
        self.rooms.look_up(topic, |room| room.map(f))
    }

    /// Calls `f` with the room of a topic, made if need be, until it gives something: it gives `None` for a retired
    /// one.
    pub(crate) fn with_live<R>(&self, topic: &str, f: impl FnMut(&Arc<Room>) -> Option<R>) -> R {
        self.rooms.find_or_make(topic, f, || Arc::new(Room::new(topic, self.shards[shard_of(topic)].clone())))
    }

    /// Takes a retired room out, if it is still in.
    pub(crate) fn remove(&self, room: &Arc<Room>) {
        self.rooms.remove(room);
    }

    /// The shard of that number.
    pub(crate) fn shard(&self, number: usize) -> &Arc<Shard> {
        &self.shards[number]
    }

    /// How many rooms there are.
    pub(crate) fn len(&self) -> usize {
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
