//! The network between the nodes: it delays, loses, doubles and reorders, and can be cut.

use super::*;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};

/// A message on its way to the node at a place.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) to: usize,
    /// The one life that it is meant for; none is any.
    pub(crate) only: Option<Node>,
    pub(crate) message: Message<u64>,
    pub(crate) sent: u64,
}

/// How it treats a message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    pub(crate) delay_max: u64,
    pub(crate) loss: u32,
    pub(crate) double: u32,
}

#[derive(Debug, Default)]
pub(crate) struct Network {
    /// By when they arrive.
    flights: BTreeMap<u64, Vec<Flight>>,
    /// By (from, to).
    cut: BTreeSet<(usize, usize)>,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
}

impl Network {
    /// Sends a message from one place to another.
    pub(crate) fn send(
        &mut self,
        (from, to): (usize, usize),
        (only, message): &Sent,
        now: u64,
        weather: Weather,
        rng: &mut Rng,
    ) {
        let copies = 1 + u64::from(hits(rng, weather.double));
        self.doubled += copies - 1;
        for _ in 0..copies {
            if self.cut.contains(&(from, to)) || hits(rng, weather.loss) {
                self.lost += 1;
                continue;
            }
            let due = now + rng.u64(0..=weather.delay_max);
            let flight = Flight { to, only: only.clone(), message: message.clone(), sent: now };
            self.flights.entry(due).or_default().push(flight);
        }
    }

    /// What arrives by now, in any order.
    pub(crate) fn arrivals(&mut self, now: u64, rng: &mut Rng) -> Vec<Flight> {
        let later = self.flights.split_off(&(now + 1));
        let mut due: Vec<Flight> = std::mem::replace(&mut self.flights, later).into_values().flatten().collect();
        rng.shuffle(&mut due);
        due
    }

    /// Cuts some off from others: in two, or one from one in one direction or both.
    pub(crate) fn split(&mut self, nodes: usize, rng: &mut Rng) {
        if rng.bool() {
            let sides: Vec<bool> = (0..nodes).map(|_| rng.bool()).collect();
            for (from, to) in (0..nodes).flat_map(|from| (0..nodes).map(move |to| (from, to))) {
                if sides[from] != sides[to] {
                    self.cut.insert((from, to));
                }
            }
        } else {
            let (from, to) = (rng.usize(0..nodes), rng.usize(0..nodes));
            self.cut.insert((from, to));
            if rng.bool() {
                self.cut.insert((to, from));
            }
        }
    }

    pub(crate) fn heal(&mut self) {
        self.cut.clear();
    }
}

/// Whether a chance of one in `of` comes true.
pub(crate) fn hits(rng: &mut Rng, of: u32) -> bool {
    of > 0 && rng.u32(0..of) == 0
}
