//! A remote: the shared side of one worker, and the ways to reach it.
//!
//! A publisher reaches a worker's members in one of two ways:
//!
//! - *by the inbox*: push an entry with the log's position, fence, wake the worker if it sleeps;
//! - *in place*, if the inbox is drained and the baton is free: take the baton, look at the inbox **again**, deliver,
//!   give the baton back.
//!
//! - I1. Order: the worker executes what it pops before it gives the baton back, or refuses in-place delivery while it
//!   has work in hand (its state says so to whoever has the baton). So a publisher that finds the inbox drained under
//!   the baton has nothing of its own still on the way.
//! - I2. Positions: whoever applies the log with no broadcast at hand, a publisher in place or a worker for want of
//!   work, runs ahead of no broadcast that returned before one of the applied entries was appended. It reads the log's
//!   position first and looks at the inbox after; the position is acquired, so such a broadcast is seen there.
//! - I3. A worker never waits for the baton of a holder that waits for it: a publisher with batons runs no code of
//!   users, takes no other lock than that of a log, and wakes readers only after it has given them back.
//! - I4. Nobody waits for a baton with another one in hand: a publisher that delivers to several workers in place only
//!   tries, and if it does not get all of them it gives back those that it has, and delivers to none.
//!
//! The remote is generic in what the inbox carries (`T`), what the log carries (`O`), the state beside the log (`S`)
//! and the worker's own state (`C`), so that the models run this code with a small state of their own.
//!
//! Models: `loom-tests/tests/baton.rs` (I1), `control_log.rs` and `remote_in_place.rs` (I2), `remote_batons.rs` (I4),
//! `remote_try_publish.rs` and `waiters.rs` ([`publish`]).

use super::baton::{Baton, BatonGuard};
use super::control_log::ControlLog;
use super::gate::{self, Gate};
use super::inbox::Inbox;
use super::sleep::{Sleep, WakeCost, fence_before_notify};
use super::waiters::Waiters;
use crate::sync::{CachePadded, OnceLock, Parker, mutated, spin_loop, thread};
use smallvec::SmallVec;
use std::task::Waker;

/// See the module's text.
#[derive(Debug)]
pub struct Remote<T, O, S, C> {
    /// Broadcasts, in order.
    pub inbox: Inbox<T>,
    /// Changes of the lists.
    pub control_log: ControlLog<O, S>,
    /// Whether the worker sleeps.
    pub sleep: CachePadded<Sleep>,
    /// What waking it costs.
    pub wake_cost: WakeCost,
    /// The worker's own state.
    pub baton: CachePadded<Baton<C>>,
    /// Those who wait for room in the inbox.
    pub waiters: Waiters,
    /// Wakes the worker's sleeper. Set by the worker before the engine is handed out.
    waker: OnceLock<Waker>,
}

impl<T, O, S, C> Remote<T, O, S, C> {
    /// A remote whose worker runs.
    pub fn new(inbox: Inbox<T>, state: S, core: C) -> Self {
        Remote {
            inbox,
            control_log: ControlLog::new(state),
            sleep: CachePadded::new(Sleep::new()),
            wake_cost: WakeCost::new(),
            baton: CachePadded::new(Baton::new(core)),
            waiters: Waiters::new(),
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
            self.wake_cost.measure(|| waker.wake_by_ref());
        }
        true
    }

    /// Whether [`take_if_idle`] is worth trying.
    #[inline]
    pub fn looks_idle(&self) -> bool {
        self.inbox.is_drained() && self.baton.is_free()
    }

    /// The position up to which the log may be applied with no broadcast at hand, by the baton's holder: `None` while
    /// something is in the inbox, since a broadcast there may have an earlier position (I2).
    #[inline]
    pub fn position_if_drained(&self) -> Option<u64> {
        if mutated!("remote.position_last") {
            return if self.inbox.is_drained() { Some(self.control_log.position()) } else { None };
        }
        // In this order: a broadcast that returned before one of the counted entries was appended is seen in the inbox.
        let position = self.control_log.position();
        if self.inbox.is_drained() { Some(position) } else { None }
    }

