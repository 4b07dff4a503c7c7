//! What the tests of promises share: engines of many configurations, a watchdog, messages that are numbers, and a way
//! to hold a worker still so that a test decides what it finds when it goes on.

#![allow(dead_code, unused_imports)]

mod watchdog;

use fanfare::{
    CloseReason, Context, HandlerSubscriber, Mailbox, Message, Payload, PubSub, PubSubBuilder, Subscriber,
    TryRecvError, Wait,
};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
pub(crate) use watchdog::{Watchdog, watch};

/// More members than any walk does in one piece, several times over: such a walk is suspended.
pub(crate) const MANY: usize = 20_000;

/// One configuration of the matrix.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    pub workers: usize,
    /// `None`: by cost.
    pub in_place: Option<u64>,
    pub inbox: usize,
    pub wait: Wait,
}

impl Setup {
    pub(crate) const PLAIN: Setup = Setup { workers: 1, in_place: Some(200), inbox: 1024, wait: Wait::Park };

    pub(crate) fn workers(workers: usize) -> Setup {
        Setup { workers, ..Setup::PLAIN }
    }

    pub(crate) fn builder(&self) -> PubSubBuilder {
        let builder = PubSub::builder().workers(self.workers).inbox_entries_max(self.inbox).wait(self.wait);
        match self.in_place {
            Some(members) => builder.in_place_members_max(members),
            None => builder,
        }
    }

    pub(crate) fn build(&self) -> PubSub {
        self.builder().build().unwrap()
    }
}

/// Runs a test on an engine of each configuration that matters to it.
pub(crate) fn matrix(test: impl Fn(Setup, PubSub)) {
    for setup in setups() {
        // Shown if the test fails.
        println!("{setup:?}");
        test(setup, setup.build());
    }
}

/// The configurations: one worker and several, with and without delivery in place, with a roomy inbox and a tiny one.
pub(crate) fn setups() -> Vec<Setup> {
    Vec::from([
        Setup { workers: 1, in_place: Some(200), inbox: 1024, wait: Wait::Park },
        Setup { workers: 1, in_place: Some(0), inbox: 2, wait: Wait::Park },
        Setup { workers: 2, in_place: Some(200), inbox: 2, wait: Wait::Park },
        Setup { workers: 3, in_place: Some(0), inbox: 64, wait: Wait::Park },
        #[cfg(feature = "server")]
        Setup { workers: 2, in_place: None, inbox: 1024, wait: Wait::Poll },
    ])
}

/// A message that is a number.
pub(crate) fn number(n: u64) -> Payload {
    Payload::typed(n)
}

/// The number that a message is.
pub(crate) fn value(message: &Message) -> u64 {
    *message.downcast_ref::<u64>().expect("the message is a number")
}

/// What a mailbox has said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Number(u64),
    Lagged(u64),
    Closed(CloseReason),
}

/// Reads all that is in a mailbox now, with the end if it has come.
pub(crate) fn read_all(mailbox: &mut Mailbox) -> Vec<Read> {
    let mut all = Vec::new();
    loop {
        match mailbox.try_recv() {
            Ok(message) => all.push(Read::Number(value(&message))),
            Err(TryRecvError::Lagged(lost)) => all.push(Read::Lagged(lost)),
            Err(TryRecvError::Empty) => return all,
            Err(TryRecvError::Closed(reason)) => {
                all.push(Read::Closed(reason));
                return all;
            }
            Err(other) => panic!("an unknown error: {other}"),
        }
    }
}

/// Reads all that is in a mailbox now, which must be numbers.
pub(crate) fn numbers(mailbox: &mut Mailbox) -> Vec<u64> {
    let number = |read| match read {
        Read::Number(n) => n,
        other => panic!("{other:?} in place of a number"),
    };
    read_all(mailbox).into_iter().map(number).collect()
}

/// Where a handler notes the numbers that it got.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Vec<u64>>>);

impl Notes {
    pub(crate) fn new() -> Notes {
        Notes::default()
    }

    pub(crate) fn note(&self, n: u64) {
        self.0.lock().unwrap().push(n);
    }

    pub(crate) fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap())
    }

    /// A handler that notes what it gets.
    pub(crate) fn handler(&self) -> impl FnMut(&Message, &mut Context<'_>) + Send + 'static {
        let notes = self.clone();
        move |message, _| notes.note(value(message))
    }
}

/// Waits until all workers sleep.
pub(crate) fn wait_until_asleep(pubsub: &PubSub) {
    while pubsub.stats().workers.iter().any(|worker| !worker.sleeps) {
        std::thread::yield_now();
    }
}

/// Subscribers with the smallest mailboxes that make a topic large; nobody reads them.
pub(crate) fn fill(pubsub: &PubSub, worker: usize, topics: &[&str], count: usize) -> Vec<Subscriber> {
    let one = |_| {
        let subscriber = pubsub.subscriber().worker(worker).capacity(1).build().unwrap();
        topics.iter().for_each(|topic| subscriber.subscribe(topic).unwrap());
        subscriber
    };
    (0..count).map(one).collect()
}

/// Holds a worker still: a handler on it that does not return until it is let go.
pub(crate) struct Blocker {
    handler: HandlerSubscriber,
    topic: String,
    entered: Receiver<()>,
    go: Sender<()>,
}

impl Blocker {
    pub(crate) fn new(pubsub: &PubSub, worker: usize) -> Blocker {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let topic = format!("blocker:{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let (enter, entered) = channel();
        let (go, gone) = channel::<()>();
        let block = move |_: &Message, _: &mut Context<'_>| {
            // Errors mean that the blocker has gone, and then there is nothing to wait for.
            let _ = enter.send(());
            let _ = gone.recv();
        };
        let handler = pubsub.subscriber().worker(worker).handler(block).unwrap();
        handler.subscribe(&topic).unwrap();
        Blocker { handler, topic, entered, go }
    }

    /// Blocks the worker. Returns once it is in the handler: nothing that is published from now on is looked at before
    /// the blocker is let go or dropped.
    pub(crate) fn block(&self, pubsub: &PubSub) {
        pubsub.broadcast(&self.topic, "block", number(0)).unwrap();
        self.entered.recv().unwrap();
    }

    /// Lets the worker go on.
    pub(crate) fn let_go(&self) {
        self.go.send(()).unwrap();
    }
}

/// A clock of events: each reading is later than all that were returned before it was asked for.
#[derive(Debug, Default)]
pub(crate) struct Clock(AtomicU64);

impl Clock {
    pub(crate) fn now(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// When `f` began and when it had returned.
    pub(crate) fn span<R>(&self, f: impl FnOnce() -> R) -> (Span, R) {
        let begin = self.now();
        let result = f();
        (Span { begin, end: self.now() }, result)
    }
}

/// When a call began and when it had returned.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Span {
    pub begin: u64,
    pub end: u64,
}

impl Span {
    pub(crate) fn is_before(&self, other: &Span) -> bool {
        self.end < other.begin
    }
}

/// A small generator of numbers that look random; the same ones for the same seed.
#[derive(Debug)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
