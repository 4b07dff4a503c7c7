//! The `fanfare` program.

mod bench;
mod cli;
mod serve;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use cli::{BenchOptions, Cli, Command};

fn main() -> ExitCode {
    // Without a subcommand it serves, with the defaults and what the environment says.
    let done = match Cli::parse().command.unwrap_or_else(|| Command::Serve(cli::ServeOptions::defaults())) {
        Command::Serve(options) => serve::run(&options),
        Command::Bench(options) => run_bench(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fanfare: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run_bench(options: BenchOptions) -> Result<(), String> {
    let json = options.json;
    let load = match options.check() {
        Ok(load) => load,
        // Prints the message and the usage, and ends with code 2, as for a flag that does not parse.
        Err(message) => Cli::command().error(ErrorKind::ValueValidation, message).exit(),
    };
    let report = bench::run(&load).map_err(|error| error.to_string())?;
    if json {
        println!("{}", report.json())
    } else {
        print!("{}", report.table())
    }
    Ok(())
}
