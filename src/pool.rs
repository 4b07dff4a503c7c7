//! The threads on which callbacks of users run: a bounded pool that grows when all are busy.
//!
//! A job goes to a thread that waits, or else to a new one, up to the bound; past it, jobs wait in order. A thread that
//! has waited for [`KEPT`] without a job ends. All state is under one lock, which is never held while a job runs.
//!
//! - I1. `idle` counts the threads that wait and have not been notified, `notified` those that have been and have not
//!   woken. So each notification is for a thread that will look for a job.
//! - I2. With a job in the queue, either as many threads exist as may, or one is on its way to it.

use crate::sync::{Arc, Condvar, Mutex, thread};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

type Job = Box<dyn FnOnce() + Send>;

/// How long a thread waits for a job before it ends.
const KEPT: Duration = Duration::from_secs(10);

/// A bounded pool of threads. Dropped, it runs what it has, and its threads end.
#[derive(Debug, Clone)]
pub(crate) struct Pool(Arc<Handle>);

#[derive(Debug)]
struct Handle(Arc<PoolShared>);

#[derive(Debug)]
struct PoolShared {
    state: Mutex<PoolState>,
    work: Condvar,
    /// Notified when no job runs or waits.
    quiet: Condvar,
    threads_max: usize,
}

struct PoolState {
    jobs: VecDeque<Job>,
    threads: usize,
    /// Jobs that run.
    running: usize,
    /// Jobs that have been sent so far.
    sent: u64,
    /// See I1.
    idle: usize,
    /// See I1.
    notified: usize,
    closed: bool,
}

impl std::fmt::Debug for PoolState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PoolState")
            .field("jobs", &self.jobs.len())
            .field("threads", &self.threads)
            .finish_non_exhaustive()
    }
}

impl Pool {
    /// A pool of at most `threads_max` threads, none of which exists yet.
    pub(crate) fn new(threads_max: usize) -> Self {
        let state =
            PoolState { jobs: VecDeque::new(), threads: 0, running: 0, sent: 0, idle: 0, notified: 0, closed: false };
        let shared = PoolShared {
            state: Mutex::new(state),
            work: Condvar::new(),
            quiet: Condvar::new(),
            threads_max: threads_max.max(1),
        };
        Pool(Arc::new(Handle(Arc::new(shared))))
    }

    /// Runs `job` on one of the threads, soon.
    pub(crate) fn spawn(&self, job: Job) {
        let shared = &self.0.0;
        let mut state = shared.state.lock();
        state.jobs.push_back(job);
        state.sent += 1;
        if state.idle > 0 {
            state.idle -= 1;
            state.notified += 1;
            shared.work.notify_one();
            return;
        }
        if state.threads == shared.threads_max {
            return;
        }
        state.threads += 1;
        drop(state);
        let runner = shared.clone();
        let spawned = thread::Builder::new().name("fanfare-pool".to_owned()).spawn(move || runner.run());
        if spawned.is_err() {
            // The system has no more threads: the ones that there are come to the job.
            let mut state = shared.state.lock();
            state.threads -= 1;
            if state.threads == 0 {
                // There is none. Better here than never.
                let job = state.jobs.pop_back();
                drop(state);
                job.into_iter().for_each(run_caught);
            }
        }
    }

    /// Waits until no job runs or waits. Returns how many have been sent so far.
    pub(crate) fn wait_until_idle(&self) -> u64 {
        let shared = &self.0.0;
        let mut state = shared.state.lock();
        while state.running > 0 || !state.jobs.is_empty() {
            shared.quiet.wait(&mut state);
        }
        state.sent
    }
}

/// A panic must not end the thread; whoever sent the job has its own guard around what may panic.
fn run_caught(job: Job) {
    let _ = catch_unwind(AssertUnwindSafe(job));
}

impl PoolShared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                state.running += 1;
                drop(state);
                run_caught(job);
                state = self.state.lock();
                state.running -= 1;
                if state.running == 0 && state.jobs.is_empty() {
                    self.quiet.notify_all();
                }
                continue;
            }
            if state.closed {
                break;
            }
            state.idle += 1;
            let timed_out = self.work.wait_for(&mut state, KEPT).timed_out();
            if state.notified > 0 {
                state.notified -= 1;
                continue;
            }
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                break;
            }
        }
        state.threads -= 1;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.closed = true;
        state.notified += state.idle;
        state.idle = 0;
        drop(state);
        self.0.work.notify_all();
    }
}
