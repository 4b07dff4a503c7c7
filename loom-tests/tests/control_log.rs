//! A broadcast reaches exactly those subscribed when it was called: everybody whose subscribe had returned, nobody
//! whose subscribe was called after it returned, or whose unsubscribe had returned. So it stays while the worker, for
//! want of work, applies the log with no broadcast at hand, and clears its bit in a topic that has no members. Whoever
//! finds the bit set need not bring the topic along: the worker has it.
//!
//! The remote, the log and the topic's state are the engine's; its lists and its loop are a few lines here: a list of
//! numbers, applied from the log, and a record of who got what.
//!
//! All schedules of up to two preemptions: about 3 s.
// loom: preemptions=2
// mutants: control_log.apply_all, control_log.position, control_log.append, control_log.hide_over_pending
// mutants: control_log.hide_over_fetched, remote.position_last
#![cfg(fanfare_loom)]

use fanfare::internals::control_log::ControlLogReader;
use fanfare::internals::inbox::Inbox;
use fanfare::internals::remote::Remote;
use fanfare::internals::topic_lifecycle::TopicLifecycle;
use loom::thread;
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Op {
    /// Of whom, and whether it brings the topic along.
    Subscribe(u32, bool),
    Unsubscribe(u32),
}

/// A broadcast and its position.
type Item = (u32, u64);

struct Core {
    control_log: ControlLogReader<Op>,
    members: Vec<u32>,
    /// Whether the worker has the topic.
    has_topic: bool,
    /// Which broadcast reached whom.
    got: Vec<(u32, u32)>,
}

struct Engine {
    topic: TopicLifecycle,
    remote: Remote<Item, Op, (), Core>,
}

impl Engine {
    fn new() -> Arc<Self> {
        let core =
            Core { control_log: ControlLogReader::new(), members: Vec::new(), has_topic: false, got: Vec::new() };
        Arc::new(Engine { topic: TopicLifecycle::new(), remote: Remote::new(Inbox::new(4, 0), (), core) })
    }

    fn subscribe(&self, member: u32) {
        let mut log = self.remote.control_log.lock();
        let brings = self.topic.show(0);
        log.append(Op::Subscribe(member, brings));
    }

    fn unsubscribe(&self, member: u32) {
        self.remote.control_log.lock().append(Op::Unsubscribe(member));
    }

    fn broadcast(&self, number: u32) {
        if self.topic.workers() != 0 {
            let item = (number, self.remote.control_log.position());
            self.remote.inbox.push(item, 0).expect("there is room for all");
        }
    }

    /// A round of the worker. Returns whether it did anything.
    fn work(&self) -> bool {
        self.remote.take_baton().with(|core| {
            // SAFETY: under the baton.
            if let Some((number, position)) = unsafe { self.remote.inbox.pop() } {
                core.apply_to(&self.remote, position);
                core.got.extend(core.members.iter().map(|&member| (number, member)));
                core.hide(self);
                return true;
            }
            let Some(position) = self.remote.position_if_drained() else { return false };
            let applied = core.control_log.applied();
            core.apply_to(&self.remote, position);
            core.hide(self);
            core.control_log.applied() > applied
        })
    }

    /// Works until nothing is left, and tells who got what.
    fn finish(&self) -> Vec<(u32, u32)> {
        while self.work() {}
        self.remote.take_baton().with(|core| core.got.clone())
    }
}

impl Core {
    fn apply_to(&mut self, remote: &Remote<Item, Op, (), Core>, position: u64) {
        while let Some(op) = self.control_log.next(&remote.control_log, position) {
            match op {
                Op::Subscribe(member, brings) => {
                    self.has_topic |= brings;
                    assert!(self.has_topic, "the bit was set, and the worker does not know the topic");
                    self.members.push(member);
                }
                Op::Unsubscribe(gone) => self.members.retain(|&member| member != gone),
            }
        }
    }

    /// Clears the worker's bit if it has no members and nobody is about to become one.
    fn hide(&mut self, engine: &Engine) {
        if self.members.is_empty() {
            let log = engine.remote.control_log.lock();
            if !self.control_log.waiting().chain(log.pending()).any(|op| matches!(op, Op::Subscribe(..))) {
                engine.topic.hide(0);
                self.has_topic = false;
            }
        }
    }
}

/// One comes, publishes, goes and publishes; another goes at the same time, so that the worker is without members.
#[test]
fn a_broadcast_reaches_those_who_are_subscribed() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        engine.subscribe(7);
        let goes = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.unsubscribe(7);
                engine.broadcast(1);
            })
        };
        let comes = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.subscribe(8);
                engine.broadcast(2);
                engine.unsubscribe(8);
                engine.broadcast(3);
            })
        };
        engine.work();
        engine.work();
        goes.join().unwrap();
        comes.join().unwrap();
        let got = engine.finish();
        assert!(!got.contains(&(1, 7)), "published after its unsubscribe had returned");
        assert_eq!(got.iter().filter(|&&got| got == (2, 8)).count(), 1, "published after its subscribe had returned");
        assert!(!got.contains(&(3, 8)), "published after its unsubscribe had returned");
    });
}

/// The worker clears its bit after the last member went, while another comes.
#[test]
fn the_bit_of_a_worker_that_gets_a_member_stays() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        engine.subscribe(7);
        engine.work();
        engine.unsubscribe(7);
        let comes = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.subscribe(8);
                engine.broadcast(2);
            })
        };
        engine.work();
        engine.work();
        comes.join().unwrap();
        assert_eq!(engine.finish(), [(2, 8)]);
    });
}

/// One publishes and then subscribes or unsubscribes, while the worker applies the log for want of work.
#[test]
fn a_broadcast_does_not_reach_those_who_come_after() {
    fanfare_loom::model(|| {
        let engine = Engine::new();
        engine.subscribe(7);
        engine.work();
        let publisher = {
            let engine = engine.clone();
            thread::spawn(move || {
                engine.broadcast(1);
                engine.subscribe(8);
                engine.unsubscribe(7);
            })
        };
        engine.work();
        engine.work();
        publisher.join().unwrap();
        assert_eq!(engine.finish(), [(1, 7)]);
    });
}
