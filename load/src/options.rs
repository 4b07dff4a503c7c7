//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::{Case, Length};

pub(crate) const USAGE: &str = "\
Usage: fanfare-load run [--server FANFARE] [--quick] [--cases CONNECTIONSxBURST,..] [--workers N,..] [--seconds S]
                        [--repeat N]
       fanfare-load presence --server FANFARE [--quick] [--clients N] [--workers N] [--diff-periods MS,..] [--repeat N]
                             [--deadline S]
       fanfare-load floor

`run` measures the floor and the program FANFARE in turn, or the floor alone; `presence` lets clients join a room of
FANFARE within a second; `floor` is the floor, a server.
";

/// What `run` is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    /// The program; without it only the floor is measured.
    pub(crate) server: Option<PathBuf>,
    pub(crate) cases: Vec<Case>,
    /// Fanfare is measured with each of these numbers of workers.
    pub(crate) workers: Vec<u16>,
    /// Of each measurement.
    pub(crate) length: Length,
    /// Measurements of each server in each case.
    pub(crate) repeat: usize,
}

impl Options {
    /// The arguments after `run`. The error is a sentence for the user.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let is_quick = arguments.iter().any(|argument| argument == "--quick");
        let mut options = if is_quick { Self::quick() } else { Self::whole() };
        let mut arguments = arguments.iter();
        while let Some(name) = arguments.next() {
            if name == "--quick" {
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("`{name}` has no value, or is no option"))?;
            let wrong = || format!("`{name}` can't be `{value}`");
            match name.as_str() {
                "--server" => options.server = Some(PathBuf::from(value)),
                "--cases" => options.cases = list(value, case).ok_or_else(wrong)?,
                "--workers" => options.workers = list(value, positive).ok_or_else(wrong)?,
                "--seconds" => {
                    let seconds: u16 = positive(value).ok_or_else(wrong)?;
                    options.length.time = Duration::from_secs(seconds.into());
                }
                "--repeat" => options.repeat = positive(value).ok_or_else(wrong)?,
                _ => return Err(format!("no option `{name}`")),
            }
        }
        Ok(options)
    }

    fn whole() -> Self {
        let case = |connections, burst| Case { connections, burst };
        Self {
            server: None,
            cases: vec![case(1_000, 1), case(10_000, 1), case(1_000, 8), case(5_000, 8), case(10_000, 8)],
            workers: vec![1, 2],
            length: Length { rounds: 30, time: Duration::from_secs(3) },
            repeat: 3,
        }
    }

    /// Enough to see that all works, and to find what is lost.
    fn quick() -> Self {
        let case = |burst| Case { connections: 200, burst };
        let length = Length { rounds: 20, time: Duration::ZERO };
        Self { cases: vec![case(1), case(8)], length, repeat: 1, ..Self::whole() }
    }
}

pub(crate) fn list<T>(text: &str, one: impl Fn(&str) -> Option<T>) -> Option<Vec<T>> {
    text.split(',').map(one).collect()
}

fn case(text: &str) -> Option<Case> {
    let (connections, burst) = text.split_once('x')?;
    // A burst must fit into the buffer of the floor.
    let burst = positive(burst).filter(|burst| *burst <= 64)?;
    Some(Case { connections: positive(connections)?, burst })
}

pub(crate) fn positive<T: std::str::FromStr + Default + PartialOrd>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number| *number > T::default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_taken_over() {
        let options = parse("--cases 10x1,20x8 --server a/b --quick --workers 3 --seconds 2 --repeat 5").unwrap();
        let expected = Options {
            server: Some("a/b".into()),
            cases: vec![Case { connections: 10, burst: 1 }, Case { connections: 20, burst: 8 }],
            workers: vec![3],
            length: Length { rounds: 20, time: Duration::from_secs(2) },
            repeat: 5,
        };
        assert_eq!(options, expected);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let wrong =
            ["--cases 10", "--cases 0x1", "--cases 1x65", "--workers 1,", "--repeat 0", "--seconds x", "--what 1"];
        for flags in wrong {
            let error = parse(flags).unwrap_err();
            assert!(error.contains(flags.split(' ').next().unwrap()), "{flags}: {error}");
        }
        assert!(parse("--server").unwrap_err().contains("--server"));
    }
}
