//! The sealer: one thread that ends epochs, and tells what they came to.
//!
//! It looks at rooms that are to be sealed at once, and again at each room one `diff_period` after it was sealed: then
//! the room is sealed again, or it is quiet, or empty and goes. Rooms cool in the order in which they were sealed, so a
//! plain queue is all the timers there are.
//!
//! - I1. What is told of a topic is told in the order of its epochs: first the epoch's diff, then the state of its end
//!   to those who wait. Without hooks the sealer does it itself; with hooks, which may take their time, a hook queue
//!   for each shard does, one epoch after the other, on a pool of threads.
//! - I2. No lock of a room or shard is held meanwhile.

use super::DIFF;
use super::diff::{Batch, Diff, Present, present, present_json, state_json};
use super::replication::Replication;
use super::rooms::aligned::Aligned;
use super::rooms::meta::{Meta, Metas};
use super::rooms::room::{Epoch, Room, Scope, Sealing, Waiter, Wanted};
use super::rooms::signal::{KEPT, Round, SHARDS};
use super::shared::PresenceShared;
use crate::message::attachment::ForClients;
use crate::pool::Pool;
use crate::sync::{Arc, Mutex, Ordering, Parker, prefetch};
use std::cell::Cell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

/// How long changes gather between two rounds,
const PAUSE: Duration = Duration::from_micros(100);
/// if these follow each other faster than that.
const BUSY: Duration = Duration::from_millis(1);
/// How many rooms ahead the sealer asks for the memory of one: with many rooms it is far away, or in the cache of the
/// processor that made the change.
const AHEAD: usize = 6;
/// Threads for hooks.
const THREADS_MAX: usize = 16;

thread_local! {
    static TELLS: Cell<bool> = const { Cell::new(false) };
}

/// Whether the calling thread tells what epochs came to: it must not wait for that.
pub(crate) fn is_here() -> bool {
    TELLS.get()
}

/// See the module's text.
pub(crate) struct Sealer {
    shared: Arc<PresenceShared>,
    /// Rooms that are to be sealed in this round.
    due: Vec<Arc<Room>>,
    /// Rooms that cool, and until when.
    cooling: VecDeque<(Instant, Arc<Room>)>,
    hook_queues: Option<Arc<HookQueues>>,
    /// The epoch in hand. It is kept for its memory: most epochs are small.
    epoch: Epoch,
}

impl Sealer {
    pub(crate) fn new(shared: Arc<PresenceShared>) -> Self {
        let hook_queues = shared.hooks.are_there().then(|| Arc::new(HookQueues::new()));
        Sealer { shared, due: Vec::new(), cooling: VecDeque::new(), hook_queues, epoch: Epoch::default() }
    }

    /// The thread's work, until the presence is dropped. What is not told by then is told at the end.
    pub(crate) fn run(mut self) {
        TELLS.set(true);
        let signal = self.shared.signal.clone();
        let parker = Parker::new();
        let mut last_end = None;
        loop {
            let round = signal.wait(&parker, self.cooling.front().map(|(until, _)| *until));
            self.seal_round(round);
            if round.flush.is_some()
                && let Some(hook_queues) = &self.hook_queues
            {
                hook_queues.pool.wait_until_idle();
            }
            if round.stop {
                // In this order: what the last epochs came to is told to other nodes, too, and goodbye is said before
                // who waits for the end goes on: the cluster may end then.
                self.shared.replication.iter().for_each(Replication::stop);
            }
            if let Some(flush) = round.flush {
                signal.flushed(flush);
            }
            if round.stop {
                break;
            }
            if round.due != 0 {
                if last_end.is_some_and(|end: Instant| end.elapsed() < BUSY) {
                    signal.pause(&parker, Some(Instant::now() + PAUSE));
                }
                last_end = Some(Instant::now());
            }
        }
        signal.end();
    }

    /// For who has the presence, which has no thread: a round as for a flush, or the last one.
    #[cfg(fanfare_stepped)]
    pub(crate) fn step(&mut self, stop: bool) {
        self.seal_round(Round { due: u64::MAX, flush: Some(0), stop });
    }

    /// Seals what a round is for.
    fn seal_round(&mut self, round: Round) {
        let everything = round.flush.is_some() || round.stop;
        let shards = if everything { u64::MAX } else { round.due };
        // These first: what is sealed now has nothing more to tell in this round.
        self.cooled(everything);
        for shard in (0..SHARDS).filter(|shard| shards & 1 << shard != 0) {
            let shard = self.shared.table.shard(shard);
            if round.stop { shard.close(&mut self.due) } else { shard.take(&mut self.due) }
        }
        self.due();
    }

