//! `cargo xtask msrv`: the minimum supported Rust version is the same wherever it is stated, and it builds.

use crate::shell::{Outcome, read, root, run as run_command, target_dir};
use crate::toolchain::cargo_of;

/// Compares the places that state the version, then checks the workspace with that toolchain, which is installed
/// when missing. Where it can't be had that is said, and no failure.
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
    let mut check = match cargo_of(&version) {
        Ok(cargo) => cargo,
        Err(why) => {
            // Clippy's `incompatible_msrv` still refuses an API of the standard library that is too new.
            eprintln!(
                "== MSRV NOT BUILT: {why}. The version is the same wherever it is stated; that is all that is known =="
            );
            return Ok(());
        }
    };
    check.args(["check", "--workspace", "--all-features", "--locked", "--target-dir"]).arg(target_dir("msrv"));
    run_command(&mut check)?;
    println!("msrv: Rust {version} wherever it is stated, and it builds");
    Ok(())
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
}
