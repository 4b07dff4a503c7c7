//! `cargo xtask perf`: counts the instructions of the hot paths, and compares them with `benches/instructions.toml`.
//!
//! The package `perf` is the measured program: one row a process, one thread, fixed hash seeds, under callgrind.
//! Unlike a time, such a figure does not depend on what else the machine does. It depends on the compiler, which the
//! file therefore names, and a little on the C library and on what instructions the processor has.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::shell::{Outcome, announce, line_of, output_of, read, root, target_dir};
use crate::toolchain::cargo_of;

/// Where the figures are kept.
const FILE: &str = "benches/instructions.toml";
/// How far a figure may be from the file's, in percent.
const TOLERANCE: f64 = 3.0;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Options {
    /// Compare with the file.
    Compare,
    /// Take the file anew, for this reason.
    Write(String),
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        match arguments[..] {
            [] => Ok(Options::Compare),
            ["--write", reason] if is_reason(reason) => Ok(Options::Write(reason.to_owned())),
            ["--write", ..] => Err("`perf --write` needs the reason for other figures, one line in quotes".to_owned())?,
            [unknown, ..] => Err(format!("`perf` takes no `{unknown}`; see `cargo xtask help`"))?,
        }
    }
}

/// Whether a text can stand in the file as a reason: one line of some words, which ends where the file says so.
fn is_reason(text: &str) -> bool {
    text.split_whitespace().count() > 1 && !text.contains(['\n', '"', '\\'])
}

/// The file's content.
#[derive(Debug, PartialEq)]
struct Figures {
    /// The compiler's version.
    rustc: String,
    /// Why the figures were last taken anew.
    reason: String,
    /// Instructions for one operation, by the name of the row.
    rows: Vec<(String, f64)>,
}

impl Figures {
    fn parse(text: &str) -> Outcome<Self> {
        let mut figures = Figures { rustc: String::new(), reason: String::new(), rows: Vec::new() };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let unreadable = || format!("{FILE} has a line that is not `name = value`: {line}");
            let (name, value) = line.split_once('=').ok_or_else(unreadable)?;
            let (name, value) = (name.trim(), value.trim());
            let string = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            match (name, string) {
                ("rustc", Some(version)) => version.clone_into(&mut figures.rustc),
                ("reason", Some(reason)) => reason.clone_into(&mut figures.reason),
                _ => figures.rows.push((name.to_owned(), value.parse().map_err(|_| unreadable())?)),
            }
        }
        if figures.rustc.is_empty() || !is_reason(&figures.reason) {
            return Err(format!("{FILE} must name its `rustc` and the `reason` for its figures").into());
        }
        Ok(figures)
    }

    fn text(&self) -> String {
        let Figures { rustc, reason, rows } = self;
        let head = "\
# Instructions for one operation of each hot path, as the package `perf` measures it. Written by
# `cargo xtask perf --write REASON`, never by hand; docs/benchmarks.md says more.
";
        let rows: String = rows.iter().map(|(name, figure)| format!("{name} = {figure:.1}\n")).collect();
        format!("{head}rustc = \"{rustc}\"\nreason = \"{reason}\"\n\n{rows}")
    }
}

/// Counts, then compares with the file or writes it.
pub(crate) fn run(options: &Options) -> Outcome {
    let mut file = Figures::parse(&read(&root().join(FILE))?)?;
    let program = build(&file.rustc)?;
    let now = count(&program)?;
    let (table, wrong) = compare(&file.rows, &now);
    print!("{table}");
    match options {
        Options::Write(reason) => {
            (file.reason, file.rows) = (reason.clone(), now);
            let written = std::fs::write(root().join(FILE), file.text());
            Ok(written.map_err(|error| format!("cannot write {FILE}: {error}"))?)
        }
        Options::Compare if wrong.is_empty() => Ok(()),
        Options::Compare => Err(format!(
            "{}\nIf that is meant to be, say why in the same commit: `cargo xtask perf --write \"REASON\"`",
            wrong.join("\n")
        )
        .into()),
    }
}

