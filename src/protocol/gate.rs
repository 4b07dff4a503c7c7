//! The gate: who may still publish, and when everything accepted has been delivered.
//!
//! The engine goes through three phases: `OPEN`, `CLOSING` (calls from outside are refused, handlers may publish),
//! `CLOSED` (nobody may). A call from outside announces itself while it pushes, in a counter that few others share:
//!
//! - publisher: `stripe += 1` (relaxed), fence, load `phase`; if not `OPEN`, take it back and refuse; else push, then
//!   `stripe -= 1` (release);
//! - closer: `phase = CLOSING` (relaxed), fence, and later look at all stripes (acquire).
//!
//! I1. Once the phase is `CLOSING` and every stripe has been seen at zero, no call from outside will push any more, and
//! all that was pushed is seen: of the two fences one comes first; if it is the publisher's, the closer sees its stripe
//! and waits for it, so nothing is delivered in part; if it is the closer's, the publisher sees the phase.
//! I2. After that only handlers push, from within the work of an entry. If the sum of completed entries over all
//! workers, read first, equals the sum of pushed ones, read after, then nothing is in an inbox and nothing is being
//! worked on, for ever: both sums only grow, completed never exceeds pushed, so no push lay between the two readings,
//! and no entry was unfinished at the first. (Mattern's counting of messages, 1987.) An entry counts as completed only
//! after all that its work published has been pushed.
//!
//! A stripe also counts the publications: the low 16 bits are calls in progress, the others calls that published.
//!
//! Models: `loom-tests/tests/gate_close.rs` (I1), `gate_shutdown.rs` (I2).

use super::inbox::Inbox;
use crate::sync::{AtomicU32, AtomicU64, CachePadded, Ordering, fence, mutated, ord};

/// Open for all.
pub const OPEN: u32 = 0;
/// Handlers may publish, others may not.
pub const CLOSING: u32 = 1;
/// Nobody may publish; workers end.
pub const CLOSED: u32 = 2;

const IN_PROGRESS: u64 = 0xFFFF;
const PUBLISHED: u64 = 0x1_0000;

/// The phase and the calls in progress. See the module's text.
#[derive(Debug)]
pub struct Gate {
    /// Moves up only. Stored by whoever closes, read by everyone.
    phase: AtomicU32,
    stripes: Box<[CachePadded<AtomicU64>]>,
}

/// A call in progress. Ends when dropped.
#[derive(Debug)]
pub struct Pass<'a>(&'a AtomicU64);

impl Gate {
    /// An open gate whose calls are counted in `stripes` counters.
    pub fn new(stripes: usize) -> Self {
        Gate {
            phase: AtomicU32::new(OPEN),
            stripes: (0..stripes).map(|_| CachePadded::new(AtomicU64::new(0))).collect(),
        }
    }

    /// The phase, as last seen by this thread.
    #[inline]
    pub fn phase(&self) -> u32 {
        self.phase.load(Ordering::Acquire)
    }

    /// Lets a call from outside in, if the gate is open. `hint` spreads callers over the stripes.
    #[inline]
    pub fn enter(&self, hint: usize) -> Option<Pass<'_>> {
        let stripe = &self.stripes[hint % self.stripes.len()];
        stripe.fetch_add(1, Ordering::Relaxed);
        // Pairs with the fence in `close` (I1).
        fence!("gate.enter");
        let pass = Pass(stripe);
        if self.phase.load(Ordering::Relaxed) == OPEN { Some(pass) } else { None }
    }

    /// Starts to close. Returns whether this call did it.
    pub fn close(&self) -> bool {
        let first = self.phase.compare_exchange(OPEN, CLOSING, Ordering::AcqRel, Ordering::Relaxed).is_ok();
        // Pairs with the fence in `enter` (I1).
        fence!("gate.close");
        first
    }

    /// Goes from `CLOSING` to `CLOSED`. Returns whether this call did it.
    pub fn finish(&self) -> bool {
        self.phase.compare_exchange(CLOSING, CLOSED, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// While `CLOSING`: whether no call from outside is in progress (I1).
    pub fn is_quiet(&self) -> bool {
        // Pairs with the release in `drop` of `Pass`: what the call pushed is seen.
        self.stripes.iter().all(|stripe| stripe.load(ord!("gate.quiet", Acquire)) & IN_PROGRESS == 0)
    }

    /// While `CLOSING`: whether nothing is on its way any more, nor ever will be again (I2). `inboxes` are those of all
    /// workers.
    pub fn is_quiescent<'a, T: 'a>(&self, inboxes: impl Iterator<Item = &'a Inbox<T>> + Clone) -> bool {
        let sum = |of: fn(&Inbox<T>) -> u32| inboxes.clone().map(of).fold(0, u32::wrapping_add);
        if mutated!("gate.pushed_first") {
            let pushed = sum(Inbox::pushed);
            return self.is_quiet() && sum(Inbox::completed) == pushed;
        }
        // In this order: what the calls pushed is then counted, and a push of a counted completion's work too.
        self.is_quiet() && {
            let completed = sum(Inbox::completed);
            completed == sum(Inbox::pushed)
        }
    }

    /// Calls from outside that published, so far.
    pub fn published(&self) -> u64 {
        self.stripes.iter().map(|stripe| stripe.load(Ordering::Relaxed) / PUBLISHED).sum()
    }
}

impl Gate {
    /// Ends a call whose pass was kept by number: see [`Pass::keep`].
    pub fn leave(&self, hint: usize) {
        drop(Pass(&self.stripes[hint % self.stripes.len()]));
    }
}

impl Pass<'_> {
    /// Lets the call outlive the pass: somebody must [`leave`](Gate::leave) with the hint that it came in with.
    pub fn keep(self) {
        std::mem::forget(self);
    }

    /// Ends the call, and counts it as one that published.
    #[inline]
    pub fn published(self) {
        // One operation ends the call and counts it. Pairs with the load in `is_quiet`.
        self.0.fetch_add(PUBLISHED - 1, ord!("gate.leave_published", Release));
        std::mem::forget(self);
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        // Pairs with the load in `is_quiet`.
        self.0.fetch_sub(1, ord!("gate.leave", Release));
    }
}