    /// Takes the baton if nothing is on the way to the worker and nobody else has it. Returns it with the position up
    /// to which its holder may apply the log (I2).
    #[inline]
    fn take_if_idle(&self) -> Option<(BatonGuard<'_, C>, u64)> {
        if !self.inbox.is_drained() {
            return None;
        }
        let guard = self.baton.try_take()?;
        // Looked at again, now under the baton and behind the position (I2).
        let position =
            if mutated!("baton.no_second_look") { self.control_log.position() } else { self.position_if_drained()? };
        Some((guard, position))
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

/// A worker that was idle, taken.
#[derive(Debug)]
pub struct Taken<'a, C> {
    /// Its number.
    pub worker: usize,
    /// The right to its state.
    pub baton: BatonGuard<'a, C>,
    /// How far its log may be applied (I2).
    pub position: u64,
}

/// Takes all workers in `targets` (a bit each), if all idle, in the order of their numbers. Never waits (I4).
pub fn take_if_idle<'a, T: 'a, O: 'a, S: 'a, C: 'a>(
    remote: impl Fn(usize) -> &'a Remote<T, O, S, C>,
    targets: u64,
) -> Option<SmallVec<[Taken<'a, C>; 4]>> {
    let mut all = SmallVec::new();
    for worker in bits(targets) {
        match remote(worker).take_if_idle() {
            Some((baton, position)) => all.push(Taken { worker, baton, position }),
            None if mutated!("remote.take_some") => {}
            // Those that were taken are given back.
            None => return None,
        }
    }
    Some(all)
}

/// Why [`publish`] did not.
#[derive(Debug, PartialEq, Eq)]
pub enum Refused {
    /// The gate is not open, or the engine ended while the call waited for room.
    Closed,
    /// An inbox has no room, and the caller did not want to wait.
    Full,
}

/// Publishes from outside to the workers in `targets` (a bit each, not 0): one entry in each inbox, or none in any.
/// Returns which workers it woke.
///
/// With `wait` it waits where an inbox is full. Without, it looks at every inbox first and gives up if one has no room;
/// once it has begun it finishes, so that a broadcast is never delivered in part: if another publisher takes the room
/// between the look and the push, it waits for the worker to make some.
///
/// One thing ends a wait without room: an engine that ends at its deadline. The call is refused then, though workers
/// may have, or leave, what it had pushed.
///
/// `make` is called once the publication is certain, with the number of targets, and returns what makes a worker's
/// entry.
pub fn publish<'a, T, O: 'a, S: 'a, C: 'a, L, F>(
    gate: &Gate,
    hint: usize,
    remote: L,
    targets: u64,
    weight: u32,
    wait: bool,
    make: impl FnOnce() -> F,
) -> Result<u64, Refused>
where
    T: 'a,
    L: Fn(usize) -> &'a Remote<T, O, S, C>,
    F: FnMut(usize) -> T,
{
    let Some(pass) = gate.enter(hint) else { return Err(Refused::Closed) };
    if !wait && !mutated!("publish.no_look") && !bits(targets).all(|i| remote(i).inbox.has_room(weight)) {
        return Err(Refused::Full);
    }
    let mut entry = make();
    let mut woken = 0;
    for i in bits(targets) {
        if let Err(value) = remote(i).inbox.push(entry(i), weight) {
            if mutated!("publish.give_up_midway") {
                return Err(Refused::Full);
            }
            // Those that have their entry need not wait for this one.
            woken |= wake_all(&remote, targets & ((1 << i) - 1));
            if !remote(i).push_waiting(gate, value, weight) {
                return Err(Refused::Closed);
            }
        }
    }
    woken |= wake_all(&remote, targets);
    pass.published();
    Ok(woken)
}

/// One fence, and then a wake for each worker that sleeps. Returns which it woke.
fn wake_all<'a, T: 'a, O: 'a, S: 'a, C: 'a>(remote: impl Fn(usize) -> &'a Remote<T, O, S, C>, targets: u64) -> u64 {
    fence_before_notify();
    bits(targets).filter(|&i| remote(i).wake_if_asleep()).fold(0, |woken, i| woken | 1 << i)
}

impl<T, O, S, C> Remote<T, O, S, C> {
    /// Pushes an entry, and waits for room as long as there is none. Never on a worker's thread. `false`: the engine
    /// was closed at its deadline, and the worker will make no more room.
    #[cold]
    pub fn push_waiting(&self, gate: &Gate, value: T, weight: u32) -> bool {
        let parker = Parker::new();
        let mut value = value;
        loop {
            self.waiters.register(Waker::from(parker.clone()));
            // Behind the fence of `register`, like the look for room. A worker that ends has seen the phase before it
            // wakes its waiters for the last time: it finds us there, or we see the phase. What is in the inbox then is
            // lost.
            if gate.phase() == gate::CLOSED && !mutated!("remote.wait_past_end") {
                return false;
            }
            match self.inbox.push(value, weight) {
                Ok(()) => return true,
                Err(back) => value = back,
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
