//! The readers of a load: threads that each read a share of the mailboxes through a `MailboxSet`.
//!
//! They are told what to do: to read so many messages and report ([`Readers::drain`]), or to read as messages come
//! until the last round ([`Readers::begin`]). The event of each message is the name of its round, so that a reader
//! knows how far all of its mailboxes are, and the publisher can keep them at most [`BEHIND_MAX`] rounds behind.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::{JoinHandle, Thread};
use std::time::{Duration, Instant};

use fanfare::{MailboxSet, SetEvent, Subscriber};

use super::subscribers::topic_of;
use crate::cli::Load;

/// Rounds that a reader may be behind: half of a mailbox.
pub(crate) const BEHIND_MAX: u64 = 4;
/// Names of rounds, in turn. More of them than rounds in flight.
pub(crate) const ROUNDS: [&str; 8] = ["0", "1", "2", "3", "4", "5", "6", "7"];
/// The event of the message that ends a reader's rounds.
pub(crate) const STOP: &str = "stop";
/// How long a reader waits for a message that was promised. Past that the engine has lost it.
const PATIENCE: Duration = Duration::from_secs(60);

enum Order {
    /// Read so many messages of each topic, whose number and count this is, or of all.
    Drain(Option<usize>, u64),
    Run,
}

/// What a reader has done of an order.
struct Done {
    read: u64,
    lost: u64,
    last: Instant,
    missing: bool,
}

/// How far a reader is, in rounds that all of its mailboxes have read.
#[derive(Default)]
struct Progress {
    rounds: AtomicU64,
}

/// See the module's text.
pub(crate) struct Readers {
    orders: Vec<Sender<Order>>,
    reports: Receiver<Done>,
    progress: Vec<Arc<Progress>>,
    threads: Vec<JoinHandle<()>>,
    /// Mailboxes that nobody reads.
    _slow: Vec<Subscriber>,
}

/// What readers have read.
pub(crate) struct Read {
    pub(crate) messages: u64,
    /// When the last of them was.
    pub(crate) last: Instant,
}

impl Readers {
    /// Deals the mailboxes out: neighbours to the same reader, and every so many-th to nobody.
    pub(crate) fn start(mailboxes: Vec<Subscriber>, load: &Load) -> Result<Self, Box<dyn Error>> {
        let is_slow = |number: usize| {
            let before = |number: usize| number * load.slow_readers / load.subscribers;
            before(number) != before(number + 1)
        };
        let mut slow = Vec::new();
        let mut shares: Vec<(MailboxSet, Vec<u64>)> =
            (0..load.readers).map(|_| (MailboxSet::new(), vec![0; load.topics])).collect();
        for (number, mailbox) in mailboxes.into_iter().enumerate() {
            if load.readers == 0 || is_slow(number) {
                slow.push(mailbox);
                continue;
            }
            let (set, members) = &mut shares[number * load.readers / load.subscribers];
            set.insert(mailbox);
            members[topic_of(number, load)] += 1;
        }
        let (report, reports) = channel();
        let mut readers =
            Readers { orders: Vec::new(), reports, progress: Vec::new(), threads: Vec::new(), _slow: slow };
        let publisher = std::thread::current();
        for (index, (set, members)) in shares.into_iter().enumerate() {
            let (order, orders) = channel();
            let progress = Arc::new(Progress::default());
            let all = members.iter().sum();
            let reader = Reader { set, members, all, progress: progress.clone(), publisher: publisher.clone() };
            let report = report.clone();
            let thread = std::thread::Builder::new().name(format!("reader-{index}"));
            readers.threads.push(thread.spawn(move || reader.work(&orders, &report))?);
            readers.orders.push(order);
            readers.progress.push(progress);
        }
        Ok(readers)
    }

    /// Whether nobody reads.
    pub(crate) fn is_empty(&self) -> bool {
        self.orders.is_empty()
    }

    /// Has every mailbox read the `messages` that it got on `topic`, or on its own topic, since it was last read.
    pub(crate) fn drain(&self, topic: Option<usize>, messages: u64) -> Result<Option<Read>, Box<dyn Error>> {
        self.orders.iter().for_each(|order| drop(order.send(Order::Drain(topic, messages))));
        self.collect()
    }

    /// Lets the readers read as messages come, round by round, until they get [`STOP`].
    pub(crate) fn begin(&self) {
        self.progress.iter().for_each(|progress| progress.rounds.store(0, Ordering::Relaxed));
        self.orders.iter().for_each(|order| drop(order.send(Order::Run)));
    }

