//! Deliveries that are read by their owners, in a closed loop.
//!
//! A delivery is here: read by its owner. One publisher, two workers, two readers. The publisher keeps each mailbox at
//! most 4 messages behind, half of what it holds, so nothing is dropped. An iteration is a round, one broadcast to each
//! topic; times end when the last mailbox has been read.
//!
//! - `set`: each reader waits on its half of the mailboxes through a `MailboxSet`, which lends messages.
//! - `recv`: each reader takes one message from each of its mailboxes in turn by `recv`, and drops it at once.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::Thread;
use std::time::{Duration, Instant};

use common::{criterion, mailboxes, measure, payload, tell_dropped};
use fanfare::{MailboxSet, PubSub, RecvError, SetEvent, Subscriber, Topic};

const READERS: usize = 2;
const BEHIND_MAX: u64 = 4;
/// Events, by which a reader of a set knows a message's round: more of them than rounds in flight.
const ROUNDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];

fn main() {
    let mut criterion = criterion();
    let mut group = criterion.benchmark_group("reading");
    for (topics, members) in [(1_000, 100), (1, 10_000)] {
        for (how, read) in [("set", read_set as Read), ("recv", read_each)] {
            let name = format!("{topics} topics of {members}, {how}");
            let setup = || Loop::new(topics, members, read);
            let state = measure(&mut group, &name, topics * members, setup, Loop::run);
            state.inspect(|state| tell_dropped(&state.pubsub));
        }
    }
    peer(&mut group);
    group.finish();
    criterion.final_summary();
}

/// How far a reader is.
struct Progress {
    rounds: AtomicU64,
    base: Instant,
    /// When it had read its last round, in nanoseconds from the base.
    last: AtomicU64,
    publisher: Thread,
}

impl Progress {
    fn add(&self, rounds: u64) {
        if rounds > 0 {
            self.last.store(self.base.elapsed().as_nanos() as u64, Ordering::Relaxed);
            self.rounds.fetch_add(rounds, Ordering::Release);
            self.publisher.unpark();
        }
    }
}

type Read = fn(Vec<Subscriber>, &Progress);

struct Loop {
    pubsub: PubSub,
    topics: Vec<Topic>,
    readers: Vec<Arc<Progress>>,
    round: u64,
    base: Instant,
}

impl Loop {
    fn new(topics: usize, members: usize, read: Read) -> Self {
        let pubsub = PubSub::builder().workers(common::WORKERS).build().unwrap();
        let topics: Vec<Topic> = (0..topics).map(|number| pubsub.topic(&format!("topic:{number}")).unwrap()).collect();
        let mut all: Vec<Subscriber> =
            topics.iter().flat_map(|topic| mailboxes(&pubsub, topic.name(), members)).collect();
        let base = Instant::now();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let share = all.split_off(all.len() - topics.len() * members / READERS);
            let (rounds, last) = (AtomicU64::new(0), AtomicU64::new(0));
            let progress = Arc::new(Progress { rounds, base, last, publisher: std::thread::current() });
            readers.push(progress.clone());
            // It ends when its mailboxes are closed.
            std::thread::spawn(move || read(share, &progress));
        }
        Loop { pubsub, topics, readers, round: 0, base }
    }

    fn wait_until(&self, round: u64) {
        while self.readers.iter().any(|reader| reader.rounds.load(Ordering::Acquire) < round) {
            std::thread::park();
        }
    }

    fn run(&mut self, rounds: u64) -> Duration {
        let payload = payload();
        let begin = self.base.elapsed();
        for _ in 0..rounds {
            self.wait_until((self.round + 1).saturating_sub(BEHIND_MAX));
            let event = ROUNDS[self.round as usize % ROUNDS.len()];
            for topic in &self.topics {
                topic.broadcast(event, payload.clone()).unwrap();
            }
            self.round += 1;
        }
        self.wait_until(self.round);
        let last = self.readers.iter().map(|reader| reader.last.load(Ordering::Relaxed)).max();
        Duration::from_nanos(last.unwrap()) - begin
    }
}

fn read_set(mailboxes: Vec<Subscriber>, progress: &Progress) {
    let mut set = MailboxSet::new();
    let members = mailboxes.len();
    for mailbox in mailboxes {
        set.insert(mailbox);
    }
    let (mut counts, mut round) = ([0; ROUNDS.len()], 0);
    while !set.is_empty() {
        set.read(|_, event| match event {
            SetEvent::Message(message) => counts[usize::from(message.event().as_bytes()[0] - b'0')] += 1,
            SetEvent::Lagged(lagged) => panic!("{lagged}"),
            _ => {}
        });
        let before = round;
        while counts[round as usize % ROUNDS.len()] == members {
            counts[round as usize % ROUNDS.len()] = 0;
            round += 1;
        }
        progress.add(round - before);
    }
}

fn read_each(mut mailboxes: Vec<Subscriber>, progress: &Progress) {
    loop {
        for mailbox in &mut mailboxes {
            match mailbox.recv() {
                Ok(message) => drop(message),
                Err(RecvError::Closed(_)) => return,
                Err(error) => panic!("{error}"),
            }
        }
        progress.add(1);
    }
}

/// tokio's channels read by two threads, one `recv` after another, in the same closed loop.
struct Tokio {
    senders: Vec<tokio::sync::broadcast::Sender<Arc<[u8; 64]>>>,
    readers: Vec<Arc<Progress>>,
    round: u64,
}

impl Tokio {
    fn new(topics: usize, members: usize) -> Self {
        let senders: Vec<_> = (0..topics).map(|_| tokio::sync::broadcast::Sender::new(8)).collect();
        let mut all: Vec<_> = senders.iter().flat_map(|sender| (0..members).map(|_| sender.subscribe())).collect();
        let mut readers = Vec::new();
        for _ in 0..READERS {
            let mut share = all.split_off(all.len() - topics * members / READERS);
            let (rounds, last) = (AtomicU64::new(0), AtomicU64::new(0));
            let progress = Arc::new(Progress { rounds, base: Instant::now(), last, publisher: std::thread::current() });
            readers.push(progress.clone());
            // It ends when the senders are dropped.
            std::thread::spawn(move || {
                loop {
                    for receiver in &mut share {
                        if receiver.blocking_recv().is_err() {
                            return;
                        }
                    }
                    progress.add(1);
                }
            });
        }
        Tokio { senders, readers, round: 0 }
    }

    fn wait_until(&self, round: u64) {
        while self.readers.iter().any(|reader| reader.rounds.load(Ordering::Acquire) < round) {
            std::thread::park();
        }
    }

    fn run(&mut self, rounds: u64) -> Duration {
        let begin = Instant::now();
        for _ in 0..rounds {
            self.wait_until((self.round + 1).saturating_sub(BEHIND_MAX));
            for sender in &self.senders {
                sender.send(Arc::new([b'x'; 64])).unwrap();
            }
            self.round += 1;
        }
        self.wait_until(self.round);
        begin.elapsed()
    }
}

fn peer(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>) {
    for (topics, members) in [(1_000, 100), (1, 10_000)] {
        let name = format!("{topics} topics of {members}, tokio broadcast (peer), recv");
        measure(group, &name, topics * members, || Tokio::new(topics, members), Tokio::run);
    }
}
