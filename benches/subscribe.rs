//! What it costs to subscribe, to leave and to go.
//!
//! Every time is until the worker has applied it all (`flush`), not until the calls return.

mod common;

use std::time::{Duration, Instant};

use common::{Engine, Random, criterion, mailboxes, measure, size};
use criterion::Criterion;
use fanfare::{PubSub, Subscriber};

/// Subscribers that take turns where one is not the point.
const TURNS: usize = 1_000;
/// Operations between two flushes.
const BATCH: u64 = 100_000;

fn main() {
    let mut criterion = criterion();
    join(&mut criterion);
    come_and_go(&mut criterion);
    leave(&mut criterion);
    criterion.final_summary();
}

fn engine() -> Engine {
    Engine::new(PubSub::builder().workers(common::WORKERS))
}

/// Runs `batch` on up to [`BATCH`] operations at a time, and sums what it returns.
fn in_batches(iterations: u64, mut batch: impl FnMut(usize) -> Duration) -> Duration {
    let mut took = Duration::ZERO;
    let mut left = iterations;
    while left > 0 {
        let count = left.min(BATCH);
        took += batch(count as usize);
        left -= count;
    }
    took
}

fn join(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe");
    let members = size(1_000_000);
    for (name, members) in
        [("one topic, by name, the first members", 0), ("one topic, by name, after a million", members)]
    {
        // Those that join are not those that are there: they leave again, off the clock.
        let setup = || {
            let engine = engine().with_mailboxes(members);
            let joiners: Vec<Subscriber> = (0..BATCH).map(|_| engine.pubsub.subscriber().build().unwrap()).collect();
            (engine, joiners)
        };
        measure(&mut group, name, 1, setup, |(engine, joiners), iterations| {
            in_batches(iterations, |count| {
                let begin = Instant::now();
                joiners[..count].iter().for_each(|joiner| joiner.subscribe("bench").unwrap());
                let took = engine.pubsub.flush().unwrap().duration_since(begin);
                joiners[..count].iter().for_each(|joiner| joiner.unsubscribe("bench").unwrap());
                engine.pubsub.flush().unwrap();
                took
            })
        });
    }
    let setup = || {
        let engine = engine();
        let joiners: Vec<Subscriber> = (0..TURNS).map(|_| engine.pubsub.subscriber().build().unwrap()).collect();
        let names: Vec<String> = (0..BATCH).map(|number| format!("users_socket:{number}")).collect();
        (engine, joiners, names)
    };
    measure(&mut group, "distinct new topics", 1, setup, |(engine, joiners, names), iterations| {
        in_batches(iterations, |count| {
            let joiner = |number: usize| &joiners[number % TURNS];
            let begin = Instant::now();
            names[..count].iter().enumerate().for_each(|(number, name)| joiner(number).subscribe(name).unwrap());
            let took = engine.pubsub.flush().unwrap().duration_since(begin);
            names[..count].iter().enumerate().for_each(|(number, name)| joiner(number).unsubscribe(name).unwrap());
            engine.pubsub.flush().unwrap();
            took
        })
    });
    group.finish();
}

/// A subscriber that is created, subscribes and is dropped.
fn come_and_go(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("subscribe, create and drop");
    for threads in [1, 2] {
        let name = format!("one topic, {threads} threads");
        measure(&mut group, &name, threads, engine, |engine, iterations| {
            in_batches(iterations, |count| {
                let go = || {
                    for _ in 0..count {
                        let subscriber = engine.pubsub.subscriber().build().unwrap();
                        subscriber.subscribe("bench").unwrap();
                    }
                };
                let begin = Instant::now();
                std::thread::scope(|scope| {
                    (1..threads).for_each(|_| drop(scope.spawn(go)));
                    go();
                });
                engine.pubsub.flush().unwrap().duration_since(begin)
            })
        });
    }
    group.finish();
}

fn leave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("leave");
    let members = size(1_000_000);
    measure(
        &mut group,
        "a topic of a million, at random",
        1,
        || engine().with_mailboxes(members),
        |engine, iterations| {
            let mut random = Random::new();
            in_batches(iterations, |count| {
                let chosen: Vec<usize> = (0..count).map(|_| random.below(members)).collect();
                let begin = Instant::now();
                chosen.iter().for_each(|&number| engine.mailboxes[number].unsubscribe("bench").unwrap());
                let took = engine.pubsub.flush().unwrap().duration_since(begin);
                // One that was chosen twice left once; back come those that have gone.
                let mut gone = chosen;
                gone.sort_unstable();
                gone.dedup();
                gone.iter().for_each(|&number| engine.mailboxes[number].subscribe("bench").unwrap());
                engine.pubsub.flush().unwrap();
                took
            })
        },
    );
    group.sample_size(10);
    measure(&mut group, "all drop, a million", members, engine, |engine, iterations| {
        let drop_all = |_| {
            let all = mailboxes(&engine.pubsub, "bench", members);
            let begin = Instant::now();
            drop(all);
            engine.pubsub.flush().unwrap().duration_since(begin)
        };
        (0..iterations).map(drop_all).sum()
    });
    let setup = || tokio::sync::broadcast::Sender::<u64>::new(8);
    measure(&mut group, "all drop, tokio broadcast (peer)", members, setup, |sender, iterations| {
        let drop_all = |_| {
            let all: Vec<_> = (0..members).map(|_| sender.subscribe()).collect();
            let begin = Instant::now();
            drop(all);
            begin.elapsed()
        };
        (0..iterations).map(drop_all).sum()
    });
    group.finish();
}
