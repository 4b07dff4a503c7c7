//! What a queue has taken in is taken out once and in order, by the last take at the latest, and what it has refused is
//! not; the reader is woken for it, and for the end. A lost wake-up shows as a deadlock.
//!
//! Three threads: two put something in, and the reader, which without an end stops when it has both; with one, one of
//! the two puts more in and closes the queue. Sizes and deadlines are left out.
//!
//! All schedules of up to three preemptions: about 2 s.
// loom: preemptions=3
// mutants: queue.put_without_wake, queue.sleep_over_work, queue.close_without_wake, queue.put_behind_the_end
#![cfg(fanfare_loom)]

use fanfare::internals::{Parker, queue::Queue};
use loom::sync::Arc;
use loom::thread;

fn put(queue: &Queue<Vec<u32>>, what: u32) -> bool {
    queue.put(1, |gathered| gathered.push(what)).is_ok()
}

#[test]
fn the_reader_is_woken_for_what_comes() {
    fanfare_loom::model(|| {
        let queue = Arc::new(Queue::new(usize::MAX, Vec::new()));
        let puts = [1, 2].map(|what| {
            let queue = queue.clone();
            thread::spawn(move || assert!(put(&queue, what)))
        });
        let parker = Parker::new();
        let mut all = Vec::new();
        while all.len() < 2 {
            all.extend(queue.take(&parker, None, std::mem::take).what);
        }
        for puts in puts {
            puts.join().unwrap();
        }
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
    });
}

#[test]
fn what_is_taken_in_is_taken_out_before_the_end() {
    fanfare_loom::model(|| {
        let queue = Arc::new(Queue::new(usize::MAX, Vec::new()));
        let puts = {
            let queue = queue.clone();
            thread::spawn(move || put(&queue, 1))
        };
        let closes = {
            let queue = queue.clone();
            thread::spawn(move || {
                assert!(put(&queue, 2) && put(&queue, 3), "it is not closed yet");
                assert!(queue.close());
            })
        };
        let parker = Parker::new();
        let mut all = Vec::new();
        loop {
            let taken = queue.take(&parker, None, std::mem::take);
            all.extend(taken.what);
            if taken.is_last {
                break;
            }
        }
        closes.join().unwrap();
        let was_taken_in = puts.join().unwrap();
        assert_eq!(all.iter().filter(|&&what| what == 1).count(), usize::from(was_taken_in));
        all.retain(|&what| what != 1);
        assert_eq!(all, [2, 3]);
    });
}
