//! What the models of presence share: metas, and a sealer that keeps what it tells.

use fanfare::internals::meta::{Fields, Meta, PhxRef};
use fanfare::internals::presence_room::{Epoch, Room, Scope, Sealing, Waiter, Wanted};
use fanfare::internals::signal::Shard;
use loom::sync::Arc;
use std::collections::BTreeSet;

/// A meta of that key, with a ref of its own.
pub fn meta(key: &str) -> Meta {
    let mut fields = Fields::of(&std::collections::BTreeMap::<u8, u8>::new(), 100).expect("an object");
    fields.with(key, PhxRef::unique(), None)
}

/// Somebody who waits for all of the state.
pub fn waiter() -> Waiter {
    Waiter { scope: Scope::Full, tell: Box::new(|_| ()) }
}

/// What is in a shard's queue.
pub fn taken(shard: &Shard) -> Vec<Arc<Room>> {
    let mut rooms = Vec::new();
    shard.take(&mut rooms);
    rooms
}

/// What has been told so far, and the rooms that cool. It does with rooms what the sealer does.
#[derive(Debug, Default)]
pub struct Told {
    /// The refs that the diffs so far add up to.
    pub view: BTreeSet<PhxRef>,
    /// How many were given the state.
    pub states: usize,
    cooling: Vec<Arc<Room>>,
}

impl Told {
    /// Seals a room, and tells what the epoch came to. Returns whether it is retired.
    pub fn seal(&mut self, room: &Arc<Room>) -> bool {
        let mut epoch = Epoch::default();
        match room.seal(|| Wanted::Changes, &mut epoch) {
            Sealing::Quiet => return false,
            Sealing::Retired => return true,
            Sealing::Epoch => self.cooling.push(room.clone()),
        }
        for meta in &epoch.joins {
            assert!(self.view.insert(meta.phx_ref()), "told twice");
        }
        for meta in &epoch.leaves {
            assert!(self.view.remove(&meta.phx_ref()), "nobody was told that it is there");
        }
        if let Some(snapshot) = epoch.snapshot.take() {
            let state: BTreeSet<PhxRef> = snapshot.iter().map(|entry| entry.meta.phx_ref()).collect();
            assert_eq!(state, self.view, "the state is what the diffs add up to");
        }
        self.states += epoch.waiting.len();
        false
    }

    /// Whether a room cools.
    pub fn is_cooling(&self) -> bool {
        !self.cooling.is_empty()
    }

    /// Their time has passed: looks again at the rooms that cool. Returns those that are retired.
    pub fn cooled(&mut self) -> Vec<Arc<Room>> {
        let rooms = std::mem::take(&mut self.cooling);
        rooms.into_iter().filter(|room| self.seal(room)).collect()
    }
}
