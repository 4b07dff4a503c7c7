//! The harnesses of the fuzz targets, and the replay of their seeds.
//!
//! A harness takes arbitrary bytes and panics when a promise of fanfare is broken. libFuzzer drives it through
//! `fuzz_targets/`, and `tests/seeds.rs` drives it over the files of `seeds/`.

pub mod cluster;
pub mod http;
pub mod pubsub;
pub mod reading;
pub mod serializer;
pub mod websocket;

use std::fmt;
use std::fs;
use std::io;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

/// Takes one input; panics when a promise is broken.
pub type Harness = fn(&[u8]);

/// Every fuzz target: its name and its harness.
pub const TARGETS: &[(&str, Harness)] = &[
    ("cluster", cluster::cluster),
    ("http", http::http),
    ("pubsub", pubsub::pubsub),
    ("reading", reading::reading),
    ("serializer_v1", serializer::serializer_v1),
    ("serializer_v2", serializer::serializer_v2),
    ("websocket", websocket::websocket),
];

/// Why the seeds of a target did not replay.
#[derive(Debug)]
#[non_exhaustive]
pub enum ReplayError {
    /// The folder of seeds, or a seed, cannot be read: typically a target whose seeds were never committed.
    Read(PathBuf, io::Error),
    /// The folder holds no seed, so that its replay would show nothing.
    NoSeeds(PathBuf),
    /// The harness panicked on this seed; the panic's message has been printed.
    Broken(PathBuf),
}

impl fmt::Display for ReplayError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Read(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::NoSeeds(folder) => write!(f, "no seeds in {}", folder.display()),
            Self::Broken(seed) => write!(f, "the harness panicked on {}", seed.display()),
        }
    }
}

impl std::error::Error for ReplayError {}

/// Feeds every file of `folder` to `harness`, in the order of their names, and returns how many there were.
///
/// # Errors
///
/// The first seed that breaks the harness ends the replay; so does a folder that is empty or unreadable.
pub fn replay(folder: &Path, harness: Harness) -> Result<usize, ReplayError> {
    let seeds = seeds(folder).map_err(|error| ReplayError::Read(folder.to_path_buf(), error))?;
    if seeds.is_empty() {
        return Err(ReplayError::NoSeeds(folder.to_path_buf()));
    }
    for seed in &seeds {
        let bytes = fs::read(seed).map_err(|error| ReplayError::Read(seed.clone(), error))?;
        catch_unwind(|| harness(&bytes)).map_err(|_| ReplayError::Broken(seed.clone()))?;
    }
    Ok(seeds.len())
}

/// The files of `folder`, sorted by name.
fn seeds(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = folder.read_dir()?.collect::<Result<Vec<_>, _>>()?;
    let mut files: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}
