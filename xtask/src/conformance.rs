//! `cargo xtask conformance`: RFC 6455 by the Autobahn suite, against the echo of the real program.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use crate::shell::{Outcome, cargo, read, root, run as run_command, succeeds, target_dir};

const SUITE: &str = "conformance/autobahn";
/// Framing, control frames, reserved bits, opcodes, fragments, UTF-8, closing; and automatic fragments. The others are
/// long measurements (9) and compression (12 and 13).
const CASES: [&str; 8] = ["1.*", "2.*", "3.*", "4.*", "5.*", "6.*", "7.*", "10.*"];
const SECONDS_MAX: &str = "170";
/// The suite is Python 2, ported by lib2to3, which left Python with 3.13.
const PYTHONS: [&str; 2] = ["python3.11", "python3"];

/// Runs `cases`, or those that the CI runs, and fails if any of them failed.
pub(crate) fn run(cases: &[String]) -> Outcome {
    let suite = root().join(SUITE);
    let environment = environment(&suite, &target_dir("autobahn"))?;
    run_command(&mut cargo(["build", "--package=fanfare-cli", "--profile=test"]))?;
    let server = Server::start(&target_dir("debug").join("fanfare"))?;
    let mut client = Command::new(suite.join("run.sh"));
    client.arg(format!("ws://127.0.0.1:{}/echo", server.port));
    if cases.is_empty() {
        client.args(CASES);
    } else {
        client.args(cases);
    }
    client.env("AUTOBAHN_VENV", &environment).env("TIMEOUT", SECONDS_MAX);
    client.env("OUT", root().join("target/artifacts/autobahn"));
    run_command(&mut client)
}

/// The Python environment of the suite in `folder`, made anew when it is not from the files that `suite` has now.
fn environment(suite: &Path, folder: &Path) -> Outcome<PathBuf> {
    let sources = ["requirements.txt", "py3patch.py", "setup.sh"].map(|name| read(&suite.join(name)));
    let sources = sources.into_iter().collect::<Outcome<Vec<_>>>()?.concat();
    let made_from = folder.join("made-from");
    if fs::read_to_string(&made_from).is_ok_and(|text| text == sources) {
        return Ok(folder.to_path_buf());
    }
    let cannot = |error: std::io::Error| format!("cannot renew {}: {error}", folder.display());
    if folder.exists() {
        fs::remove_dir_all(folder).map_err(cannot)?;
    }
    let python = python().ok_or_else(|| "no Python with lib2to3: 3.11 has it, 3.13 does not".to_owned())?;
    run_command(Command::new(suite.join("setup.sh")).arg(folder).env("PYTHON", python))?;
    fs::write(&made_from, sources).map_err(cannot)?;
    Ok(folder.to_path_buf())
}

fn python() -> Option<&'static str> {
    PYTHONS
        .into_iter()
        .find(|python| succeeds(Command::new(python).args(["-W", "ignore", "-c", "import ensurepip, lib2to3, venv"])))
}

/// The program with its echo on; it is killed when this is dropped.
struct Server {
    child: Child,
    /// Kept open: a program that cannot print any more may fail by that.
    output: Option<BufReader<ChildStdout>>,
    port: u16,
}

impl Server {
    fn start(program: &Path) -> Outcome<Self> {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
            command.env_remove(name);
        }
        command.args(["serve", "--listen", "127.0.0.1:0", "--workers", "2", "--echo"]).stdout(Stdio::piped());
        let child = command.spawn().map_err(|error| format!("cannot start {}: {error}", program.display()))?;
        let mut server = Self { child, output: None, port: 0 };
        let output = server.child.stdout.take().expect("the child's output is a pipe");
        let output = server.output.insert(BufReader::new(output));
        let mut line = String::new();
        output.read_line(&mut line).map_err(|error| format!("cannot read its output: {error}"))?;
        server.port = port_of(&line).ok_or_else(|| format!("`{line}` is not where the program listens"))?;
        Ok(server)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself; the suite tells then.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The port in `listening on http://127.0.0.1:PORT`.
fn port_of(line: &str) -> Option<u16> {
    line.trim_end().strip_prefix("listening on http://127.0.0.1:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_port_is_that_of_the_line() {
        assert_eq!(port_of("listening on http://127.0.0.1:4000\n"), Some(4000));
        assert_eq!(port_of("error: address in use\n"), None);
        assert_eq!(port_of(""), None);
    }

    #[test]
    fn a_program_that_does_not_listen_is_a_failure() {
        assert!(Server::start(Path::new("true")).is_err());
        assert!(Server::start(Path::new("no-such-program-anywhere")).is_err());
    }
}
