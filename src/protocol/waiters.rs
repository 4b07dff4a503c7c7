//! Waiting for room in a full inbox.
//!
//! - waiter: register its waker, `waiting = true` (relaxed), fence, look for room again; without any, sleep;
//! - worker: make room, fence, load `waiting` (relaxed); if set, clear it and wake all who are registered.
//!
//! I1. No waiter sleeps while there is room: of the two fences, one comes first; then either the waiter sees the room
//! or the worker sees the flag. Waking all is right, since room for one may be room for many, and a waiter that finds
//! none registers again.
//!
//! Model: `loom-tests/tests/waiters.rs`.

use crate::sync::{AtomicBool, Mutex, Ordering, fence};
use std::task::Waker;

/// Those who wait for room in one inbox.
#[derive(Debug)]
pub struct Waiters {
    /// Set by waiters under the lock, cleared by the worker under the lock, read by the worker after its fence.
    waiting: AtomicBool,
    waiters: Mutex<Vec<Waker>>,
}

impl Waiters {
    /// Nobody waits.
    pub fn new() -> Self {
        Waiters { waiting: AtomicBool::new(false), waiters: Mutex::new(Vec::new()) }
    }

    /// Registers a waiter. The caller must look for room once more before it sleeps.
    pub fn register(&self, waker: Waker) {
        let mut waiters = self.waiters.lock();
        waiters.push(waker);
        self.waiting.store(true, Ordering::Relaxed);
        drop(waiters);
        // Pairs with the fence in `open` (I1).
        fence!("waiters.register");
    }

    /// For the worker, after it has made room: the waiters to wake.
    pub fn open(&self) -> Vec<Waker> {
        // Pairs with the fence in `register` (I1).
        fence!("waiters.open");
        if !self.waiting.load(Ordering::Relaxed) {
            return Vec::new();
        }
        let mut waiters = self.waiters.lock();
        self.waiting.store(false, Ordering::Relaxed);
        std::mem::take(&mut *waiters)
    }
}
