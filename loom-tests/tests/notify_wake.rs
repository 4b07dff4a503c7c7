//! No wake-up is lost between a worker that delivers to a mailbox and a reader that goes to wait; and a reader that
//! finds the subscriber ended finds what was delivered before. A lost wake-up shows as a deadlock.
//!
//! A worker delivers and fires twice, or delivers and ends the subscriber; the reader reads as `Mailbox` does.
//!
//! All schedules of up to three preemptions: about 2 s.
// loom: preemptions=3
// mutants: notify.arm, notify.fire_fence, notify.end
#![cfg(fanfare_loom)]

use fanfare::internals::notify::{Notify, ended, fence_before_fire};
use fanfare::internals::ring::{Delivery, Line, Policy};
use fanfare::internals::{Mutex, Parker};
use loom::sync::atomic::Ordering;
use loom::thread;
use std::sync::Arc;
use std::task::Waker;

struct Mailbox {
    line: Line,
    waker: Mutex<Option<Waker>>,
}

/// What a look at the mailbox finds.
#[derive(Debug, PartialEq)]
enum Found {
    Message(u32),
    Nothing,
    Ended(u32),
}

impl Mailbox {
    fn new() -> Arc<Self> {
        let line = Line::new();
        line.reset(2, Policy::DropNewest);
        Arc::new(Mailbox { line, waker: Mutex::new(None) })
    }

    fn notify(&self) -> Notify<'_> {
        Notify { flags: &self.line.flags, waker: &self.waker }
    }

    fn deliver(&self, handle: u32) {
        assert_eq!(self.line.deliver(self.line.inline(), handle), Delivery::Stored);
    }

    fn look(&self) -> Found {
        // The flags first, as `Mailbox` does: what was delivered before the end is then in the ring.
        let flags = self.line.flags.load(Ordering::Acquire);
        let mut out = [0];
        if self.line.take(self.line.inline(), &mut out).count > 0 {
            return Found::Message(out[0]);
        }
        ended(flags).map_or(Found::Nothing, Found::Ended)
    }

    fn recv(&self, parker: &Arc<Parker>) -> Found {
        let mut found = self.look();
        while found == Found::Nothing {
            self.notify().arm(&Waker::from(parker.clone()));
            found = self.look();
            if found == Found::Nothing {
                parker.wait(None);
                found = self.look();
            } else {
                self.notify().disarm();
            }
        }
        found
    }
}

fn with_worker(mailbox: &Arc<Mailbox>, work: impl FnOnce(&Mailbox) + 'static) -> thread::JoinHandle<()> {
    let mailbox = mailbox.clone();
    thread::spawn(move || work(&mailbox))
}

#[test]
fn a_reader_that_waits_is_woken_by_a_message() {
    fanfare_loom::model(|| {
        let mailbox = Mailbox::new();
        let worker = with_worker(&mailbox, |mailbox| {
            for handle in [1, 2] {
                mailbox.deliver(handle);
                fence_before_fire();
                mailbox.notify().fire().into_iter().for_each(Waker::wake);
            }
        });
        let parker = Parker::new();
        assert_eq!(mailbox.recv(&parker), Found::Message(1));
        assert_eq!(mailbox.recv(&parker), Found::Message(2));
        worker.join().unwrap();
    });
}

#[test]
fn a_reader_that_waits_is_woken_by_the_end_and_finds_what_came_before() {
    fanfare_loom::model(|| {
        let mailbox = Mailbox::new();
        let worker = with_worker(&mailbox, |mailbox| {
            mailbox.deliver(1);
            mailbox.notify().end(7).into_iter().for_each(Waker::wake);
        });
        let parker = Parker::new();
        assert_eq!(mailbox.recv(&parker), Found::Message(1));
        assert_eq!(mailbox.recv(&parker), Found::Ended(7));
        worker.join().unwrap();
    });
}
