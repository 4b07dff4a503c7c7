//! What a worker's own thread knows of itself, and the broadcasts of its handlers that did not fit.
//!
//! A worker never waits for an inbox, its own or another's. A broadcast made on its thread goes into each inbox that
//! has room; where one has none, or where earlier ones are still waiting for it, the entry goes to the worker's
//! outbox, which is flushed in order before anything newer. When the outbox is full the call is refused, before
//! anybody has received it.

use super::Engine;
use super::worker::item::Item;
use super::worker::shared::Worker;
use crate::sync::Arc;
use std::cell::RefCell;
use std::collections::VecDeque;

/// Entries that may wait in an outbox.
const ENTRIES_MAX: usize = 4096;

thread_local! {
    static LOCAL: RefCell<Option<Local>> = const { RefCell::new(None) };
}

/// A worker's thread.
struct Local {
    engine: Arc<Engine>,
    worker: usize,
    waiting: VecDeque<OutboxEntry>,
    /// The worker ends: nothing more is taken, though its subscribers' last callbacks still run here.
    ended: bool,
}

struct OutboxEntry {
    engine: Arc<Engine>,
    worker: usize,
    item: Item,
    weight: u32,
    /// The call that made it is one from outside for its engine, and lasts until its last entry is pushed.
    pass: Option<Arc<HeldPass>>,
}

/// A call through the gate of another engine, ended when dropped.
pub(crate) struct HeldPass {
    /// The engine.
    pub engine: Arc<Engine>,
    /// What it came in with.
    pub hint: usize,
}

impl Drop for HeldPass {
    fn drop(&mut self) {
        self.engine.gate.leave(self.hint);
    }
}

/// Makes the calling thread a worker's.
pub(crate) fn enter(engine: Arc<Engine>, worker: usize) {
    LOCAL.with(|local| *local.borrow_mut() = Some(Local { engine, worker, waiting: VecDeque::new(), ended: false }));
}

/// Makes the calling thread nobody's again.
#[cfg(fanfare_stepped)]
pub(crate) fn leave() {
    LOCAL.take();
}

/// The worker of that engine whose thread this is.
pub(crate) fn worker_of(engine: &Arc<Engine>) -> Option<usize> {
    LOCAL
        .try_with(|local| {
            local.borrow().as_ref().filter(|local| Arc::ptr_eq(&local.engine, engine)).map(|local| local.worker)
        })
        .unwrap_or(None)
}

/// Whether the calling thread is a worker's, of whatever engine.
#[inline]
pub(crate) fn on_worker() -> bool {
    LOCAL.try_with(|local| local.borrow().is_some()).unwrap_or(false)
}

/// Whether `targets` more entries could be taken, in an inbox or in the outbox.
pub(crate) fn has_room(engine: &Arc<Engine>, targets: u64, weight: u32) -> bool {
    LOCAL.with_borrow(|local| {
        let Some(local) = local else { return false };
        if local.ended {
            return false;
        }
        let left = ENTRIES_MAX - local.waiting.len();
        crate::protocol::remote::bits(targets).filter(|&i| !fits(local, engine, &engine.workers[i], weight)).count()
            <= left
    })
}

fn fits(local: &Local, engine: &Arc<Engine>, worker: &Worker, weight: u32) -> bool {
    worker.remote.inbox.has_room(weight) && !local.is_waiting(engine, worker.index)
}

impl Local {
    fn is_waiting(&self, engine: &Arc<Engine>, worker: usize) -> bool {
        !self.waiting.is_empty()
            && self.waiting.iter().any(|waiting| waiting.worker == worker && Arc::ptr_eq(&waiting.engine, engine))
    }
}

/// Pushes an entry, or keeps it in the outbox, and with it the call's pass if it needs one.
pub(crate) fn push(engine: &Arc<Engine>, worker: usize, item: Item, weight: u32, pass: Option<Arc<HeldPass>>) {
    LOCAL.with_borrow_mut(|local| {
        let local = local.as_mut().expect("called on a worker's thread");
        let item = if local.is_waiting(engine, worker) {
            item
        } else {
            match engine.workers[worker].remote.inbox.push(item, weight) {
                Ok(()) => return,
                Err(item) => item,
            }
        };
        local.waiting.push_back(OutboxEntry { engine: engine.clone(), worker, item, weight, pass });
    })
}

/// Pushes what waits and now fits, keeping the order for each inbox. Returns whether nothing waits any more.
pub(crate) fn flush() -> bool {
    let mut blocked: Vec<(*const Engine, usize)> = Vec::new();
    let mut pushed: Vec<(Arc<Engine>, usize)> = Vec::new();
    let empty = LOCAL.with_borrow_mut(|local| {
        let Some(local) = local else { return true };
        if local.waiting.is_empty() {
            return true;
        }
        for _ in 0..local.waiting.len() {
            let Some(mut waiting) = local.waiting.pop_front() else { break };
            let target = (Arc::as_ptr(&waiting.engine), waiting.worker);
            if !blocked.contains(&target) {
                match waiting.engine.workers[waiting.worker].remote.inbox.push(waiting.item, waiting.weight) {
                    Ok(()) => {
                        drop(waiting.pass);
                        pushed.push((waiting.engine, waiting.worker));
                        continue;
                    }
                    Err(item) => {
                        waiting.item = item;
                        blocked.push(target);
                    }
                }
            }
            // Rotated once round, what still waits keeps its order.
            local.waiting.push_back(waiting);
        }
        local.waiting.is_empty()
    });
    if !pushed.is_empty() {
        crate::protocol::sleep::fence_before_notify();
        for (engine, worker) in pushed {
            engine.workers[worker].wake_if_asleep();
        }
    }
    empty
}

/// Registers `waker` with every inbox that something waits for. The caller must flush once more before it sleeps.
pub(crate) fn register(waker: &std::task::Waker) {
    LOCAL.with_borrow(|local| {
        let mut seen: Vec<(*const Engine, usize)> = Vec::new();
        for waiting in local.iter().flat_map(|local| &local.waiting) {
            let target = (Arc::as_ptr(&waiting.engine), waiting.worker);
            if !seen.contains(&target) {
                waiting.engine.workers[waiting.worker].remote.waiters.register(waker.clone());
                seen.push(target);
            }
        }
    });
}

/// The worker ends: gives back what waits, and takes nothing more. Returns how many entries that were. The thread stays
/// known as a worker's, for the callbacks that are still to run on it.
pub(crate) fn end() -> u64 {
    let waiting = LOCAL.with_borrow_mut(|local| {
        let local = local.as_mut().expect("called on a worker's thread");
        local.ended = true;
        std::mem::take(&mut local.waiting)
    });
    // A message that goes with it may run code of users: without the borrow.
    waiting.len() as u64
}
