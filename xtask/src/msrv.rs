//! `cargo xtask msrv`: the minimum supported Rust version is the same wherever it is stated, and it builds.
//!
//! On machines without that toolchain, clippy's `incompatible_msrv` (part of every lint run, told by `clippy.toml`)
//! still refuses an API of the standard library that is too new.

use std::process::Command;

use crate::shell::{Outcome, output_of, read, root, run as run_command, target_dir};

/// Compares the places that state the version, then checks the workspace with that toolchain if it is there.
pub(crate) fn run() -> Outcome {
    let version = stated_by(&read(&root().join("Cargo.toml"))?, "rust-version")
        .ok_or_else(|| "Cargo.toml states no rust-version".to_owned())?;
    let of_clippy = stated_by(&read(&root().join("clippy.toml"))?, "msrv");
    if of_clippy.as_ref() != Some(&version) {
        return Err(format!("Cargo.toml says Rust {version}, clippy.toml {of_clippy:?}").into());
    }
    if !is_told(&read(&root().join("README.md"))?, &version) {
        return Err(format!("Cargo.toml says Rust {version}, README.md has no line that says `Rust {version}`").into());
    }
    let installed = Command::new("rustup").args(["toolchain", "list"]).output();
    let installed = installed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    let Some(toolchain) = toolchain(&installed, &version) else {
        println!(
            "msrv: Rust {version} everywhere it is stated; NOT built with it, since that toolchain is not installed"
        );
        return Ok(());
    };
    let mut rustc = Command::new("rustup");
    println!("msrv: {}", output_of(rustc.args(["run", toolchain, "rustc", "--version"]))?.trim_end());
    let mut check = Command::new("rustup");
    check.current_dir(root()).args(["run", toolchain, "cargo", "check", "--workspace", "--all-features", "--locked"]);
    // The variable names the cargo that runs xtask, which is of another version.
    check.env_remove("CARGO").arg("--target-dir").arg(target_dir("msrv"));
    run_command(&mut check)
}

/// The string that the first line `key = "..."` of a TOML text states.
fn stated_by(text: &str, key: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let value = line.strip_prefix(key)?.trim_start().strip_prefix('=')?.trim();
        Some(value.strip_prefix('"')?.split_once('"')?.0.to_owned())
    })
}

/// Whether `readme` says `Rust VERSION`, and not just a longer version that begins so.
fn is_told(readme: &str, version: &str) -> bool {
    readme.split(&format!("Rust {version}")).skip(1).any(|rest| !rest.starts_with(|c: char| c.is_ascii_digit()))
}

/// The installed toolchain of `version`, out of what `rustup toolchain list` prints.
fn toolchain<'a>(installed: &'a str, version: &str) -> Option<&'a str> {
    let names = installed.lines().filter_map(|line| line.split_whitespace().next());
    let is_of_version =
        |name: &&str| name.strip_prefix(version).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '-']));
    names.into_iter().find(is_of_version)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_states_its_version() {
        let manifest = "[workspace.package]\nrust-version = \"1.88\"\n[package]\nrust-version.workspace = true\n";
        assert_eq!(stated_by(manifest, "rust-version").as_deref(), Some("1.88"));
        assert_eq!(stated_by("rust-version.workspace = true", "rust-version"), None);
    }

    #[test]
    fn a_readme_must_say_the_very_version() {
        assert!(is_told("It needs Rust 1.88 or newer.", "1.88"));
        assert!(!is_told("It needs Rust 1.880.", "1.88"));
        assert!(!is_told("It needs Rust 1.89; version 1.88.", "1.88"));
    }

    #[test]
    fn the_toolchain_of_the_version_is_found() {
        let list = "stable-x86_64-unknown-linux-gnu (active, default)\n1.88.0-x86_64-unknown-linux-gnu\n";
        assert_eq!(toolchain(list, "1.88"), Some("1.88.0-x86_64-unknown-linux-gnu"));
        assert_eq!(toolchain(list, "1.8"), None);
        assert_eq!(toolchain("1.88-x86_64\n", "1.88"), Some("1.88-x86_64"));
    }
}
