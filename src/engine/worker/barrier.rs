//! A barrier: reached when everything that was accepted before it has been delivered.

use crate::sync::{AtomicBool, AtomicU32, Mutex, Ordering, Parker};
use std::task::Waker;
use std::time::Instant;

/// Counts down over the workers, and over the topics of each that were busy when it passed.
#[derive(Debug)]
pub(crate) struct Barrier {
    /// Parts still to be reached. Counted up by a worker that holds a part, down by whoever reaches one.
    parts: AtomicU32,
    /// When the last part was reached.
    at: Mutex<Option<Instant>>,
    /// Set by a worker that ended before it came to its part.
    abandoned: AtomicBool,
    waker: Waker,
}

impl Barrier {
    /// A barrier of `parts` parts that wakes `parker` when the last is reached.
    pub(crate) fn new(parts: u32, parker: &std::sync::Arc<Parker>) -> Self {
        Barrier {
            parts: AtomicU32::new(parts),
            at: Mutex::new(None),
            abandoned: AtomicBool::new(false),
            waker: Waker::from(parker.clone()),
        }
    }

    /// Adds parts, by someone who holds one.
    pub(crate) fn add(&self, parts: u32) {
        self.parts.fetch_add(parts, Ordering::Relaxed);
    }

    /// Reaches a part.
    pub(crate) fn reach(&self) {
        let now = Instant::now();
        {
            let mut at = self.at.lock();
            *at = (*at).max(Some(now));
        }
        // AcqRel: what was delivered before each part is seen by whoever finds the barrier reached.
        if self.parts.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waker.wake_by_ref();
        }
    }

    /// Gives a part up: it will not be reached.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    /// Whether a part was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }

    /// When the last part was reached, if it was.
    pub(crate) fn reached(&self) -> Option<Instant> {
        if self.parts.load(Ordering::Acquire) == 0 { *self.at.lock() } else { None }
    }
}
