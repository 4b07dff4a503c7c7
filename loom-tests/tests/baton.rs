//! Broadcasts in place and by the inbox: each publisher's come in its order, each once, and the worker's state is
//! touched by one at a time.
//!
//! Two publishers and the worker, whose state is a record of what came.
//!
//! All schedules of up to two preemptions: about 2 s.
// loom: preemptions=2
// mutants: baton.take, baton.give, baton.slot_emptiness
#![cfg(fanfare_loom)]

use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Remote, take_if_idle};
use loom::thread;
use std::sync::Arc;

/// What came, in order. Loom checks that one at a time touches it.
#[derive(Default)]
struct Core {
    got: Vec<u32>,
}

struct Engine {
    remote: Remote<u32, (), (), Core>,
}

impl Engine {
    fn new() -> Arc<Self> {
        Arc::new(Engine { remote: Remote::new(Inbox::new(4, 0), (), Core::default()) })
    }

    fn push(&self, number: u32) {
        self.remote.inbox.push(number, 0).expect("there is room for all");
    }

    /// Delivers in place if that is possible, by the inbox otherwise.
    fn broadcast(&self, number: u32) {
        match take_if_idle(|_| &self.remote, 1) {
            Some(mut taken) => taken[0].baton.with(|core| core.got.push(number)),
            None => self.push(number),
        }
    }

    /// A round of the worker. Returns whether it did anything.
    fn work(&self) -> bool {
        self.remote.take_baton().with(|core| {
            // SAFETY: under the baton.
            let number = unsafe { self.remote.inbox.pop() };
            core.got.extend(number);
            number.is_some()
        })
    }

    /// Works until nothing is left, and tells what came.
    fn finish(&self) -> Vec<u32> {
        while self.work() {}
        self.remote.take_baton().with(|core| core.got.clone())
    }
}

fn place_of(got: &[u32], number: u32) -> usize {
    assert_eq!(got.iter().filter(|&&found| found == number).count(), 1, "broadcast {number} comes once");
    got.iter().position(|&found| found == number).expect("counted above")
}

/// Each of two publishers publishes once by the inbox and then in place, if that is free.
#[test]
fn each_publishers_broadcasts_come_in_order() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        let publishers = [[11, 12], [21, 22]].map(|numbers| {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.push(numbers[0]);
                engine.broadcast(numbers[1]);
            })
        });
        engine.work();
        engine.work();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        let got = engine.finish();
        assert_eq!(got.len(), 4);
        assert!(place_of(&got, 11) < place_of(&got, 12));
        assert!(place_of(&got, 21) < place_of(&got, 22));
    });
}

/// Two publishers deliver in place, or one of them while the worker is at it.
#[test]
fn one_at_a_time_has_the_baton() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        let publishers = [1, 2].map(|number| {
            let engine = engine.clone();
            thread::spawn(move || engine.broadcast(number))
        });
        engine.work();
        for publisher in publishers {
            publisher.join().unwrap();
        }
        let got = engine.finish();
        assert_eq!(got.len(), 2);
    });
}
