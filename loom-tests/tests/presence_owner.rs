//! When an owner has ended, nothing of it is left, whatever it was about to do.
//!
//! Three threads: one comes, one goes from where the owner was, and the owner ends. Well below 1 s.
// loom: preemptions=4
// mutants: owner.add_behind_the_end
#![cfg(fanfare_loom)]

use fanfare::internals::owner::{Added, Owned};
use fanfare::internals::presence_room::Room;
use fanfare::internals::signal::{Shard, Signal};
use fanfare_loom::presence::meta;
use loom::sync::Arc;
use loom::thread;

#[test]
fn nothing_is_left_of_an_owner_that_has_ended() {
    fanfare_loom::model(|| {
        let signal = Signal::new();
        let shard = Shard::all(&signal)[0].clone();
        let room = Arc::new(Room::new("room", shard.clone()));
        let owner = Arc::new(Owned::new());
        let add = |owner: &Owned, room: &Arc<Room>, key: &'static str, hash: u32| {
            owner.add(room, (key, hash), 10, |state| state.join(hash, meta(key)))
        };
        assert_eq!(add(&owner, &room, "a", 1), Ok(Added::Yes));
        let comes = {
            let (owner, room) = (owner.clone(), room.clone());
            thread::spawn(move || matches!(add(&owner, &room, "b", 2), Ok(Added::Yes)))
        };
        let goes = {
            let (owner, room) = (owner.clone(), room.clone());
            thread::spawn(move || owner.remove(&room, ("a", 1)))
        };
        owner.end();
        comes.join().unwrap();
        goes.join().unwrap();
        assert_eq!(room.metas(), 0);
        assert!(add(&owner, &room, "c", 3).is_err());
        shard.close(&mut Vec::new());
    });
}
