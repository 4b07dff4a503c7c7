//! The mailbox ring while the writer evicts under the reader: each delivered handle is either evicted once or taken
//! once, in order; a taken handle's message is seen; the positions that a reader misses are exactly those that were
//! evicted.
//!
//! A writer and a reader, rings of one and of two slots, so that slots are overwritten while the reader copies them.
//!
//! Trusted: that the reader's copies are not delayed past its compare-and-swap (its release half, the writer's
//! acquiring looks at the head); loom runs no load late.
//!
//! All schedules of up to three preemptions: about 4 s.
// loom: preemptions=3
// mutants: ring.publish, ring.tail, ring.head, ring.evict, ring.evict_without_claim, ring.take_without_claim
#![cfg(fanfare_loom)]
#![allow(clippy::arc_with_non_send_sync, reason = "loom looks at the sharing itself")]

use fanfare::internals::AtomicU32;
use fanfare::internals::ring::{Delivery, Line, Policy};
use loom::cell::UnsafeCell;
use loom::thread;
use std::sync::Arc;

struct Mailbox {
    line: Line,
    slots: Vec<AtomicU32>,
    /// The messages, by handle. Loom checks who sees what.
    messages: Vec<UnsafeCell<u32>>,
}

const MESSAGES: u32 = 4;

impl Mailbox {
    fn new(capacity: usize, policy: Policy) -> Arc<Self> {
        let line = Line::new();
        line.reset(capacity, policy);
        Arc::new(Mailbox {
            line,
            slots: (0..capacity).map(|_| AtomicU32::new(u32::MAX)).collect(),
            messages: (0..MESSAGES).map(|_| UnsafeCell::new(0)).collect(),
        })
    }

    /// Writes the message of that handle and delivers it.
    fn deliver(&self, handle: u32) -> Delivery {
        // SAFETY: loom checks it.
        self.messages[handle as usize].with_mut(|message| unsafe { *message = 100 + handle });
        self.line.deliver(&self.slots, handle)
    }

    /// Takes up to two handles: the position of the first, and the handles.
    fn take(&self) -> (u64, Vec<u32>) {
        let mut out = [u32::MAX; 2];
        let taken = self.line.take(&self.slots, &mut out);
        let handles = out[..taken.count].to_vec();
        for &handle in &handles {
            // SAFETY: loom checks it.
            assert_eq!(self.messages[handle as usize].with(|message| unsafe { *message }), 100 + handle);
        }
        (taken.first, handles)
    }
}

/// Handles are delivered in the order of their positions, so a handle is its position.
fn drop_oldest(capacity: usize, messages: u32) {
    let mailbox = Mailbox::new(capacity, Policy::DropOldest);
    let writer = {
        let mailbox = mailbox.clone();
        thread::spawn(move || {
            let evicted = |handle| match mailbox.deliver(handle) {
                Delivery::Stored => None,
                Delivery::Evicted(oldest) => Some(oldest),
                Delivery::Refused => panic!("this policy refuses nothing"),
            };
            (0..messages).filter_map(evicted).collect::<Vec<u32>>()
        })
    };
    let (mut next, mut taken, mut missed) = (0, Vec::<u32>::new(), Vec::<u32>::new());
    let mut read = || {
        let (first, handles) = mailbox.take();
        if handles.is_empty() {
            return 0;
        }
        assert!(first >= next, "positions went back");
        missed.extend(next as u32..first as u32);
        next = first + handles.len() as u64;
        assert_eq!(handles, (first as u32..next as u32).collect::<Vec<u32>>(), "not what lies at these positions");
        taken.extend(&handles);
        handles.len()
    };
    read();
    read();
    let evicted = writer.join().unwrap();
    while read() > 0 {}
    assert_eq!(next, u64::from(messages), "the last message is never lost");
    assert_eq!(missed, evicted, "the gaps are what was evicted");
    assert_eq!(taken.len() + evicted.len(), messages as usize);
}

#[test]
fn the_oldest_is_evicted_once_or_taken_once() {
    fanfare_loom::model(|| drop_oldest(2, MESSAGES));
}

#[test]
fn a_ring_of_one_keeps_the_newest() {
    fanfare_loom::model(|| drop_oldest(1, 3));
}

#[test]
fn what_a_full_ring_refuses_is_never_taken() {
    fanfare_loom::model(|| {
        let mailbox = Mailbox::new(1, Policy::DropNewest);
        let writer = {
            let mailbox = mailbox.clone();
            thread::spawn(move || (0..3).filter(|&handle| mailbox.deliver(handle) == Delivery::Stored).collect())
        };
        let mut taken = mailbox.take().1;
        taken.extend(mailbox.take().1);
        let stored: Vec<u32> = writer.join().unwrap();
        taken.extend(mailbox.take().1);
        assert_eq!(taken, stored);
    });
}
