//! How bad a schedule is: drawn once, from its seed.

use super::*;
use fastrand::Rng;
use std::time::Duration;

/// Steps of a schedule from one tick of a node to the next. A step takes a millisecond.
pub(crate) const STEPS_A_TICK: u64 = 4;

/// See the module's text. What is a chance is one in so many, zero is never.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) options: Options,
    pub(crate) nodes: usize,
    /// How long the bad time lasts.
    pub(crate) steps: u64,
    /// Nothing is lost, and only the first node is stopped.
    pub(crate) is_calm: bool,
    pub(crate) delay_max: u64,
    pub(crate) loss: u32,
    pub(crate) double: u32,
    /// Of each node in each step.
    pub(crate) change: u32,
    /// It ticks and reads nothing, for a while.
    pub(crate) overload: u32,
    /// It does nothing, for a while.
    pub(crate) pause: u32,
    pub(crate) crash: u32,
    pub(crate) leave: u32,
    pub(crate) restart: u32,
    /// Of the network in each step.
    pub(crate) split: u32,
    pub(crate) heal: u32,
}

impl Plan {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let max_silent_periods = rng.u32(1..4);
        let heartbeat = STEPS_A_TICK * u64::from(max_silent_periods + 1);
        let is_calm = rng.u32(0..8) == 0;
        // In calm there is time for what a pause counts, and for the delay.
        let spare = if is_calm { 2 * STEPS_A_TICK + 2 } else { 0 };
        let down = heartbeat + 2 * STEPS_A_TICK + spare + rng.u64(0..24);
        // Each kind of trouble is absent from many schedules, so that others show what they do by themselves.
        let mut chance = |from: u32| if is_calm || rng.bool() { 0 } else { rng.u32(from..from * 4) };
        let (loss, split, crash, leave) = (chance(2), chance(30), chance(80), chance(150));
        let options = Options {
            broadcast_period: Duration::from_millis(STEPS_A_TICK),
            max_silent_periods,
            clock_sample_periods: rng.u32(1..3),
            down_period: Duration::from_millis(down),
            permdown_period: Duration::from_millis(down + rng.u64(1..80)),
            leaves_max: rng.choice([0, 3, 1000]).expect("not empty"),
        };
        Plan {
            options,
            nodes: rng.usize(2..6),
            steps: rng.u64(40..240),
            is_calm,
            // In calm a heartbeat must come before the time is up.
            delay_max: if is_calm { 1 } else { rng.choice([1, 1, 3, 10, 60]).expect("not empty") },
            loss,
            double: if rng.bool() { 0 } else { rng.u32(2..10) },
            change: rng.u32(2..40),
            overload: if rng.bool() { 0 } else { rng.u32(40..200) },
            pause: if rng.bool() { 0 } else { rng.u32(40..200) },
            crash,
            leave,
            restart: rng.u32(10..100),
            split,
            heal: rng.u32(10..100),
        }
    }

    /// How long it may take, once nothing goes wrong any more, until all show the truth.
    pub(crate) fn steps_to_heal(&self) -> u64 {
        let options = &self.options;
        let heartbeat = STEPS_A_TICK * u64::from(options.max_silent_periods + 1);
        let sample = STEPS_A_TICK * u64::from(options.clock_sample_periods);
        // Late words, then silence until who is dead is down; meanwhile heartbeats, then requests and answers. Who was
        // heard too late to be shown asks of what others have told it, which takes another round.
        let down = options.down_period.as_millis() as u64 + 2 * STEPS_A_TICK;
        self.delay_max + down.max(3 * heartbeat) + 4 * sample
    }

    /// How long it then must be quiet.
    pub(crate) fn steps_of_quiet(&self) -> u64 {
        2 * STEPS_A_TICK * u64::from(self.options.max_silent_periods + 1)
    }
}
