//! A NATS server of a test's own, and a link to it that the test can cut.

#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Where Debian puts it, which is on the path of an administrator alone; else it is on the path.
const OF_DEBIAN: &str = "/usr/sbin/nats-server";
const STARTS_MAX: u32 = 5;

/// A server. It is killed when this goes.
pub(crate) struct Server {
    address: SocketAddr,
    child: Option<Child>,
}

impl Server {
    /// Starts one on a port of the system's choice, with more lines for its configuration.
    pub(crate) fn start(configuration: &str) -> Server {
        for _ in 0..STARTS_MAX {
            // The port is free when this listener goes; somebody may be faster than the server, hence the attempts.
            let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
            let mut server = Server { address, child: None };
            match server.try_run(configuration) {
                Ok(()) => return server,
                Err(log) => assert!(log.contains("address already in use"), "nats-server does not start: {log}"),
            }
        }
        panic!("no port stays free for nats-server")
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends it at once: all of its connections break.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Starts it again where it was.
    pub(crate) fn restart(&mut self, configuration: &str) {
        self.kill();
        self.try_run(configuration).unwrap_or_else(|log| panic!("nats-server does not start again: {log}"));
    }

    /// Runs it, and waits until it says that it is ready; otherwise what it says.
    fn try_run(&mut self, configuration: &str) -> Result<(), String> {
        let file = scratch("nats", "conf");
        std::fs::write(&file, format!("listen: \"{}\"\n{configuration}\n", self.address)).unwrap();
        let program = if Path::new(OF_DEBIAN).exists() { OF_DEBIAN } else { "nats-server" };
        let mut command = Command::new(program);
        command.arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run nats-server: {error}; `cargo xtask test` installs it"));
        let mut output = BufReader::new(child.stderr.take().unwrap());
        self.child = Some(child);
        let mut log = String::new();
        while output.read_line(&mut log).unwrap() > 0 {
            if log.ends_with("Server is ready\n") {
                // It must be able to go on writing.
                thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
                return Ok(());
            }
        }
        self.kill();
        Err(log)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A path for a file that no other test has.
pub(crate) fn scratch(name: &str, extension: &str) -> PathBuf {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}-{number}.{extension}", std::process::id()))
}

/// A link to a server: a place that passes bytes on, until it is cut.
pub(crate) struct Proxy {
    address: SocketAddr,
    shared: Arc<Mutex<Wires>>,
    thread: Option<JoinHandle<()>>,
}

/// Both ends of what is connected now.
#[derive(Default)]
struct Wires {
    cut: bool,
    ended: bool,
    ends: Vec<TcpStream>,
}

impl Proxy {
    pub(crate) fn to(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Mutex::new(Wires::default()));
        let of_thread = shared.clone();
        let thread = thread::spawn(move || {
            for client in listener.incoming() {
                let mut wires = of_thread.lock().unwrap();
                if wires.ended {
                    return;
                }
                let client = client.unwrap();
                // A connection that is dropped here is one that breaks before it says anything.
                if !wires.cut
                    && let Ok(server) = TcpStream::connect(server)
                {
                    wires.join(client, server);
                }
            }
        });
        Proxy { address, shared, thread: Some(thread) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Breaks the connection, and each that is tried from now on.
    pub(crate) fn cut(&self) {
        let mut wires = self.shared.lock().unwrap();
        wires.cut = true;
        wires.break_all();
    }

    pub(crate) fn heal(&self) {
        self.shared.lock().unwrap().cut = false;
    }
}

impl Wires {
    fn join(&mut self, client: TcpStream, server: TcpStream) {
        for (from, to) in [(&client, &server), (&server, &client)] {
            let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            // Else each small piece waits for the acknowledgement of the one before.
            to.set_nodelay(true).unwrap();
            thread::spawn(move || {
                // An end that goes takes the other along.
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Both);
                let _ = from.shutdown(Shutdown::Both);
            });
        }
        self.ends.extend([client, server]);
    }

    fn break_all(&mut self) {
        for end in self.ends.drain(..) {
            // It may be broken already.
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let mut wires = self.shared.lock().unwrap();
        wires.ended = true;
        wires.break_all();
        drop(wires);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Somebody on the network who is no node, and speaks the protocol by hand.
pub(crate) struct Stranger(BufReader<TcpStream>);

impl Stranger {
    pub(crate) fn at(server: SocketAddr) -> Stranger {
        let mut stranger = Stranger(BufReader::new(TcpStream::connect(server).unwrap()));
        stranger.say(b"CONNECT {\"verbose\":false}\r\n");
        stranger
    }

    /// Sends bytes, and waits until the server has done what they say.
    pub(crate) fn say(&mut self, bytes: &[u8]) {
        self.0.get_mut().write_all(&[bytes, b"PING\r\n"].concat()).unwrap();
        let mut said = Vec::new();
        while !said.ends_with(b"PONG\r\n") {
            assert!(self.0.read_until(b'\n', &mut said).unwrap() > 0, "the server hangs up");
        }
    }

    pub(crate) fn publish(&mut self, subject: &str, payload: &[u8]) {
        self.say(&[format!("PUB {subject} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"].concat());
    }
}
