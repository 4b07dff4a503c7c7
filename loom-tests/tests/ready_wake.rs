//! No message is left behind between a worker that marks ready words and the one reader of many mailboxes, and no
//! wake-up is lost; neither when a mailbox joins the set while the worker delivers to it or ends it. What is lost shows
//! as a deadlock.
//!
//! The reader reads as `MailboxSet` does: summary, words, mailboxes; with nothing found it arms, looks at all of it
//! again, and parks.
//!
//! Trusted: that the summary's operations hand over what was done to the words, and the words' what was done to the
//! summary; loom runs each swap on the newest value in the order of execution, and finds the bits without. That the
//! memory of a group is seen with the pointer to its word; loom does not look at plain memory. The life of a group
//! (`ready`, I4).
//!
//! All schedules of up to three preemptions: about 1 s.
// loom: preemptions=3
// mutants: ready.take_word, ring.join, notify.end_fence, notify.arm, notify.fire_fence
#![cfg(fanfare_loom)]

use fanfare::internals::notify::{Notify, ended, fence_before_fire};
use fanfare::internals::ready::{Gather, Group, SetWait};
use fanfare::internals::ring::{Delivery, Line, Policy};
use fanfare::internals::{Mutex, Parker, remote::bits};
use loom::sync::atomic::Ordering;
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

/// A set of one group, whose mailboxes lie at the bits 0 of word 0, 1 of word 0, and 1 of word 1.
struct Set {
    group: loom::sync::Arc<Group>,
    wait: loom::sync::Arc<SetWait>,
    lines: [Line; 3],
}

const PLACES: [(usize, u32); 3] = [(0, 0), (0, 1), (1, 1)];

impl Set {
    fn new() -> Self {
        let wait = loom::sync::Arc::new(SetWait::new());
        let group = Group::with_words(wait.clone(), 2);
        let lines = PLACES.map(|_| {
            let line = Line::new();
            line.reset(2, Policy::DropNewest);
            line
        });
        Set { group, wait, lines }
    }

    /// Puts a mailbox into the set: `MailboxSet::insert`.
    fn insert(&self, mailbox: usize) {
        let (word, bit) = PLACES[mailbox];
        self.lines[mailbox].set_ready(self.group.word(word), bit);
        self.group.mark(word, 1 << bit);
    }

    /// For the worker: delivers to a mailbox, and finds out whom to tell.
    fn deliver(&self, gather: &mut Gather, mailbox: usize) {
        let line = &self.lines[mailbox];
        assert_eq!(line.deliver(line.inline(), mailbox as u32), Delivery::Stored);
        fence_before_fire();
        self.tell(gather, mailbox);
    }

    fn tell(&self, gather: &mut Gather, mailbox: usize) {
        let (word, bit) = self.lines[mailbox].ready();
        if !word.is_null() {
            // SAFETY: the group lives as long as the model.
            unsafe { gather.add(word, bit) };
        }
    }

    /// For the worker: the end of a slice.
    fn finish_slice(&self, gather: &mut Gather) {
        let mut wakers = Vec::new();
        // SAFETY: the group lives as long as the model.
        unsafe { gather.flush(|waker| wakers.push(waker)) };
        wakers.into_iter().for_each(Waker::wake);
    }

    /// For the reader: what is in the mailboxes whose bits are set. Those that have ended count too.
    fn scan(&self) -> usize {
        let mut found = 0;
        for word in bits(self.group.take_summary()) {
            for bit in bits(self.group.take_word(word)) {
                let place = PLACES.iter().position(|&place| place == (word, bit as u32));
                let Some(line) = place.map(|place| &self.lines[place]) else { continue };
                let flags = line.flags.load(Ordering::Acquire);
                found += line.take(line.inline(), &mut [0; 2]).count;
                found += usize::from(ended(flags).is_some());
            }
        }
        found
    }

    /// For the reader: waits until so many messages and ends were found.
    fn read(&self, count: usize) {
        let parker = Parker::new();
        let waker = Waker::from(parker.clone());
        let mut found = self.scan();
        while found < count {
            self.wait.notify().arm(&waker);
            let more = self.scan();
            if more == 0 {
                parker.wait(None);
            } else {
                self.wait.notify().disarm();
            }
            found += more;
        }
    }
}

fn with_worker(set: &Arc<Set>, work: impl FnOnce(&Set, &mut Gather) + 'static) -> thread::JoinHandle<()> {
    let set = set.clone();
    thread::spawn(move || work(&set, &mut Gather::default()))
}

/// One slice over two words, and another that finds one of them marked or not.
#[test]
fn every_message_in_a_set_is_found() {
    fanfare_loom::model(|| {
        let set = Arc::new(Set::new());
        (0..3).for_each(|mailbox| set.lines[mailbox].set_ready(set.group.word(PLACES[mailbox].0), PLACES[mailbox].1));
        let worker = with_worker(&set, |set, gather| {
            set.deliver(gather, 0);
            set.deliver(gather, 2);
            set.finish_slice(gather);
            set.deliver(gather, 1);
            set.finish_slice(gather);
        });
        set.read(3);
        worker.join().unwrap();
    });
}

#[test]
fn a_message_to_a_mailbox_that_joins_is_found() {
    fanfare_loom::model(|| {
        let set = Arc::new(Set::new());
        let worker = with_worker(&set, |set, gather| {
            set.deliver(gather, 1);
            set.finish_slice(gather);
        });
        set.insert(1);
        set.read(1);
        worker.join().unwrap();
    });
}

#[test]
fn the_end_of_a_mailbox_that_joins_is_found() {
    fanfare_loom::model(|| {
        let set = Arc::new(Set::new());
        let worker = with_worker(&set, |set, gather| {
            let waker = Mutex::new(None);
            let notify = Notify { flags: &set.lines[2].flags, waker: &waker };
            assert!(notify.end(7).is_none(), "nobody waits at the mailbox itself");
            set.tell(gather, 2);
            set.finish_slice(gather);
        });
        set.insert(2);
        set.read(1);
        worker.join().unwrap();
    });
}
