//! Of all publishers that find the worker asleep one wakes it: there are never more wakes than sleeps.
//!
//! Two publishers push an entry each; the worker pops, and sleeps when it finds nothing, counting its announcements.
//!
//! All schedules of up to two preemptions: about 1 s.
// loom: preemptions=2
// mutants: sleep.wake_without_claim
#![cfg(fanfare_loom)]

use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::Remote;
use fanfare::internals::sleep::{ParkSleeper, Sleeper, fence_before_notify};
use loom::thread;
use std::sync::Arc;

#[test]
fn one_wake_a_sleep() {
    fanfare_loom::model(|| {
        let remote: Arc<Remote<u32, (), (), ()>> = Arc::new(Remote::new(Inbox::new(2, 0), (), ()));
        let mut sleeper = ParkSleeper::new();
        remote.set_waker(sleeper.waker());
        let publishers = [1, 2].map(|number| {
            let remote = remote.clone();
            thread::spawn(move || {
                remote.inbox.push(number, 0).expect("there is room for both");
                fence_before_notify();
                u32::from(remote.wake_if_asleep())
            })
        });
        let (mut sum, mut sleeps) = (0, 0);
        while sum < 3 {
            // SAFETY: this thread alone pops.
            match unsafe { remote.inbox.pop() } {
                Some(number) => sum += number,
                None => remote.sleep.sleep(&mut sleeper, None, || {
                    sleeps += 1;
                    remote.inbox.has_next()
                }),
            }
        }
        let wakes: u32 = publishers.map(|publisher| publisher.join().unwrap()).iter().sum();
        assert!(wakes <= sleeps, "{wakes} wakes for {sleeps} sleeps");
    });
}
