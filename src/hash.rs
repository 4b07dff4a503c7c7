//! The hashers of the library's tables, in one place, so that one switch fixes their seeds.
//!
//! In production each table has a seed of its process, which an attacker can't know. Under the private
//! `--cfg fanfare_stepped` all processes have the same seeds, so that `cargo xtask perf` counts the same instructions
//! each time. `cluster` does without this gate: it has threads, and can't be stepped.
#![cfg_attr(fanfare_loom, allow(dead_code, reason = "the models have few tables"))]

/// For keys that the program itself makes.
#[cfg(not(fanfare_stepped))]
pub(crate) type Fast = foldhash::fast::RandomState;
/// For keys that others choose.
#[cfg(not(fanfare_stepped))]
pub(crate) type Quality = foldhash::quality::RandomState;
/// The standard library's, for keys of users' types.
#[cfg(not(fanfare_stepped))]
pub(crate) type Std = std::hash::RandomState;

#[cfg(fanfare_stepped)]
mod stepped {
    pub(crate) type Fast = foldhash::fast::FixedState;
    pub(crate) type Quality = foldhash::quality::FixedState;
    pub(crate) type Std = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;
}
#[cfg(fanfare_stepped)]
pub(crate) use stepped::{Fast, Quality, Std};
