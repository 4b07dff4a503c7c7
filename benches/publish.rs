//! How long `broadcast` takes to return: what the publisher pays, whatever the number of subscribers.
//!
//! Nothing here waits for a full inbox: at most half of one is used before it is waited for. Criterion gives the mean of
//! calls one after another, without a clock between them; below it stand the percentiles of single calls, which contain
//! one reading of the clock (told first). One worker, so that it and the publisher have a processor each on a machine of
//! two.
//!
//! - `awake`: the worker spins, or is walking.
//! - `asleep`: the worker sleeps at each call, which then contains its wake-up; beside it what that takes by itself.
//! - `in place`: the worker sleeps, and few members: the publisher delivers itself, and has delivered when it returns.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Engine, criterion, histogram, is_test, is_wanted, measure, sizes, tell};
use criterion::Criterion;
use fanfare::{Builder, Idle, PubSub};

/// Longer than any pause in here.
const SPIN: Duration = Duration::from_secs(1);
/// Deliveries that an inbox may hold, by default.
const WEIGHT_MAX: usize = 1 << 25;
/// Broadcasts that an inbox may hold, by default.
const ENTRIES_MAX: usize = 1 << 10;

fn main() {
    let mut criterion = criterion();
    awake(&mut criterion);
    clock();
    awake_percentiles();
    asleep();
    peers(&mut criterion);
    criterion.final_summary();
}

fn builder(idle: Idle) -> Builder {
    // By the inbox, whatever the number of members.
    PubSub::builder().workers(1).idle(idle).in_place_members_max(0)
}

/// How many broadcasts to so many members fill half of an inbox.
fn half_an_inbox(members: usize) -> usize {
    (WEIGHT_MAX / members).min(ENTRIES_MAX) / 2
}

fn awake(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish, returns, worker awake");
    for members in sizes() {
        let setup = || Engine::new(builder(Idle::Spin(SPIN))).with_mailboxes(members);
        measure(&mut group, &members.to_string(), 1, setup, |engine, iterations| {
            let mut took = Duration::ZERO;
            let mut left = iterations;
            while left > 0 {
                let batch = left.min(half_an_inbox(members) as u64);
                engine.pubsub.flush().unwrap();
                let begin = Instant::now();
                (0..batch).for_each(|_| engine.broadcast());
                took += begin.elapsed();
                left -= batch;
            }
            took
        });
    }
    group.finish();
}

/// What reading the clock adds to each single call.
fn clock() {
    let mut clock = histogram();
    for _ in 0..100_000 {
        let begin = Instant::now();
        clock.record(begin.elapsed().as_nanos() as u64).unwrap();
    }
    tell("publish, the clock alone", &clock);
}

fn awake_percentiles() {
    for members in sizes() {
        let name = format!("publish, returns, worker awake, single calls/{members}");
        if !is_wanted(&name) {
            continue;
        }
        let engine = Engine::new(builder(Idle::Spin(SPIN))).with_mailboxes(members);
        let mut calls = histogram();
        let end = Instant::now() + if is_test() { Duration::ZERO } else { Duration::from_secs(2) };
        while calls.is_empty() || Instant::now() < end {
            engine.pubsub.flush().unwrap();
            for _ in 0..half_an_inbox(members).min(64) {
                let begin = Instant::now();
                engine.broadcast();
                calls.record(begin.elapsed().as_nanos() as u64).unwrap();
            }
        }
        tell(&name, &calls);
    }
}

fn asleep() {
    let calls = if is_test() { 3 } else { 3_000 };
    if is_wanted("publish, unparking a parked thread") {
        tell("publish, unparking a parked thread", &unpark(calls));
    }
    for members in sizes() {
        let name = format!("publish, returns, worker asleep/{members}");
        if is_wanted(&name) {
            tell(&name, &single_calls(&Engine::new(builder(Idle::Park)).with_mailboxes(members), calls));
        }
        let name = format!("publish, returns, worker asleep, in place/{members}");
        let engine = PubSub::builder().workers(1).in_place_members_max(1_000);
        if is_wanted(&name) && members <= 1_000 {
            let engine = Engine::new(engine).with_mailboxes(members);
            tell(&name, &single_calls(&engine, calls));
            assert_eq!(engine.pubsub.stats().in_place, calls);
        }
    }
}

fn single_calls(engine: &Engine, calls: u64) -> hdrhistogram::Histogram<u64> {
    let mut histogram = histogram();
    for _ in 0..calls {
        engine.pubsub.flush().unwrap();
        engine.wait_until_asleep();
        let begin = Instant::now();
        engine.broadcast();
        histogram.record(begin.elapsed().as_nanos() as u64).unwrap();
    }
    histogram
}

/// What the wake-up of a sleeping thread costs the waker on this machine.
fn unpark(calls: u64) -> hdrhistogram::Histogram<u64> {
    const RUNS: u32 = 0;
    const SLEEPS: u32 = 1;
    let (state, stop) = (Arc::new(AtomicU32::new(RUNS)), Arc::new(AtomicBool::new(false)));
    let thread = {
        let (state, stop) = (state.clone(), stop.clone());
        std::thread::spawn(move || {
            while !stop.load(Ordering::Acquire) {
                state.store(SLEEPS, Ordering::Release);
                while state.load(Ordering::Acquire) == SLEEPS {
                    std::thread::park();
                }
            }
        })
    };
    let mut histogram = histogram();
    for _ in 0..calls {
        while state.load(Ordering::Acquire) != SLEEPS {
            std::thread::yield_now();
        }
        // As long as the engine's worker gets to be asleep after it has said so.
        (0..64).for_each(|_| std::thread::yield_now());
        state.store(RUNS, Ordering::Release);
        let begin = Instant::now();
        thread.thread().unpark();
        histogram.record(begin.elapsed().as_nanos() as u64).unwrap();
    }
    stop.store(true, Ordering::Release);
    state.store(RUNS, Ordering::Release);
    thread.thread().unpark();
    thread.join().unwrap();
    histogram
}

/// Receivers that nobody reads: what the sender pays at least.
fn peers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("publish, returns (peer)");
    for members in sizes() {
        let setup = || {
            let sender = tokio::sync::broadcast::Sender::<Arc<[u8; 64]>>::new(8);
            let receivers: Vec<_> = (0..members).map(|_| sender.subscribe()).collect();
            (sender, receivers)
        };
        let name = format!("tokio broadcast, nobody waits/{members}");
        measure(&mut group, &name, 1, setup, |(sender, _), iterations| {
            let begin = Instant::now();
            (0..iterations).for_each(|_| drop(sender.send(Arc::new([b'x'; 64]))));
            begin.elapsed()
        });
    }
    group.finish();
}
