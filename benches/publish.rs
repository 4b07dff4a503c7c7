//! How long `broadcast` takes to return: what the publisher pays, whatever the number of subscribers.
//!
//! Nothing here waits for a full inbox: at most half of one is used before it is waited for. Criterion gives the mean
//! of calls one after another, without a clock between them; below it stand the percentiles of single calls, which
//! contain one reading of the clock (told first). One worker, so that it and the publisher have a processor each on a
//! machine of two.
//!
//! - `awake`: the worker spins, or is walking.
//! - `asleep`: the worker sleeps at each call, which then contains its wake-up; beside it what it takes by itself
//!   to wake a thread that has been through as much memory: the walk takes the cache from the system's code, too. The
//!   publisher has slept as well, until the walk was over; or it was `running` meanwhile.
//! - `in place`: the worker sleeps, and few members: the publisher delivers itself, and has delivered when it returns.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Engine, Wakes, criterion, histogram, is_test, is_wanted, measure, sizes, tell};
use criterion::Criterion;
use fanfare::{Idle, PubSub, PubSubBuilder};
use hdrhistogram::Histogram;

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

fn builder(idle: Idle) -> PubSubBuilder {
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
    for members in sizes() {
        let name = format!("publish, unparking a thread that has walked as many lines/{members}");
        if is_wanted(&name) {
            let mut lines = vec![[0_u64; 8]; members];
            let walk = move || std::hint::black_box(&mut lines).iter_mut().for_each(|line| line[0] += 1);
            tell(&name, &Wakes::measure(calls, || (), walk).call);
        }
        let name = format!("publish, returns, worker asleep/{members}");
        if is_wanted(&name) {
            let engine = Engine::new(builder(Idle::Park)).with_mailboxes(members);
            let slept = single_calls(&engine, calls, sleep_meanwhile);
            let ran = single_calls(&engine, calls, |_| {});
            for (name, (whole, rest)) in [(&*name, slept), ("    publisher running meanwhile", ran)] {
                tell(name, &whole);
                tell("    without the wake that each contains", &rest);
            }
        }
        let name = format!("publish, returns, worker asleep, in place/{members}");
        let engine = PubSub::builder().workers(1).in_place_members_max(1_000);
        if is_wanted(&name) && members <= 1_000 {
            let engine = Engine::new(engine).with_mailboxes(members);
            tell(&name, &single_calls(&engine, calls, sleep_meanwhile).0);
            assert_eq!(engine.pubsub.stats().in_place, calls);
        }
    }
}

fn sleep_meanwhile(engine: &Engine) {
    engine.pubsub.flush().unwrap();
}

/// How long calls take, and how long each takes without the wake that it contains.
fn single_calls(engine: &Engine, calls: u64, wait: impl Fn(&Engine)) -> (Histogram<u64>, Histogram<u64>) {
    let (mut whole, mut rest) = (histogram(), histogram());
    for _ in 0..calls {
        wait(engine);
        engine.wait_until_asleep();
        // It says so before it does.
        common::spin(Duration::from_micros(20));
        let before = engine.pubsub.stats().workers[0].wake_ns;
        let begin = Instant::now();
        engine.broadcast();
        let took = begin.elapsed().as_nanos() as u64;
        // The wake counts in the mean by an eighth.
        let wake = (engine.pubsub.stats().workers[0].wake_ns + before / 8).saturating_sub(before) * 8;
        whole.record(took).unwrap();
        rest.record(took.saturating_sub(wake.into())).unwrap();
    }
    (whole, rest)
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
