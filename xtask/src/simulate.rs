//! `cargo xtask simulate`: clusters of presences on a bad network, one schedule for each seed.

use crate::shell::{Outcome, cargo, run as run_command};

const SEEDS_DEFAULT: u64 = 20_000;
/// The test that runs the schedules. The library's own: it drives what no user can reach.
const TEST: &str = "presence::crdt::tests::simulation::clusters_converge_whatever_happens";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// So many seeds.
    Seeds(u64),
    /// This one, shown step by step.
    Seed(u64),
}

impl Default for Options {
    fn default() -> Self {
        Options::Seeds(SEEDS_DEFAULT)
    }
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let number = |text: &String| text.parse().map_err(|_| format!("`{text}` is no number"));
        match arguments {
            [] => Ok(Options::default()),
            [name, count] if name == "--seeds" => Ok(Options::Seeds(number(count)?)),
            [name, seed] if name == "--seed" => Ok(Options::Seed(number(seed)?)),
            other => Err(format!("`simulate` takes no `{}`; see `cargo xtask help`", other.join(" ")).into()),
        }
    }
}

/// Runs the schedules; the first that fails is a failure.
pub(crate) fn run(options: &Options) -> Outcome {
    // As the tests are built: a release build is no faster at this.
    let mut command = cargo(["test", "--quiet", "--package=fanfare", "--lib", "--", "--exact", TEST, "--nocapture"]);
    match options {
        Options::Seeds(count) => command.env("FANFARE_SIMULATE_SEEDS", count.to_string()),
        Options::Seed(seed) => command.env("FANFARE_SIMULATE_SEED", seed.to_string()),
    };
    run_command(&mut command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::owned;

    fn options(arguments: &[&str]) -> Outcome<Options> {
        Options::parse(&owned(arguments))
    }

    #[test]
    fn arguments_are_read() {
        assert_eq!(options(&[]).unwrap(), Options::Seeds(SEEDS_DEFAULT));
        assert_eq!(options(&["--seeds", "3"]).unwrap(), Options::Seeds(3));
        assert_eq!(options(&["--seed", "3"]).unwrap(), Options::Seed(3));
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [&["--seeds"][..], &["--seeds", "x"], &["3"], &["--seed", "1", "--seeds", "2"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }
}
