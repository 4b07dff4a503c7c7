//! Ready words: how one thread or task waits on thousands of mailboxes.
//!
//! The mailboxes of a `MailboxSet` are numbered within groups of 4,096; a group belongs to one worker. After a batch of
//! deliveries the worker gathers the bits of neighbours and sets them with one operation a word:
//!
//! - worker: publish messages, `word |= bits` (acq-rel); if the word was 0, `summary |= 1 << word` (acq-rel); at the
//!   end of the slice one fence, then look whether the reader of each touched group waits (see
//!   [`notify`](super::notify));
//! - reader: `summary = 0` by swap (acq-rel), for each of its bits `word = 0` by swap (acq-rel), and then, for each of
//!   that word's bits, take from the mailbox until it is empty.
//!
//! - I1. A message published before its bit was set is found by whoever swaps that bit out: the swap reads from the
//!   worker's operation or a later one (release sequence), and acquires.
//! - I2. While a word has bits, its summary bit is set, or its setter is about to set it, or a reader that swapped the
//!   summary is about to swap the word. So no bit is ever left behind for good.
//! - I3. The reader waits only after it has armed, fenced and found every summary empty.
//! - I4. A group's memory outlives every pointer to its words in a mailbox line: it is freed by its worker, on an entry
//!   of the control log that is appended after the last pointer was taken back. A worker reads such a pointer anew for
//!   each delivery, and never between two entries of the log keeps one.
//!
//! A bit may be set for a mailbox that has left the group: the reader finds nothing there, or another, perhaps empty.
//!
//! Model: `loom-tests/tests/ready_wake.rs`. Trusted: I4, and the orderings that I2 needs: loom runs each swap on the
//! newest value in the order of execution, so it finds the bits without.

use super::notify::Notify;
use crate::sync::{Arc, AtomicU32, AtomicU64, Mutex, Ordering, ord};
use std::task::Waker;

/// Words in a group.
pub const WORDS: usize = 64;
/// Mailboxes in a group.
pub const GROUP: usize = WORDS * 64;

/// Where the reader of a set waits.
#[derive(Debug)]
pub struct SetWait {
    flags: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

impl SetWait {
    /// Nobody waits.
    pub fn new() -> Self {
        SetWait { flags: AtomicU32::new(0), waker: Mutex::new(None) }
    }

    /// The flag and the waker.
    pub fn notify(&self) -> Notify<'_> {
        Notify { flags: &self.flags, waker: &self.waker }
    }
}

/// A word of 64 mailboxes' bits, and the group that it is in.
#[derive(Debug)]
pub struct ReadyWord {
    /// Bits are set by the worker, and by the reader when a mailbox joins; swapped out by the reader.
    bits: AtomicU64,
    /// The group that holds this word, and its number there.
    group: *const Group,
    number: u32,
}

/// 4,096 mailboxes of one set and one worker.
#[derive(Debug)]
pub struct Group {
    /// One bit a word. Set by whoever found the word at 0, swapped out by the reader.
    summary: AtomicU64,
    words: Box<[ReadyWord]>,
    wait: Arc<SetWait>,
}

// SAFETY: `ReadyWord::group` points back to the group that owns the word, at a fixed address (`Group::new`), and all
// that is reached through it is atomic or behind a lock.
unsafe impl Send for Group {}
// SAFETY: as above.
unsafe impl Sync for Group {}

impl Group {
    /// An empty group, at an address that it keeps.
    pub fn new(wait: Arc<SetWait>) -> Arc<Group> {
        Group::with_words(wait, WORDS)
    }

    /// An empty group of few words, for models.
    pub fn with_words(wait: Arc<SetWait>, words: usize) -> Arc<Group> {
        let word = |number| ReadyWord { bits: AtomicU64::new(0), group: std::ptr::null(), number: number as u32 };
        let words: Box<[ReadyWord]> = (0..words).map(word).collect();
        let mut group = Arc::new(Group { summary: AtomicU64::new(0), words, wait });
        let address = Arc::as_ptr(&group);
        let inner = Arc::get_mut(&mut group).expect("just made, not shared");
        for word in &mut inner.words {
            word.group = address;
        }
        group
    }