/// Both sides beside each other, and what is wrong. A figure that has become smaller is wrong too: left in the file,
/// the old one would let later changes eat up the gain unseen.
fn compare(file: &[(String, f64)], now: &[(String, f64)]) -> (String, Vec<String>) {
    let find = |rows: &[(String, f64)], name: &str| rows.iter().find(|row| row.0 == name).map(|row| row.1);
    let shown = |figure: Option<f64>| figure.map_or_else(|| "-".to_owned(), |figure| format!("{figure:.1}"));
    let mut table = format!("{:<30} {:>10} {:>10} {:>8}\n", "instructions", "file", "now", "change");
    let mut wrong = Vec::new();
    let gone = file.iter().filter(|(name, _)| find(now, name).is_none());
    for (name, _) in now.iter().chain(gone) {
        let (before, after) = (find(file, name), find(now, name));
        let change = match (before, after) {
            (Some(before), Some(after)) => {
                let percent = (after - before) / before * 100.0;
                if percent > TOLERANCE {
                    wrong.push(format!("{name} takes {percent:.1} % more instructions than {FILE} says"));
                } else if percent < -TOLERANCE {
                    let less = -percent;
                    wrong.push(format!("{name} takes {less:.1} % fewer than {FILE} says: keep the gain, take it anew"));
                }
                format!("{percent:+.1} %")
            }
            (None, _) => {
                wrong.push(format!("{name} is not in {FILE}"));
                "new".to_owned()
            }
            (_, None) => {
                wrong.push(format!("{name} is in {FILE}, and no longer measured"));
                "gone".to_owned()
            }
        };
        table += &format!("{name:<30} {:>10} {:>10} {change:>8}\n", shown(before), shown(after));
    }
    (table, wrong)
}

/// Builds the measured program with that version of the compiler, as users build a release. Returns where it is.
fn build(rustc: &str) -> Outcome<PathBuf> {
    let mut build = cargo_of(rustc)?;
    build.args(["build", "--release", "--locked", "--package=fanfare-perf"]);
    build.args(["--message-format=json-render-diagnostics", "--target-dir"]).arg(target_dir("perf"));
    // What a caller has set changes the code, and must not.
    let is_setting = |name: &str| {
        matches!(name, "CARGO" | "CARGO_ENCODED_RUSTFLAGS" | "RUSTC_WRAPPER") || name.starts_with("CARGO_PROFILE_")
    };
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_setting)) {
        build.env_remove(name);
    }
    build.env("RUSTFLAGS", "--cfg fanfare_stepped");
    announce(&build);
    let told = output_of(&mut build)?;
    executable(&told).map(PathBuf::from).ok_or_else(|| "cargo names no executable".to_owned().into())
}

/// The executable that cargo's messages, one a line, tell of.
fn executable(messages: &str) -> Option<&str> {
    messages.lines().find_map(|line| line.split_once("\"executable\":\"")?.1.split_once('"').map(|(path, _)| path))
}

/// Counts each row, as many at a time as there are processors.
fn count(program: &Path) -> Outcome<Vec<(String, f64)>> {
    let list = output_of(clean(program, &program.to_string_lossy()).arg("--list"))?;
    let names: Vec<&str> = list.lines().collect();
    let figures: Mutex<Vec<Option<Outcome<f64>>>> = Mutex::new(names.iter().map(|_| None).collect());
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((number, name)) = names.iter().enumerate().nth(next.fetch_add(1, Ordering::Relaxed)) {
                    let figure = count_row(program, name);
                    figures.lock().expect("no thread panics with it")[number] = Some(figure);
                }
            });
        }
    });
    let figures = figures.into_inner().expect("no thread panicked with it");
    let rows = names.into_iter().zip(figures);
    rows.map(|(name, figure)| Ok((name.to_owned(), figure.expect("each was counted")?))).collect()
}

