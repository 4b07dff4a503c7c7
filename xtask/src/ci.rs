//! `cargo xtask ci`: every check, each against its share of the time. The tests come last, so that the output ends with
//! the line that counts them; hence the table of times is printed before them.

use std::time::{Duration, Instant};

use crate::shell::{Failure, Outcome};
use crate::{bench, conformance, fuzz, lint, load, loom, packages, perf, requirements, simulate, testing};

struct Stage {
    name: &'static str,
    budget_minutes: u64,
    run: fn() -> Outcome,
}

const STAGES: [Stage; 8] = [
    Stage { name: "lint and docs", budget_minutes: 6, run: lint::run },
    Stage {
        name: "loom and mutants",
        budget_minutes: 5,
        run: || loom::run(&loom::Options { mutants: true, filter: None }),
    },
    Stage { name: "fuzz", budget_minutes: 3, run: || fuzz::run(&fuzz::Options::default()) },
    Stage { name: "conformance", budget_minutes: 3, run: || conformance::run(&[]) },
    Stage { name: "load, quick", budget_minutes: 1, run: load::quick },
    Stage { name: "simulation", budget_minutes: 2, run: || simulate::run(&simulate::Options::default()) },
    Stage { name: "instructions", budget_minutes: 3, run: || perf::run(&perf::Options::Compare) },
    Stage { name: "benches, smoke", budget_minutes: 2, run: bench::smoke },
];
const TESTS_BUDGET_MINUTES: u64 = 8;

/// One line of the table of times.
struct Row {
    name: &'static str,
    budget_minutes: u64,
    took: Duration,
    passed: bool,
}

/// Runs all stages, also after one has failed, and fails if any has.
pub(crate) fn run() -> Outcome {
    let all = [
        requirements::LINT,
        requirements::LOOM,
        requirements::FUZZ,
        requirements::CONFORMANCE,
        requirements::PERF,
        requirements::TEST,
    ];
    for needed in all {
        requirements::install(needed)?;
    }
    packages::install()?;
    let mut rows = Vec::new();
    for stage in STAGES {
        println!("== {} ==", stage.name);
        let begin = Instant::now();
        let outcome = (stage.run)();
        if let Err(failure) = &outcome {
            eprintln!("xtask: {}: {failure}", stage.name);
        }
        let Stage { name, budget_minutes, .. } = stage;
        rows.push(Row { name, budget_minutes, took: begin.elapsed(), passed: outcome.is_ok() });
    }
    print!("\n{}", table(&rows));
    println!("== tests (budget {TESTS_BUDGET_MINUTES} min) ==");
    let tests = testing::run(&[]);
    if rows.iter().all(|row| row.passed) { tests } else { Err(Failure::Reported) }
}

/// The rows as text. Over its budget is not a failure, since a busy machine is not; it is to be seen.
fn table(rows: &[Row]) -> String {
    let mut text = format!("{:<20} {:>8} {:>9}\n", "stage", "budget", "took");
    for row in rows {
        let seconds = row.took.as_secs_f64();
        let over = if row.took > Duration::from_secs(row.budget_minutes * 60) { ", OVER BUDGET" } else { "" };
        let verdict = if row.passed { "passed" } else { "FAILED" };
        text += &format!("{:<20} {:>6} s {seconds:>7.0} s  {verdict}{over}\n", row.name, row.budget_minutes * 60);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_failures_and_excess() {
        let row = |name, seconds, passed| Row { name, budget_minutes: 1, took: Duration::from_secs(seconds), passed };
        let text = table(&[row("good", 60, true), row("slow", 61, true), row("bad", 1, false)]);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[1].ends_with("60 s  passed"), "{text}");
        assert!(lines[2].ends_with("61 s  passed, OVER BUDGET"), "{text}");
        assert!(lines[3].ends_with("1 s  FAILED"), "{text}");
    }
}
