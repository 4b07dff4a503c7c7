//! Toolchains of a given version: the one that runs xtask if it is that, else one of rustup's, installed when missing.

use std::process::Command;

use crate::shell::{Outcome, cargo, output_of, root, run, succeeds};

/// `cargo` of the Rust of that version, in the root. A version of two numbers stands for each of its patch releases.
///
/// # Errors
///
/// It is not there, and rustup can't install it.
pub(crate) fn cargo_of(version: &str) -> Outcome<Command> {
    let mut rustc = Command::new("rustc");
    if output_of(rustc.current_dir(root()).arg("--version")).is_ok_and(|told| is_of(&told, version)) {
        return Ok(cargo([]));
    }
    let is_there = || succeeds(Command::new("rustup").args(["run", version, "rustc", "--version"]));
    if !is_there() {
        eprintln!("Rust {version} is missing: installing it");
        let installed = run(Command::new("rustup").args(["toolchain", "install", "--profile", "minimal", version]));
        if installed.is_err() || !is_there() {
            return Err(format!("Rust {version} is needed, and rustup can't install it here").into());
        }
    }
    let mut cargo = Command::new("rustup");
    cargo.current_dir(root()).args(["run", version, "cargo"]);
    // The variable names the cargo that runs xtask, which is of another version.
    cargo.env_remove("CARGO");
    Ok(cargo)
}

/// Whether what `rustc --version` prints is of that version.
fn is_of(told: &str, version: &str) -> bool {
    let number = told.split_whitespace().nth(1).unwrap_or_default();
    number.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_told_from_one_that_begins_so() {
        let told = "rustc 1.88.0 (6b00bc388 2025-06-23)\n";
        assert!(is_of(told, "1.88") && is_of(told, "1.88.0"));
        assert!(!is_of(told, "1.8") && !is_of(told, "1.88.1") && !is_of("", "1.88"));
    }

    #[test]
    fn a_toolchain_that_cannot_be_had_is_a_failure() {
        let failure = cargo_of("0.0.1").unwrap_err().to_string();
        assert!(failure.contains("Rust 0.0.1 is needed"), "{failure}");
    }
}
