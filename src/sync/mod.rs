//! The one gate to atomics, cells, locks, threads and parking.
//!
//! Everything concurrent in this crate takes its primitives from here, so that one switch, the private
//! `--cfg fanfare_loom`, puts the model checker's own under the same code: production and model run the same lines.
//! `tests/tidy/` fails the build when a module reaches around the gate.
//!
//! # Named orderings
//!
//! An ordering that a proof rests on is written `ord!("name", Release)`, a fence `fence!("name")`, and a step that the
//! proof needs `if mutated!("name") { .. }`. In production these are the plain ordering, the plain `SeqCst` fence and
//! `false`. Under `fanfare_loom` the environment variable `FANFARE_MUTANT` names one of them to weaken: the ordering
//! becomes `Relaxed`, the fence vanishes, the step is left out. A model is worth something only if it then fails;
//! `cargo xtask loom --mutants` checks that each does.
//!
//! Store-to-load handshakes use `fence(SeqCst)` between relaxed accesses, never `SeqCst` accesses: loom models the
//! former and treats the latter as `AcqRel`.

#[cfg(fanfare_loom)]
mod model;
#[cfg(not(fanfare_loom))]
mod real;
#[cfg(not(fanfare_loom))]
mod stable;

#[cfg(fanfare_loom)]
pub use model::*;
#[cfg(not(fanfare_loom))]
pub use real::*;
#[cfg(not(fanfare_loom))]
pub use stable::StableVec;

use std::task::Wake;
use std::time::Instant;

/// The ordering given, or `Relaxed` when the mutant of that name is under test.
#[cfg(not(fanfare_loom))]
macro_rules! ord {
    ($name:literal, $ordering:ident) => {
        $crate::sync::Ordering::$ordering
    };
}
#[cfg(fanfare_loom)]
macro_rules! ord {
    ($name:literal, $ordering:ident) => {
        if $crate::sync::mutant($name) { $crate::sync::Ordering::Relaxed } else { $crate::sync::Ordering::$ordering }
    };
}

/// A `SeqCst` fence, or nothing when the mutant of that name is under test.
macro_rules! fence {
    ($name:literal) => {
        if !$crate::sync::mutated!($name) {
            $crate::sync::fence($crate::sync::Ordering::SeqCst)
        }
    };
}

/// Whether the mutant of that name is under test; `false`, known to the compiler, in production.
#[cfg(not(fanfare_loom))]
macro_rules! mutated {
    ($name:literal) => {
        false
    };
}
#[cfg(fanfare_loom)]
macro_rules! mutated {
    ($name:literal) => {
        $crate::sync::mutant($name)
    };
}

#[allow(hidden_glob_reexports, reason = "the macro `fence!` beside the function of that name")]
pub(crate) use {fence, mutated, ord};

/// A text that is shared. It never changes and no protocol rests on its count, so the model checker need not see it.
pub type Text = std::sync::Arc<str>;

/// Blocks one thread until somebody wakes it: the [`Waker`](std::task::Waker) of those who wait without an async
/// runtime.
///
/// `notified` is set by the waker (release) and taken by the sleeper (acquire), so that a wake before the sleep is kept
/// and what the waker did before is seen after. The thread's own park token may be used up by others; the flag decides.
#[derive(Debug)]
pub struct Parker {
    thread: thread::Thread,
    notified: AtomicBool,
}

impl Parker {
    /// A parker for the calling thread.
    pub fn new() -> std::sync::Arc<Parker> {
        std::sync::Arc::new(Parker { thread: thread::current(), notified: AtomicBool::new(false) })
    }

    /// The parker that the calling thread keeps for its own waits. A wake that comes late makes its next wait return
    /// early.
    #[cfg(not(fanfare_loom))]
    pub fn of_this_thread() -> std::sync::Arc<Parker> {
        thread_local! {
            static PARKER: std::sync::Arc<Parker> = Parker::new();
        }
        PARKER.try_with(Clone::clone).unwrap_or_else(|_| Parker::new())
    }

    /// Sleeps until woken, or until `deadline`. Must be called on the thread that made the parker.
    /// Returns whether it was woken.
    pub fn wait(&self, deadline: Option<Instant>) -> bool {
        loop {
            // Pairs with the store in `wake_by_ref`.
            if self.notified.swap(false, Ordering::Acquire) {
                return true;
            }
            match deadline {
                None => thread::park(),
                Some(deadline) => {
                    let now = Instant::now();
                    if now >= deadline {
                        return false;
                    }
                    thread::park_timeout(deadline - now);
                }
            }
        }
    }
}

impl Wake for Parker {
    fn wake(self: std::sync::Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &std::sync::Arc<Self>) {
        // Pairs with the swap in `wait`. A swap too: the model checker orders stores that nobody has seen too loosely.
        self.notified.swap(true, Ordering::Release);
        self.thread.unpark();
    }
}

/// Wakes whoever sleeps in one of these.
pub fn wake(parkers: impl IntoIterator<Item = std::sync::Arc<Parker>>) {
    parkers.into_iter().for_each(|parker| parker.wake_by_ref());
}

/// Calls a waker, which is code of somebody else: a panic in it is caught and counted as nothing more than a wake.
#[cfg(not(fanfare_loom))]
pub fn wake_caught(waker: std::task::Waker) {
    // The waker is consumed and shares nothing with us, so there is no state that a panic could leave half done.
    let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| waker.wake()));
}
