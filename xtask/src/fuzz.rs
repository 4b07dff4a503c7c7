//! `cargo xtask fuzz`: a short run of each fuzz target.

use std::fs;
use std::process::Command;

use crate::shell::{Outcome, cargo, output_of, quick_release, root, run as run_command, target_dir};

const SECONDS_DEFAULT: u64 = 15;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) seconds: u64,
    pub(crate) asan: bool,
    pub(crate) target: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { seconds: SECONDS_DEFAULT, asan: false, target: None }
    }
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        let mut arguments = arguments.iter();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--asan" => options.asan = true,
                "--seconds" => {
                    // libFuzzer takes 0 for "without end".
                    let seconds = arguments.next().and_then(|n| n.parse().ok()).filter(|&seconds| seconds > 0);
                    options.seconds = seconds.ok_or_else(|| "`--seconds` takes a number from 1".to_owned())?;
                }
                name if !name.starts_with('-') && options.target.is_none() => options.target = Some(name.to_owned()),
                unknown => return Err(format!("`fuzz` takes no `{unknown}`; see `cargo xtask help`").into()),
            }
        }
        Ok(options)
    }
}

/// Fuzzes the targets that `options` select, one after the other; a crash is a failure.
pub(crate) fn run(options: &Options) -> Outcome {
    let listed = output_of(&mut cargo(["fuzz", "list", "--fuzz-dir=fuzz"]))?;
    let targets: Vec<&str> = match &options.target {
        Some(name) if !listed.lines().any(|listed| listed == name) => {
            return Err(format!("no fuzz target `{name}`; there are: {}", listed.replace('\n', " ")).into());
        }
        Some(name) => vec![name],
        None => listed.lines().collect(),
    };
    if targets.is_empty() {
        println!("fuzz: no targets, nothing to run");
    }
    for target in targets {
        fuzz(target, options)?;
    }
    Ok(())
}

fn fuzz(target: &str, options: &Options) -> Outcome {
    // libFuzzer writes what it discovers to the first folder and only reads the others.
    let corpus = root().join("fuzz/corpus").join(target);
    let seeds = root().join("fuzz/seeds").join(target);
    fs::create_dir_all(&corpus).map_err(|error| format!("cannot make {}: {error}", corpus.display()))?;
    let mut command = cargo(["fuzz", "run", "--fuzz-dir=fuzz"]);
    sanitize(&mut command, options.asan);
    command.arg(target).arg(corpus);
    if seeds.exists() {
        command.arg(seeds);
    }
    command.arg("--").arg(format!("-max_total_time={}", options.seconds)).arg("-print_final_stats=1");
    run_command(quick_release(&mut command))
}

/// Chooses the sanitizer and a target folder of its own: the two builds share nothing.
fn sanitize(command: &mut Command, asan: bool) {
    let name = if asan {
        // The sanitizer is a nightly option of rustc, which its stable release takes too under this variable.
        command.env("RUSTC_BOOTSTRAP", "1").arg("--sanitizer=address");
        "fuzz-asan"
    } else {
        command.arg("--sanitizer=none");
        "fuzz"
    };
    command.arg("--target-dir").arg(target_dir(name));
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
        assert_eq!(options(&[]).unwrap(), Options::default());
        let all = Options { seconds: 3, asan: true, target: Some("topics".to_owned()) };
        assert_eq!(options(&["--seconds", "3", "topics", "--asan"]).unwrap(), all);
    }

    #[test]
    fn wrong_arguments_are_refused() {
        for wrong in [&["--seconds"][..], &["--seconds", "0"], &["--seconds", "x"], &["a", "b"], &["--what"]] {
            assert!(options(wrong).is_err(), "{wrong:?}");
        }
    }
}
