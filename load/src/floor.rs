//! The floor: what fanning out to sockets costs at least, on one thread.
//!
//! It upgrades each connection, answers each join, and writes each push to every connection: one write(2) of bytes that
//! were made once. Pushes that come together leave together, with one write. There is no protocol besides, no queue and
//! no memory for a connection but its descriptor. It reads whole frames only, as the load client writes them.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::frame;

const BACKLOG: i32 = 4096;
const LISTENER: u64 = u64::MAX;

/// Serves until it is killed.
///
/// # Errors
///
/// What the system says to listening, accepting and waiting.
pub(crate) fn run() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    // Once more, since the standard library's backlog may be short.
    rustix::net::listen(&listener, BACKLOG)?;
    listener.set_nonblocking(true)?;
    writeln!(io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let epoll = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, EventData::new_u64(LISTENER), EventFlags::IN)?;
    let mut connections: Vec<Option<TcpStream>> = Vec::new();
    let mut events = Vec::with_capacity(1024);
    let mut buffer = [0; 16 << 10];
    let mut broadcasts = Vec::new();
    loop {
        events.clear();
        epoll::wait(&epoll, spare_capacity(&mut events), None)?;
        for event in &events {
            let data = event.data;
            if data.u64() == LISTENER {
                while let Some(stream) = accept(&listener)? {
                    epoll::add(&epoll, &stream, EventData::new_u64(connections.len() as u64), EventFlags::IN)?;
                    connections.push(Some(stream));
                }
                continue;
            }
            let connection = &mut connections[data.u64() as usize];
            match connection.as_mut().map_or(Ok(0), |stream| serve(stream, &mut buffer, &mut broadcasts)) {
                Ok(1..) => {}
                Ok(0) | Err(_) => *connection = None,
            }
            if !broadcasts.is_empty() {
                for mut stream in connections.iter().flatten() {
                    // Whoever has gone is forgotten when its end is read.
                    drop(stream.write(&broadcasts));
                }
                broadcasts.clear();
            }
        }
    }
}

fn accept(listener: &TcpListener) -> io::Result<Option<TcpStream>> {
    match listener.accept() {
        Ok((stream, _)) => stream.set_nodelay(true).map(|()| Some(stream)),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error),
    }
}

/// Reads once, answers, and adds to `broadcasts` what all are to get. Returns how many bytes came.
fn serve(stream: &mut TcpStream, buffer: &mut [u8], broadcasts: &mut Vec<u8>) -> io::Result<usize> {
    let count = stream.read(buffer)?;
    let mut bytes = &mut buffer[..count];
    let mut answer = Vec::new();
    if bytes.starts_with(b"GET ") {
        answer.extend_from_slice(frame::response().as_bytes());
        bytes = &mut [];
    }
    while !bytes.is_empty() {
        let (text, rest) = frame::unmask(bytes).ok_or_else(|| io::Error::other("not a whole frame"))?;
        if let Some(payload) = text.strip_prefix(frame::PUSH) {
            frame::server_text(broadcasts, &[frame::BROADCAST, payload]);
        } else if text == frame::JOIN {
            frame::server_text(&mut answer, &[frame::JOINED]);
        }
        bytes = rest;
    }
    if !answer.is_empty() {
        stream.write_all(&answer)?;
    }
    Ok(count)
}
