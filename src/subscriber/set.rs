//! `MailboxSet`: one thread or task reads thousands of mailboxes.
//!
//! The set finds those with messages through ready words ([`ready`](crate::protocol::ready)), so a wait costs by the
//! mailboxes that have something and not by those that are in the set. Messages are lent to the reader and given back
//! in bulk, which is what makes reading through a set several times cheaper than through each mailbox's own `recv`.

use super::error::{Lagged, TryRecvError};
use super::reader::{BATCH, Mailbox, Subscriber};
use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::engine::worker::item::Op;
use crate::message::batch::Batch;
use crate::message::body::Message;
use crate::message::references::ReleaseCache;
use crate::protocol::ready::{GROUP, Group, SetWait, WORDS};
use crate::sync::{Arc, Parker};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// Which mailbox of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SetKey(u32);

/// What the reader of a set finds in one of its mailboxes.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetEvent<'a> {
    /// The next message, lent for the call. Clone it to keep it.
    Message(&'a Message),
    /// So many messages were lost here.
    Lagged(Lagged),
    /// The mailbox is closed and has been read to its end. It has left the set; its key is free.
    Closed(CloseReason),
}

/// Many mailboxes, read by one thread or task.
///
/// A read costs by the mailboxes that have something, not by those that are in the set. Messages are lent to the
/// reader and given back in bulk, which makes it several times cheaper than reading each mailbox by its own `recv`.
///
/// Order holds within each mailbox; between mailboxes there is none.
pub struct MailboxSet {
    wait: Arc<SetWait>,
    groups: Vec<Members>,
    reading: Reading,
    len: usize,
}

/// A group of one worker, and the mailboxes at its bits.
#[derive(Debug)]
struct Members {
    engine: Arc<Engine>,
    worker: usize,
    group: Arc<Group>,
    boxes: Vec<Option<Mailbox>>,
    free: Vec<u16>,
}

/// What the reader works with; empty between two reads but for references that are still to be given back.
struct Reading {
    batch: Batch<BATCH>,
    cache: ReleaseCache,
}

impl std::fmt::Debug for Reading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("..")
    }
}

impl MailboxSet {
    /// An empty set.
    pub fn new() -> Self {
        let reading = Reading { batch: Batch::new(), cache: ReleaseCache::new() };
        MailboxSet { wait: Arc::new(SetWait::new()), groups: Vec::new(), reading, len: 0 }
    }

    /// Mailboxes in the set.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no mailbox in the set.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts a mailbox into the set. What it holds already is found by the next read.
    pub fn insert(&mut self, mailbox: impl Into<Mailbox>) -> SetKey {
        let mailbox = mailbox.into();
        let index = self.group_for(&mailbox);
        let members = &mut self.groups[index];
        let number = members.free.pop().map_or_else(
            || {
                members.boxes.push(None);
                members.boxes.len() - 1
            },
            usize::from,
        );
        mailbox.set_ready(Some(&members.group), number);
        members.boxes[number] = Some(mailbox);
        // Whatever came before the worker knew the word.
        members.group.mark(number / 64, 1 << (number % 64));
        self.len += 1;
        SetKey((index * GROUP + number) as u32)
    }

    fn group_for(&mut self, mailbox: &Mailbox) -> usize {
        let (engine, worker) = (mailbox.as_control().engine(), mailbox.worker_index());
        let room = |members: &Members| {
            members.worker == worker
                && Arc::ptr_eq(&members.engine, engine)
                && (members.boxes.len() < GROUP || !members.free.is_empty())
        };
        // The last group is the likeliest to have room; sets that lose members have few groups.
        if let Some(index) = self.groups.iter().rposition(room) {
            return index;
        }
        let group = Group::new(self.wait.clone());
        let (boxes, free) = (Vec::new(), Vec::new());
        self.groups.push(Members { engine: engine.clone(), worker, group, boxes, free });
        self.groups.len() - 1
    }