    /// Waits until no reader is more than [`BEHIND_MAX`] rounds behind the one that comes next.
    pub(crate) fn wait_for_room(&self, next: u64) {
        let is_behind = |progress: &Arc<Progress>| {
            // Acquire: pairs with the reader's store; nothing hangs on it but the count itself.
            next >= progress.rounds.load(Ordering::Acquire) + BEHIND_MAX
        };
        while self.progress.iter().any(is_behind) {
            std::thread::park();
        }
    }

    /// What was read since [`begin`](Self::begin), once every mailbox has got [`STOP`].
    pub(crate) fn end(&self) -> Result<Option<Read>, Box<dyn Error>> {
        self.collect()
    }

    fn collect(&self) -> Result<Option<Read>, Box<dyn Error>> {
        let mut sum: Option<Read> = None;
        for _ in &self.orders {
            let done = self.reports.recv().map_err(|_| "a reader has ended")?;
            if done.missing {
                return Err(format!("a reader waited {} s for messages that did not come", PATIENCE.as_secs()).into());
            }
            if done.lost > 0 {
                return Err(format!("mailboxes with room for them lost {} messages", done.lost).into());
            }
            sum = Some(match sum {
                None => Read { messages: done.read, last: done.last },
                Some(sum) => Read { messages: sum.messages + done.read, last: sum.last.max(done.last) },
            });
        }
        Ok(sum)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.orders.clear();
        for thread in self.threads.drain(..) {
            // One that panicked has said so.
            let _ = thread.join();
        }
    }
}

/// One reader, on its thread.
struct Reader {
    set: MailboxSet,
    /// Mailboxes by topic, and all.
    members: Vec<u64>,
    all: u64,
    progress: Arc<Progress>,
    publisher: Thread,
}

impl Reader {
    fn work(mut self, orders: &Receiver<Order>, report: &Sender<Done>) {
        // Ends when there are no more orders, or nobody wants the reports.
        while let Ok(order) = orders.recv() {
            let done = match order {
                Order::Drain(Some(topic), messages) => self.drain(self.members[topic] * messages),
                Order::Drain(None, messages) => self.drain(self.all * messages),
                Order::Run => self.run(),
            };
            if report.send(done).is_err() {
                return;
            }
        }
    }

    fn drain(&mut self, expected: u64) -> Done {
        let mut done = Done::none();
        while done.read + done.lost < expected && !done.missing {
            let calls = self.set.read_deadline(Instant::now() + PATIENCE, |_, event| done.count(&event));
            done.missing = calls == 0;
        }
        done.last = Instant::now();
        done
    }

    fn run(&mut self) -> Done {
        let mut done = Done::none();
        let mut counts = [0_u64; ROUNDS.len()];
        let (mut round, mut stopped) = (0, 0);
        while stopped < self.all && !done.missing && done.lost == 0 {
            let calls = self.set.read_deadline(Instant::now() + PATIENCE, |_, event| {
                if let SetEvent::Message(message) = &event {
                    let name = message.event().as_bytes()[0];
                    if name == STOP.as_bytes()[0] {
                        stopped += 1;
                        return;
                    }
                    counts[usize::from(name - b'0')] += 1;
                }
                done.count(&event);
            });
            done.missing = calls == 0;
            let before = round;
            while counts[round as usize % ROUNDS.len()] == self.all && self.all > 0 {
                counts[round as usize % ROUNDS.len()] = 0;
                round += 1;
            }
            if round != before {
                done.last = Instant::now();
                self.progress.rounds.store(round, Ordering::Release);
                self.publisher.unpark();
            }
        }
        if self.all == 0 || done.missing || done.lost > 0 {
            // The publisher must not wait for one that has nothing to read, or has failed.
            self.progress.rounds.store(u64::MAX / 2, Ordering::Release);
            self.publisher.unpark();
        }
        done
    }
}

impl Done {
    fn none() -> Self {
        Done { read: 0, lost: 0, last: Instant::now(), missing: false }
    }

    fn count(&mut self, event: &SetEvent<'_>) {
        match event {
            SetEvent::Message(message) => {
                std::hint::black_box(*message);
                self.read += 1;
            }
            SetEvent::Lagged(lagged) => self.lost += lagged.0,
            _ => self.missing = true,
        }
    }
}
