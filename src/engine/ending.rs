//! What is known of an engine's end.

use crate::sync::{AtomicU64, Mutex, Ordering, Parker, wake_caught};
use std::task::Waker;
use std::time::Instant;

/// What is known of an engine's end.
#[derive(Debug)]
pub(crate) struct Ending {
    pub(crate) state: Mutex<EndingState>,
    pub(crate) undelivered: AtomicU64,
}

#[derive(Debug)]
pub(crate) struct EndingState {
    pub(crate) deadline: Option<Instant>,
    pub(crate) ended: usize,
    waiting: Vec<Waker>,
}

impl Ending {
    pub(crate) fn new() -> Self {
        let state = EndingState { deadline: None, ended: 0, waiting: Vec::new() };
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
    pub(crate) fn wait(&self, workers: usize, deadline: Option<Instant>) -> usize {
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
