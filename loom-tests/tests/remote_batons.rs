//! A broadcast in place to two workers: both get it, each once, from whichever thread; and publishers that take batons
//! in turn never wait for each other.
//!
//! Two publishers, each to both workers: in place if both idle, by the inboxes otherwise. One thread is both workers.
//!
//! All schedules of up to two preemptions: about 3 s.
// loom: preemptions=2
// mutants: remote.take_some
#![cfg(fanfare_loom)]

use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Remote, take_if_idle};
use loom::thread;
use std::sync::Arc;

/// What came to a worker, in order.
type Got = Vec<u32>;

struct Engine {
    remotes: [Remote<u32, (), (), Got>; 2],
}

impl Engine {
    fn broadcast(&self, number: u32) {
        match take_if_idle(|worker| &self.remotes[worker], 0b11) {
            Some(mut taken) => taken.iter_mut().for_each(|one| one.baton.with(|got| got.push(number))),
            None => {
                for remote in &self.remotes {
                    remote.inbox.push(number, 0).expect("there is room for all");
                }
            }
        }
    }

    /// Empties a worker's inbox, and tells what has come to it.
    fn work(&self, worker: usize) -> Got {
        let remote = &self.remotes[worker];
        remote.take_baton().with(|got| {
            // SAFETY: under the baton.
            got.extend(std::iter::from_fn(|| unsafe { remote.inbox.pop() }));
            got.clone()
        })
    }
}

#[test]
fn both_workers_get_it_once() {
    fanfare_loom::model(|| {
        let engine = Arc::new(Engine { remotes: [(); 2].map(|()| Remote::new(Inbox::new(4, 0), (), Got::new())) });
        let other = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.broadcast(21);
                engine.broadcast(22);
            })
        };
        engine.broadcast(11);
        engine.work(1);
        engine.broadcast(12);
        other.join().unwrap();
        for worker in 0..2 {
            let got = engine.work(worker);
            assert_eq!(got.len(), 4, "worker {worker} got {got:?}");
            for numbers in [[11, 12], [21, 22]] {
                let places = numbers.map(|number| got.iter().position(|&found| found == number));
                assert!(places[0].is_some() && places[0] < places[1], "worker {worker} got {got:?}");
            }
        }
    });
}
