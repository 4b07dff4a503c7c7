//! The `fanfare` program.

mod bench;
mod cli;

use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory, Parser};

use cli::{Cli, Command};

fn main() -> ExitCode {
    // Without a subcommand it is the benchmark, with its defaults.
    let command = Cli::parse().command.unwrap_or_else(|| Command::Bench(cli::BenchOptions::defaults()));
    let Command::Bench(options) = command;
    let json = options.json;
    let load = match options.check() {
        Ok(load) => load,
        // Prints the message and the usage, and ends with code 2, as for a flag that does not parse.
        Err(message) => Cli::command().error(ErrorKind::ValueValidation, message).exit(),
    };
    match bench::run(&load) {
        Ok(report) if json => println!("{}", report.json()),
        Ok(report) => print!("{}", report.table()),
        Err(error) => {
            eprintln!("fanfare: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
