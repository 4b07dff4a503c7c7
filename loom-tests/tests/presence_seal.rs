//! No change to a room is lost and none is told twice, a state is what the diffs so far add up to, and the sealer that
//! sleeps is woken.
//!
//! Three threads: one comes and then changes its meta, one waits for the state, and the sealer, which ends when it has
//! told all of that, and otherwise sleeps. About 8 s.
// loom: preemptions=3
// mutants: signal.raise_without_wake, signal.sleep_over_work, signal.pause_on, room.queue_nothing, room.stay_fresh
#![cfg(fanfare_loom)]

use fanfare::internals::Parker;
use fanfare::internals::presence_room::Room;
use fanfare::internals::signal::{Shard, Signal};
use fanfare_loom::presence::{Told, meta, taken, waiter};
use loom::sync::Arc;
use loom::thread;
use std::time::Instant;

#[test]
fn what_changes_is_told_once_and_states_are_aligned() {
    fanfare_loom::model(|| {
        let signal = Signal::new();
        let shard = Shard::all(&signal)[0].clone();
        let room = Arc::new(Room::new("room", shard.clone()));
        // One who stays, so that the room does not retire.
        Room::change(&room, |state| state.join(2, meta("stays"))).expect("it is new");
        let (first, last) = (meta("a"), meta("a"));
        let last_ref = last.phx_ref();
        let comes = {
            let room = room.clone();
            thread::spawn(move || {
                let id = Room::change(&room, |state| state.join(1, first)).expect("one stays");
                Room::change(&room, |state| state.update(id, last, false)).expect("one stays");
            })
        };
        let waits = {
            let room = room.clone();
            thread::spawn(move || {
                Room::change(&room, |state| state.wait(waiter())).expect("one stays");
            })
        };
        let parker = Parker::new();
        let mut told = Told::default();
        while !(told.states == 1 && told.view.len() == 2 && told.view.contains(&last_ref)) {
            signal.wait(&parker, None);
            taken(&shard).iter().for_each(|room| assert!(!told.seal(room)));
            while told.is_cooling() {
                assert!(told.cooled().is_empty(), "one stays");
            }
            // One that is over at once.
            signal.pause(&parker, Some(Instant::now()));
        }
        comes.join().unwrap();
        waits.join().unwrap();
        shard.close(&mut Vec::new());
    });
}
