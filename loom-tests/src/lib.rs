//! What the models of fanfare's concurrent protocols share. `cargo xtask loom` runs them.
//!
//! Each file of `tests/` models one property of one protocol, with the library's own code on loom's primitives: loom
//! runs it under every order of steps, and every value a load may return, up to a bound on preemptions. Such a file
//! opens with the property, the threads, what is left out, and the run time, and has two lines that `cargo xtask loom`
//! reads:
//!
//! ```text
//! //! A message that is published while the worker goes to sleep wakes it.
//! //!
//! //! Two threads: a publisher, and the worker through one turn of its loop. About 2 s.
//! // loom: preemptions=3
//! // mutants: inbox.publish, inbox.sleep
//! #![cfg(fanfare_loom)]
//! ```
//!
//! The second line names the mutants, weakenings of one ordering in the library, under which the model must fail. A
//! model that cannot fail shows nothing.
#![cfg(fanfare_loom)]

/// How many switch points one execution may have before loom takes it for an endless loop. loom's own 1,000 is too few
/// for a model that goes through the library's real structures.
const BRANCHES_MAX: usize = 100_000;

/// Checks `body` under every schedule within the bound of `LOOM_MAX_PREEMPTIONS`, which `cargo xtask loom` sets.
///
/// # Panics
///
/// When `body` panics under one of them, deadlocks, leaks what loom tracks, or does not come to an end.
pub fn model(body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.max_branches = builder.max_branches.max(BRANCHES_MAX);
    builder.check(body);
}

pub mod presence;
