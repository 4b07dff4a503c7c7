//! How long it takes from `broadcast` until a reader has the message, one message at a time.
//!
//! A delivery is here: read by its owner. Not a criterion benchmark, since what matters is the tail. Each line is one
//! arrangement of who sleeps and who spins:
//!
//! - `hop`: publisher to worker to reader. `in place`: the publisher delivers by itself to idle workers' mailboxes.
//! - `parked`: asleep when the message comes. Messages are 100 us apart, so that all are asleep again.
//! - `spinning`: the worker looks for work all the time; or the reader calls `try_recv` all the time.
//!
//! On a machine of two processors a spinning thread leaves one for all the others.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::{Engine, histogram, is_test, is_wanted, tell, tell_dropped};
use fanfare::{Builder, Idle, MailboxSet, PubSub, SetEvent, Subscriber, TryRecvError};
use hdrhistogram::Histogram;

const PAUSE: Duration = Duration::from_micros(100);
const SPIN: Duration = Duration::from_secs(1);
const MANY: usize = 1_000;

fn main() {
    let one = || PubSub::builder().workers(1);
    let hop = |builder: Builder| builder.in_place_members_max(0);
    let spin = |builder: Builder| builder.idle(Idle::Spin(SPIN));
    let in_place = |builder: Builder| builder.in_place_members_max(MANY as u64);

    to_one("one, hop, worker parked, reader parked", hop(one()), parked_reader);
    to_one("one, hop, worker spinning, reader parked", spin(hop(one())), parked_reader);
    to_one("one, hop, worker parked, reader spinning", hop(one()), spinning_reader);
    to_one("one, in place, worker parked, reader parked", one(), parked_reader);
    to_one("one, in place, worker parked, reader spinning", one(), spinning_reader);
    to_oneself("one, hop, worker spinning, publisher reads", spin(hop(one())));
    to_oneself("one, in place, worker parked, publisher reads", one());
    tokio_to_one("one, tokio broadcast (peer), reader parked");

    let two = || PubSub::builder().workers(2);
    to_many("last of 1,000, hop, 2 workers parked, reader parked", two());
    to_many("last of 1,000, hop, 1 worker parked, reader parked", hop(one()));
    to_many("last of 1,000, in place up to 1,000, 1 worker parked, reader parked", in_place(one()));
}

fn messages() -> u64 {
    if is_test() { 20 } else { 20_000 }
}

/// What the publisher and a reader tell each other, and what the reader found.
struct Exchange {
    base: Instant,
    /// When the message was sent, in nanoseconds from the base. Written before the broadcast.
    sent: AtomicU64,
    /// Messages that have been read.
    read: AtomicU64,
    stop: AtomicBool,
}

impl Exchange {
    fn new() -> Arc<Self> {
        let (sent, read, stop) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(Exchange { base: Instant::now(), sent, read, stop })
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// For the reader: it has the message.
    fn note(&self, into: &mut Histogram<u64>) {
        let took = self.now() - self.sent.load(Ordering::Acquire);
        into.record(took).unwrap();
        self.read.fetch_add(1, Ordering::Release);
    }

    /// Sends one message at a time, waits until it has been read, and pauses.
    fn publish(&self, send: impl Fn()) -> Histogram<u64> {
        let mut returns = histogram();
        for number in 1..=messages() {
            let sent = self.now();
            self.sent.store(sent, Ordering::Release);
            send();
            returns.record(self.now() - sent).unwrap();
            while self.read.load(Ordering::Acquire) != number {
                std::thread::yield_now();
            }
            std::thread::sleep(PAUSE);
        }
        self.stop.store(true, Ordering::Release);
        returns
    }
}

type Reader = fn(Subscriber, Arc<Exchange>) -> Histogram<u64>;

fn parked_reader(mut mailbox: Subscriber, exchange: Arc<Exchange>) -> Histogram<u64> {
    let mut took = histogram();
    while took.len() < messages() {
        drop(mailbox.recv().unwrap());
        exchange.note(&mut took);
    }
    took
}

fn spinning_reader(mut mailbox: Subscriber, exchange: Arc<Exchange>) -> Histogram<u64> {
    let mut took = histogram();
    while took.len() < messages() {
        match mailbox.try_recv() {
            Ok(_) => exchange.note(&mut took),
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(error) => panic!("{error}"),
        }
    }
    took
}

fn to_one(name: &str, builder: Builder, reader: Reader) {
    if !is_wanted(name) {
        return;
    }
    let mut engine = Engine::new(builder).with_mailboxes(1);
    let mailbox = engine.mailboxes.remove(0);
    let exchange = Exchange::new();
    let thread: JoinHandle<_> = {
        let exchange = exchange.clone();
        std::thread::spawn(move || reader(mailbox, exchange))
    };
    let returns = exchange.publish(|| engine.broadcast());
    tell(name, &thread.join().unwrap());
    tell("    broadcast returns", &returns);
    tell_dropped(&engine.pubsub);
}

/// The publisher reads its own message.
fn to_oneself(name: &str, builder: Builder) {
    if !is_wanted(name) {
        return;
    }
    let mut engine = Engine::new(builder).with_mailboxes(1);
    let mut took = histogram();
    for _ in 0..messages() {
        let begin = Instant::now();
        engine.broadcast();
        loop {
            match engine.mailboxes[0].try_recv() {
                Ok(message) => {
                    took.record(begin.elapsed().as_nanos() as u64).unwrap();
                    drop(message);
                    break;
                }
                Err(TryRecvError::Empty) => std::hint::spin_loop(),
                Err(error) => panic!("{error}"),
            }
        }
        // Not after a sleep, from which a processor wakes slowly.
        let pause = Instant::now();
        while pause.elapsed() < PAUSE / 10 {
            std::hint::spin_loop();
        }
    }
    tell(name, &took);
}

fn tokio_to_one(name: &str) {
    if !is_wanted(name) {
        return;
    }
    let (sender, mut receiver) = tokio::sync::broadcast::channel::<Arc<[u8; 64]>>(8);
    let exchange = Exchange::new();
    let thread = {
        let exchange = exchange.clone();
        std::thread::spawn(move || {
            let mut took = histogram();
            while took.len() < messages() {
                receiver.blocking_recv().unwrap();
                exchange.note(&mut took);
            }
            took
        })
    };
    let returns = exchange.publish(|| {
        sender.send(Arc::new([b'x'; 64])).unwrap();
    });
    tell(name, &thread.join().unwrap());
    tell("    send returns", &returns);
}

/// One parked reader of a thousand mailboxes: until it has the message of the last.
fn to_many(name: &str, builder: Builder) {
    if !is_wanted(name) {
        return;
    }
    let mut engine = Engine::new(builder).with_mailboxes(MANY);
    let mut set = MailboxSet::new();
    for mailbox in engine.mailboxes.drain(..) {
        set.insert(mailbox);
    }
    let exchange = Exchange::new();
    let thread = {
        let exchange = exchange.clone();
        std::thread::spawn(move || {
            let mut took = histogram();
            while took.len() < messages() {
                let mut read = 0;
                while read < MANY {
                    set.read(|_, event| match event {
                        SetEvent::Message(_) => read += 1,
                        other => panic!("{other:?}"),
                    });
                }
                exchange.note(&mut took);
            }
            took
        })
    };
    let returns = exchange.publish(|| engine.broadcast());
    tell(name, &thread.join().unwrap());
    tell("    broadcast returns", &returns);
    tell_dropped(&engine.pubsub);
}
