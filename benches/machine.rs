//! What the machine itself costs: the constants that all other figures are made of.
//!
//! Two machines differ in these by a factor of two, and so do the figures of one program on both. What it costs in
//! *lines that move between processors*, in *lines from memory* and in *wakes* is a property of the program: read the
//! other benchmarks beside these.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};
use std::time::Instant;

use common::floor::{Floor, pin};
use common::{Random, Wakes, is_test, is_wanted, size, tell};

fn main() {
    type Measure = fn() -> f64;
    let rows: [(&str, Measure); 7] = [
        ("machine, a line from one processor to the other, one way", line_one_way),
        ("machine, a counter that two processors add to, one addition", shared_counter),
        ("machine, a line from memory, each address from the one before", || from_memory(1)),
        ("machine, a line from memory, eight chains at once", || from_memory(8)),
        ("machine, a store and a full fence", store_and_fence),
        ("machine, the floor of a delivery to a million rings, drained", || floor(true)),
        ("machine, the floor of a delivery to a million rings, full", || floor(false)),
    ];
    for (name, measure) in rows {
        if is_wanted(name) {
            let mut runs: Vec<f64> = (0..if is_test() { 1 } else { 9 }).map(|_| measure()).collect();
            runs.sort_by(f64::total_cmp);
            println!("{name:<72} {:.1} ns  ({:.1} to {:.1})", runs[runs.len() / 2], runs[0], runs[runs.len() - 1]);
        }
    }
    wakes();
}

fn rounds() -> u64 {
    if is_test() { 100 } else { 200_000 }
}

/// Two threads, each on its processor, hand one line to and fro.
fn line_one_way() -> f64 {
    let line = Arc::new(AtomicU64::new(0));
    let rounds = rounds();
    let other = {
        let line = line.clone();
        std::thread::spawn(move || {
            pin(1);
            for turn in 0..rounds {
                while line.load(Ordering::Acquire) != 2 * turn + 1 {
                    std::hint::spin_loop();
                }
                line.store(2 * turn + 2, Ordering::Release);
            }
        })
    };
    let mine = on_first(move || {
        let begin = Instant::now();
        for turn in 0..rounds {
            line.store(2 * turn + 1, Ordering::Release);
            while line.load(Ordering::Acquire) != 2 * turn + 2 {
                std::hint::spin_loop();
            }
        }
        begin.elapsed().as_nanos() as f64 / (2 * rounds) as f64
    });
    other.join().unwrap();
    mine
}

fn shared_counter() -> f64 {
    let counter = Arc::new(AtomicU64::new(0));
    let rounds = rounds();
    let adds = move |counter: Arc<AtomicU64>| {
        // Both at once, from the first addition on.
        counter.fetch_add(1, Ordering::AcqRel);
        while counter.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
        let begin = Instant::now();
        for _ in 0..rounds {
            counter.fetch_add(1, Ordering::AcqRel);
        }
        begin.elapsed().as_nanos() as f64 / rounds as f64
    };
    let other = {
        let counter = counter.clone();
        std::thread::spawn(move || {
            pin(1);
            adds(counter)
        })
    };
    let mine = on_first(move || adds(counter));
    (mine + other.join().unwrap()) / 2.0
}

/// Walks so many chains at once through 256 MiB in random order. Returns the time of a step of one of them.
fn from_memory(chains: usize) -> f64 {
    let lines = size(1 << 22);
    let mut order: Vec<usize> = (1..lines).collect();
    let mut random = Random::new();
    for at in (1..order.len()).rev() {
        order.swap(at, random.below(at + 1));
    }
    // A line holds where the next one is; the last leads back to the first.
    let mut memory = vec![[0_usize; 8]; lines];
    let mut at = 0;
    for next in order {
        memory[at][0] = next;
        at = next;
    }
    let steps = rounds() as usize / chains;
    let mut places: Vec<usize> = (0..chains).map(|chain| chain * (lines / chains)).collect();
    let begin = Instant::now();
    for _ in 0..steps {
        for place in &mut places {
            *place = memory[*place][0];
        }
    }
    let took = begin.elapsed().as_nanos() as f64;
    std::hint::black_box(places);
    took / (steps * chains) as f64
}

fn store_and_fence() -> f64 {
    let word = AtomicU64::new(0);
    let begin = Instant::now();
    for round in 0..rounds() {
        std::hint::black_box(&word).store(round, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }
    begin.elapsed().as_nanos() as f64 / rounds() as f64
}

fn floor(drained: bool) -> f64 {
    let rings = size(1_000_000);
    let floor = Floor::new(rings, true);
    for _ in 0..8 {
        floor.walk();
    }
    if drained {
        floor.drain();
    }
    floor.walk().as_nanos() as f64 / rings as f64
}

/// What it costs to wake a thread that sleeps, and how long it takes until that runs.
fn wakes() {
    let calls = if is_test() { 3 } else { 3_000 };
    for (name, processor) in [("the same processor", 0), ("the other processor", 1)] {
        let name = format!("machine, waking a thread that sleeps on {name}");
        if is_wanted(&name) {
            let wakes = on_first(move || Wakes::measure(calls, move || pin(processor), || ()));
            tell(&format!("{name}, the call"), &wakes.call);
            tell(&format!("{name}, until it runs"), &wakes.runs);
        }
    }
}

/// Runs `f` on a thread of its own, which stays on the first processor.
fn on_first<R: Send + 'static>(f: impl FnOnce() -> R + Send + 'static) -> R {
    let pinned = move || {
        pin(0);
        f()
    };
    std::thread::spawn(pinned).join().unwrap()
}
