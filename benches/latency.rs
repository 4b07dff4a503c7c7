//! How long it takes from `broadcast` until a reader has the message, one message at a time.
//!
//! A delivery is here: read by its owner. Not a criterion benchmark, since what matters is the tail. Each line is one
//! arrangement of who sleeps and who spins:
//!
//! - `hop`: publisher to worker to reader. `in place`: the publisher delivers by itself to idle workers' mailboxes.
//! - `parked`: asleep when the message comes. Messages are 100 us apart, so that all are asleep again.
//! - `spinning`: the worker looks for work all the time; or the reader calls `try_recv` all the time.
//!
//! - `paced`: one message a millisecond, default configuration: what a server pays that is not a benchmark.
//!
//! Where no thread but the two has anything to do, the publisher does not sleep between messages, but spins for 10 us.
//!
//! On a machine of two processors a spinning thread leaves one for all the others.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Engine, histogram, is_test, is_wanted, tell, tell_dropped};
use fanfare::{Idle, MailboxSet, PubSub, PubSubBuilder, SetEvent, Subscriber, TryRecvError};

const SPIN: Duration = Duration::from_secs(1);
const MANY: usize = 1_000;

fn main() {
    let one = || PubSub::builder().workers(1);
    let hop = |builder: PubSubBuilder| builder.in_place_members_max(0);
    let spin = |builder: PubSubBuilder| builder.idle(Idle::Spin(SPIN));
    let in_place = |builder: PubSubBuilder| builder.in_place_members_max(MANY as u64);

    to_one("one, hop, worker parked, reader parked", hop(one()), pause_asleep, parked_reader);
    to_one("one, hop, worker spinning, reader parked", spin(hop(one())), pause_asleep, parked_reader);
    to_one("one, hop, worker parked, reader spinning", hop(one()), pause_asleep, spinning_reader);
    to_one("one, in place, worker parked, reader parked", one(), pause_asleep, parked_reader);
    to_one("one, in place, worker parked, reader spinning", one(), pause_awake, spinning_reader);
    to_oneself("one, hop, worker spinning, publisher reads", spin(hop(one())));
    to_oneself("one, in place, worker parked, publisher reads", one());
    tokio_to_one("one, tokio broadcast (peer), reader parked");

    let two = || PubSub::builder().workers(2);
    to_many("last of 1,000, hop, 2 workers parked, reader parked", two(), MANY, pause_asleep);
    to_many("last of 1,000, hop, 1 worker parked, reader parked", hop(one()), MANY, pause_asleep);
    to_many("last of 1,000, in place up to 1,000, 1 worker parked, reader parked", in_place(one()), MANY, pause_asleep);
    for members in [1, 40, MANY] {
        to_many(&format!("paced, 2 workers, last of {members}, reader parked"), two(), members, pause_paced);
    }
}

fn messages() -> u64 {
    if is_test() { 20 } else { 20_000 }
}

/// What a reader tells the publisher. While a message is on its way nobody writes here, or the publisher would wait for
/// this line between two looks at the clock.
struct Exchange {
    base: Instant,
    /// Messages that have been read, and when the last was, in nanoseconds from the base.
    read: AtomicU64,
    read_at: AtomicU64,
}

impl Exchange {
    fn new() -> Arc<Self> {
        Arc::new(Exchange { base: Instant::now(), read: AtomicU64::new(0), read_at: AtomicU64::new(0) })
    }

    fn now(&self) -> u64 {
        self.base.elapsed().as_nanos() as u64
    }

    /// For the reader: it has the message.
    fn note(&self) {
        self.read_at.store(self.now(), Ordering::Relaxed);
        self.read.fetch_add(1, Ordering::Release);
    }

    /// Sends one message at a time, waits until it has been read, and pauses. Tells how long it took until they had
    /// been read, and until the call returned.
    fn publish(&self, name: &str, pause: fn(), send: impl Fn()) {
        let (mut took, mut returns) = (histogram(), histogram());
        for number in 1..=messages() {
            let sent = self.now();
            send();
            let returned = self.now();
            while self.read.load(Ordering::Acquire) != number {
                std::thread::yield_now();
            }
            took.record(self.read_at.load(Ordering::Relaxed) - sent).unwrap();
            returns.record(returned - sent).unwrap();
            pause();
        }
        tell(name, &took);
        tell("    the call returns", &returns);
    }
}

type Reader = fn(Subscriber, &Exchange);

fn parked_reader(mut mailbox: Subscriber, exchange: &Exchange) {
    for _ in 0..messages() {
        drop(mailbox.recv().unwrap());
        exchange.note();
    }
}

fn spinning_reader(mut mailbox: Subscriber, exchange: &Exchange) {
    let mut left = messages();
    while left > 0 {
        match mailbox.try_recv() {
            Ok(_) => {
                exchange.note();
                left -= 1;
            }
            Err(TryRecvError::Empty) => std::hint::spin_loop(),
            Err(error) => panic!("{error}"),
        }
    }
}

/// Until all are asleep again.
fn pause_asleep() {
    std::thread::sleep(Duration::from_micros(100));
}

/// The pace of a server that sends a thousand messages a second: processors sleep deeper, and the caches are others'
/// by then.
fn pause_paced() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Not a sleep, from which a processor wakes slowly, and with a cache that others have used.
fn pause_awake() {
    common::spin(Duration::from_micros(10));
}

fn to_one(name: &str, builder: PubSubBuilder, pause: fn(), reader: Reader) {
    if !is_wanted(name) {
        return;
    }
    let mut engine = Engine::new(builder).with_mailboxes(1);
    let mailbox = engine.mailboxes.remove(0);
    let exchange = Exchange::new();
    let thread = {
        let exchange = exchange.clone();
        std::thread::spawn(move || reader(mailbox, &exchange))
    };
    exchange.publish(name, pause, || engine.broadcast());
    thread.join().unwrap();
    tell_dropped(&engine.pubsub);
}

/// The publisher reads its own message.
fn to_oneself(name: &str, builder: PubSubBuilder) {
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
        pause_awake();
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
            for _ in 0..messages() {
                receiver.blocking_recv().unwrap();
                exchange.note();
            }
        })
    };
    exchange.publish(name, pause_asleep, || {
        sender.send(Arc::new([b'x'; 64])).unwrap();
    });
    thread.join().unwrap();
}

/// One parked reader of that many mailboxes: until it has the message of the last.
fn to_many(name: &str, builder: PubSubBuilder, members: usize, pause: fn()) {
    if !is_wanted(name) {
        return;
    }
    let mut engine = Engine::new(builder).with_mailboxes(members);
    let mut set = MailboxSet::new();
    for mailbox in engine.mailboxes.drain(..) {
        set.insert(mailbox);
    }
    let exchange = Exchange::new();
    let thread = {
        let exchange = exchange.clone();
        std::thread::spawn(move || {
            for _ in 0..messages() {
                let mut read = 0;
                while read < members {
                    set.read(|_, event| match event {
                        SetEvent::Message(_) => read += 1,
                        other => panic!("{other:?}"),
                    });
                }
                exchange.note();
            }
        })
    };
    exchange.publish(name, pause, || engine.broadcast());
    thread.join().unwrap();
    tell_dropped(&engine.pubsub);
}
