//! `cargo xtask loom`: one build of all models, then each model as it is, then each model under each of its mutants.
//!
//! A mutant weakens one ordering of the library. The build holds all of them, and the variable FANFARE_MUTANT chooses
//! one at run time, so that a hundred mutants cost no more building than none. A mutant is caught when its model
//! panics; a model that hangs under a mutant has not caught it, for a reader could not tell that from a slow model.

use std::env;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::model::{Model, mismatches, mutants_defined};
use crate::shell::{Failure, Outcome, announce, cargo, output_of, quick_release, root, rustflags, target_dir};
use crate::testing::Counts;

/// How many models run at once.
const PARALLEL: usize = 2;
/// How long one model may run under a mutant.
const MUTANT_SECONDS_MAX: u64 = 120;
/// How long one model may run as it is. Longer than the whole stage may take, for runs by hand with a larger bound.
const MODEL_SECONDS_MAX: u64 = 3600;
/// How often a running model is looked at.
const POLL: Duration = Duration::from_millis(10);

const PREEMPTIONS: &str = "LOOM_MAX_PREEMPTIONS";
const MUTANT: &str = "FANFARE_MUTANT";
/// Settings of loom that would end a check before it is complete.
const SHORTCUTS: [&str; 4] =
    ["LOOM_MAX_DURATION", "LOOM_MAX_PERMUTATIONS", "LOOM_CHECKPOINT_FILE", "LOOM_CHECKPOINT_INTERVAL"];

/// What the command line asks for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) mutants: bool,
    pub(crate) filter: Option<String>,
}

impl Options {
    pub(crate) fn parse(arguments: &[String]) -> Outcome<Self> {
        let mut options = Self::default();
        for argument in arguments {
            match argument.as_str() {
                "--mutants" => options.mutants = true,
                name if !name.starts_with('-') && options.filter.is_none() => options.filter = Some(name.to_owned()),
                unknown => return Err(format!("`loom` takes no `{unknown}`; see `cargo xtask help`").into()),
            }
        }
        Ok(options)
    }
}

/// A model to run, perhaps under a mutant.
#[derive(Debug)]
struct Job<'a> {
    model: &'a Model,
    executable: &'a Path,
    mutant: Option<&'a str>,
}

/// How a model's run ended.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Passed,
    /// It panicked, and this is what it said first.
    Panicked(String),
    /// It ended with another status than a test that panics has, or had nothing to run.
    Broken(String),
    TimedOut,
}

#[derive(Debug)]
struct Report {
    end: End,
    seconds: f64,
    log: PathBuf,
}

/// Checks the models that `options` select.
pub(crate) fn run(options: &Options) -> Outcome {
    let begin = Instant::now();
    let all = Model::read_all(&root().join("loom-tests/tests"))?;
    let defined = mutants_defined(&root().join("src"))?;
    if options.mutants {
        if env::var_os(MUTANT).is_some() {
            return Err(format!("{MUTANT} is set, but `--mutants` begins with the models as they are: unset it").into());
        }
        let complaints = mismatches(&defined, &all);
        if !complaints.is_empty() {
            return Err(complaints.join("\nxtask: ").into());
        }
    }
    let selected = |model: &&Model| options.filter.as_ref().is_none_or(|filter| model.name.contains(filter));
    let models: Vec<&Model> = all.iter().filter(selected).collect();
    if let (true, Some(filter)) = (models.is_empty(), &options.filter) {
        return Err(format!("no model of loom-tests/tests has `{filter}` in its name").into());
    }
    if models.is_empty() {
        println!("loom: no models, no mutants, nothing to check");
        return Ok(());
    }
    let executables = build()?;
    let mut found = Vec::new();
    for model in models {
        let executable = executables.iter().find(|(name, _)| *name == model.name);
        found.push((model, &executable.ok_or_else(|| format!("the build made no test `{}`", model.name))?.1));
    }
    let sound = check_models(&found)?;
    let caught = !(sound && options.mutants) || check_mutants(&found)?;
    println!("loom: {:.0} s in total", begin.elapsed().as_secs_f64());
    if sound && caught { Ok(()) } else { Err(Failure::Reported) }
}

