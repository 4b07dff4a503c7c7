//! A worker's thread.
//!
//! Round after round: take the baton, do a bounded piece of work, give it back; then, without it, wake readers, flush
//! the outbox, wake those who wait for room. With nothing to do it idles without the baton, so that publishers may
//! deliver in place, and then sleeps.

use super::config::{Idle, Wait};
use super::worker::core::Core;
use super::worker::pin::pin;
use super::worker::shared::Worker;
use super::worker::walk::Afterwards;
use super::{Engine, outbox};
use crate::protocol::gate;
use crate::protocol::sleep::{ParkSleeper, Sleeper, fence_before_notify};
use crate::sync::{Arc, spin_loop, thread, wake_caught};
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

/// How often a worker that idles while the engine closes looks whether all is done.
const CLOSING_POLL: Duration = Duration::from_millis(1);
/// Polls of the inbox between two looks at the clock while spinning.
const SPINS: u32 = 64;

/// Starts a worker, and waits until it can be woken.
pub(crate) fn spawn(engine: Arc<Engine>, index: usize) -> io::Result<thread::JoinHandle<()>> {
    let (ready, started) = sync_channel(1);
    let name = format!("fanfare-{index}");
    let thread = thread::Builder::new().name(name).spawn(move || run(&engine, index, &ready))?;
    match started.recv() {
        Ok(Ok(())) => Ok(thread),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("a worker ended before it began")),
    }
}

