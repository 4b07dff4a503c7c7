//! `cargo xtask bench-smoke`: each benchmark once, small, to see that it works.

use crate::shell::{Outcome, cargo, root, run, rust_files};

/// Runs every file of `benches/` in its test mode.
///
/// In the profile of the tests, not of the benchmarks: the dependencies are built in it already, debug assertions are
/// on, and nothing is measured.
pub(crate) fn smoke() -> Outcome {
    let benches = rust_files(&root().join("benches"))?;
    if benches.is_empty() {
        println!("bench-smoke: no benchmarks, nothing to run");
        return Ok(());
    }
    let mut command = cargo(["bench", "--package=fanfare", "--all-features", "--profile=test"]);
    // Named one by one: `--test` means something else to the harness of the library's unit tests.
    for (name, _) in &benches {
        command.args(["--bench", name]);
    }
    run(command.args(["--", "--test"]))
}