    /// Seals the rooms that are due.
    fn due(&mut self) {
        let mut all = std::mem::take(&mut self.due);
        let mut due = all.drain(..);
        while let Some(room) = due.next() {
            if let Some(ahead) = due.as_slice().get(AHEAD) {
                prefetch(&**ahead);
            }
            self.seal(room);
        }
        drop(due);
        all.shrink_to(KEPT);
        self.due = all;
    }

    /// Looks again at the rooms that have cooled, or at all.
    fn cooled(&mut self, all: bool) {
        let now = Instant::now();
        for _ in 0..self.cooling.len() {
            if !all && self.cooling.front().is_some_and(|(until, _)| *until > now) {
                return;
            }
            if let Some((_, room)) = self.cooling.get(AHEAD) {
                prefetch(&**room);
            }
            if let Some((_, room)) = self.cooling.pop_front() {
                self.seal(room);
            }
        }
    }

    fn seal(&mut self, room: Arc<Room>) {
        match room.seal(|| self.shared.wanted(room.name()), &mut self.epoch) {
            Sealing::Quiet => {}
            Sealing::Retired => self.shared.table.remove(&room),
            Sealing::Epoch => {
                if let Some(replication) = &self.shared.replication {
                    replication.sealed(room.name(), &self.epoch.joins, &self.epoch.leaves);
                }
                if let Some(hook_queues) = &self.hook_queues {
                    HookQueues::push(hook_queues, &self.shared, room.clone(), std::mem::take(&mut self.epoch));
                } else {
                    self.shared.tell(&room, &mut self.epoch);
                    self.epoch.clear();
                }
                self.cooling.push_back((Instant::now() + self.shared.options.diff_period, room));
            }
        }
    }
}

/// Epochs on their way to the hooks: a queue for each shard, which one thread at a time works off.
struct HookQueues {
    queues: Box<[Mutex<HookQueue>]>,
    pool: Pool,
}

#[derive(Default)]
struct HookQueue {
    epochs: VecDeque<(Arc<Room>, Epoch)>,
    /// A thread is at it, until it finds the queue empty and clears this under the same lock.
    busy: bool,
}

impl HookQueues {
    fn new() -> Self {
        HookQueues { queues: (0..SHARDS).map(|_| Mutex::default()).collect(), pool: Pool::new(THREADS_MAX) }
    }

    fn push(this: &Arc<Self>, shared: &Arc<PresenceShared>, room: Arc<Room>, epoch: Epoch) {
        let number = room.shard().number();
        let mut queue = this.queues[number].lock();
        queue.epochs.push_back((room, epoch));
        if std::mem::replace(&mut queue.busy, true) {
            return;
        }
        drop(queue);
        let (hook_queues, shared) = (this.clone(), shared.clone());
        this.pool.spawn(Box::new(move || hook_queues.work(number, &shared)));
    }

    fn work(&self, number: usize, shared: &PresenceShared) {
        TELLS.set(true);
        loop {
            let mut queue = self.queues[number].lock();
            let Some((room, mut epoch)) = queue.epochs.pop_front() else {
                queue.busy = false;
                return;
            };
            drop(queue);
            shared.tell(&room, &mut epoch);
        }
    }
}

impl PresenceShared {
    /// What is to be told of an epoch: nothing if it is heard by nobody here and no other node is to know.
    fn wanted(&self, topic: &str) -> Wanted {
        if self.hooks.metas.is_some() {
            Wanted::Metas
        } else if self.replication.is_some() || self.hooks.are_there() || self.pubsub.subscriber_count(topic) > 0 {
            Wanted::Changes
        } else {
            Wanted::Counts
        }
    }

    /// Tells what an epoch came to.
    fn tell(&self, room: &Room, epoch: &mut Epoch) {
        let topic = room.name();
        let Epoch { changes, joins, leaves, waiting, snapshot, counts, after } = epoch;
        self.counters.add(&self.counters.joins, changes.0);
        self.counters.add(&self.counters.leaves, changes.1);
        if !(joins.is_empty() && leaves.is_empty()) {
            self.tell_diff(topic, joins, leaves, std::mem::take(after));
        }
        let mut told: Vec<(Scope, Aligned)> = Vec::new();
        for Waiter { scope, tell } in waiting.drain(..) {
            if !told.iter().any(|(other, _)| *other == scope) {
                let aligned = self.aligned(topic, scope, snapshot.as_ref(), *counts);
                told.push((scope, aligned));
            }
            let aligned = told.iter().find(|(other, _)| *other == scope).map(|(_, aligned)| aligned);
            self.counters.add(&self.counters.states, 1);
            self.caught(|| {
                if let Some(aligned) = aligned {
                    tell(aligned);
                }
            });
        }
    }