fn run(engine: &Arc<Engine>, index: usize, ready: &SyncSender<io::Result<()>>) {
    let sleeper: io::Result<Box<dyn Sleeper>> = match engine.config.wait {
        Wait::Park => Ok(Box::new(ParkSleeper::new())),
        #[cfg(feature = "server")]
        Wait::Poll => super::worker::poll::PollSleeper::new().map(|sleeper| Box::new(sleeper) as Box<dyn Sleeper>),
    };
    let sleeper = match sleeper {
        Ok(sleeper) => sleeper,
        Err(error) => {
            // Nobody to tell if the builder has gone, which it has not: it waits.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let me = &engine.workers[index];
    me.remote.set_waker(sleeper.waker());
    if engine.config.pin {
        pin(index);
    }
    outbox::enter(engine.clone(), index);
    let _ = ready.send(Ok(()));
    WorkerThread::new(engine, index, sleeper).run();
}

/// Does on the calling thread what the worker would on its own: until nothing is left, or until the end of the engine,
/// which is closing then. Returns whether there was anything to do.
#[cfg(fanfare_stepped)]
pub(crate) fn step(engine: &Arc<Engine>, index: usize, to_the_end: bool) -> bool {
    outbox::enter(engine.clone(), index);
    let mut thread = WorkerThread::new(engine, index, Box::new(ParkSleeper::new()));
    let mut worked = false;
    if to_the_end {
        thread.run();
    } else {
        while thread.round().worked {
            worked = true;
        }
        assert_eq!(thread.completed, 0, "an outbox that waits for another worker is not kept from step to step");
    }
    outbox::leave();
    worked
}

/// Wakes a worker as a publisher would: for when an inbox that its outbox waits for has room.
struct WakeWorker {
    engine: Arc<Engine>,
    index: usize,
}

impl Wake for WakeWorker {
    fn wake(self: std::sync::Arc<Self>) {
        fence_before_notify();
        self.engine.workers[self.index].wake_if_asleep();
    }
}

/// What one round of a worker came to.
struct WorkerRound {
    worked: bool,
    /// How far the control log is applied.
    applied: u64,
    /// Nothing waits in the outbox.
    flushed: bool,
}

struct WorkerThread<'a> {
    engine: &'a Arc<Engine>,
    me: &'a Worker,
    sleeper: Box<dyn Sleeper>,
    afterwards: Afterwards,
    /// Entries done, not yet counted as completed.
    completed: u32,
    room_waker: Waker,
}

impl<'a> WorkerThread<'a> {
    fn new(engine: &'a Arc<Engine>, index: usize, sleeper: Box<dyn Sleeper>) -> Self {
        let room_waker = Waker::from(std::sync::Arc::new(WakeWorker { engine: engine.clone(), index }));
        let me = &engine.workers[index];
        WorkerThread { engine, me, sleeper, afterwards: Afterwards::default(), completed: 0, room_waker }
    }

    fn run(mut self) {
        loop {
            let WorkerRound { worked, applied, flushed } = self.round();
            match self.engine.gate.phase() {
                gate::CLOSED => break,
                gate::CLOSING => self.engine.try_finish(),
                _ => {}
            }
            let turned = self.sleeper.turn(worked);
            if !worked && !turned {
                self.idle(applied, flushed);
            }
        }
        self.sleeper.end();
        self.end();
    }

    /// A bounded piece of work, and what follows from it.
    fn round(&mut self) -> WorkerRound {
        let (worked, applied) = self.work();
        let flushed = outbox::flush();
        if flushed && self.completed > 0 {
            // All that the work published has been pushed (`gate`, I2).
            self.me.remote.inbox.count_completed(std::mem::take(&mut self.completed));
        }
        if worked {
            self.me.remote.waiters.open().into_iter().for_each(wake_caught);
        }
        WorkerRound { worked, applied, flushed }
    }

    /// A bounded piece of work under the baton, and what it leaves to do without.
    fn work(&mut self) -> (bool, u64) {
        let mut baton = self.me.remote.take_baton();
        let (engine, me, afterwards, completed) = (self.engine, self.me, &mut self.afterwards, &mut self.completed);
        let result = baton.with(|core| {
            let worked = core.run(engine, me);
            core.hand_over(afterwards);
            *completed += std::mem::take(&mut core.completed);
            (worked, core.applied())
        });
        drop(baton);
        self.afterwards.run();
        result
    }

    fn idle(&mut self, applied: u64, flushed: bool) {
        let remote = &self.me.remote;
        if let Idle::Spin(bound) = self.engine.config.idle {
            let end = Instant::now() + bound;
            while Instant::now() < end {
                for _ in 0..SPINS {
                    if remote.inbox.has_next() {
                        return;
                    }
                    spin_loop();
                }
                if !flushed || self.engine.gate.phase() != gate::OPEN {
                    break;
                }
                if self.sleeper.turn(true) {
                    return;
                }
            }
        }
        if !flushed {
            outbox::register(&self.room_waker);
        }
        let closing = self.engine.gate.phase() != gate::OPEN;
        let bound = closing.then_some(CLOSING_POLL);
        let engine = self.engine;
        remote.sleep.sleep(&mut *self.sleeper, bound, || {
            let phase = engine.gate.phase();
            remote.inbox.has_next()
                // An entry of the log that somebody may have wanted to wake us for.
                || remote.control_log.position() != applied
                || phase == gate::CLOSED
                || phase != gate::OPEN && !closing
                || !flushed && outbox::flush()
        });
    }

    fn end(mut self) {
        let mut left = outbox::end();
        let (engine, me) = (self.engine, self.me);
        left += self.under_the_baton(|core| core.end(engine, me));
        // Past the deadline, calls that came in before the gate closed may still push, or wait for room to: they must
        // not be left to wait for a worker that is gone.
        while !engine.gate.is_quiet() {
            self.sleeper.sleep(Some(CLOSING_POLL));
            left += self.under_the_baton(|core| core.drop_inbox(me));
        }
        left += self.under_the_baton(|core| core.drop_inbox(me));
        engine.ending.worker_ended(left);
    }

    /// Does something under the baton, then what it leaves to do without, and lets those in who wait for room.
    fn under_the_baton<R>(&mut self, f: impl FnOnce(&mut Core) -> R) -> R {
        let mut baton = self.me.remote.take_baton();
        let afterwards = &mut self.afterwards;
        let result = baton.with(|core| {
            let result = f(core);
            core.hand_over(afterwards);
            result
        });
        drop(baton);
        self.afterwards.run();
        self.me.remote.waiters.open().into_iter().for_each(wake_caught);
        result
    }
}
