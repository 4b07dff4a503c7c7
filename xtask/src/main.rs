//! `cargo xtask`: every command that a contributor or the CI runs, in plain Rust on top of `std` alone.
//!
//! One module per command; [`shell`] starts programs, [`requirements`] installs what a command needs.

mod bench;
mod ci;
mod conformance;
mod fuzz;
mod lint;
mod load;
mod loom;
mod model;
mod msrv;
mod packages;
mod perf;
mod requirements;
mod shell;
mod simulate;
mod soak;
mod testing;
mod toolchain;

use std::process::ExitCode;

use shell::{Failure, Outcome};

const HELP: &str = "\
Usage: cargo xtask <COMMAND>

Commands:
  test [ARGS..]                  Install what is missing, then pass every test: the whole workspace with all features,
                                 the library without default features, and the seeds of the fuzz targets.
                                 With ARGS only the first of these runs, and ARGS go to `cargo test`.
  loom [--mutants] [FILTER]      Check the models of loom-tests/ whose name contains FILTER.
                                 --mutants then weakens one ordering at a time and requires that its model fails.
                                 LOOM_MAX_PREEMPTIONS overrides the bound that a model's file states;
                                 FANFARE_MUTANT=NAME shows how a model fails under one mutant.
  fuzz [--seconds N] [--asan] [TARGET]
                                 Run each fuzz target, or TARGET alone, for N seconds (default 15).
                                 --asan adds the address sanitizer.
  conformance [CASES..]          Run the Autobahn suite for RFC 6455 against `fanfare serve --echo`: sections 1 to 7 and
                                 10, or CASES such as `6.*` 1.1.1. The report is target/artifacts/autobahn/index.html.
  load [--quick] [OPTIONS..]     Put thousands of WebSocket connections on `fanfare serve` and on the floor in turn:
                                 processor time per delivery, latency, joins, memory; fails when a delivery is lost or
                                 out of order. --quick: few connections, to see that it works.
                                 OPTIONS: --cases CONNECTIONSxBURST,.. --workers N,.. --seconds S --repeat N
  load --presence [--quick] [OPTIONS..]
                                 Let 2,000 WebSocket connections join one room within a second, and half of them go;
                                 fails when a view of who is there is not complete, or not that of all others.
                                 OPTIONS: --clients N --workers N --diff-periods MS,.. --repeat N
  simulate [--seeds N] [--seed S]
                                 Run clusters of presences on a bad network, N schedules (default 20000), and print how
                                 many a second; a failure names its seed. --seed S shows that one step by step.
  soak [--seconds N] [--seed S]  Run three nodes over a real nats-server for N seconds (default 300) with random faults:
                                 nodes end and begin again, links are cut, the server is killed. Every ten seconds all
                                 heals, and all must see the same. Not part of ci, which runs four seconds of it.
  lint                           Formatting, clippy in every configuration, rustdoc and msrv.
  perf [--write REASON]          Count the instructions of the hot paths under callgrind; fails where one is more than
                                 3 % off benches/instructions.toml. --write takes the figures anew, for a REASON that
                                 the file keeps.
  bench-smoke                    Run each benchmark once, small, to see that it works. Measures nothing.
  msrv                           Check the minimum supported Rust version: that all places state the same one, and
                                 that the workspace builds with it. Installs that toolchain when it is missing.
  ci                             All of the above against a time budget; the tests come last.
  help                           Print this text.
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match dispatch(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Reported) => ExitCode::FAILURE,
        Err(Failure::Message(message)) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(arguments: &[String]) -> Outcome {
    let Some((command, rest)) = arguments.split_first() else {
        eprint!("{HELP}");
        return Err(Failure::Reported);
    };
    let nothing_more = || match rest.first() {
        None => Ok(()),
        Some(unknown) => Err(Failure::from(format!("`{command}` takes no `{unknown}`; see `cargo xtask help`"))),
    };
    match command.as_str() {
        "test" => {
            requirements::install(requirements::TEST)?;
            packages::install()?;
            testing::run(rest)
        }
        "loom" => {
            let options = loom::Options::parse(rest)?;
            requirements::install(requirements::LOOM)?;
            loom::run(&options)
        }
        "fuzz" => {
            let options = fuzz::Options::parse(rest)?;
            requirements::install(requirements::FUZZ)?;
            fuzz::run(&options)
        }
        "conformance" => {
            requirements::install(requirements::CONFORMANCE)?;
            conformance::run(rest)
        }
        "load" => load::run(rest),
        "soak" => {
            let options = soak::Options::parse(rest)?;
            requirements::install(requirements::SOAK)?;
            soak::run(&options)
        }
        "simulate" => simulate::run(&simulate::Options::parse(rest)?),
        "lint" => {
            nothing_more()?;
            requirements::install(requirements::LINT)?;
            lint::run()
        }
        "perf" => {
            let options = perf::Options::parse(rest)?;
            requirements::install(requirements::PERF)?;
            perf::run(&options)
        }
        "bench-smoke" => {
            nothing_more()?;
            bench::smoke()
        }
        "msrv" => {
            nothing_more()?;
            msrv::run()
        }
        "ci" => {
            nothing_more()?;
            ci::run()
        }
        "help" | "--help" | "-h" => {
            print!("{HELP}");
            Ok(())
        }
        unknown => Err(format!("no command `{unknown}`; see `cargo xtask help`").into()),
    }
}