    /// Takes a mailbox out of the set, with what is unread in it; `None` if it is not, or no longer, in it.
    pub fn remove(&mut self, key: SetKey) -> Option<Mailbox> {
        let members = self.groups.get_mut(key.0 as usize / GROUP)?;
        let number = key.0 as usize % GROUP;
        let mailbox = members.boxes.get_mut(number)?.take()?;
        mailbox.set_ready(None, 0);
        members.free.push(number as u16);
        self.len -= 1;
        Some(mailbox)
    }

    /// The mailbox of that key, for its statistics or its control handle.
    pub fn mailbox(&self, key: SetKey) -> Option<&Mailbox> {
        self.groups.get(key.0 as usize / GROUP)?.boxes.get(key.0 as usize % GROUP)?.as_ref()
    }

    /// Calls `read` with what is in the set's mailboxes now: up to 64 messages of each that has some, and then the
    /// next. Returns the number of calls; 0 means that there was nothing.
    pub fn try_read(&mut self, mut read: impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        let calls = self.scan(&mut read);
        if calls == 0 {
            // Nobody waits for what we have read.
            self.reading.cache.flush();
        }
        calls
    }

    /// As [`try_read`](Self::try_read), but waits until there is something. With an empty set it returns 0 at once.
    pub fn read(&mut self, read: impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        self.read_until(None, read)
    }

    /// As [`read`](Self::read), until then at most. Returns 0 if nothing came.
    pub fn read_deadline(&mut self, deadline: Instant, read: impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        self.read_until(Some(deadline), read)
    }

    fn read_until(&mut self, deadline: Option<Instant>, mut read: impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        // Yielding a few times before going to sleep lets a busy worker catch up; a sleep costs both far more.
        for _ in 0..YIELDS {
            let calls = self.try_read(&mut read);
            if calls > 0 || self.is_empty() {
                return calls;
            }
            crate::sync::thread::yield_now();
        }
        let parker = Parker::of_this_thread();
        let waker = Waker::from(parker.clone());
        loop {
            let calls = self.register_and_read(&waker, &mut read);
            if calls > 0 {
                return calls;
            }
            let woken = parker.wait(deadline);
            if !woken {
                self.wait.notify().disarm();
            }
            // Before it registers again: most that are woken find something.
            let calls = self.try_read(&mut read);
            if calls > 0 || !woken {
                return calls;
            }
        }
    }

    /// As [`read`](Self::read), in a task.
    pub fn poll_read(&mut self, context: &mut Context<'_>, mut read: impl FnMut(SetKey, SetEvent<'_>)) -> Poll<usize> {
        let mut calls = self.try_read(&mut read);
        if calls == 0 && !self.is_empty() {
            calls = self.register_and_read(context.waker(), &mut read);
        }
        if calls == 0 && !self.is_empty() { Poll::Pending } else { Poll::Ready(calls) }
    }

    /// Registers, looks again, and takes the registration back if there was something (`ready`, I3).
    fn register_and_read(&mut self, waker: &Waker, read: &mut impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        self.wait.notify().arm(waker);
        let calls = self.try_read(read);
        if calls > 0 {
            self.wait.notify().disarm();
        }
        calls
    }

    fn scan(&mut self, read: &mut impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        let mut calls = 0;
        for index in 0..self.groups.len() {
            let summary = self.groups[index].group.take_summary();
            if summary == 0 {
                continue;
            }
            let mut left = Left { group: self.groups[index].group.clone(), summary, word: 0, bits: 0 };
            while let Some(number) = left.next(|word, bits| self.groups[index].ask_for(word, bits)) {
                calls += self.read_one(index, number, read);
            }
        }
        calls
    }

    /// Reads one mailbox: up to 64 messages, and then the others get their turn.
    fn read_one(&mut self, index: usize, number: usize, read: &mut impl FnMut(SetKey, SetEvent<'_>)) -> usize {
        let members = &mut self.groups[index];
        let key = SetKey((index * GROUP + number) as u32);
        let Some(Some(mailbox)) = members.boxes.get_mut(number) else { return 0 };
        let Reading { batch, cache } = &mut self.reading;
        match mailbox.take_batch(batch) {
            Ok(more) => {
                // The next scan comes back to it.
                if more {
                    members.group.mark(number / 64, 1 << (number % 64));
                }
                let count = batch.len();
                let taken = Taken { mailbox, batch, group: &members.group, number };
                taken.batch.lend(cache, |message| read(key, SetEvent::Message(message)));
                count
            }
            Err(TryRecvError::Empty) => 0,
            Err(TryRecvError::Lagged(lost)) => {
                members.group.mark(number / 64, 1 << (number % 64));
                read(key, SetEvent::Lagged(Lagged(lost)));
                1
            }
            Err(TryRecvError::Closed(reason)) => {
                drop(self.remove(key));
                read(key, SetEvent::Closed(reason));
                1
            }
        }
    }
}

