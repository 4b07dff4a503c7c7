//! Tasks: closures that run on a worker's thread, in order with broadcasts.
//!
//! A task runs when everything that its sender had published before has been delivered by that worker: it comes through
//! the inbox, and where topics are busy with suspended walks it goes through the queue of each, as a barrier does;
//! whoever takes it out of the last one runs it.

use super::shared::WorkerCounters;
use crate::sync::{Arc, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A closure to be run on a worker.
pub(crate) type Task = Box<dyn FnOnce() + Send>;

/// A task that waits in the queues of several topics. Whoever takes the last reference runs it.
pub(crate) struct WaitingTask(Mutex<Option<Task>>);

impl WaitingTask {
    /// Of a task.
    pub(crate) fn new(task: Task) -> Arc<Self> {
        Arc::new(WaitingTask(Mutex::new(Some(task))))
    }

    /// The task, if `waiting` was its last reference.
    pub(crate) fn last(waiting: Arc<Self>) -> Option<Task> {
        Arc::into_inner(waiting)?.0.lock().take()
    }
}

impl std::fmt::Debug for WaitingTask {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WaitingTask")
    }
}

/// Runs a task. A panic ends it alone, and is counted.
pub(crate) fn run(task: Task, counters: &WorkerCounters) {
    if catch_unwind(AssertUnwindSafe(task)).is_err() {
        WorkerCounters::add(&counters.panics, 1);
    }
}
