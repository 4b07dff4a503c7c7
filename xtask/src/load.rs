//! `cargo xtask load`: what channels over WebSocket cost `fanfare serve`, beside the floor.

use std::process::Command;

use crate::shell::{Outcome, cargo, run as run_command, target_dir};

/// Builds the program and the load client, and runs the client with `arguments`.
///
/// `--quick` measures nothing that counts: it is built as the tests are, with debug assertions.
pub(crate) fn run(arguments: &[String]) -> Outcome {
    let is_presence = arguments.iter().any(|argument| argument == "--presence");
    let is_quick = arguments.iter().any(|argument| argument == "--quick");
    let (profile, folder) = if is_quick { ("--profile=test", "debug") } else { ("--profile=release", "release") };
    run_command(&mut cargo(["build", "--package=fanfare-cli", profile]))?;
    run_command(&mut cargo(["build", "--package=fanfare-load", profile]))?;
    let folder = target_dir(folder);
    let mut client = Command::new(folder.join("fanfare-load"));
    client.arg(if is_presence { "presence" } else { "run" }).arg("--server").arg(folder.join("fanfare"));
    run_command(client.args(arguments.iter().filter(|argument| *argument != "--presence")))
}

/// Small loads, to see that nothing is lost and that the client works.
pub(crate) fn quick() -> Outcome {
    run(&["--quick".to_owned()])?;
    run(&["--presence".to_owned(), "--quick".to_owned()])
}
