//! No wake-up is lost between publishers and a worker that goes to sleep: the worker gets every entry. A lost one shows
//! as a deadlock.
//!
//! Two publishers push an entry each and wake the worker if it sleeps; the worker pops, and sleeps when it finds
//! nothing.
//!
//! All schedules of up to three preemptions: about 20 s.
// loom: preemptions=3
// mutants: sleep.announce, sleep.notify_fence
#![cfg(fanfare_loom)]

use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::Remote;
use fanfare::internals::sleep::{ParkSleeper, Sleeper, fence_before_notify};
use loom::thread;
use std::sync::Arc;

#[test]
fn a_worker_that_goes_to_sleep_gets_every_entry() {
    fanfare_loom::model(|| {
        let remote: Arc<Remote<u32, (), (), ()>> = Arc::new(Remote::new(Inbox::new(2, 0), (), ()));
        let mut sleeper = ParkSleeper::new();
        remote.set_waker(sleeper.waker());
        let publishers = [1, 2].map(|number| {
            let remote = remote.clone();
            thread::spawn(move || {
                remote.inbox.push(number, 0).expect("there is room for both");
                fence_before_notify();
                remote.wake_if_asleep();
            })
        });
        let mut sum = 0;
        while sum < 3 {
            // SAFETY: this thread alone pops.
            match unsafe { remote.inbox.pop() } {
                Some(number) => sum += number,
                None => remote.sleep.sleep(&mut sleeper, None, || remote.inbox.has_next()),
            }
        }
        for publisher in publishers {
            publisher.join().unwrap();
        }
    });
}
