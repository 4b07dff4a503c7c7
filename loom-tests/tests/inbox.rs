//! Every value that was pushed is popped once, in its producer's order, by a consumer that sees what its producer
//! wrote; a slot is reused only after its value was read; weights bound what is outstanding, by the work that is done.
//!
//! All schedules of up to two preemptions: about 2 s.
// loom: preemptions=2
// mutants: inbox.publish, inbox.poll, inbox.head, inbox.pop, inbox.seen_head, inbox.seen_head_store, inbox.release
#![cfg(fanfare_loom)]
#![allow(clippy::arc_with_non_send_sync, reason = "loom looks at the sharing itself")]

use fanfare::internals::inbox::Inbox;
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

/// A value whose content loom checks: whoever reads it must have been shown it by its writer.
struct Value(UnsafeCell<u32>);

fn value(number: u32) -> Value {
    let value = Value(UnsafeCell::new(0));
    // SAFETY: the cell is ours alone; loom checks it.
    value.0.with_mut(|cell| unsafe { *cell = number });
    value
}

fn pop(inbox: &Inbox<Value>) -> Option<u32> {
    // SAFETY: the main thread alone pops.
    let value = unsafe { inbox.pop() }?;
    // SAFETY: loom checks that nobody writes it.
    Some(value.0.with(|cell| unsafe { *cell }))
}

/// Pushes as many of `numbers` as find room, in order, and returns those.
fn push_all(inbox: &Inbox<Value>, numbers: &[u32]) -> Vec<u32> {
    numbers.iter().copied().take_while(|&number| inbox.push(value(number), 0).is_ok()).collect()
}

/// Two producers push into a ring of two, full at first, while the consumer pops.
#[test]
fn every_value_arrives_once_and_in_order() {
    fanfare_loom::model(|| {
        let inbox = Arc::new(Inbox::new(2, 1));
        let mut sent = push_all(&inbox, &[1, 2]);
        let producers = [&[10, 11][..], &[20]].map(|numbers| {
            let inbox = inbox.clone();
            thread::spawn(move || push_all(&inbox, numbers))
        });
        let mut popped: Vec<u32> = std::iter::from_fn(|| pop(&inbox)).take(3).collect();
        for producer in producers {
            sent.extend(producer.join().unwrap());
        }
        assert_eq!(inbox.pushed(), sent.len() as u32);
        popped.extend(std::iter::from_fn(|| pop(&inbox)));
        assert!(inbox.is_drained());
        let of_the_first: Vec<u32> = popped.iter().copied().filter(|&number| number / 10 == 1).collect();
        assert!(of_the_first.is_sorted(), "{popped:?}");
        assert_eq!(popped[..2], [1, 2]);
        popped.sort_unstable();
        sent.sort_unstable();
        assert_eq!(popped, sent);
    });
}

/// An entry that is heavier than the bound enters the empty inbox; the next one finds room only when its work is done.
#[test]
fn weights_bound_what_is_outstanding() {
    fanfare_loom::model(|| {
        let inbox = Arc::new(Inbox::new(4, 3));
        assert!(inbox.push(value(1), 5).is_ok(), "an empty inbox accepts any weight");
        let work = Arc::new(UnsafeCell::new(false));
        let producer = {
            let (inbox, work) = (inbox.clone(), work.clone());
            thread::spawn(move || {
                let pushed = inbox.push(value(2), 1).is_ok();
                if pushed {
                    // SAFETY: loom checks that the work happened before.
                    assert!(work.with(|done| unsafe { *done }), "there is room before the work is done");
                }
                pushed
            })
        };
        assert_eq!(pop(&inbox), Some(1));
        // SAFETY: loom checks that nobody reads it meanwhile.
        work.with_mut(|done| unsafe { *done = true });
        inbox.release(5);
        let pushed = producer.join().unwrap();
        assert_eq!(pop(&inbox), pushed.then_some(2));
    });
}
