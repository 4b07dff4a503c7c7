//! An engine without threads, for `cargo xtask perf`: under the private `--cfg fanfare_stepped` whoever has the engine
//! does what its workers would, on one thread and in one order, so that the same program executes the same
//! instructions.
//!
//! What a worker does in a round is the code of production ([`run`]); what is left out is its thread, which starts,
//! idles and sleeps. A publisher finds its worker awake, and idle between two steps. Whatever waits for a worker waits
//! for ever: a flush, and a broadcast to a full inbox.

use super::{Engine, run};
use crate::sync::Arc;

/// Lets each worker work, until none has anything left to do.
pub(crate) fn step(engine: &Arc<Engine>) {
    // Each of them in each round, not only up to the first that has worked.
    while (0..engine.workers.len()).filter(|&index| run::step(engine, index, false)).count() > 0 {}
}

/// For the shutdown, which waits for the workers next: those from number `ended` on do what is left to do, and end.
pub(crate) fn end(engine: &Arc<Engine>, ended: usize) {
    step(engine);
    (ended..engine.workers.len()).for_each(|index| {
        run::step(engine, index, true);
    });
}
