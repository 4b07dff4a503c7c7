//! A lane: the shared side of one worker, and the ways to reach it.
//!
//! A publisher reaches a worker's members in one of two ways:
//!
//! - *by the inbox*: push an entry with the log's position, fence, wake the worker if it sleeps;
//! - *in place*, if the inbox is drained and the baton is free: take the baton, look at the inbox **again**, deliver, give
//!   the baton back.
//!
//! - I1. Order: the worker executes what it pops before it gives the baton back, or refuses in-place delivery while it has
//!   work in hand (`f` of [`Lane::try_in_place`] decides). So a publisher that finds the inbox drained under the baton
//!   has nothing of its own still on the way.
//! - I2. A worker never waits for the baton of a holder that waits for it: a publisher with the baton runs no code of
//!   users, takes no other lock than that of the log, and wakes readers only after it has given the baton back.
//!
//! The lane is generic in what the inbox carries (`T`), what the log carries (`O`), the state beside the log (`S`) and
//! the worker's own state (`C`), so that the models run this code with a small state of their own.
//!
//! Models: `loom-tests/tests/baton.rs`, `control_log.rs`, `inbox_wake.rs`.

use super::baton::{Baton, BatonGuard};
use super::gate::{self, Gate};
use super::inbox::Inbox;
use super::log::Log;
use super::room::Room;
use super::sleep::{Sleep, fence_before_notify};
use crate::sync::{CachePadded, OnceLock, Parker, mutated, spin_loop, thread};
use std::task::Waker;

/// See the module's text.
#[derive(Debug)]
pub struct Lane<T, O, S, C> {
    /// Broadcasts, in order.
    pub inbox: Inbox<T>,
    /// Changes of the lists.
    pub log: Log<O, S>,
    /// Whether the worker sleeps.
    pub sleep: CachePadded<Sleep>,
    /// The worker's own state.
    pub baton: CachePadded<Baton<C>>,
    /// Those who wait for room in the inbox.
    pub room: Room,
    /// Wakes the worker's sleeper. Set by the worker before the engine is handed out.
    waker: OnceLock<Waker>,
}

impl<T, O, S, C> Lane<T, O, S, C> {
    /// A lane whose worker runs.
    pub fn new(inbox: Inbox<T>, state: S, core: C) -> Self {
        Lane {
            inbox,
            log: Log::new(state),
            sleep: CachePadded::new(Sleep::new()),
            baton: CachePadded::new(Baton::new(core)),
            room: Room::new(),
            waker: OnceLock::new(),
        }
    }

    /// Says how the worker is woken. Once, by the worker.
    pub fn set_waker(&self, waker: Waker) {
        assert!(self.waker.set(waker).is_ok(), "a worker has one sleeper");
    }

    /// After work was given and a fence: wakes the worker if it sleeps. Returns whether it did.
    #[inline]
    pub fn wake_if_asleep(&self) -> bool {
        if !self.sleep.must_wake() {
            return false;
        }
        if let Some(waker) = self.waker.get() {
            waker.wake_by_ref();
        }
        true
    }

    /// Whether [`try_in_place`](Self::try_in_place) is worth trying.
    #[inline]
    pub fn looks_idle(&self) -> bool {
        self.inbox.is_drained() && self.baton.is_free()
    }

    /// Runs `f` on the worker's state if nothing is on the way to it and nobody else has it.
    #[inline]
    pub fn try_in_place<R>(&self, f: impl FnOnce(&mut C) -> R) -> Option<R> {
        if !self.inbox.is_drained() {
            return None;
        }
        let mut guard = self.baton.try_take()?;
        // Looked at again (I1): an entry may have been pushed, popped and be half done since the first look.
        if !mutated!("baton.no_second_look") && !self.inbox.is_drained() {
            return None;
        }
        Some(guard.with(f))
    }

