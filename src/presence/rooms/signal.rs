//! What the sealer has to look at, and how it is woken.
//!
//! There are [`SHARDS`] shards, on every node as many. Each has a queue of rooms that are to be sealed at once; a topic
//! is always of the same shard. The sealer is one thread: so diffs of one topic are published in their order, and
//! nothing that a user's thread does waits for a publish.
//!
//! - I1. Whoever puts the first room into a shard's empty queue raises the shard's bit, after. So each room in a queue
//!   is seen: either its queue's bit is up, or about to be.
//! - I2. No wake-up is lost. The sealer goes to sleep under the lock under which bits are raised: it has seen the bit,
//!   or who raises it sees that it sleeps and wakes it. A wake that comes before it sleeps is kept ([`Parker`]).
//! - I3. While changes come in quick succession the sealer pauses between rounds. It sleeps then, but is woken by a
//!   flush or the end alone: who changes a room does not pay for a wake, and what gathers is sealed in one go. What was
//!   queued meanwhile is in the next round, as by I2, since the pause ends before the sealer asks for that.
//! - I4. A flush is done when a round for it is over: one that began after it was asked for, and that looks at every
//!   room that is queued or cooling, whether bits are up or not.
//!
//! Models: `loom-tests/tests/presence_seal.rs` (I1, I2), `presence_flush.rs` (I3, I4).

use super::room::Room;
use crate::sync::{Arc, Mutex, Parker, mutated, wake};
use std::time::Instant;

/// How many shards there are. A model has one.
pub const SHARDS: usize = if cfg!(fanfare_loom) { 1 } else { 64 };

/// Rooms for which memory is kept when there are none.
pub const KEPT: usize = 1024;

/// A shard: rooms that are to be sealed at once.
#[derive(Debug)]
pub struct Shard {
    number: usize,
    /// `None`: the sealer has ended.
    queue: Mutex<Option<Vec<Arc<Room>>>>,
    signal: Arc<Signal>,
}

impl Shard {
    /// The shards of a presence.
    pub fn all(signal: &Arc<Signal>) -> Box<[Arc<Shard>]> {
        let shard = |number| Arc::new(Shard { number, queue: Mutex::new(Some(Vec::new())), signal: signal.clone() });
        (0..SHARDS).map(shard).collect()
    }

    /// Its number.
    pub fn number(&self) -> usize {
        self.number
    }

    /// The signal of the presence that this is a shard of.
    pub fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Puts a room into the queue (I1).
    pub fn queue(&self, room: Arc<Room>) {
        let is_first = {
            let mut queue = self.queue.lock();
            let Some(queue) = &mut *queue else { return };
            queue.push(room);
            queue.len() == 1
        };
        if is_first {
            self.signal.raise(self.number);
        }
    }

    /// For the sealer: moves what is in the queue to `rooms`.
    pub fn take(&self, rooms: &mut Vec<Arc<Room>>) {
        if let Some(queue) = &mut *self.queue.lock() {
            rooms.append(queue);
            // A burst of a million rooms should not hold its memory for ever.
            queue.shrink_to(KEPT);
        }
    }

    /// For the sealer, at its end: as [`take`](Self::take), and nothing comes to the queue any more. Rooms that owners
    /// still know then live as long as these.
    pub fn close(&self, rooms: &mut Vec<Arc<Room>>) {
        rooms.extend(self.queue.lock().take().into_iter().flatten());
    }
}

/// See the module's text.
#[derive(Debug)]
pub struct Signal(Mutex<SignalState>);

#[derive(Debug, Default)]
struct SignalState {
    /// A bit for each shard whose queue is to be looked at.
    due: u64,
    /// The sealer, while it sleeps.
    sleeper: Option<std::sync::Arc<Parker>>,
    /// It sleeps for a pause (I3).
    pauses: bool,
    /// Flushes that were asked for, and how many of them are done.
    asked: u64,
    done: u64,
    /// Who waits for a flush.
    flushing: Vec<std::sync::Arc<Parker>>,
    /// It is to end.
    stop: bool,
    /// It has ended.
    ended: bool,
}

/// What the sealer has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// A bit for each shard whose queue is to be looked at.
    pub due: u64,
    /// The number of the last flush that this round is for.
    pub flush: Option<u64>,
    /// It is the last one.
    pub stop: bool,
}

impl Signal {
    /// Nothing is to be done.
    pub fn new() -> Arc<Self> {
        Arc::new(Signal(Mutex::new(SignalState::default())))
    }

    fn raise(&self, shard: usize) {
        let mut state = self.0.lock();
        state.due |= 1 << shard;
        let wakes = !state.pauses && !mutated!("signal.raise_without_wake");
        let sleeper = if wakes { state.sleeper.take() } else { None };
        drop(state);
        wake(sleeper);
    }

    /// For the sealer: waits until there is something to do, or until `deadline`.
    pub fn wait(&self, parker: &std::sync::Arc<Parker>, deadline: Option<Instant>) -> Round {
        loop {
            let mut state = self.0.lock();
            state.sleeper = None;
            let flush = (state.asked > state.done).then_some(state.asked);
            if state.due != 0 && !mutated!("signal.sleep_over_work") || flush.is_some() || state.stop {
                return Round { due: std::mem::take(&mut state.due), flush, stop: state.stop };
            }
            state.sleeper = Some(parker.clone());
            drop(state);
            if !parker.wait(deadline) {
                // Whoever took the sleeper wakes a parker that does not sleep: its next wait returns early.
                return Round { due: std::mem::take(&mut self.0.lock().due), flush: None, stop: false };
            }
        }
    }

    /// For the sealer: lets changes gather until `end`, unless there is a flush to do, or it is to end (I3).
    pub fn pause(&self, parker: &std::sync::Arc<Parker>, end: Option<Instant>) {
        let mut state = self.0.lock();
        if state.asked > state.done || state.stop {
            return;
        }
        state.sleeper = Some(parker.clone());
        state.pauses = true;
        drop(state);
        parker.wait(end);
        let mut state = self.0.lock();
        state.sleeper = None;
        state.pauses = mutated!("signal.pause_on");
    }

    /// For the sealer: that flush is done, and all before it.
    pub fn flushed(&self, flush: u64) {
        let mut state = self.0.lock();
        // Not all that were asked for: one that came during the round may be for what the round has passed.
        state.done = if mutated!("signal.flush_too_many") { state.asked } else { flush };
        let flushing = std::mem::take(&mut state.flushing);
        drop(state);
        wake(flushing);
    }

    /// Asks for a flush, and waits until it is done. `false`: the sealer has ended.
    pub fn flush(&self) -> bool {
        let parker = Parker::new();
        let mut state = self.0.lock();
        state.asked += 1;
        let flush = state.asked;
        let mut sleeper =
            if state.pauses && mutated!("signal.flush_behind_the_pause") { None } else { state.sleeper.take() };
        while state.done < flush {
            if state.ended {
                return false;
            }
            state.flushing.push(parker.clone());
            drop(state);
            wake(sleeper.take());
            parker.wait(None);
            state = self.0.lock();
        }
        true
    }

    /// Asks the sealer to end.
    pub fn stop(&self) {
        let mut state = self.0.lock();
        state.stop = true;
        let sleeper = state.sleeper.take();
        drop(state);
        wake(sleeper);
    }

    /// For the sealer: it has ended.
    pub fn end(&self) {
        let mut state = self.0.lock();
        state.ended = true;
        let flushing = std::mem::take(&mut state.flushing);
        drop(state);
        wake(flushing);
    }
}
