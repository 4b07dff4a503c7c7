//! How long one broadcast takes to reach all its subscribers.
//!
//! A delivery is, by group: `in the ring`, the message is in the subscriber's mailbox; `callback run`, its handler has
//! run on its worker; `read by its owner`, a task or thread has taken it out. `full` mailboxes push their oldest
//! message out at each delivery; `drained` ones were emptied before. Times end when the last delivery is made, stamped
//! by who makes it.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::floor::Floor;
use common::{Engine, Latch, criterion, histogram, is_test, is_wanted, measure, size, sizes, tell_dropped};
use criterion::Criterion;
use fanfare::{Context, Handler, MailboxSet, Message, PubSub, SetEvent};

/// What a full mailbox of the engine, of the floor and of the peers holds.
const CAPACITY: usize = 8;
/// Where peers get too slow or too large.
const ASYNC_BROADCAST_MAX: usize = 10_000;

fn main() {
    let mut criterion = criterion();
    rings(&mut criterion);
    beside_the_floor();
    handlers(&mut criterion);
    channels(&mut criterion);
    tasks(&mut criterion);
    swept(&mut criterion);
    criterion.final_summary();
}

fn engine() -> Engine {
    Engine::new(PubSub::builder().workers(common::WORKERS))
}

fn sum(iterations: u64, once: impl FnMut(u64) -> Duration) -> Duration {
    (0..iterations).map(once).sum()
}

fn rings(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out, in the ring");
    for members in sizes() {
        let setup = || engine().with_mailboxes(members);
        measure(&mut group, &format!("drained/{members}"), members, setup, |engine, iterations| {
            sum(iterations, |_| {
                engine.drain();
                engine.broadcast_and_wait()
            })
        });
        let setup = || {
            let engine = engine().with_mailboxes(members);
            sum(CAPACITY as u64, |_| engine.broadcast_and_wait());
            engine
        };
        let full = |engine: &mut Engine, iterations| sum(iterations, |_| engine.broadcast_and_wait());
        let engine = measure(&mut group, &format!("full/{members}"), members, setup, full);
        engine.inspect(|engine| tell_dropped(&engine.pubsub));
    }
    let rings = size(1_000_000);
    measure(
        &mut group,
        &format!("floor, drained/{rings}"),
        rings,
        || Floor::new(rings, false),
        |floor, iterations| {
            sum(iterations, |_| {
                floor.drain();
                floor.walk()
            })
        },
    );
    let full = |floor: &mut Floor, iterations| sum(iterations, |_| floor.walk());
    measure(&mut group, &format!("floor, full/{rings}"), rings, || Floor::new(rings, false), full);
    group.finish();
}

/// The engine and the floor in turn, so that whatever else the machine does meets both: the ratio of their medians.
fn beside_the_floor() {
    for (name, is_drained) in [("drained", true), ("full", false)] {
        let name = format!("fan_out, in the ring, beside the floor, {name}");
        if !is_wanted(&name) {
            continue;
        }
        let members = size(1_000_000);
        // Pinned, both: where the system puts two threads on one processor, each takes twice its time, and a median
        // says more about that than about them.
        let builder = PubSub::builder().workers(common::WORKERS).pin(true);
        let (mut engine, floor) = (Engine::new(builder).with_mailboxes(members), Floor::new(members, true));
        let (mut ours, mut floors) = (histogram(), histogram());
        let rounds = if is_test() { 1 } else { 300 };
        for round in 0..rounds + CAPACITY {
            if is_drained {
                engine.drain();
                floor.drain();
            }
            let (our, least) = (engine.broadcast_and_wait(), floor.walk());
            if round >= CAPACITY {
                ours.record(our.as_nanos() as u64).unwrap();
                floors.record(least.as_nanos() as u64).unwrap();
            }
        }
        let each = |histogram: &hdrhistogram::Histogram<u64>, quantile| {
            histogram.value_at_quantile(quantile) as f64 / members as f64
        };
        let line = |quantile| {
            let (our, least) = (each(&ours, quantile), each(&floors, quantile));
            format!("{our:.2} / {least:.2} ns = {:.2}", our / least)
        };
        println!(
            "{name}: engine / floor, p50 {}, p10 {} p25 {} p75 {} p90 {}",
            line(0.5),
            line(0.1),
            line(0.25),
            line(0.75),
            line(0.9)
        );
    }
}

