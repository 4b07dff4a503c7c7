//! Many connections on one thread: each joins one channel, the first of them also publishes.
//!
//! All wait in one epoll and read into one buffer. Each broadcast is checked at each connection, whole, against the
//! number that must come next there, so one that is lost, doubled, changed or out of order is found where it happens.
//! A burst is one write of several pushes; the next leaves when every connection has all of it.

use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::fault::{Fault, system};
use crate::frame;
use crate::wire::{self, Incoming, Wire, Wrong};

/// Connections that are on their way to be joined at one time: fewer than a listener lets wait.
const OPENING_MAX: usize = 512;
/// Nothing has come for so long: nothing will.
const SILENCE: Duration = Duration::from_secs(30);

/// Connections that have joined.
pub(crate) struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    /// How many broadcasts were pushed.
    published: u64,
    silence: Duration,
}

struct Connection {
    wire: Wire,
    stage: Stage,
    /// The number of the broadcast that must come next.
    next: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    Upgrading,
    Joining,
    Joined,
}

impl Client {
    /// Opens `count` connections to `address`, each through the upgrade and the reply to its join.
    pub(crate) fn join(address: SocketAddr, count: usize) -> Result<Self, Fault> {
        let mut client = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(system("epoll"))?,
            connections: Vec::with_capacity(count),
            events: Vec::with_capacity(1024),
            buffer: vec![0; 64 << 10],
            published: 0,
            silence: SILENCE,
        };
        let mut joined = 0;
        while joined < count {
            while client.connections.len() < count && client.connections.len() - joined < OPENING_MAX {
                client.open(address)?;
            }
            joined += client.turn(|before, after| before.stage != after.stage && after.stage == Stage::Joined)?;
        }
        Ok(client)
    }

    fn open(&mut self, address: SocketAddr) -> Result<(), Fault> {
        let wire = Wire::open(address)?;
        let data = EventData::new_u64(self.connections.len() as u64);
        epoll::add(&self.epoll, &wire.stream, data, EventFlags::IN).map_err(system("epoll"))?;
        self.connections.push(Connection { wire, stage: Stage::Upgrading, next: 0 });
        Ok(())
    }

    /// Pushes `burst` messages with one write and waits until each connection has got them all. Returns how long that
    /// took.
    pub(crate) fn publish(&mut self, burst: u64) -> Result<Duration, Fault> {
        let mut pushes = Vec::new();
        let mut text = Vec::new();
        for sequence in self.published..self.published + burst {
            text.clear();
            text.extend_from_slice(frame::PUSH);
            frame::payload(&mut text, sequence);
            text.push(b']');
            frame::client_text(&mut pushes, &text);
        }
        let begin = Instant::now();
        self.connections[0].wire.stream.write_all(&pushes).map_err(system("publishing"))?;
        let goal = self.published + burst;
        self.published = goal;
        let mut missing = self.connections.len();
        while missing > 0 {
            missing -= self.turn(|before, after| before.next < goal && after.next == goal)?;
        }
        Ok(begin.elapsed())
    }

    /// Makes sure that nothing has come which was not published.
    pub(crate) fn finish(&mut self) -> Result<(), Fault> {
        self.silence = Duration::ZERO;
        loop {
            match self.turn(|_, _| false) {
                // What is no fault may come: a ping.
                Ok(_) => {}
                Err(Fault::Lost { .. }) => return Ok(()),
                Err(fault) => return Err(fault),
            }
        }
    }

    /// Waits for something to come and reads it. Returns for how many connections `reached` is true of how they were
    /// before and after.
    fn turn(&mut self, reached: impl Fn(&State, &State) -> bool) -> Result<usize, Fault> {
        self.events.clear();
        let silence = Timespec::try_from(self.silence).expect("some seconds");
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&silence)) {
                Ok(0) => return Err(self.silent()),
                Ok(_) => break,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(Fault::System("epoll", error.into())),
            }
        }
        let mut count = 0;
        for event in &self.events {
            let data = event.data;
            let at = data.u64() as usize;
            let connection = &mut self.connections[at];
            let before = connection.state();
            connection.read(&mut self.buffer).map_err(|wrong| wrong.at(at))?;
            if connection.next > self.published {
                return Err(Fault::Protocol { connection: at, what: "a broadcast that was not published".to_owned() });
            }
            count += usize::from(reached(&before, &connection.state()));
        }
        Ok(count)
    }

    /// What it means that nothing comes.
    fn silent(&self) -> Fault {
        let not_joined = self.connections.iter().position(|connection| connection.stage != Stage::Joined);
        if let Some(connection) = not_joined {
            return Fault::Protocol { connection, what: "no answer to its join".to_owned() };
        }
        let furthest_behind = self.connections.iter().enumerate().min_by_key(|(_, connection)| connection.next);
        let (connection, expected) = furthest_behind.map_or((0, 0), |(at, connection)| (at, connection.next));
        Fault::Lost { connection, expected }
    }
}

