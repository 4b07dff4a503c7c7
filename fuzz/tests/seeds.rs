//! Replays the committed seeds of every fuzz target, and checks that each target is complete.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use fanfare_fuzz::{ReplayError, TARGETS, replay};

fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The names in `folder`, without an ending; none when there is no such folder.
fn names_in(folder: &Path) -> Vec<String> {
    let Ok(entries) = folder.read_dir() else { return Vec::new() };
    let stem = |path: PathBuf| path.file_stem().unwrap().to_string_lossy().into_owned();
    entries.map(|entry| stem(entry.unwrap().path())).collect()
}

/// A new folder with one file for each of `seeds`.
fn folder_with(name: &str, seeds: &[(&str, &[u8])]) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::remove_dir_all(&folder).ok();
    fs::create_dir_all(&folder).unwrap();
    for (name, bytes) in seeds {
        fs::write(folder.join(name), bytes).unwrap();
    }
    folder
}

#[test]
fn every_target_replays_its_seeds() {
    for (name, harness) in TARGETS {
        match replay(&package().join("seeds").join(name), *harness) {
            Ok(count) => println!("{name}: {count} seeds"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn every_target_is_declared_and_has_its_file() {
    let manifest = fs::read_to_string(package().join("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "Cargo.toml lacks a [[bin]] `{name}`"
        );
        assert!(
            package().join("fuzz_targets").join(name).with_extension("rs").exists(),
            "fuzz_targets/ lacks `{name}`"
        );
    }
    let declared = manifest.matches("[[bin]]").count();
    assert_eq!(declared, TARGETS.len(), "Cargo.toml declares {declared} targets, TARGETS has {}", TARGETS.len());
}

#[test]
fn every_folder_and_file_belongs_to_a_target() {
    for folder in ["seeds", "fuzz_targets"] {
        for name in names_in(&package().join(folder)) {
            assert!(
                TARGETS.iter().any(|(target, _)| *target == name),
                "{folder}/{name} belongs to no target of TARGETS"
            );
        }
    }
}

#[test]
fn a_replay_feeds_every_seed_in_order() {
    static FED: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
    let folder = folder_with("in-order", &[("b", b"second"), ("a", b"first"), ("c", b"")]);
    let count = replay(&folder, |bytes| FED.lock().unwrap().push(bytes.to_vec())).unwrap();
    assert_eq!(count, 3);
    assert_eq!(*FED.lock().unwrap(), [&b"first"[..], b"second", b""]);
}

#[test]
fn a_replay_names_the_seed_that_breaks() {
    let folder = folder_with("breaks", &[("fine", b"x"), ("wrong", b"boom")]);
    let outcome = replay(&folder, |bytes| assert_ne!(bytes, b"boom", "told to"));
    assert!(matches!(outcome, Err(ReplayError::Broken(seed)) if seed.ends_with("breaks/wrong")));
}

#[test]
fn a_replay_without_seeds_fails() {
    let empty = folder_with("empty", &[]);
    assert!(matches!(replay(&empty, |_| ()), Err(ReplayError::NoSeeds(_))));
    assert!(matches!(replay(&empty.join("missing"), |_| ()), Err(ReplayError::Read(..))));
}
