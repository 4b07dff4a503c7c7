//! Somebody who comes while an empty room retires is told, in that room or in the next one.
//!
//! Two threads: one that comes, and the sealer, with a room that is empty and has been told. The table is a place for
//! one room behind a lock, used as `Table` uses its map: looked up, inserted into and removed from in separate steps.
//! Well below 1 s.
// loom: preemptions=3
// mutants: room.join_retired
#![cfg(fanfare_loom)]

use fanfare::internals::Parker;
use fanfare::internals::presence_room::Room;
use fanfare::internals::signal::{Shard, Signal};
use fanfare_loom::presence::{Told, meta, taken};
use loom::sync::{Arc, Mutex};
use loom::thread;

type Table = Arc<Mutex<Option<Arc<Room>>>>;

fn remove(table: &Table, room: &Arc<Room>) {
    let mut place = table.lock().unwrap();
    if place.as_ref().is_some_and(|found| Arc::ptr_eq(found, room)) {
        *place = None;
    }
}

#[test]
fn who_comes_to_a_room_that_retires_is_told() {
    fanfare_loom::model(|| {
        let signal = Signal::new();
        let shard = Shard::all(&signal)[0].clone();
        let room = Arc::new(Room::new("room", shard.clone()));
        let table: Table = Arc::new(Mutex::new(Some(room.clone())));
        // Somebody was there, and has gone: the room cools.
        let id = Room::change(&room, |state| state.join(1, meta("x"))).expect("it is new");
        let mut told = Told::default();
        taken(&shard).iter().for_each(|room| assert!(!told.seal(room)));
        Room::change(&room, |state| state.leave(id));
        drop(room);

        let comes = meta("y");
        let expected = comes.phx_ref();
        let thread = {
            let (table, shard) = (table.clone(), shard.clone());
            thread::spawn(move || {
                loop {
                    let found = table.lock().unwrap().clone();
                    let Some(room) = found else {
                        let mut place = table.lock().unwrap();
                        place.get_or_insert_with(|| Arc::new(Room::new("room", shard.clone())));
                        continue;
                    };
                    if Room::change(&room, |state| state.join(1, comes.clone())).is_some() {
                        return;
                    }
                    remove(&table, &room);
                }
            })
        };
        let parker = Parker::new();
        while !told.view.contains(&expected) {
            while told.is_cooling() {
                told.cooled().iter().for_each(|room| remove(&table, room));
            }
            if told.view.contains(&expected) {
                break;
            }
            signal.wait(&parker, None);
            taken(&shard).iter().for_each(|room| assert!(!told.seal(room)));
        }
        thread.join().unwrap();
        shard.close(&mut Vec::new());
    });
}