/// What of a connection its reads change.
struct State {
    stage: Stage,
    next: u64,
}

impl Connection {
    fn state(&self) -> State {
        State { stage: self.stage, next: self.next }
    }

    /// Reads once.
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Wrong> {
        let Self { wire, stage, next } = self;
        wire.read(buffer, |stream, incoming| match incoming {
            Incoming::Upgraded => {
                *stage = Stage::Joining;
                wire::send(stream, frame::JOIN)
            }
            Incoming::Text(text) => match (*stage, frame::sequence(text)) {
                (Stage::Joined, Some(got)) if got == *next => {
                    *next += 1;
                    Ok(())
                }
                (Stage::Joined, Some(got)) => Err(Wrong::Order { expected: *next, got }),
                (Stage::Joining, None) if text == frame::JOINED => {
                    *stage = Stage::Joined;
                    Ok(())
                }
                _ => Err(Wrong::text("unexpected", text)),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{TcpListener, TcpStream};
    use std::thread;

    /// Joins `count` connections to a server that does `publish` with its ends of them for each push: their order here
    /// is the client's.
    fn join(count: usize, publish: impl Fn(&mut [TcpStream], u64) + Send + 'static) -> Client {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || serve(&listener, count, publish));
        Client::join(address, count).unwrap()
    }

    fn serve(listener: &TcpListener, count: usize, publish: impl Fn(&mut [TcpStream], u64)) {
        let mut streams: Vec<TcpStream> = (0..count).map(|_| listener.accept().unwrap().0).collect();
        let mut joined = Vec::new();
        frame::server_text(&mut joined, &[frame::JOINED]);
        for stream in &mut streams {
            stream.set_nodelay(true).unwrap();
            assert!(come(stream).starts_with(b"GET "));
            stream.write_all(frame::response().as_bytes()).unwrap();
            assert_eq!(frame::unmask(&mut come(stream)).unwrap().0, frame::JOIN);
            stream.write_all(&joined).unwrap();
        }
        loop {
            let mut bytes = come(&mut streams[0]);
            if bytes.is_empty() {
                return;
            }
            let mut bytes = &mut bytes[..];
            while let Some((text, rest)) = frame::unmask(bytes) {
                let mut broadcast = frame::BROADCAST.to_vec();
                broadcast.extend_from_slice(text.strip_prefix(frame::PUSH).unwrap());
                publish(&mut streams, frame::sequence(&broadcast).unwrap());
                bytes = rest;
            }
        }
    }

    /// What one read returns; nothing when the client has gone.
    fn come(stream: &mut TcpStream) -> Vec<u8> {
        let mut buffer = vec![0; 4096];
        let count = stream.read(&mut buffer).unwrap_or(0);
        buffer.truncate(count);
        buffer
    }

    fn broadcast(sequence: u64) -> Vec<u8> {
        let (mut body, mut bytes) = (Vec::new(), Vec::new());
        frame::payload(&mut body, sequence);
        frame::server_text(&mut bytes, &[frame::BROADCAST, &body, b"]"]);
        bytes
    }

    /// The fault of a burst of two whose pushes bring `first` and `second` to connection 1, and what they should to
    /// the others.
    fn fault(first: Vec<u8>, second: Vec<u8>) -> Fault {
        let mut client = join(3, move |streams, sequence| {
            for (at, mut stream) in streams.iter().enumerate() {
                let bytes = if sequence == 0 { &first } else { &second };
                // The client hangs up when it has found the fault.
                drop(if at == 1 { stream.write_all(bytes) } else { stream.write_all(&broadcast(sequence)) });
            }
        });
        client.silence = Duration::from_secs(1);
        client.publish(2).unwrap_err()
    }

    #[test]
    fn bursts_reach_all() {
        let mut client = join(10, |streams, sequence| {
            streams.iter_mut().for_each(|stream| stream.write_all(&broadcast(sequence)).unwrap());
        });
        for burst in [1, 8, 1, 3] {
            client.publish(burst).unwrap();
        }
        client.finish().unwrap();
        assert!(client.connections.iter().all(|connection| connection.next == 13));
    }

    #[test]
    fn a_frame_may_come_in_pieces_and_pings_are_answered() {
        let mut client = join(2, |streams, sequence| {
            let mut bytes = vec![0x89, 2, b'h', b'i'];
            bytes.extend(broadcast(sequence));
            for stream in streams.iter_mut() {
                for byte in bytes.chunks(1) {
                    stream.write_all(byte).unwrap();
                }
            }
            let mut pong = Vec::new();
            frame::client_pong(&mut pong, b"hi");
            for stream in streams.iter_mut() {
                let mut answer = vec![0; pong.len()];
                stream.read_exact(&mut answer).unwrap();
                assert_eq!(answer, pong);
            }
        });
        client.publish(1).unwrap();
        client.publish(1).unwrap();
    }

    #[test]
    fn what_is_lost_is_missed() {
        let between = fault(Vec::new(), broadcast(1));
        assert!(matches!(between, Fault::Order { connection: 1, expected: 0, got: 1 }), "{between}");
        let last = fault(broadcast(0), Vec::new());
        assert!(matches!(last, Fault::Lost { expected: 0..=1, .. }), "{last}");
    }

    #[test]
    fn what_is_out_of_order_is_seen() {
        let swapped = fault(broadcast(1), broadcast(0));
        assert!(matches!(swapped, Fault::Order { connection: 1, expected: 0, got: 1 }), "{swapped}");
    }

    #[test]
    fn what_comes_twice_is_seen() {
        let twice = fault([broadcast(0), broadcast(0)].concat(), broadcast(1));
        assert!(matches!(twice, Fault::Order { connection: 1, expected: 1, got: 0 }), "{twice}");
        let too_many = fault(broadcast(0), [broadcast(1), broadcast(2)].concat());
        assert!(matches!(too_many, Fault::Protocol { connection: 1, .. }), "{too_many}");
    }

    #[test]
    fn what_has_changed_is_seen() {
        let mut changed = broadcast(0);
        *changed.last_mut().unwrap() = b' ';
        let changed = fault(changed, broadcast(1));
        assert!(matches!(changed, Fault::Protocol { connection: 1, .. }), "{changed}");
    }

    #[test]
    fn a_connection_that_ends_is_a_fault() {
        let closed = fault(broadcast(0), vec![0x88, 2, 3, 0xe8]);
        assert!(matches!(closed, Fault::Protocol { connection: 1, .. }), "{closed}");
        let mut client = join(3, |streams, _| streams[2].shutdown(std::net::Shutdown::Both).unwrap());
        let ended = client.publish(1).unwrap_err();
        assert!(matches!(ended, Fault::Protocol { connection: 2, .. }), "{ended}");
    }

    #[test]
    fn a_refusal_is_a_fault() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            come(&mut stream);
            stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n").unwrap();
            stream
        });
        let Err(refused) = Client::join(address, 1) else { panic!("it has joined") };
        assert!(matches!(&refused, Fault::Protocol { connection: 0, what } if what.contains("403")), "{refused}");
        server.join().unwrap();
    }
}
