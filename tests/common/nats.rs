//! The real NATS server, as a process of its own.

#![allow(dead_code)]

use fanfare::cluster::Nats;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

/// A `nats-server` of its own; it ends with this.
pub struct Server {
    child: Child,
    pub port: u16,
    flags: Vec<String>,
}

impl Server {
    pub fn start(flags: &[&str]) -> Self {
        let flags: Vec<String> = flags.iter().map(|&flag| flag.to_owned()).collect();
        let (child, port) = run(0, &flags);
        Server { child, port, flags }
    }

    pub fn cluster(&self) -> Nats {
        Nats::new(&self.url()).unwrap()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, on the same port.
    pub fn restart(&mut self) {
        self.child = run(self.port, &self.flags).0;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the program on a port, or on one that the system chooses, until it listens.
fn run(port: u16, flags: &[String]) -> (Child, u16) {
    let port = if port == 0 { "-1".to_owned() } else { port.to_string() };
    let mut command = Command::new("nats-server");
    command.args(["-a", "127.0.0.1", "-p", &port]).args(flags).stderr(Stdio::piped());
    let mut child = command.spawn().expect("nats-server is installed by `cargo xtask test`");
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let mut said = Vec::new();
    let listening = lines.by_ref().map_while(Result::ok).find_map(|line| {
        let port = line.split("client connections on 127.0.0.1:").nth(1).map(|port| port.trim().parse().unwrap());
        said.push(line);
        port
    });
    let port = listening.unwrap_or_else(|| panic!("nats-server does not listen: {said:?}"));
    // What it says more must go somewhere.
    std::thread::spawn(move || lines.for_each(drop));
    (child, port)
}