    /// For the worker: takes the baton, retrying while a publisher delivers in place, which is a bounded piece of work.
    pub fn take_baton(&self) -> BatonGuard<'_, C> {
        let mut tries = 0;
        loop {
            if let Some(guard) = self.baton.try_take() {
                return guard;
            }
            tries += 1;
            // A holder that was preempted needs the processor more than we do.
            if tries % 64 == 0 { thread::yield_now() } else { spin_loop() }
        }
    }
}

/// Why [`publish`] did not.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The gate is not open.
    Closed,
    /// An inbox has no room, and the caller did not want to wait.
    Full,
}

/// Publishes from outside to the workers in `targets` (a bit each, not 0): one entry in each inbox, or none in any.
///
/// With `wait` it waits where an inbox is full. Without, it looks at every inbox first and gives up if one has no room;
/// once it has begun it finishes, so that a broadcast is never delivered in part: if another publisher takes the room
/// between the look and the push, it waits for the worker to make some.
///
/// Returns which workers it woke.
///
/// `make` is called once the publication is certain, with the number of targets, and returns what makes a worker's entry
/// and its weight.
pub fn publish<'a, T, O: 'a, S: 'a, C: 'a, L, F>(
    gate: &Gate,
    hint: usize,
    lane: L,
    targets: u64,
    weight: u32,
    wait: bool,
    make: impl FnOnce() -> F,
) -> Result<u64, Refused>
where
    T: 'a,
    L: Fn(usize) -> &'a Lane<T, O, S, C>,
    F: FnMut(usize) -> T,
{
    let Some(pass) = gate.enter(hint) else { return Err(Refused::Closed) };
    if !wait && !mutated!("publish.no_look") && !bits(targets).all(|i| lane(i).inbox.has_room(weight)) {
        return Err(Refused::Full);
    }
    let mut entry = make();
    for i in bits(targets) {
        if let Err(value) = lane(i).inbox.push(entry(i), weight) {
            if mutated!("publish.give_up_midway") {
                return Err(Refused::Full);
            }
            // Those that have their entry need not wait for this one.
            wake_all(&lane, targets & ((1 << i) - 1));
            if !lane(i).push_waiting(gate, value, weight) {
                return Err(Refused::Closed);
            }
        }
    }
    let wakes = wake_all(&lane, targets);
    pass.published();
    Ok(wakes)
}

/// One fence, and then a wake for each worker that sleeps. Returns which it woke.
fn wake_all<'a, T: 'a, O: 'a, S: 'a, C: 'a>(lane: impl Fn(usize) -> &'a Lane<T, O, S, C>, targets: u64) -> u64 {
    fence_before_notify();
    bits(targets).filter(|&i| lane(i).wake_if_asleep()).fold(0, |woken, i| woken | 1 << i)
}

impl<T, O, S, C> Lane<T, O, S, C> {
    /// Pushes an entry, and waits for room if there is none. For a caller with a pass, never on a worker's thread; it must
    /// wake the worker. `false`: the engine was closed at its deadline, and the worker will make no more room.
    pub fn push_or_wait(&self, gate: &Gate, value: T, weight: u32) -> bool {
        match self.inbox.push(value, weight) {
            Ok(()) => true,
            Err(value) => self.push_waiting(gate, value, weight),
        }
    }

    /// Pushes an entry, and waits for room as long as there is none. Never on a worker's thread. `false`: the engine was
    /// closed at its deadline, and the worker will make no more room.
    #[cold]
    fn push_waiting(&self, gate: &Gate, value: T, weight: u32) -> bool {
        let parker = Parker::new();
        let mut value = value;
        loop {
            self.room.register(Waker::from(parker.clone()));
            match self.inbox.push(value, weight) {
                Ok(()) => return true,
                Err(back) => value = back,
            }
            // The worker opens the room once more after the phase has changed.
            if gate.phase() == gate::CLOSED {
                return false;
            }
            parker.wait(None);
        }
    }
}

/// The numbers of the bits that are set.
pub fn bits(mut word: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        if word == 0 {
            return None;
        }
        let bit = word.trailing_zeros() as usize;
        word &= word - 1;
        Some(bit)
    })
}
