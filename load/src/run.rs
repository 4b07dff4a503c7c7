//! `run`: each case with each server in turn, several times, and the table.
//!
//! A ratio is to the floor that was measured in the same turn: the machine is then in the same state for both. The
//! table has the medians.

use std::path::Path;
use std::process::Command;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::fault::{Fault, system};
use crate::measure::{Case, Figures, measure, median};
use crate::options::Options;
use crate::process::Server;

/// Descriptors of a process that are no connections.
pub(crate) const DESCRIPTORS_SPARE: u64 = 100;

/// Who is measured. The floor comes first.
#[derive(Clone, Copy, Debug)]
enum Contestant<'a> {
    Floor,
    Fanfare { program: &'a Path, workers: u16 },
}

/// Measures all and prints the table of each case as soon as it is there.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let most = options.cases.iter().map(|case| case.connections).max().unwrap_or(0);
    raise_descriptors(most as u64 + DESCRIPTORS_SPARE)?;
    let mut contestants = vec![Contestant::Floor];
    if let Some(program) = &options.server {
        contestants.extend(options.workers.iter().map(|&workers| Contestant::Fanfare { program, workers }));
    }
    let mut deliveries = 0;
    for &case in &options.cases {
        let mut turns: Vec<Vec<Figures>> = Vec::new();
        for turn in 0..options.repeat {
            eprintln!("{}, turn {} of {}", title(case), turn + 1, options.repeat);
            let all = contestants.iter().map(|contestant| {
                let server = contestant.start()?;
                measure(&server, case, options.length)
            });
            turns.push(all.collect::<Result<_, _>>()?);
        }
        print!("{}", table(case, &contestants, &turns));
        deliveries += turns.iter().flatten().map(|figures| figures.deliveries).sum::<u64>();
    }
    println!("{deliveries} deliveries, none lost, each connection's in order");
    Ok(())
}

impl Contestant<'_> {
    fn start(self) -> Result<Server, Fault> {
        match self {
            Self::Floor => {
                let this = std::env::current_exe().map_err(system("finding this program"))?;
                Server::start(Command::new(this).arg("floor"))
            }
            Self::Fanfare { program, workers } => {
                let mut command = Command::new(program);
                // Its clients only listen, for as long as a slow machine takes.
                command.args(["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "3600"]);
                Server::start(command.args(["--workers", &workers.to_string()]))
            }
        }
    }

    fn name(self) -> String {
        match self {
            Self::Floor => "floor, 1 thread".to_owned(),
            Self::Fanfare { workers: 1, .. } => "fanfare, 1 worker".to_owned(),
            Self::Fanfare { workers, .. } => format!("fanfare, {workers} workers"),
        }
    }
}

/// Lets this process and those that it starts have `count` descriptors.
pub(crate) fn raise_descriptors(count: u64) -> Result<(), Fault> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= count) {
        return Ok(());
    }
    if limit.maximum.is_some_and(|maximum| maximum < count) {
        let maximum = limit.maximum.unwrap_or(0);
        return Err(Fault::Server(format!("{count} descriptors are needed, and only {maximum} allowed (ulimit -Hn)")));
    }
    setrlimit(Resource::Nofile, Rlimit { current: Some(count), maximum: limit.maximum })
        .map_err(system("RLIMIT_NOFILE"))
}

fn title(case: Case) -> String {
    let broadcasts = if case.burst == 1 { "one at a time".to_owned() } else { format!("in bursts of {}", case.burst) };
    format!("{} connections, {broadcasts}", case.connections)
}

const HEAD: [[&str; 8]; 2] = [
    ["", "server CPU", "of the", "deliveries", "until all have it", "joins", "CPU of a", "bytes/connection"],
    ["", "per delivery", "floor", "per s", "p50 / p99, ms", "per s", "join, us", "idle / after"],
];

/// The medians of `turns`, a line for each of `contestants`.
fn table(case: Case, contestants: &[Contestant<'_>], turns: &[Vec<Figures>]) -> String {
    let mut text = format!("\n{}\n", title(case));
    HEAD.into_iter().for_each(|cells| row(&mut text, cells));
    for (at, contestant) in contestants.iter().enumerate() {
        let figures = Figures::median(&turns.iter().map(|turn| turn[at]).collect::<Vec<_>>());
        let ratio = median(turns.iter().map(|turn| turn[at].delivery_us / turn[0].delivery_us).collect());
        let cells = [
            contestant.name(),
            format!("{:.2} us", figures.delivery_us),
            format!("{ratio:.2}"),
            format!("{:.0}", figures.deliveries_per_s),
            format!("{:.1} / {:.1}", figures.fan_out_p50_ms, figures.fan_out_p99_ms),
            format!("{:.0}", figures.joins_per_s),
            format!("{:.1}", figures.join_us),
            format!("{:.0} / {:.0}", figures.idle_bytes, figures.after_bytes),
        ];
        row(&mut text, cells.each_ref().map(String::as_str));
    }
    text
}

fn row(text: &mut String, [name, delivery, ratio, deliveries, fan_out, joins, join, bytes]: [&str; 8]) {
    *text += &format!("{name:<20} {delivery:>12} {ratio:>6} {deliveries:>10} {fan_out:>17}");
    *text += &format!(" {joins:>6} {join:>8} {bytes:>16}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_medians_and_ratios_of_the_same_turn() {
        let figures = |delivery_us| Figures { delivery_us, idle_bytes: 700.4, ..Figures::default() };
        let turn = |floor, fanfare| vec![figures(floor), figures(fanfare)];
        let contestants = [Contestant::Floor, Contestant::Fanfare { program: Path::new("fanfare"), workers: 2 }];
        let turns = [turn(1.0, 1.5), turn(2.0, 2.2), turn(4.0, 8.0)];
        let text = table(Case { connections: 5_000, burst: 8 }, &contestants, &turns);
        let lines: Vec<&str> = text.lines().skip_while(|line| line.is_empty()).collect();
        assert_eq!(lines[0], "5000 connections, in bursts of 8");
        assert!(lines[3].starts_with("floor, 1 thread"), "{text}");
        assert!(lines[3].contains(" 2.00 us   1.00 "), "{text}");
        assert!(lines[4].starts_with("fanfare, 2 workers"), "{text}");
        assert!(lines[4].contains(" 2.20 us   1.50 "), "{text}");
        assert!(lines[4].ends_with(" 700 / 0"), "{text}");
    }
}