/// Instructions of a row, for one operation.
fn count_row(program: &Path, row: &str) -> Outcome<f64> {
    let mut valgrind = clean(program, "valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    valgrind.args(["--collect-atstart=no", "--toggle-collect=*measured*"]);
    valgrind.arg(Path::new(".").join(program.file_name().unwrap_or_default())).arg(row);
    let line = line_of(&valgrind);
    let output = valgrind.output().map_err(|error| format!("cannot start `{line}`: {error}"))?;
    let (told, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{log}`{line}` failed: {}", output.status).into());
    }
    let instructions = collected(&log).filter(|&instructions| instructions > 0);
    match (instructions, told.trim().parse::<u64>()) {
        (Some(instructions), Ok(operations @ 1..)) => Ok(instructions as f64 / operations as f64),
        _ => Err(format!("{log}`{line}` counted nothing, or did nothing").into()),
    }
}

/// A command beside the program. Where the stack begins depends on the length of the environment and of the program's
/// name: both are the same for everybody.
fn clean(program: &Path, command: &str) -> Command {
    let mut command = Command::new(command);
    command.current_dir(program.parent().unwrap_or(Path::new("/")));
    command.env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
    command
}

/// The sum that callgrind tells at its end.
fn collected(log: &str) -> Option<u64> {
    log.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shell::owned;

    fn rows(rows: &[(&str, f64)]) -> Vec<(String, f64)> {
        rows.iter().map(|&(name, figure)| (name.to_owned(), figure)).collect()
    }

    fn wrong(file: &[(&str, f64)], now: &[(&str, f64)]) -> Vec<String> {
        compare(&rows(file), &rows(now)).1
    }

    #[test]
    fn three_percent_are_tolerated_either_way() {
        assert_eq!(wrong(&[("a", 100.0), ("b", 100.0)], &[("a", 103.0), ("b", 97.0)]), Vec::<String>::new());
    }

    #[test]
    fn more_instructions_are_wrong() {
        let wrong = wrong(&[("a", 100.0), ("b", 10.0)], &[("a", 103.1), ("b", 10.0)]);
        assert_eq!(wrong, ["a takes 3.1 % more instructions than benches/instructions.toml says"]);
    }

    #[test]
    fn a_gain_is_to_be_kept() {
        let wrong = wrong(&[("a", 100.0)], &[("a", 90.0)]);
        assert_eq!(wrong, ["a takes 10.0 % fewer than benches/instructions.toml says: keep the gain, take it anew"]);
    }

    #[test]
    fn a_row_on_one_side_is_wrong() {
        let (table, wrong) = compare(&rows(&[("old", 1.0)]), &rows(&[("new", 2.0)]));
        assert_eq!(wrong.len(), 2, "{wrong:?}");
        let rows: Vec<Vec<&str>> = table.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(rows, [["new", "-", "2.0", "new"], ["old", "1.0", "-", "gone"]]);
    }

    #[test]
    fn what_is_written_is_read() {
        let figures = Figures {
            rustc: "1.95.0".to_owned(),
            reason: "a = b, at last".to_owned(),
            rows: rows(&[("hand_over", 614.2), ("seal", 5.0)]),
        };
        assert_eq!(Figures::parse(&figures.text()).unwrap(), figures);
    }

    #[test]
    fn a_file_says_its_compiler_and_reason_and_nothing_unreadable() {
        let head = "rustc = \"1.95.0\"\nreason = \"the first figures\"\n";
        assert!(Figures::parse(head).is_ok());
        assert!(Figures::parse("rustc = \"1.95.0\"\na = 1.0\n").is_err());
        assert!(Figures::parse("reason = \"the first figures\"\n").is_err());
        assert!(Figures::parse(&format!("{head}a = much\n")).is_err());
        assert!(Figures::parse(&format!("{head}a\n")).is_err());
    }

    #[test]
    fn other_figures_need_a_reason() {
        let parse = |arguments: &[&str]| Options::parse(&owned(arguments));
        assert_eq!(parse(&[]).unwrap(), Options::Compare);
        assert_eq!(parse(&["--write", "a reason"]).unwrap(), Options::Write("a reason".to_owned()));
        for refused in [&["--write"][..], &["--write", ""], &["--write", "word"], &["--write", "two\nlines"], &["x"]] {
            assert!(parse(refused).is_err(), "{refused:?}");
        }
    }

    #[test]
    fn what_the_tools_say_is_found() {
        let messages =
            "{\"executable\":null}\n{\"reason\":\"x\",\"executable\":\"/t/instructions-1\",\"fresh\":true}\n";
        assert_eq!(executable(messages), Some("/t/instructions-1"));
        assert_eq!(collected("==7== Events    : Ir\n==7== Collected : 4986856\n"), Some(4_986_856));
        assert_eq!(collected("==7== nothing\n"), None);
    }
}
