//! `fanfare-load`: how much of a server's processor time and memory channels over WebSocket take.
//!
//! One thread holds all connections, joins a channel with each, publishes on one of them and checks at each connection
//! that every broadcast comes, once and in order. Beside `fanfare serve` it measures the floor: a server that does
//! nothing but write the same bytes to every socket. Or all connections join one room, and each keeps a view of who is
//! in it. `cargo xtask load` builds all and runs it.

#[cfg(target_os = "linux")]
mod client;
#[cfg(target_os = "linux")]
mod fault;
#[cfg(target_os = "linux")]
mod floor;
#[cfg(target_os = "linux")]
mod frame;
#[cfg(target_os = "linux")]
mod measure;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod presence;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod view;
#[cfg(target_os = "linux")]
mod wire;

use std::process::ExitCode;

/// What is to be measured.
#[cfg(target_os = "linux")]
enum Work {
    Broadcasts(options::Options),
    Presence(presence::Options),
}

/// Exits with 1 when a delivery is lost or out of order, a view is not what it must be or nothing can be measured, with
/// 2 when the arguments make no sense.
#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let options = match arguments.split_first() {
        Some((command, [])) if command == "floor" => {
            return report(floor::run().map_err(fault::system("the floor")));
        }
        Some((command, rest)) if command == "run" => options::Options::parse(rest).map(Work::Broadcasts),
        Some((command, rest)) if command == "presence" => presence::Options::parse(rest).map(Work::Presence),
        _ => Err("`run`, `presence` or `floor`?".to_owned()),
    };
    match options {
        Ok(Work::Broadcasts(options)) => report(run::run(&options)),
        Ok(Work::Presence(options)) => report(presence::run(&options)),
        Err(error) => {
            eprint!("fanfare-load: {error}\n{}", options::USAGE);
            ExitCode::from(2)
        }
    }
}

#[cfg(target_os = "linux")]
fn report(result: Result<(), fault::Fault>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(fault) => {
            eprintln!("fanfare-load: {fault}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    eprintln!("fanfare-load: it reads /proc and waits in epoll, which only Linux has");
    ExitCode::FAILURE
}
