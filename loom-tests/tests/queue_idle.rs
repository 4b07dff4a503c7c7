//! When a queue is idle, all that was put in before has been dealt with.
//!
//! Two threads: one puts something in, and looks whether the queue is idle; the reader takes it and deals with it.
//!
//! All schedules of up to three preemptions: well below 1 s.
// loom: preemptions=3
// mutants: queue.idle_at_work
#![cfg(fanfare_loom)]

use fanfare::internals::{Parker, queue::Queue};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

#[test]
fn who_finds_it_idle_finds_the_work_done() {
    fanfare_loom::model(|| {
        let queue = Arc::new(Queue::new(usize::MAX, 0));
        let done = Arc::new(AtomicU32::new(0));
        let puts = {
            let (queue, done) = (queue.clone(), done.clone());
            thread::spawn(move || {
                queue.put(1, |gathered| *gathered += 1).expect("it is open");
                // Relaxed: it is the queue that orders this.
                assert!(!queue.is_idle() || done.load(Ordering::Relaxed) == 1, "idle, and not done");
                queue.close();
            })
        };
        let parker = Parker::new();
        loop {
            let taken = queue.take(&parker, None, std::mem::take);
            done.fetch_add(taken.what, Ordering::Relaxed);
            if taken.is_last {
                break;
            }
        }
        puts.join().unwrap();
        assert_eq!(done.load(Ordering::Relaxed), 1);
    });
}
