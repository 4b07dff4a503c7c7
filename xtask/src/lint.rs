//! `cargo xtask lint`: formatting, clippy in every configuration, documentation, and the minimum supported version.

use crate::shell::{Outcome, cargo, run as run_command, rustflags, target_dir};
use crate::{msrv, shell};

/// Runs every check; the first that fails ends it.
pub(crate) fn run() -> Outcome {
    run_command(&mut cargo(["fmt", "--all", "--check"]))?;
    run_command(cargo(["clippy", "--workspace", "--all-targets", "--all-features"]).args(["--", "-D", "warnings"]))?;
    // What a plain dependency gets, and the engine alone.
    for features in [&[][..], &["--no-default-features"]] {
        let mut library = cargo(["clippy", "--package=fanfare", "--all-targets"]);
        run_command(library.args(features).args(["--", "-D", "warnings"]))?;
    }
    // The models are empty without their cfg, and the library has other code under it.
    let mut models = cargo(["clippy", "--package=fanfare-loom", "--all-targets"]);
    models.env("RUSTFLAGS", rustflags("--cfg fanfare_loom")).arg("--target-dir").arg(target_dir("loom"));
    run_command(models.args(["--", "-D", "warnings"]))?;
    // The program that `perf` measures is empty without its cfg, and the engine has no threads under it.
    let mut stepped = cargo(["clippy", "--package=fanfare-perf", "--package=fanfare", "--no-default-features"]);
    stepped.args(["--lib", "--bins"]).env("RUSTFLAGS", rustflags("--cfg fanfare_stepped"));
    run_command(stepped.arg("--target-dir").arg(target_dir("stepped")).args(["--", "-D", "warnings"]))?;
    documentation(&[])?;
    documentation(&["--document-private-items"])?;
    msrv::run()
}

fn documentation(arguments: &[&str]) -> Outcome {
    let mut command = cargo(["doc", "--package=fanfare", "--lib", "--all-features", "--no-deps"]);
    shell::run(command.args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}
