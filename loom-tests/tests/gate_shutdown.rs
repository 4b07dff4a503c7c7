//! Nothing accepted is left behind by a shutdown: when a worker has found the engine quiescent, every broadcast that
//! was accepted has been delivered, and so has what handlers published meanwhile.
//!
//! A publisher from outside; worker 0, whose handler answers each broadcast with one to worker 1; worker 1, which
//! closes the gate and looks, whenever it has nothing to do, whether all is done. The workers run a few rounds; what
//! they did not come to in those is done after, unless worker 1 has said that there is nothing.
//!
//! All schedules of up to two preemptions: about 2 s.
// loom: preemptions=2
// mutants: gate.enter, gate.close, gate.quiet, gate.leave_published, gate.leave, gate.pushed_first
// mutants: inbox.completed, inbox.read_completed
#![cfg(fanfare_loom)]

use fanfare::internals::gate::Gate;
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::{Remote, publish};
use loom::thread;
use std::sync::Arc;

struct Engine {
    gate: Gate,
    remotes: [Remote<u32, (), (), ()>; 2],
}

impl Engine {
    fn new() -> Arc<Self> {
        let remotes = [(); 2].map(|()| Remote::new(Inbox::new(2, 0), (), ()));
        Arc::new(Engine { gate: Gate::new(1), remotes })
    }

    fn pop(&self, worker: usize) -> Option<u32> {
        // SAFETY: each worker has a thread of its own, and the main thread pops when those have ended.
        unsafe { self.remotes[worker].inbox.pop() }
    }

    /// A round of worker 0, whose handler publishes to worker 1 before its entry counts as completed.
    fn work_0(&self) -> Option<u32> {
        let number = self.pop(0)?;
        self.remotes[1].inbox.push(10 + number, 0).expect("there is room for all");
        self.remotes[0].inbox.count_completed(1);
        Some(number)
    }

    /// A round of worker 1.
    fn work_1(&self) -> Option<u32> {
        let number = self.pop(1)?;
        self.remotes[1].inbox.count_completed(1);
        Some(number)
    }

    fn is_quiescent(&self) -> bool {
        self.gate.is_quiescent(self.remotes.iter().map(|remote| &remote.inbox))
    }
}

/// `publish` is called from outside, and says whether it was accepted.
fn check(publish: impl FnOnce(&Engine) -> bool) {
    let engine = Engine::new();
    let (engine_0, engine_1) = (engine.clone(), engine.clone());
    let worker_0 = thread::spawn(move || [engine_0.work_0(), engine_0.work_0()]);
    let worker_1 = thread::spawn(move || {
        assert!(engine_1.gate.close());
        let mut got = Vec::new();
        for _ in 0..3 {
            match engine_1.work_1() {
                Some(number) => got.push(number),
                None if engine_1.is_quiescent() => return (got, true),
                None => {}
            }
        }
        (got, false)
    });
    let accepted = publish(&engine);
    let mut got_0: Vec<u32> = worker_0.join().unwrap().into_iter().flatten().collect();
    let (mut got_1, quiescent) = worker_1.join().unwrap();
    if !quiescent {
        got_0.extend(engine.work_0());
        got_1.extend(engine.work_1());
        assert!(engine.is_quiescent(), "everything is done");
    }
    let expected = |number: u32| if accepted { vec![number] } else { Vec::new() };
    assert_eq!([got_0, got_1], [expected(1), expected(11)]);
    assert!(engine.remotes.iter().all(|remote| remote.inbox.is_drained()));
}

#[test]
fn what_was_accepted_is_delivered_before_the_workers_end() {
    fanfare_loom::model(|| {
        check(|engine| publish(&engine.gate, 0, |_| &engine.remotes[0], 1, 0, true, || |_| 1).is_ok());
    });
}

/// The gate alone, without the fence by which `publish` looks for sleeping workers: a call's end shows what it pushed.
#[test]
fn a_call_that_published_is_seen_with_what_it_pushed() {
    fanfare_loom::model(|| {
        check(|engine| {
            let Some(pass) = engine.gate.enter(0) else { return false };
            engine.remotes[0].inbox.push(1, 0).expect("there is room");
            pass.published();
            true
        });
    });
}

/// A call that outlives its pass: one by a worker of another engine.
#[test]
fn a_kept_call_is_seen_with_what_it_pushed() {
    fanfare_loom::model(|| {
        check(|engine| {
            let Some(pass) = engine.gate.enter(0) else { return false };
            pass.keep();
            engine.remotes[0].inbox.push(1, 0).expect("there is room");
            engine.gate.leave(0);
            true
        });
    });
}
