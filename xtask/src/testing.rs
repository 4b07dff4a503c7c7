//! `cargo xtask test`: every test run, and the sum of what the runs report.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::shell::{Failure, Outcome, announce, cargo, line_of};

/// How many tests passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Counts {
    /// Adds the result of one test binary, if `line` is the line that closes it.
    pub(crate) fn add_line(&mut self, line: &str) {
        let Some(result) = line.trim_start().strip_prefix("test result: ") else { return };
        self.passed += number_before(result, " passed");
        self.failed += number_before(result, " failed");
    }
}

/// The digits that end where `unit` begins in `text`; 0 when there are none.
fn number_before(text: &str, unit: &str) -> u64 {
    let before = text.find(unit).map_or("", |at| &text[..at]);
    let digits = before.len() - before.bytes().rev().take_while(u8::is_ascii_digit).count();
    before[digits..].parse().unwrap_or(0)
}

/// Runs every test, or with `arguments` those of the first run that they select. Ends with the line `N passed, N
/// failed`.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let mut runs = vec![cargo([
        "test",
        "--no-fail-fast",
        "--workspace",
        "--exclude=fanfare-fuzz",
        "--exclude=fanfare-loom",
        "--all-features",
    ])];
    if arguments.is_empty() {
        runs.push(cargo(["test", "--no-fail-fast", "--package=fanfare", "--no-default-features"]));
        // Without its default feature the package leaves libFuzzer out: replaying seeds does not need it.
        runs.push(cargo(["test", "--no-fail-fast", "--package=fanfare-fuzz", "--no-default-features"]));
    } else {
        runs[0].args(arguments);
    }
    let begin = Instant::now();
    let mut counts = Counts::default();
    let mut complaints = Vec::new();
    for run in &mut runs {
        if let Err(failure) = count(run, &mut counts) {
            complaints.push(failure.to_string());
        }
        eprintln!("(the tests have taken {:.0} s so far)", begin.elapsed().as_secs_f64());
    }
    if counts.passed == 0 {
        complaints.push("no test has passed".to_owned());
    }
    for complaint in &complaints {
        eprintln!("xtask: {complaint}");
    }
    println!("{} passed, {} failed", counts.passed, counts.failed);
    if complaints.is_empty() && counts.failed == 0 { Ok(()) } else { Err(Failure::Reported) }
}

/// Runs `command`, shows what it prints, and adds its results to `counts`.
fn count(command: &mut Command, counts: &mut Counts) -> Outcome {
    announce(command);
    let cannot = |error: std::io::Error, command: &Command| format!("cannot run `{}`: {error}", line_of(command));
    let mut child = command.stdout(Stdio::piped()).spawn().map_err(|error| cannot(error, command))?;
    let mut output = BufReader::new(child.stdout.take().expect("the child's output is a pipe"));
    let mut line = Vec::new();
    while output.read_until(b'\n', &mut line).map_err(|error| cannot(error, command))? > 0 {
        let text = String::from_utf8_lossy(&line);
        print!("{text}");
        counts.add_line(&text);
        line.clear();
    }
    let status = child.wait().map_err(|error| cannot(error, command))?;
    if status.success() { Ok(()) } else { Err(format!("`{}` failed: {status}", line_of(command)).into()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_summed_and_other_lines_are_not() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests\n",
            "test a::b ... ok\n",
            "test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.10s\n",
            "said: 9 passed; 9 failed\n",
            "test result: FAILED. 3 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 0.00s\n",
        ] {
            counts.add_line(line);
        }
        assert_eq!(counts, Counts { passed: 15, failed: 2 });
    }

    #[test]
    fn a_coloured_result_counts_too() {
        let mut counts = Counts::default();
        counts.add_line("test result: \u{1b}[32mok\u{1b}[m. 7 passed; 1 failed; 0 ignored");
        assert_eq!(counts, Counts { passed: 7, failed: 1 });
    }

    #[test]
    fn a_run_is_counted_and_its_failure_is_told() {
        let mut counts = Counts::default();
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 'test result: FAILED. 1 passed; 1 failed; 0 ignored'; exit 101"]);
        assert!(count(&mut shell, &mut counts).is_err());
        assert_eq!(counts, Counts { passed: 1, failed: 1 });
    }
}
