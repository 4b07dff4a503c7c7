//! How a worker sleeps, and how it is woken once.
//!
//! The handshake, between the worker and whoever gives it work:
//!
//! - worker: `state = SLEEPING` (relaxed), fence, look for work again; only without any, sleep until the state changes;
//! - publisher: give the work, fence, load `state` (relaxed); only if it reads `SLEEPING`, swap it to `NOTIFIED` and
//!   wake.
//!
//! I1. No wake-up is lost. The two fences are in one order: if the publisher's comes first, the worker's second look
//! sees the work; if the worker's comes first, the publisher's load sees `SLEEPING`.
//! I2. One wake per sleep: of all who see `SLEEPING`, one wins the compare-and-swap. Nothing else rests on that swap,
//! so it is relaxed.
//!
//! What the worker sleeps in is a [`Sleeper`]: its thread's own parking, or `mio::Poll` where sockets must wake it too.
//!
//! Models: `loom-tests/tests/sleep_wake.rs` (I1), `sleep_once.rs` (I2).

use crate::sync::{AtomicU32, Ordering, Parker, fence, mutated};
use std::task::Waker;
use std::time::{Duration, Instant};

const RUNNING: u32 = 0;
const SLEEPING: u32 = 1;
const NOTIFIED: u32 = 2;

/// What a worker sleeps in. It belongs to the worker's thread; its waker may be called from anywhere.
pub trait Sleeper {
    /// Wakes this sleeper: the sleep in progress, or else the next one.
    fn waker(&self) -> Waker;

    /// Sleeps until woken, or for `bound`. May return early for no reason.
    fn sleep(&mut self, bound: Option<Duration>);

    /// Whether it has found work of its own, to be done by [`turn`](Self::turn).
    fn is_due(&self) -> bool {
        false
    }

    /// For the worker, between two rounds and without the baton: does what work of its own there is. `busy`: the worker
    /// has more to do, and does not sleep in between. Returns whether there was any.
    fn turn(&mut self, busy: bool) -> bool {
        let _ = busy;
        false
    }

    /// The worker ends: closes what it has.
    fn end(&mut self) {}
}

/// Sleeps by parking the thread.
#[derive(Debug)]
pub struct ParkSleeper(std::sync::Arc<Parker>);

impl ParkSleeper {
    /// A sleeper for the calling thread.
    pub fn new() -> Self {
        ParkSleeper(Parker::new())
    }
}

impl Sleeper for ParkSleeper {
    fn waker(&self) -> Waker {
        Waker::from(self.0.clone())
    }

    fn sleep(&mut self, bound: Option<Duration>) {
        self.0.wait(bound.map(|bound| Instant::now() + bound));
    }
}

/// The state of the handshake. See the module's text.
#[derive(Debug)]
pub struct Sleep {
    /// The worker stores `SLEEPING` and `RUNNING`; a notifier swaps `SLEEPING` to `NOTIFIED`.
    state: AtomicU32,
}

impl Sleep {
    /// A worker that runs.
    pub fn new() -> Self {
        Sleep { state: AtomicU32::new(RUNNING) }
    }

    /// For the worker: sleeps, unless `has_work` says after the announcement that there is something to do.
    pub fn sleep(&self, sleeper: &mut dyn Sleeper, bound: Option<Duration>, has_work: impl FnOnce() -> bool) {
        // Relaxed: the fence orders it against the second look. A swap, here and below: so all changes of the word form
        // one chain for the model checker too, which orders a store and a swap that have not seen each other either
        // way.
        self.state.swap(SLEEPING, Ordering::Relaxed);
        // Pairs with the fence of the notifier, called `fence_before_notify` (I1).
        fence!("sleep.announce");
        if !has_work() {
            match bound {
                // A bounded sleep is one that may end for no reason: its caller polls.
                Some(_) => sleeper.sleep(bound),
                None => {
                    // Relaxed: see `must_wake`.
                    while self.state.load(Ordering::Relaxed) == SLEEPING && !sleeper.is_due() {
                        sleeper.sleep(None);
                    }
                }
            }
        }
        // A notifier that wins after this has woken us for nothing; the next sleep then returns early once.
        self.state.swap(RUNNING, Ordering::Relaxed);
    }

    /// For whoever gave the worker something: after the caller's fence, says whether the caller must wake the worker.
    /// `true` for one caller per sleep.
    #[inline]
    pub fn must_wake(&self) -> bool {
        // Relaxed: ordered by the fence of the caller.
        if self.state.load(Ordering::Relaxed) != SLEEPING {
            return false;
        }
        if mutated!("sleep.wake_without_claim") {
            self.state.store(NOTIFIED, Ordering::Relaxed);
            return true;
        }
        // Relaxed: the swap hands nothing over. A worker that sees it and not yet the work announces its next sleep
        // behind it, so our fence comes before that one's, and its second look sees the work (I1).
        self.state.compare_exchange(SLEEPING, NOTIFIED, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    /// Whether the worker sleeps, for statistics.
    pub fn is_sleeping(&self) -> bool {
        self.state.load(Ordering::Relaxed) == SLEEPING
    }
}

/// What waking a sleeping worker costs whoever wakes it: a running mean, in nanoseconds.
///
/// A hint that orders nothing. It differs tenfold between machines, and on one by where the worker slept: 1 us and more
/// on the caller's own processor, 6 to 15 us on another one that has halted under a hypervisor.
#[derive(Debug)]
pub struct WakeCost(AtomicU32);

impl WakeCost {
    /// Before the first wake, which building the engine or the first subscription soon brings.
    const UNKNOWN: u32 = 2_000;
    /// A call that was preempted says nothing of what a wake costs.
    const MOST: u32 = 50_000;

    /// A mean of nothing yet.
    pub fn new() -> Self {
        WakeCost(AtomicU32::new(Self::UNKNOWN))
    }

    /// The mean.
    #[inline]
    pub fn nanoseconds(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// Makes `wake` count, by an eighth.
    pub fn measure(&self, wake: impl FnOnce()) {
        let begin = Instant::now();
        wake();
        let took = begin.elapsed().as_nanos().min(Self::MOST.into()) as u32;
        let mean = self.nanoseconds();
        // Two at once: one is not counted, which does not matter.
        self.0.store(mean - mean / 8 + took / 8, Ordering::Relaxed);
    }
}

/// The notifier's half of the fences: between giving the work and [`Sleep::must_wake`]. One serves several workers.
#[inline]
pub fn fence_before_notify() {
    // Pairs with the fence in `Sleep::sleep` (I1).
    fence!("sleep.notify_fence");
}
