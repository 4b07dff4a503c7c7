//! A flush returns when what was changed before it has been told, and not before, also if another flush is under way,
//! or the sealer pauses.
//!
//! Three threads: one changes a room and flushes, one flushes, and the sealer. About 20 s.
// loom: preemptions=2
// mutants: signal.flush_too_many, signal.flush_behind_the_pause
#![cfg(fanfare_loom)]

use fanfare::internals::Parker;
use fanfare::internals::presence_room::Room;
use fanfare::internals::signal::{Shard, Signal};
use fanfare_loom::presence::{Told, meta};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::sync::{Arc, Mutex};
use loom::thread;

#[test]
fn a_flush_is_over_when_what_came_before_it_is_told() {
    fanfare_loom::model(|| {
        let signal = Signal::new();
        let shard = Shard::all(&signal)[0].clone();
        let room = Arc::new(Room::new("room", shard.clone()));
        let told = Arc::new(Mutex::new(Told::default()));
        let left = Arc::new(AtomicU32::new(2));
        let stop = |signal: &Signal, left: &AtomicU32| {
            if left.fetch_sub(1, Ordering::AcqRel) == 1 {
                signal.stop();
            }
        };
        let changes = {
            let (signal, told, left, room) = (signal.clone(), told.clone(), left.clone(), room.clone());
            thread::spawn(move || {
                let comes = meta("a");
                let expected = comes.phx_ref();
                Room::change(&room, |state| state.join(1, comes));
                assert!(signal.flush());
                assert!(told.lock().unwrap().view.contains(&expected), "the flush came back too early");
                stop(&signal, &left);
            })
        };
        let flushes = {
            let (signal, left) = (signal.clone(), left.clone());
            thread::spawn(move || {
                assert!(signal.flush());
                stop(&signal, &left);
            })
        };
        let parker = Parker::new();
        loop {
            let round = signal.wait(&parker, None);
            told.lock().unwrap().cooled();
            let mut rooms = Vec::new();
            if round.stop {
                shard.close(&mut rooms)
            } else {
                shard.take(&mut rooms)
            }
            for room in rooms {
                told.lock().unwrap().seal(&room);
            }
            if let Some(flush) = round.flush {
                signal.flushed(flush);
            }
            if round.stop {
                break;
            }
            // For ever, if nobody ends it.
            signal.pause(&parker, None);
        }
        signal.end();
        changes.join().unwrap();
        flushes.join().unwrap();
    });
}
