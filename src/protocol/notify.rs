//! The wake-up of one reader: a flag that the worker looks at, and a waker beside it.
//!
//! - reader: store the waker, `ARMED` into the flags, fence, look for messages again; without any, wait to be woken;
//! - worker: publish messages, fence (one for a batch of mailboxes), load the flags (relaxed); if `ARMED`, clear it and
//!   take the waker, to be called when the slice is over.
//!
//! I1. No wake-up is lost: of the two fences one comes first; if the reader's, the worker sees `ARMED`; if the
//! worker's, the reader's second look sees the message.
//! I2. A worker that cleared `ARMED` may take a waker registered since: that reader is then woken for nothing, looks,
//! and registers again. A waker is woken at least once after each time it was registered and there was a message.
//!
//! The flags word carries two more facts: that the reader is gone, and that the subscriber was ended, and why.
//!
//! Models: `loom-tests/tests/notify_wake.rs`, `ready_wake.rs`.

use crate::sync::{AtomicU32, Mutex, Ordering, fence, ord};
use std::task::Waker;

/// The reader waits: whoever publishes must take its waker.
pub const ARMED: u32 = 1;
/// The reader is gone: whatever is delivered is released by the worker.
pub const GONE: u32 = 2;
/// The subscriber was ended by the engine; the bits from [`REASON_SHIFT`] say why.
pub const ENDED: u32 = 4;
/// The reader has waited at some time: its waker may still be there.
pub const WAITED: u32 = 8;
/// Where the reason of an ended subscriber starts.
pub const REASON_SHIFT: u32 = 8;

/// The flags word and the waker of one reader, wherever they lie.
#[derive(Debug, Clone, Copy)]
pub struct Notify<'a> {
    /// `ARMED` is set by the reader and cleared by either side; `WAITED` and `GONE` are set by the reader; `ENDED` and
    /// the reason by whoever ends the subscriber, once.
    pub flags: &'a AtomicU32,
    /// Written by the reader, taken by whoever cleared `ARMED`.
    pub waker: &'a Mutex<Option<Waker>>,
}

impl Notify<'_> {
    /// For the reader: registers `waker`. The caller must look for messages once more before it waits.
    pub fn arm(self, waker: &Waker) {
        {
            let mut slot = self.waker.lock();
            match &mut *slot {
                Some(known) => known.clone_from(waker),
                none => *none = Some(waker.clone()),
            }
        }
        // Relaxed: whoever sees the flag takes the lock after us and finds the waker; the fence orders it against the
        // second look.
        self.flags.fetch_or(ARMED | WAITED, Ordering::Relaxed);
        // Pairs with the fence before `fire` (I1).
        fence!("notify.arm");
    }

    /// For the reader: it does not wait after all.
    pub fn disarm(self) {
        self.flags.fetch_and(!ARMED, Ordering::Relaxed);
    }

    /// For the worker, after it has published and after a fence: the waker to call, if the reader waits.
    #[inline]
    pub fn fire(self) -> Option<Waker> {
        // Relaxed: ordered by the caller's fence, which pairs with the one in `arm` (I1).
        if self.flags.load(Ordering::Relaxed) & ARMED == 0 {
            return None;
        }
        self.disarm_and_take()
    }

    #[cold]
    fn disarm_and_take(self) -> Option<Waker> {
        // Relaxed: the lock orders what goes with the flag. Of several who saw it, one clears it.
        if self.flags.fetch_and(!ARMED, Ordering::Relaxed) & ARMED == 0 {
            return None;
        }
        self.waker.lock().take()
    }

    /// Ends the subscriber for `reason`. Returns the waker to call. The first end counts.
    pub fn end(self, reason: u32) -> Option<Waker> {
        let ended = ENDED | reason << REASON_SHIFT;
        // Release: a reader that sees the end sees what was delivered before it. A failure means that it ended before.
        let end = |flags| if flags & ENDED == 0 { Some(flags | ended) } else { None };
        let _ = self.flags.fetch_update(ord!("notify.end", Release), Ordering::Relaxed, end);
        // Pairs with the fence in `Line::set_ready`, if the mailbox is in a set: an end is something to look for, like
        // a message. With `arm` it needs none: both change the one word.
        fence!("notify.end_fence");
        self.fire()
    }
}

/// The worker's half of the fences: between a batch of deliveries and [`Notify::fire`].
#[inline]
pub fn fence_before_fire() {
    // Pairs with the fence in `Notify::arm` (I1).
    fence!("notify.fire_fence");
}

/// Why the flags say that the subscriber ended, if they do.
pub fn ended(flags: u32) -> Option<u32> {
    if flags & ENDED == 0 { None } else { Some(flags >> REASON_SHIFT) }
}
