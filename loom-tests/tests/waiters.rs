//! A publisher that waits for room in a full inbox gets it, and gives up when the worker ends; neither wake-up is lost.
//! A lost one shows as a deadlock.
//!
//! All schedules of up to two preemptions: about 13 s.
// loom: preemptions=2
// mutants: waiters.register, waiters.open, remote.wait_past_end
#![cfg(fanfare_loom)]

use fanfare::internals::gate::Gate;
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Refused, Remote, publish};
use fanfare::internals::sleep::{ParkSleeper, Sleeper};
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

struct Engine {
    gate: Gate,
    remote: Remote<u32, (), (), ()>,
}

impl Engine {
    /// An engine of one worker, with an inbox for one entry, which is full.
    fn new(sleeper: &ParkSleeper) -> Arc<Self> {
        let remote = Remote::new(Inbox::new(1, 0), (), ());
        remote.set_waker(sleeper.waker());
        remote.inbox.push(1, 0).expect("an empty inbox has room");
        Arc::new(Engine { gate: Gate::new(1), remote })
    }

    fn publish(self: &Arc<Self>, number: u32) -> thread::JoinHandle<Result<u64, Refused>> {
        let engine = self.clone();
        thread::spawn(move || publish(&engine.gate, 0, |_| &engine.remote, 1, 0, true, || |_| number))
    }

    fn pop(&self) -> Option<u32> {
        // SAFETY: the main thread alone pops.
        unsafe { self.remote.inbox.pop() }
    }

    fn open_room(&self) {
        self.remote.waiters.open().into_iter().for_each(Waker::wake);
    }
}

/// Two wait for room; the worker pops, opens, and sleeps when it finds nothing.
#[test]
fn those_who_wait_get_the_room_that_is_made() {
    fanfare_loom::model(|| {
        let mut sleeper = ParkSleeper::new();
        let engine = Engine::new(&sleeper);
        let publishers = [2, 3].map(|number| engine.publish(number));
        let mut sum = 0;
        while sum < 6 {
            match engine.pop() {
                Some(number) => {
                    sum += number;
                    engine.open_room();
                }
                None => engine.remote.sleep.sleep(&mut sleeper, None, || engine.remote.inbox.has_next()),
            }
        }
        for publisher in publishers {
            assert!(publisher.join().unwrap().is_ok());
        }
    });
}

/// The engine ends at its deadline with the inbox full again, and nobody makes room any more.
#[test]
fn those_who_wait_give_up_when_the_worker_ends() {
    fanfare_loom::model(|| {
        let engine = Engine::new(&ParkSleeper::new());
        let publishers = [2, 3].map(|number| engine.publish(number));
        engine.gate.close();
        engine.gate.finish();
        while engine.pop().is_some() {}
        engine.open_room();
        let accepted = publishers.map(|publisher| publisher.join().unwrap().is_ok());
        let left = std::iter::from_fn(|| engine.pop()).count();
        assert!(left <= accepted.iter().filter(|&&accepted| accepted).count(), "refused, and yet in the inbox");
    });
}
