//! Whole clusters on a bad network, by seed.
//!
//! A schedule is drawn from its seed: how many nodes there are and how bad the network is, who changes what, who
//! crashes, restarts, is stopped, or leaves. After it the network heals, and within a bounded time each node that
//! lives must show exactly what the others have, and then be quiet. All the way:
//!
//! - what a node has reported is what it shows; nothing joins twice or leaves twice ([`Host`]);
//! - who returns brings no ghosts: nothing that had left before the heartbeat by which it was heard again;
//! - what an earlier life has said ends no later one;
//! - nobody who lives is told that its name is taken;
//! - in a calm schedule, in which nothing is lost and only the first node is ever stopped, nobody else is taken for
//!   dead, however busy all are.
//!
//! `cargo xtask simulate` runs more of them than the tests do, and shows what happens in one.

mod network;
mod plan;
mod world;

use super::host::{Event, Host, Sent};
use super::*;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Instant;
use world::World;

/// How many seeds are tried, and from which one on.
const SEEDS: &str = "FANFARE_SIMULATE_SEEDS";
/// The one seed whose schedule is shown.
const SEED: &str = "FANFARE_SIMULATE_SEED";
const SEEDS_DEFAULT: u64 = 300;

#[test]
fn clusters_converge_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect("a number"));
    if let Some(seed) = number(SEED) {
        if let Err(why) = World::new(seed, true).run() {
            panic!("seed {seed}: {why}");
        }
        return;
    }
    let seeds = number(SEEDS).unwrap_or(SEEDS_DEFAULT);
    let begin = Instant::now();
    let mut sums = world::Sums::default();
    for seed in 0..seeds {
        let outcome = catch_unwind(AssertUnwindSafe(|| World::new(seed, false).run()));
        match outcome.unwrap_or_else(|_| Err("it panicked, see above".to_owned())) {
            Ok(of_one) => sums.add(&of_one),
            Err(why) => panic!("seed {seed}: {why}\nTo see it: cargo xtask simulate --seed {seed}"),
        }
    }
    println!("{seeds} schedules, {:.0} a second: {sums}", seeds as f64 / begin.elapsed().as_secs_f64());
    // What the schedules are to try has happened.
    assert!(seeds < SEEDS_DEFAULT || sums.is_thorough(), "{sums}");
}

#[test]
fn a_seed_is_one_schedule() {
    for seed in 0..20 {
        let [one, again] = [(); 2].map(|()| World::new(seed, false).run());
        assert_eq!(one, again);
    }
}
