//! How an engine ends.
//!
//! The protocol is the gate's ([`gate`](crate::protocol::gate)): calls from outside are refused at once; handlers may
//! publish; when nothing is on its way any more, or at the deadline, the phase becomes `CLOSED`, and the workers end.
//! It is the workers themselves that find out: whichever idles looks. The one who asked only waits.

use super::{Engine, Owner, outbox};
use crate::protocol::sleep::fence_before_notify;
use crate::sync::{Arc, Ordering, thread};
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

impl Engine {
    /// For a worker while the gate is closing: goes on to `CLOSED` if nothing is on its way any more, or it is late.
    pub(crate) fn try_finish(&self) {
        let late = self.ending.state.lock().deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let inboxes = self.workers.iter().map(|worker| &worker.remote.inbox);
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

impl Owner {
    pub(crate) fn shut_down(&self, deadline: Option<Instant>) -> Option<ShutdownReport> {
        let engine = &self.engine;
        engine.begin_to_close(deadline);
        if outbox::on_worker() {
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
pub(crate) fn abandon(engine: &Arc<Engine>, threads: Vec<thread::JoinHandle<()>>) {
    engine.gate.close();
    engine.gate.finish();
    engine.wake_all();
    for thread in threads {
        let _ = thread.join();
    }
}
