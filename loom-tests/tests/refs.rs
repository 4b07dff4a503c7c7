//! The counts of a message's references: it is freed once, by whoever gives the last one back, after everything that
//! the others did with it.
//!
//! A worker delivers to two readers and settles its bias; one reader reads and gives back, the other clones in between.
//!
//! All schedules of up to five preemptions: less than 1 s.
// loom: preemptions=5
// mutants: refs.release, refs.acquire
#![cfg(fanfare_loom)]
#![allow(clippy::arc_with_non_send_sync, reason = "loom looks at the content's sharing itself")]

use fanfare::internals::refs::{BIAS, Refs};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

struct Message {
    refs: Refs,
    /// The content, gone when freed. Loom checks that nobody reads it at the same time or after.
    content: UnsafeCell<Option<u32>>,
}

impl Message {
    fn read(&self) {
        // SAFETY: loom checks it.
        assert_eq!(self.content.with(|content| unsafe { *content }), Some(42));
    }

    /// Returns whether that freed it.
    fn give_back(&self, count: u64) -> bool {
        let last = self.refs.sub(count);
        if last {
            // SAFETY: loom checks it.
            let content = self.content.with_mut(|content| unsafe { (*content).take() });
            assert_eq!(content, Some(42), "freed twice");
        }
        last
    }
}

#[test]
fn the_last_reference_frees() {
    fanfare_loom::model(|| {
        let message = Arc::new(Message { refs: Refs::new(BIAS), content: UnsafeCell::new(Some(42)) });
        let reader = {
            let message = message.clone();
            thread::spawn(move || {
                message.read();
                message.give_back(1)
            })
        };
        let cloner = {
            let message = message.clone();
            thread::spawn(move || {
                message.refs.add(1);
                message.read();
                let first = message.give_back(1);
                assert!(!first, "there is the other reference");
                message.read();
                message.give_back(1)
            })
        };
        message.read();
        let mut frees = u32::from(message.give_back(BIAS - 2));
        frees += u32::from(reader.join().unwrap()) + u32::from(cloner.join().unwrap());
        assert_eq!(frees, 1);
    });
}