/// The least that a handler can do and still be seen to do it.
struct Count(u64);

impl Handler for Count {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        std::hint::black_box(message);
        self.0 += 1;
    }
}

type Closure = Box<dyn FnMut(&Message, &mut Context<'_>) + Send>;

struct Boxed(Closure);

impl Handler for Boxed {
    fn on_message(&mut self, message: &Message, context: &mut Context<'_>) {
        (self.0)(message, context);
    }
}

fn handlers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out, callback run");
    let run = |engine: &mut Engine, iterations| sum(iterations, |_| engine.broadcast_and_wait());
    for members in sizes() {
        let setup = || engine().with_handlers(members, |_| Count(0));
        measure(&mut group, &format!("one type in a slab/{members}"), members, setup, run);
        let boxed = |_| {
            let mut count = 0_u64;
            let closure: Closure = Box::new(move |message, _| {
                std::hint::black_box(message);
                count += 1;
                std::hint::black_box(&count);
            });
            Boxed(closure)
        };
        let setup = || engine().with_handlers(members, boxed);
        measure(&mut group, &format!("boxed closures/{members}"), members, setup, run);
    }
    group.finish();
}

/// A loop over channels on the publisher's thread: what is written by hand where there is no fan-out.
fn channels(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out, in the channel (peer)");
    for members in sizes() {
        let name = format!("loop over crossbeam channels/{members}");
        let setup = || (0..members).map(|_| crossbeam_channel::bounded(CAPACITY)).collect::<Vec<_>>();
        measure(&mut group, &name, members, setup, |channels, iterations| {
            sum(iterations, |_| {
                let message = Arc::new([b'x'; 64]);
                let begin = Instant::now();
                channels.iter().for_each(|(sender, _)| sender.try_send(message.clone()).unwrap());
                let took = begin.elapsed();
                channels.iter().for_each(|(_, receiver)| drop(receiver.try_recv().unwrap()));
                took
            })
        });
    }
    group.finish();
}

/// Many tasks on one runtime, each with a receiver of its own. Dropping it ends them.
struct Tasks<S> {
    sender: S,
    latch: Arc<Latch>,
    _runtime: tokio::runtime::Runtime,
}

impl<S> Tasks<S> {
    fn new(sender: S, spawn: impl FnOnce(&tokio::runtime::Runtime, &Arc<Latch>)) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(common::WORKERS).build().unwrap();
        let latch = Arc::new(Latch::new());
        spawn(&runtime, &latch);
        Tasks { sender, latch, _runtime: runtime }
    }

    fn run(&self, members: usize, send: impl FnOnce(&S)) -> Duration {
        self.latch.set(members);
        let begin = Instant::now();
        send(&self.sender);
        self.latch.wait().duration_since(begin)
    }
}

fn tasks(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out, read by its owner, a task each");
    group.sample_size(10);
    for members in [1_000, 10_000, 1_000_000].into_iter().filter(|&members| members <= size(members)) {
        let setup = || {
            let mut engine = engine().with_mailboxes(members);
            let mailboxes = std::mem::take(&mut engine.mailboxes);
            Tasks::new(engine, |runtime, latch| {
                for mailbox in mailboxes {
                    let (mut mailbox, latch) = (mailbox.into_mailbox(), latch.clone());
                    runtime.spawn(async move {
                        while mailbox.recv_async().await.is_ok() {
                            latch.count_down(1);
                        }
                    });
                }
            })
        };
        let run = |tasks: &mut Tasks<Engine>, iterations| sum(iterations, |_| tasks.run(members, Engine::broadcast));
        let tasks = measure(&mut group, &format!("fanfare/{members}"), members, setup, run);
        tasks.inspect(|tasks| tell_dropped(&tasks.sender.pubsub));

        let setup = || {
            let sender = tokio::sync::broadcast::Sender::<Arc<[u8; 64]>>::new(CAPACITY);
            Tasks::new(sender.clone(), |runtime, latch| {
                for _ in 0..members {
                    let (mut receiver, latch) = (sender.subscribe(), latch.clone());
                    runtime.spawn(async move {
                        while receiver.recv().await.is_ok() {
                            latch.count_down(1);
                        }
                    });
                }
            })
        };
        let send = |sender: &tokio::sync::broadcast::Sender<Arc<[u8; 64]>>| {
            sender.send(Arc::new([b'x'; 64])).unwrap();
        };
        measure(&mut group, &format!("tokio broadcast/{members}"), members, setup, |tasks, iterations| {
            sum(iterations, |_| tasks.run(members, send))
        });
        if members <= ASYNC_BROADCAST_MAX {
            async_broadcast_tasks(&mut group, members);
        }
    }
    group.finish();
}

