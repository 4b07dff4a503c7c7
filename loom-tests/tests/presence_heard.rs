//! Who listens before somebody comes is told of it, though of what nobody hears only the number is kept.
//!
//! One begins to listen and then comes; the sealer, meanwhile, seals what was there before, and once more at the end.
//! About 1 s.
// loom: preemptions=3
// mutants: room.ask_early
#![cfg(fanfare_loom)]

use fanfare::internals::presence_room::{Epoch, Room, Wanted};
use fanfare::internals::signal::{Shard, Signal};
use fanfare_loom::presence::meta;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

#[test]
fn who_listens_before_a_change_is_told_of_it() {
    fanfare_loom::model(|| {
        let shard = Shard::all(&Signal::new())[0].clone();
        let room = Arc::new(Room::new("room", shard.clone()));
        // One who is there, and of whom nothing has been told.
        Room::change(&room, |state| state.join(2, meta("stays"))).expect("it is new");
        let listens = Arc::new(AtomicBool::new(false));
        let comes = meta("a");
        let expected = comes.phx_ref();
        let thread = {
            let (room, listens) = (room.clone(), listens.clone());
            thread::spawn(move || {
                // Relaxed, as the count of a topic's subscriptions: the room's lock orders it.
                listens.store(true, Ordering::Relaxed);
                Room::change(&room, |state| state.join(1, comes)).expect("one stays");
            })
        };
        let seal = |told: &mut Vec<_>| {
            let mut epoch = Epoch::default();
            let wanted = || if listens.load(Ordering::Relaxed) { Wanted::Changes } else { Wanted::Counts };
            room.seal(wanted, &mut epoch);
            told.extend(epoch.joins.iter().map(|meta| meta.phx_ref()));
        };
        let mut told = Vec::new();
        seal(&mut told);
        thread.join().unwrap();
        seal(&mut told);
        assert!(told.contains(&expected), "it was counted, and nobody was told");
        shard.close(&mut Vec::new());
    });
}
