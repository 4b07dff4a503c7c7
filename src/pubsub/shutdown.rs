//! How an engine ends.
//!
//! The protocol is the gate's ([`gate`](crate::worker::gate)): calls from outside are refused at once; handlers may
//! publish; when nothing is on its way any more, or at the deadline, the phase becomes `CLOSED`, and the workers end.
//! It is the workers themselves that find out: whichever idles looks. The one who asked only waits.

use super::{BroadcastError, Owner, PubSub, Shared};
use crate::sync::{Arc, AtomicU64, Mutex, Ordering, Parker, thread, wake_caught};
use crate::worker::sleep::fence_before_notify;
use std::task::Waker;
use std::time::{Duration, Instant};

/// How long after the deadline a worker may take to finish the call or the slice that it is in.
const GRACE: Duration = Duration::from_secs(1);

/// What a shutdown left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShutdownReport {
    /// Broadcasts that had been accepted and did not reach all their subscribers, counted once for each worker.
    pub undelivered: u64,
    /// Workers that were still in a callback when the call gave up waiting. They end when it returns.
    pub running: usize,
}

/// What is known of an engine's end.
#[derive(Debug)]
pub(crate) struct Ending {
    state: Mutex<State>,
    undelivered: AtomicU64,
}

#[derive(Debug)]
struct State {
    deadline: Option<Instant>,
    ended: usize,
    waiting: Vec<Waker>,
}

impl Ending {
    pub(super) fn new() -> Self {
        let state = State { deadline: None, ended: 0, waiting: Vec::new() };
        Ending { state: Mutex::new(state), undelivered: AtomicU64::new(0) }
    }

    /// For a worker: it has ended, and left so many broadcasts.
    pub(crate) fn worker_ended(&self, undelivered: u64) {
        self.undelivered.fetch_add(undelivered, Ordering::Relaxed);
        let waiting = {
            let mut state = self.state.lock();
            state.ended += 1;
            std::mem::take(&mut state.waiting)
        };
        waiting.into_iter().for_each(wake_caught);
    }

    /// Waits until all workers have ended, until then at most. Returns how many have not.
    fn wait(&self, workers: usize, deadline: Option<Instant>) -> usize {
        let parker = Parker::new();
        loop {
            {
                let mut state = self.state.lock();
                if state.ended == workers {
                    return 0;
                }
                state.waiting.push(Waker::from(parker.clone()));
            }
            if !parker.wait(deadline) {
                return workers - self.state.lock().ended;
            }
        }
    }
}

impl Shared {
    /// For a worker while the gate is closing: goes on to `CLOSED` if nothing is on its way any more, or it is late.
    pub(crate) fn try_finish(&self) {
        let late = self.ending.state.lock().deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let inboxes = self.workers.iter().map(|worker| &worker.lane.inbox);
        if (late || self.gate.is_quiescent(inboxes)) && self.gate.finish() {
            self.wake_all();
        }
    }

    fn wake_all(&self) {
        fence_before_notify();
        for worker in &self.workers {
            worker.wake_if_asleep();
        }
    }

    fn begin_to_close(&self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            let mut state = self.ending.state.lock();
            state.deadline = Some(state.deadline.map_or(deadline, |known| known.min(deadline)));
        }
        self.gate.close();
        self.wake_all();
    }
}

impl PubSub {
    /// Shuts the engine down. Calls from outside get `Closed` at once; handlers may publish until everything accepted
    /// has been delivered, or until `deadline` has passed. Then every subscriber is closed with
    /// [`CloseReason::Shutdown`](crate::CloseReason): what is in a mailbox can still be read. Waits for the workers to
    /// end: past the deadline, for a second at most.
    ///
    /// # Errors
    ///
    /// On a worker's thread it only starts the shutdown, and returns [`BroadcastError::OnWorker`].
    pub fn shutdown(&self, deadline: Duration) -> Result<ShutdownReport, BroadcastError> {
        let deadline = Instant::now().checked_add(deadline);
        self.owner.shut_down(deadline).ok_or(BroadcastError::OnWorker)
    }
}

impl Owner {
    fn shut_down(&self, deadline: Option<Instant>) -> Option<ShutdownReport> {
        let engine = &self.engine;
        engine.begin_to_close(deadline);
        if crate::worker::outbox::on_worker() {
            if let Some(link) = engine.link.clone() {
                // It waits for its threads, which a worker must not. Without a thread it ends with the process.
                let _ = thread::Builder::new().spawn(move || link.stop());
            }
            return None;
        }
        let workers = engine.workers.len();
        #[cfg(fanfare_stepped)]
        {
            let ended = engine.ending.state.lock().ended;
            super::stepped::end(engine, ended);
        }
        let mut running = engine.ending.wait(workers, deadline);
        if running > 0 {
            // Late: workers that idle would find out, one that is in a callback may be the last to look.
            engine.gate.finish();
            engine.wake_all();
            running = engine.ending.wait(workers, deadline.map(|deadline| deadline + GRACE));
        }
        if let Some(link) = &engine.link {
            link.stop();
        }
        if running == 0 {
            for thread in self.threads.lock().drain(..) {
                // A worker catches what its subscribers' code panics with; its own panic is a bug, told by the hook.
                let _ = thread.join();
            }
        }
        Some(ShutdownReport { undelivered: engine.ending.undelivered.load(Ordering::Relaxed), running })
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shut_down(None);
    }
}

/// Ends an engine that could not start all its workers.
pub(super) fn abandon(engine: &Arc<Shared>, threads: Vec<thread::JoinHandle<()>>) {
    engine.gate.close();
    engine.gate.finish();
    engine.wake_all();
    for thread in threads {
        let _ = thread.join();
    }
}