    /// The word at `number`, to be named in a mailbox's line.
    pub fn word(&self, number: usize) -> *mut ReadyWord {
        std::ptr::from_ref(&self.words[number]).cast_mut()
    }

    /// Sets bits of a word: there may be messages in those mailboxes.
    #[inline]
    pub fn mark(&self, number: usize, bits: u64) {
        // Release: the messages are published (I1); the fence that follows a batch of deliveries would do alone.
        // Acquire: the reader's last swap is seen before the summary is set (I2).
        if self.words[number].bits.fetch_or(bits, Ordering::AcqRel) == 0 {
            // Release: whoever swaps this bit out swaps the word after us, and finds its bits (I2).
            self.summary.fetch_or(1 << number, Ordering::AcqRel);
        }
    }

    /// For the reader: the words that may have bits.
    pub fn take_summary(&self) -> u64 {
        // Relaxed: an empty one is looked at again, behind the fence, before the reader waits (I3).
        if self.summary.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        // Acquire: pairs with `mark` (I2). Release: a worker that finds the word empty sees that we are past the
        // summary.
        self.summary.swap(0, Ordering::AcqRel)
    }

    /// For the reader: the mailboxes of a word that may have messages.
    pub fn take_word(&self, number: usize) -> u64 {
        // Acquire: pairs with `mark` (I1). Release: the summary's swap is seen by whoever finds the word empty (I2).
        self.words[number].bits.swap(0, ord!("ready.take_word", AcqRel))
    }

    /// For the reader: puts back summary bits that it took and did not look at.
    pub fn put_back(&self, summary: u64) {
        self.summary.fetch_or(summary, Ordering::AcqRel);
    }

    /// Where the reader of this group waits.
    pub fn wait(&self) -> &SetWait {
        &self.wait
    }
}

/// Gathers the bits of a worker's batch and remembers the groups that were touched.
#[derive(Debug, Default)]
pub struct Gather {
    word: *mut ReadyWord,
    bits: u64,
    touched: Vec<*const Group>,
}

// SAFETY: the pointers are used by the worker that gathered them only, between two entries of its log (I4).
unsafe impl Send for Gather {}

impl Gather {
    /// Adds the bit of a mailbox whose line names `word`.
    ///
    /// # Safety
    ///
    /// `word` must have been read from a line since the worker last applied an entry of its log, and
    /// [`flush`](Self::flush) must be called before it applies the next (I4).
    #[inline(always)]
    pub unsafe fn add(&mut self, word: *mut ReadyWord, bit: u32) {
        if word != self.word {
            // SAFETY: the caller's promise covers the word held since the last flush.
            unsafe { self.spill() };
            self.word = word;
        }
        self.bits |= 1 << bit;
    }

    /// Sets what was gathered.
    ///
    /// # Safety
    ///
    /// As for [`add`](Self::add).
    unsafe fn spill(&mut self) {
        if self.word.is_null() {
            return;
        }
        // SAFETY: the caller's promise: the word, and with it its group, is alive (I4).
        let (word, group) = unsafe { (&*self.word, &*(*self.word).group) };
        group.mark(word.number as usize, self.bits);
        if self.touched.last() != Some(&word.group) {
            self.touched.push(word.group);
        }
        self.word = std::ptr::null_mut();
        self.bits = 0;
    }

    /// Sets what was gathered; then, after a fence, hands the wakers of waiting readers to `wake`.
    ///
    /// # Safety
    ///
    /// As for [`add`](Self::add).
    pub unsafe fn flush(&mut self, mut wake: impl FnMut(Waker)) {
        // SAFETY: the caller's promise.
        unsafe { self.spill() };
        if self.touched.is_empty() {
            return;
        }
        super::notify::fence_before_fire();
        for group in self.touched.drain(..) {
            // SAFETY: the caller's promise: the group is alive (I4).
            if let Some(waker) = unsafe { (*group).wait.notify().fire() } {
                wake(waker);
            }
        }
    }
}