    fn tell_diff(&self, topic: &str, joins: &[Meta], leaves: &[Meta], after: Vec<(Meta, Metas)>) {
        let is_heard = self.pubsub.subscriber_count(topic) > 0;
        let hooks = &self.hooks;
        if !is_heard && !hooks.are_there() {
            return;
        }
        let mut parts = parts(joins, leaves, self.options.diff_metas_max);
        if let Some(fetch) = &hooks.fetch {
            let sides = parts.iter().flat_map(|diff| [diff.joins(), diff.leaves()]).flatten();
            let mut batch = Batch::of(sides);
            if self.caught(|| fetch(topic, &mut batch)) {
                batch.apply(parts.iter_mut().flat_map(Diff::sides_mut).flatten());
            }
        }
        for diff in &parts {
            if is_heard && self.publish(topic, diff.clone()) {
                self.counters.add(&self.counters.diffs, 1);
            }
        }
        if let Some(handle) = &hooks.diff {
            parts.iter().for_each(|diff| {
                self.caught(|| (handle.lock())(topic, diff));
            });
        }
        if let Some(handle) = &hooks.metas {
            let after: Vec<Present> = after.into_iter().map(Present::from).collect();
            let whole = Diff::joined(parts);
            self.caught(|| (handle.lock())(topic, &whole, &after));
        }
    }

    /// To this node's subscribers: other nodes have presences of their own, which tell theirs.
    fn publish(&self, topic: &str, diff: Diff) -> bool {
        let publish = self.pubsub.engine().publish(topic).attach(&|| Arc::new(ForClients::default()));
        publish.send(DIFF.into(), diff.into_payload()).is_ok()
    }

    /// The state, as much of it as is wanted.
    fn aligned(
        &self,
        topic: &str,
        scope: Scope,
        snapshot: Option<&super::rooms::entries::Snapshot>,
        counts: (u32, u32),
    ) -> Aligned {
        let (keys, metas) = (counts.0 as usize, counts.1 as usize);
        let max = self.options.state_metas_max;
        let end = match scope {
            Scope::Below(slot) => (slot as usize).min(metas),
            _ => metas,
        };
        let is_page = scope != Scope::Count && (end > max || matches!(scope, Scope::Below(_)));
        let next = if is_page { end.saturating_sub(max) } else { 0 };
        let state = snapshot.filter(|_| scope != Scope::Count).map(|snapshot| {
            self.counters.add(&self.counters.states_encoded, 1);
            if !is_page && self.hooks.fetch.is_none() {
                return state_json(snapshot);
            }
            let mut all = present(snapshot.below(end, if is_page { max } else { end }));
            if let Some(fetch) = &self.hooks.fetch {
                let mut batch = Batch::of(all.iter());
                if self.caught(|| fetch(topic, &mut batch)) {
                    batch.apply(all.iter_mut());
                }
            }
            present_json(&all)
        });
        Aligned { state, keys, metas, next: (next > 0).then_some(next as u32) }
    }

    /// Runs code of users. Returns whether it came to its end.
    fn caught(&self, f: impl FnOnce()) -> bool {
        // What it may have left half done is its own: batches are dropped, and its state is its affair.
        let done = catch_unwind(AssertUnwindSafe(f)).is_ok();
        if !done {
            self.counters.panics.fetch_add(1, Ordering::Relaxed);
        }
        done
    }
}

/// Diffs of at most `max` metas each: first all that come, then all that go.
fn parts(mut joins: &[Meta], mut leaves: &[Meta], max: usize) -> Vec<Diff> {
    let mut parts = Vec::with_capacity((joins.len() + leaves.len()).div_ceil(max));
    while !(joins.is_empty() && leaves.is_empty()) {
        let (some_joins, other_joins) = joins.split_at(joins.len().min(max));
        let (some_leaves, other_leaves) = leaves.split_at(leaves.len().min(max - some_joins.len()));
        parts.push(Diff::of(some_joins, some_leaves));
        (joins, leaves) = (other_joins, other_leaves);
    }
    parts
}
