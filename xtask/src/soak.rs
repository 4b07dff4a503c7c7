//! `cargo xtask soak`: nodes over the real NATS server, with random faults, for minutes.

use crate::shell::{Outcome, cargo, run as run_command};

const SECONDS_DEFAULT: u64 = 300;
const TEST: &str = "nats::views_agree_after_whatever_has_befallen";

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    seconds: u64,
    seed: u64,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Options { seconds: SECONDS_DEFAULT, seed: 1 };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            let place = match name.as_str() {
                "--seconds" => &mut options.seconds,
                "--seed" => &mut options.seed,
                _ => return Err(format!("`soak` takes no `{name}`; see `cargo xtask help`").into()),
            };
            let value = arguments.next().ok_or_else(|| format!("`{name}` has no value"))?;
            *place = value.parse().map_err(|_| format!("`{value}` is no number"))?;
        }
        Ok(options)
    }
}

/// Runs the test that `cargo test` runs for some seconds.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut command = cargo(["test", "--quiet", "--package=fanfare", "--all-features", "--test=cluster"]);
    command.args(["--", "--exact", TEST, "--nocapture"]);
    command.env("FANFARE_SOAK_SECONDS", options.seconds.to_string());
    run_command(command.env("FANFARE_SOAK_SEED", options.seed.to_string()))
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
        assert_eq!(options(&[]).unwrap(), Options { seconds: SECONDS_DEFAULT, seed: 1 });
        assert_eq!(options(&["--seed", "7", "--seconds", "9"]).unwrap(), Options { seconds: 9, seed: 7 });
        for wrong in [&["--seed"][..], &["--seconds", "x"], &["3"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }
}
