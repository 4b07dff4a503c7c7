//! Ten thousand connections on one topic of the real program: each gets each broadcast whole and in order.
#![cfg(target_os = "linux")]

mod serving;
#[path = "../../tests/common/watchdog.rs"]
mod watchdog;
#[path = "../../tests/wire/mod.rs"]
mod wire;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use serving::Serving;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use watchdog::watch;
use wire::{FIN, TEXT, Wire};

const CONNECTIONS: usize = 10_000;
/// Connections that are on their way at once: less than the system lets wait.
const WAVE: usize = 400;
const TOPIC: &str = "bench:all";

/// As many descriptors as may be. Both ends have one for each connection.
fn raise_descriptors() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    maximum.map_or(usize::MAX, |maximum| maximum as usize)
}

/// What each connection sends, all at once.
fn hello() -> Vec<u8> {
    let join = json!(["1", "1", TOPIC, "phx_join", {}]).to_string();
    [wire::handshake("/socket/websocket?vsn=2.0.0", "").as_bytes(), &wire::frame(FIN | TEXT, join.as_bytes())].concat()
}

/// Many connections that all must get the same bytes.
struct Crowd {
    poll: Poll,
    to: SocketAddr,
    /// Each, and how much of what is expected it has got.
    clients: Vec<(TcpStream, usize)>,
    expected: Vec<u8>,
}

impl Crowd {
    fn add(&mut self) {
        let mut stream = TcpStream::connect(self.to).unwrap();
        let token = Token(self.clients.len());
        self.poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE).unwrap();
        self.clients.push((stream, 0));
    }

    /// Waits until `count` have got all that is expected.
    fn until_all_have(&mut self, count: usize) {
        let hello = hello();
        let mut events = Events::with_capacity(1024);
        let mut greeted = vec![false; count];
        greeted[..self.clients.len()].fill(true);
        let mut done = 0;
        let mut buffer = [0; 4096];
        while done < count {
            while self.clients.len() < count && self.clients.len() < done + WAVE {
                self.add();
            }
            self.poll.poll(&mut events, None).unwrap();
            for event in &events {
                let Token(index) = event.token();
                let (stream, got) = &mut self.clients[index];
                if event.is_writable() && !std::mem::replace(&mut greeted[index], true) {
                    assert_eq!(stream.take_error().unwrap().map(|error| error.to_string()), None);
                    assert_eq!(stream.write(&hello).unwrap(), hello.len());
                }
                loop {
                    match stream.read(&mut buffer) {
                        Ok(0) => panic!("connection {index} has ended after {got} bytes"),
                        Ok(bytes) => {
                            let expected = self.expected.get(*got..*got + bytes);
                            assert_eq!(expected, Some(&buffer[..bytes]), "connection {index} after {got} bytes");
                            *got += bytes;
                            done += usize::from(*got == self.expected.len());
                        }
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        // Not connected yet.
                        Err(error) if error.kind() == ErrorKind::NotConnected => break,
                        Err(error) => panic!("connection {index}: {error}"),
                    }
                }
            }
        }
    }
}

/// A frame of the server, as it was on the wire.
fn served(payload: &[u8]) -> Vec<u8> {
    assert!(payload.len() < 126);
    [&[FIN | TEXT, payload.len() as u8], payload].concat()
}

#[test]
fn ten_thousand_connections_get_every_broadcast_in_order() {
    let _watch = watch();
    let count = CONNECTIONS.min(raise_descriptors().saturating_sub(200));
    assert!(count >= 1000, "more descriptors are needed: `ulimit -Hn`");
    let server = Serving::start(&[]);
    // One shows what is expected of all, and publishes.
    let mut publisher = Wire::connect(server.address);
    publisher.send(hello());
    assert_eq!(publisher.reply_to(true).status, 101);
    let (opcode, joined) = publisher.next();
    let reply: Value = serde_json::from_slice(&joined).unwrap();
    assert_eq!((opcode, reply), (TEXT, json!(["1", "1", TOPIC, "phx_reply", { "status": "ok", "response": {} }])));
    let accepted = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {}\r\n\r\n",
        wire::ACCEPT
    );
    let expected = [accepted.as_bytes(), &served(&joined)].concat();
    let mut crowd = Crowd { poll: Poll::new().unwrap(), to: server.address, clients: Vec::new(), expected };
    crowd.until_all_have(count);
    // One alone, then a burst.
    for burst in [1..2, 2..12] {
        for n in burst.clone() {
            publisher.text(&json!(["1", null, TOPIC, "new_msg", { "n": n }]).to_string());
        }
        for n in burst {
            let (_, message) = publisher.next();
            let parsed: Value = serde_json::from_slice(&message).unwrap();
            assert_eq!(parsed, json!([null, null, TOPIC, "new_msg", { "n": n }]));
            crowd.expected.extend(served(&message));
        }
        crowd.until_all_have(count);
    }
}