/// A batch that is being lent: what is left of it goes back if the reader's callback panics.
struct Taken<'a> {
    mailbox: &'a mut Mailbox,
    batch: &'a mut Batch<BATCH>,
    group: &'a Group,
    number: usize,
}

impl Taken<'_> {
    #[cold]
    fn put_back(&mut self) {
        self.mailbox.put_back(self.batch);
        self.group.mark(self.number / 64, 1 << (self.number % 64));
    }
}

impl Drop for Taken<'_> {
    #[inline]
    fn drop(&mut self) {
        if self.batch.len() > 0 {
            self.put_back();
        }
    }
}

/// Bits that were swapped out and have not been looked at: put back if the reader's callback panics.
struct Left {
    group: Arc<Group>,
    summary: u64,
    word: usize,
    bits: u64,
}

impl Members {
    /// Asks for the lines of a word's mailboxes all at once, so that the reads that follow do not wait for each in
    /// turn: their worker has just written them, on another processor.
    #[inline]
    fn ask_for(&self, word: usize, mut bits: u64) {
        while bits != 0 {
            let number = word * 64 + bits.trailing_zeros() as usize;
            bits &= bits - 1;
            if let Some(Some(mailbox)) = self.boxes.get(number) {
                mailbox.ask_for_line();
            }
        }
    }
}

impl Left {
    /// The next mailbox; `taken` is told of each word that is begun.
    #[inline]
    fn next(&mut self, mut taken: impl FnMut(usize, u64)) -> Option<usize> {
        while self.bits == 0 {
            if self.summary == 0 {
                return None;
            }
            self.word = self.summary.trailing_zeros() as usize;
            self.summary &= self.summary - 1;
            self.bits = self.group.take_word(self.word);
            taken(self.word, self.bits);
        }
        let bit = self.bits.trailing_zeros() as usize;
        self.bits &= self.bits - 1;
        Some(self.word * 64 + bit)
    }
}

impl Drop for Left {
    fn drop(&mut self) {
        if self.bits != 0 {
            self.group.mark(self.word, self.bits);
        }
        if self.summary != 0 {
            self.group.put_back(self.summary);
        }
    }
}

/// How often a reader yields before it sleeps.
const YIELDS: usize = 10;

impl Default for MailboxSet {
    fn default() -> Self {
        MailboxSet::new()
    }
}

impl Drop for MailboxSet {
    fn drop(&mut self) {
        // A waker may hold much; the groups keep its place until their workers come to them.
        let waker = self.wait.notify().waker.lock().take();
        drop(waker);
        for members in self.groups.drain(..) {
            let Members { engine, worker, group, boxes, .. } = members;
            // Each takes its pointer to the group back.
            drop(boxes);
            let mut guard = engine.workers[worker].remote.control_log.lock();
            if guard.state().ended {
                // The worker has ended; no one reads a pointer any more.
                continue;
            }
            // The group goes when the worker is past everything that may hold a pointer to it (`ready`, I4).
            guard.append(Op::DropGroup(group));
        }
    }
}

impl From<Subscriber> for Mailbox {
    fn from(subscriber: Subscriber) -> Self {
        subscriber.into_mailbox()
    }
}

const _: () = assert!(WORDS == 64, "one summary word covers a group");

impl std::fmt::Debug for MailboxSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MailboxSet").field("len", &self.len).finish_non_exhaustive()
    }
}
