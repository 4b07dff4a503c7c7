//! `cargo xtask lint`: formatting, clippy in every configuration, documentation, and the minimum supported version.

use std::collections::BTreeSet;

use crate::shell::{Outcome, cargo, line_of, output_of, run as run_command, rustflags, target_dir};
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
    // What a plain dependency pulls in, and the engine alone.
    dependencies(&[], 60)?;
    dependencies(&["--no-default-features"], 30)?;
    msrv::run()
}

/// Fails if the library depends on more crates than `max`, itself included.
fn dependencies(features: &[&str], max: usize) -> Outcome {
    let mut tree = cargo(["tree", "--package=fanfare", "--edges=normal", "--prefix=none", "--locked"]);
    let crates = crates_in(&output_of(tree.args(features))?);
    if crates > max { Err(format!("`{}` has {crates} crates: at most {max}", line_of(&tree)).into()) } else { Ok(()) }
}

/// The crates that `cargo tree` prints, each once: it marks those that it has printed before.
fn crates_in(tree: &str) -> usize {
    tree.lines().map(|line| line.trim_end_matches(" (*)")).collect::<BTreeSet<_>>().len()
}

fn documentation(arguments: &[&str]) -> Outcome {
    let mut command = cargo(["doc", "--package=fanfare", "--lib", "--all-features", "--no-deps"]);
    shell::run(command.args(arguments).env("RUSTDOCFLAGS", "-D warnings"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_counts_once_and_two_versions_of_it_twice() {
        assert_eq!(crates_in("fanfare v0.1.0\nbytes v1.12.0\nserde v1.0.1\nbytes v1.12.0 (*)\nserde v2.0.0\n"), 4);
    }
}