/// Builds all models, once; the result is (name, executable) of each.
fn build() -> Outcome<Vec<(String, PathBuf)>> {
    let mut command = cargo(["test", "--package=fanfare-loom", "--release", "--tests", "--no-run"]);
    command.arg("--message-format=json-render-diagnostics").arg("--target-dir").arg(target_dir("loom"));
    command.env("RUSTFLAGS", rustflags("--cfg fanfare_loom"));
    quick_release(&mut command);
    announce(&command);
    let messages = output_of(&mut command)?;
    Ok(messages.lines().filter_map(test_executable).collect())
}

/// Name and executable of the integration test that `message`, a line of cargo's JSON, tells of.
fn test_executable(message: &str) -> Option<(String, PathBuf)> {
    let text_after = |text: &str, key: &str| -> Option<String> {
        let value = text.split_once(key)?.1;
        Some(value.split_once('"')?.0.to_owned())
    };
    let target = message.split_once("\"target\":{\"kind\":[\"test\"]")?.1;
    Some((text_after(target, "\"name\":\"")?, text_after(target, "\"executable\":\"")?.into()))
}

/// Runs each model as it is (or under the mutant that the caller's environment names); whether all pass.
fn check_models(models: &[(&Model, &PathBuf)]) -> Outcome<bool> {
    let jobs: Vec<Job<'_>> =
        models.iter().map(|&(model, executable)| Job { model, executable, mutant: None }).collect();
    let sound = run_all(&jobs, |job, report| {
        let name = &job.model.name;
        println!(
            "{name:<28} {:<10} {:>6.1} s",
            if report.end == End::Passed { "passed" } else { "FAILED" },
            report.seconds
        );
        if report.end != End::Passed {
            let output = fs::read_to_string(&report.log).unwrap_or_default();
            eprintln!("{output}\nxtask: model `{name}`: {}", describe(&report.end));
        }
        report.end == End::Passed
    })?;
    Ok(sound)
}

/// Runs each model under each of its mutants; whether all are caught.
fn check_mutants(models: &[(&Model, &PathBuf)]) -> Outcome<bool> {
    let mut jobs = Vec::new();
    for &(model, executable) in models {
        jobs.extend(model.mutants.iter().map(|mutant| Job { model, executable, mutant: Some(mutant) }));
    }
    println!("\n{:<28} {:<32} verdict", "model", "mutant");
    run_all(&jobs, |job, report| {
        let caught = matches!(report.end, End::Panicked(_));
        let verdict = match &report.end {
            End::Panicked(said) => format!("caught in {:.1} s: {said}", report.seconds),
            End::Passed => format!("SURVIVED ({:.1} s)", report.seconds),
            other => format!("FAILED: {}; see {}", describe(other), report.log.display()),
        };
        println!("{:<28} {:<32} {verdict}", job.model.name, job.mutant.unwrap_or_default());
        caught
    })
}

fn describe(end: &End) -> String {
    match end {
        End::Passed => "passed".to_owned(),
        End::Panicked(said) => format!("panicked: {said}"),
        End::Broken(how) => how.clone(),
        End::TimedOut => "did not end in time".to_owned(),
    }
}

/// Runs `jobs`, several at once, and judges each as it ends; whether all judgements are good.
fn run_all(jobs: &[Job<'_>], judge: impl Fn(&Job<'_>, &Report) -> bool + Sync) -> Outcome<bool> {
    let next = AtomicUsize::new(0);
    let verdict: Mutex<Outcome<bool>> = Mutex::new(Ok(true));
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let report = run_job(job);
                    let mut verdict = verdict.lock().unwrap_or_else(PoisonError::into_inner);
                    match (report, &mut *verdict) {
                        (Ok(report), Ok(all_good)) => *all_good &= judge(job, &report),
                        (Err(failure), verdict @ Ok(_)) => *verdict = Err(failure),
                        (_, Err(_)) => return,
                    }
                }
            });
        }
    });
    verdict.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run_job(job: &Job<'_>) -> Outcome<Report> {
    let folder = target_dir("loom").join("output");
    let log = folder.join(format!("{}-{}.txt", job.model.name, job.mutant.unwrap_or("as-it-is")));
    let mut command = Command::new(job.executable);
    command.current_dir(root().join("loom-tests")).arg("--test-threads=1");
    if env::var_os(PREEMPTIONS).is_none() {
        command.env(PREEMPTIONS, job.model.preemptions.to_string());
    }
    for name in SHORTCUTS {
        command.env_remove(name);
    }
    let seconds_max = match job.mutant {
        Some(mutant) => {
            command.env(MUTANT, mutant).env("RUST_BACKTRACE", "0");
            MUTANT_SECONDS_MAX
        }
        None => MODEL_SECONDS_MAX,
    };
    let cannot = |error| format!("cannot run {}: {error}", job.executable.display());
    fs::create_dir_all(&folder).map_err(cannot)?;
    run_logged(&mut command, log, Duration::from_secs(seconds_max)).map_err(|error| cannot(error).into())
}

