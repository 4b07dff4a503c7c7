//! The conflating mailbox: the latest unread message of each key.
//!
//! It is a handler on its worker, which asks the user's function for the key and puts the message into a queue that it
//! shares with the reader, under a lock that either holds for a constant time. A new message of a key that is unread
//! takes that one's place and is counted; a new key in a full queue drops the oldest key, and the reader is told at
//! the front.

use super::error::TryRecvError;
use super::handler::{Context, Handler};
use crate::engine::contract::CloseReason;
use crate::message::body::Message;
use crate::protocol::notify::{Notify, ended, fence_before_fire};
use crate::protocol::ready::Group;
use crate::sync::{Arc, AtomicU32, Mutex, Ordering, wake_caught};
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::task::Waker;

/// The reader's side of a conflating mailbox, whatever its key.
pub(crate) trait KeyedQueue: Send + Sync {
    fn try_recv(&self) -> Result<Message, TryRecvError>;
    fn len(&self) -> usize;
    fn conflated(&self) -> u64;
    fn untell(&self, lost: u64);
    fn notify(&self) -> Notify<'_>;
    fn set_ready(&self, group: Option<Arc<Group>>, number: usize);
    /// The reader is gone: drops what is unread, and what comes from now on.
    fn leave(&self);
}

impl std::fmt::Debug for dyn KeyedQueue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Conflating").field("len", &self.len()).finish_non_exhaustive()
    }
}

struct Conflating<K> {
    inner: Mutex<Inner<K>>,
    flags: AtomicU32,
    waker: Mutex<Option<Waker>>,
}

struct Inner<K> {
    /// Unread messages, the oldest key first. The first has the number `first`.
    unread: VecDeque<(K, Message)>,
    first: u64,
    /// The number of each unread key.
    numbers: HashMap<K, u64, crate::hash::Std>,
    capacity: usize,
    lost: u64,
    conflated: u64,
    /// The reader is gone.
    gone: bool,
    /// Where to say that there is something, if the mailbox is in a set.
    ready: Option<(Arc<Group>, usize)>,
}

/// The worker's side: a handler.
pub(crate) struct Sink<K: Hash + Eq + Clone + Send + 'static, F> {
    shared: Arc<Conflating<K>>,
    key: F,
}

/// A conflating mailbox of `capacity` keys: its reader's side and its worker's.
pub(crate) fn new<K, F>(key: F, capacity: usize) -> (Arc<dyn KeyedQueue>, Sink<K, F>)
where
    K: Hash + Eq + Clone + Send + 'static,
    F: FnMut(&Message) -> K + Send + 'static,
{
    let inner = Inner {
        unread: VecDeque::new(),
        first: 0,
        numbers: HashMap::default(),
        capacity,
        lost: 0,
        conflated: 0,
        gone: false,
        ready: None,
    };
    let shared = Conflating { inner: Mutex::new(inner), flags: AtomicU32::new(0), waker: Mutex::new(None) };
    let shared = Arc::new(shared);
    (shared.clone(), Sink { shared, key })
}

impl<K: Hash + Eq + Clone> Inner<K> {
    /// Puts a message in. Returns one that it took the place of, to be dropped without the lock.
    fn put(&mut self, key: K, message: Message) -> Option<Message> {
        if self.gone {
            return Some(message);
        }
        if let Some(&number) = self.numbers.get(&key) {
            self.conflated += 1;
            let at = (number - self.first) as usize;
            return Some(std::mem::replace(&mut self.unread[at].1, message));
        }
        let mut oldest = None;
        if self.unread.len() == self.capacity {
            self.lost += 1;
            oldest = self.pop();
        }
        self.numbers.insert(key.clone(), self.first + self.unread.len() as u64);
        self.unread.push_back((key, message));
        oldest
    }

    fn pop(&mut self) -> Option<Message> {
        let (key, message) = self.unread.pop_front()?;
        self.first += 1;
        self.numbers.remove(&key);
        Some(message)
    }
}

impl<K: Hash + Eq + Clone + Send + 'static> KeyedQueue for Conflating<K> {
    fn try_recv(&self) -> Result<Message, TryRecvError> {
        // Before the look: what was put in before the end is then found.
        let flags = self.flags.load(Ordering::Acquire);
        let mut inner = self.inner.lock();
        match std::mem::take(&mut inner.lost) {
            0 => inner.pop().ok_or(match ended(flags) {
                Some(reason) => TryRecvError::Closed(CloseReason::from_bits(reason)),
                None => TryRecvError::Empty,
            }),
            lost => Err(TryRecvError::Lagged(lost)),
        }
    }

    fn len(&self) -> usize {
        self.inner.lock().unread.len()
    }

    fn conflated(&self) -> u64 {
        self.inner.lock().conflated
    }

    fn untell(&self, lost: u64) {
        self.inner.lock().lost += lost;
    }

    fn notify(&self) -> Notify<'_> {
        Notify { flags: &self.flags, waker: &self.waker }
    }

    fn set_ready(&self, group: Option<Arc<Group>>, number: usize) {
        self.inner.lock().ready = group.map(|group| (group, number));
    }

    fn leave(&self) {
        let (unread, numbers, ready) = {
            let mut inner = self.inner.lock();
            inner.gone = true;
            (std::mem::take(&mut inner.unread), std::mem::take(&mut inner.numbers), inner.ready.take())
        };
        let waker = self.waker.lock().take();
        // Without the locks: all of these may run code of users.
        drop((unread, numbers, ready, waker));
    }
}

impl<K> Conflating<K> {
    /// Tells the reader that there is something to find.
    fn tell(&self) {
        let ready = self.inner.lock().ready.clone();
        if let Some((group, number)) = &ready {
            group.mark(number / 64, 1 << (number % 64));
        }
        fence_before_fire();
        let set = ready.as_ref().and_then(|(group, _)| group.wait().notify().fire());
        let own = Notify { flags: &self.flags, waker: &self.waker }.fire();
        set.into_iter().chain(own).for_each(wake_caught);
    }

    fn end(&self, reason: CloseReason) {
        let waker = Notify { flags: &self.flags, waker: &self.waker }.end(reason as u32);
        waker.into_iter().for_each(wake_caught);
        self.tell();
    }
}

impl<K, F> Handler for Sink<K, F>
where
    K: Hash + Eq + Clone + Send + 'static,
    F: FnMut(&Message) -> K + Send + 'static,
{
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        let key = (self.key)(message);
        let replaced = self.shared.inner.lock().put(key, message.clone());
        drop(replaced);
        self.shared.tell();
    }

    fn on_close(&mut self, reason: CloseReason) {
        self.shared.end(reason);
    }
}

impl<K: Hash + Eq + Clone + Send + 'static, F> Drop for Sink<K, F> {
    fn drop(&mut self) {
        // The first end counts: without a reason before, the key function has panicked.
        self.shared.end(CloseReason::Panicked);
    }
}
