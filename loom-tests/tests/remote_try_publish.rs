//! A broadcast that does not wait goes to all of its workers or to none, also beside another one that takes the room it
//! had seen; and where there is no room it says so without waiting. A wait that nobody ends shows as a deadlock.
//!
//! Two publishers, each to both workers, whose inboxes hold one entry each; one thread is both workers.
//!
//! All schedules of up to two preemptions: about 7 s.
// loom: preemptions=2
// mutants: publish.no_look, publish.give_up_midway
#![cfg(fanfare_loom)]

use fanfare::internals::gate::Gate;
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Refused, Remote, publish};
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

struct Engine {
    gate: Gate,
    remotes: [Remote<u32, (), (), ()>; 2],
    /// Publishers that have returned.
    returned: AtomicU32,
}

impl Engine {
    fn new() -> Arc<Self> {
        let remotes = [(); 2].map(|()| Remote::new(Inbox::new(1, 0), (), ()));
        Arc::new(Engine { gate: Gate::new(1), remotes, returned: AtomicU32::new(0) })
    }

    fn try_broadcast(&self, number: u32) -> Result<u64, Refused> {
        publish(&self.gate, 0, |i| &self.remotes[i], 0b11, 0, false, || |_| number)
    }

    fn pop(&self, worker: usize) -> Option<u32> {
        // SAFETY: the main thread alone pops.
        unsafe { self.remotes[worker].inbox.pop() }
    }
}

#[test]
fn both_workers_get_it_or_neither() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        let publishers = [1, 2].map(|number| {
            let engine = engine.clone();
            thread::spawn(move || {
                let accepted = engine.try_broadcast(number).is_ok();
                engine.returned.fetch_add(1, Ordering::Relaxed);
                accepted
            })
        });
        let mut got = [Vec::new(), Vec::new()];
        while engine.returned.load(Ordering::Relaxed) < 2 {
            for (worker, got) in got.iter_mut().enumerate() {
                if let Some(number) = engine.pop(worker) {
                    got.push(number);
                    engine.remotes[worker].waiters.open().into_iter().for_each(Waker::wake);
                }
            }
            thread::yield_now();
        }
        let accepted = publishers.map(|publisher| publisher.join().unwrap());
        for (worker, got) in got.iter_mut().enumerate() {
            got.extend(std::iter::from_fn(|| engine.pop(worker)));
            for (number, accepted) in [1, 2].into_iter().zip(accepted) {
                let count = got.iter().filter(|&&found| found == number).count();
                assert_eq!(count, usize::from(accepted), "worker {worker}, broadcast {number}");
            }
        }
    });
}

#[test]
fn it_does_not_wait_where_there_is_no_room() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        assert!(engine.remotes[1].inbox.push(9, 0).is_ok());
        assert_eq!(engine.try_broadcast(1), Err(Refused::Full));
        assert_eq!(engine.pop(0), None);
        assert_eq!(engine.pop(1), Some(9));
        assert!(engine.try_broadcast(2).is_ok());
    });
}
