//! A server as a process of its own, so that what it costs can be read from outside: processor time and memory.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::fault::{Fault, system};

/// A server that listens; it is killed when this is dropped.
pub(crate) struct Server {
    child: Child,
    /// Kept open: a program that cannot print any more may fail by that.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Server {
    /// Starts `command`, which prints `listening on http://ADDRESS` when it is ready.
    pub(crate) fn start(command: &mut Command) -> Result<Self, Fault> {
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
            command.env_remove(name);
        }
        let program = command.get_program().to_string_lossy().into_owned();
        let child = command.stdout(Stdio::piped()).spawn();
        let mut child = child.map_err(|error| Fault::Server(format!("cannot start {program}: {error}")))?;
        let mut output = BufReader::new(child.stdout.take().expect("the child's output is a pipe"));
        let mut line = String::new();
        let read = output.read_line(&mut line).map_err(system("reading the server's output"));
        let address = read.map(|_| line.trim_end().strip_prefix("listening on http://").map(str::parse));
        match address {
            Ok(Some(Ok(address))) => Ok(Self { child, _output: output, address }),
            other => {
                end(&mut child);
                other?;
                Err(Fault::Server(format!("`{}` is not where {program} listens", line.trim_end())))
            }
        }
    }

    /// The processor time that it has taken so far.
    pub(crate) fn cpu(&self) -> Result<Duration, Fault> {
        cpu_of(self.child.id())
    }

    /// The bytes of memory that are its own: shared ones count in proportion. What the kernel holds for its sockets is
    /// not in it.
    pub(crate) fn memory(&self) -> Result<u64, Fault> {
        let path = format!("/proc/{}/smaps_rollup", self.child.id());
        let text = fs::read_to_string(path).map_err(system("reading smaps_rollup"))?;
        let pss = text.lines().find_map(|line| line.strip_prefix("Pss:")).and_then(first_number);
        Ok(pss.ok_or_else(|| Fault::Server("smaps_rollup has no Pss".to_owned()))? << 10)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

/// The processor time that the threads of a process have taken so far. Threads that have ended are not in it.
pub(crate) fn cpu_of(process: u32) -> Result<Duration, Fault> {
    let mut total = 0;
    for task in fs::read_dir(format!("/proc/{process}/task")).map_err(system("listing a process' threads"))? {
        let path = task.map_err(system("listing a process' threads"))?.path().join("schedstat");
        // One that ends meanwhile has none any more.
        let Ok(text) = fs::read_to_string(path) else { continue };
        total += first_number(&text).ok_or_else(|| Fault::Server(format!("a schedstat of `{text}`")))?;
    }
    Ok(Duration::from_nanos(total))
}

fn end(child: &mut Child) {
    // It may have ended by itself.
    drop(child.kill());
    drop(child.wait());
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_does_not_listen_is_a_fault() {
        assert!(matches!(Server::start(&mut Command::new("true")), Err(Fault::Server(_))));
        assert!(matches!(Server::start(&mut Command::new("no-such-program-anywhere")), Err(Fault::Server(_))));
    }

    #[test]
    fn processor_time_and_memory_are_those_of_the_process() {
        let script = "echo listening on http://127.0.0.1:1; read line";
        let mut command = Command::new("sh");
        let server = Server::start(command.args(["-c", script]).stdin(Stdio::piped())).unwrap();
        assert_eq!(server.address, "127.0.0.1:1".parse().unwrap());
        assert!((1..Duration::from_secs(10).as_nanos()).contains(&server.cpu().unwrap().as_nanos()));
        assert!((10 << 10..100 << 20).contains(&server.memory().unwrap()));
    }
}