fn async_broadcast_tasks(group: &mut criterion::BenchmarkGroup<'_, criterion::measurement::WallTime>, members: usize) {
    let setup = || {
        let (sender, receiver) = async_broadcast::broadcast::<Arc<[u8; 64]>>(CAPACITY);
        Tasks::new(sender, |runtime, latch| {
            for _ in 0..members {
                let (mut receiver, latch) = (receiver.clone(), latch.clone());
                runtime.spawn(async move {
                    while receiver.recv_direct().await.is_ok() {
                        latch.count_down(1);
                    }
                });
            }
        })
    };
    measure(group, &format!("async-broadcast/{members}"), members, setup, |tasks, iterations| {
        sum(iterations, |_| tasks.run(members, |sender| drop(sender.try_broadcast(Arc::new([b'x'; 64])).unwrap())))
    });
}

/// Two threads, each of which reads the mailboxes or receivers of its half. They end when what they read is closed.
struct Sweepers {
    latch: Arc<Latch>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Sweepers {
    fn new<R: Send + 'static>(shares: Vec<R>, sweep: fn(&mut R) -> Option<usize>) -> Self {
        let latch = Arc::new(Latch::new());
        let spawn = |mut share: R| {
            let latch = latch.clone();
            std::thread::spawn(move || {
                while let Some(read) = sweep(&mut share) {
                    if read > 0 {
                        latch.count_down(read);
                    }
                }
            })
        };
        Sweepers { threads: shares.into_iter().map(spawn).collect(), latch }
    }

    fn run(&self, members: usize, send: impl FnOnce()) -> Duration {
        self.latch.set(members);
        let begin = Instant::now();
        send();
        self.latch.wait().duration_since(begin)
    }

    /// For those that do not wait at what they read.
    fn unpark(&self) {
        self.threads.iter().for_each(|thread| thread.thread().unpark());
    }
}

fn swept(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan_out, read by its owner, 2 threads read all");
    group.sample_size(10);
    for members in [1_000, 10_000, 1_000_000].into_iter().filter(|&members| members <= size(members)) {
        let setup = || {
            let mut engine = engine().with_mailboxes(members);
            let mut sets = vec![MailboxSet::new(), MailboxSet::new()];
            for (number, mailbox) in engine.mailboxes.drain(..).enumerate() {
                sets[number * 2 / members].insert(mailbox);
            }
            let sweepers = Sweepers::new(sets, |set| {
                let mut read = 0;
                let calls = set.read(|_, event| read += usize::from(matches!(event, SetEvent::Message(_))));
                (calls > 0).then_some(read)
            });
            (engine, sweepers)
        };
        let run = |(engine, sweepers): &mut (Engine, Sweepers), iterations| {
            sum(iterations, |_| sweepers.run(members, || engine.broadcast()))
        };
        let state = measure(&mut group, &format!("fanfare/{members}"), members, setup, run);
        state.inspect(|(engine, _)| tell_dropped(&engine.pubsub));

        let setup = || {
            let sender = tokio::sync::broadcast::Sender::<Arc<[u8; 64]>>::new(CAPACITY);
            let half = |_| (0..members / 2).map(|_| sender.subscribe()).collect::<Vec<_>>();
            let sweepers = Sweepers::new((0..2).map(half).collect(), |receivers| {
                std::thread::park();
                let closed = tokio::sync::broadcast::error::TryRecvError::Closed;
                let mut read = 0;
                for receiver in receivers {
                    match receiver.try_recv() {
                        Ok(_) => read += 1,
                        Err(error) if error == closed => return None,
                        Err(_) => {}
                    }
                }
                Some(read)
            });
            (sender, sweepers)
        };
        let run = |(sender, sweepers): &mut (tokio::sync::broadcast::Sender<_>, Sweepers), iterations| {
            let send = || {
                sender.send(Arc::new([b'x'; 64])).unwrap();
                sweepers.unpark();
            };
            sum(iterations, |_| sweepers.run(members, send))
        };
        measure(&mut group, &format!("tokio broadcast/{members}"), members, setup, run);
    }
    group.finish();
}