/// Runs `command`, which is a test binary, with its output in the file `log`, and ends it after `time_max`.
fn run_logged(command: &mut Command, log: PathBuf, time_max: Duration) -> std::io::Result<Report> {
    let output = File::create(&log)?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output);
    let begin = Instant::now();
    let mut child = command.spawn()?;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break Some(status);
        }
        if begin.elapsed() >= time_max {
            child.kill()?;
            child.wait()?;
            break None;
        }
        std::thread::sleep(POLL);
    };
    let seconds = begin.elapsed().as_secs_f64();
    let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    let end = match status {
        None => End::TimedOut,
        Some(status) if status.success() && passed_tests(&text) == 0 => End::Broken("ran no test".to_owned()),
        Some(status) if status.success() => End::Passed,
        Some(status) => panic_message(&text).map_or_else(|| End::Broken(format!("{status}")), End::Panicked),
    };
    Ok(Report { end, seconds, log })
}

fn passed_tests(output: &str) -> u64 {
    let mut counts = Counts::default();
    output.lines().for_each(|line| counts.add_line(line));
    counts.passed
}

/// What the first panic in `output` says, on one line and not too long.
fn panic_message(output: &str) -> Option<String> {
    let mut lines = output.lines().skip_while(|line| !(line.starts_with("thread '") && line.contains("panicked at ")));
    let place = lines.next()?;
    let message = lines.map(str::trim).find(|line| !line.is_empty()).unwrap_or(place);
    Some(message.chars().take(70).collect())
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
        let both = Options { mutants: true, filter: Some("wake".to_owned()) };
        assert_eq!(options(&["--mutants", "wake"]).unwrap(), both);
        assert!(options(&["--mutant"]).is_err());
        assert!(options(&["a", "b"]).is_err());
    }

    #[test]
    fn cargo_says_where_a_test_lies() {
        let message = concat!(
            r#"{"reason":"compiler-artifact","package_id":"p","manifest_path":"/m","target":{"kind":["test"],"#,
            r#""crate_types":["bin"],"name":"wake","src_path":"/s"},"executable":"/t/wake-1","fresh":true}"#,
        );
        assert_eq!(test_executable(message), Some(("wake".to_owned(), "/t/wake-1".into())));
        assert_eq!(test_executable(&message.replace("[\"test\"]", "[\"lib\"]")), None);
        assert_eq!(test_executable(r#"{"reason":"build-finished","success":true}"#), None);
    }

    #[test]
    fn a_panic_is_told_by_its_message() {
        let output = "running 1 test\nthread 'a' (7) panicked at src/x.rs:1:2:\nlost a wake-up\nnote: run with\n";
        assert_eq!(panic_message(output), Some("lost a wake-up".to_owned()));
        assert_eq!(panic_message("it panicked at noon"), None);
    }

    fn end_of(script: &str, time_max: Duration) -> End {
        let name = format!("xtask-loom-{}-{:x}.txt", std::process::id(), script.len());
        let log = env::temp_dir().join(name);
        let report = run_logged(Command::new("sh").args(["-c", script]), log.clone(), time_max).unwrap();
        fs::remove_file(log).unwrap();
        report.end
    }

    #[test]
    fn runs_end_as_they_end() {
        let long = Duration::from_secs(600);
        assert_eq!(end_of("echo 'test result: ok. 1 passed; 0 failed'", long), End::Passed);
        assert_eq!(end_of("echo 'test result: ok. 0 passed; 0 failed;'", long), End::Broken("ran no test".to_owned()));
        let panicked = "echo \"thread 'm' panicked at x:\"; echo lost; exit 101";
        assert_eq!(end_of(panicked, long), End::Panicked("lost".to_owned()));
        assert!(matches!(end_of("kill -9 $$", long), End::Broken(_)));
        assert_eq!(end_of("exec tail -f /dev/null", Duration::from_millis(30)), End::TimedOut);
    }
}
