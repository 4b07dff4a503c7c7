//! A WebSocket connection of a client: it is upgraded, and then texts come.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

use crate::fault::{Fault, system};
use crate::frame::{self, Frame};

/// A connection, with what has come of a frame or of the HTTP response that is not whole.
pub(crate) struct Wire {
    pub(crate) stream: TcpStream,
    is_upgraded: bool,
    rest: Vec<u8>,
}

/// What comes to a [`Wire`].
pub(crate) enum Incoming<'a> {
    Upgraded,
    Text(&'a [u8]),
}

/// What is wrong with what came; whoever knows the connection makes a [`Fault`] of it.
pub(crate) enum Wrong {
    System(io::Error),
    Protocol(String),
    Order { expected: u64, got: u64 },
}

impl Wrong {
    pub(crate) fn at(self, connection: usize) -> Fault {
        match self {
            Self::System(error) => Fault::System("reading", error),
            Self::Protocol(what) => Fault::Protocol { connection, what },
            Self::Order { expected, got } => Fault::Order { connection, expected, got },
        }
    }

    pub(crate) fn text(what: &str, text: &[u8]) -> Self {
        let length = text.len().min(300);
        Self::Protocol(format!("{what}: {}", String::from_utf8_lossy(&text[..length])))
    }
}

/// Sends a text.
pub(crate) fn send(mut stream: &TcpStream, text: &[u8]) -> Result<(), Wrong> {
    let mut frame = Vec::new();
    frame::client_text(&mut frame, text);
    stream.write_all(&frame).map_err(Wrong::System)
}

impl Wire {
    /// Connects and asks for the upgrade.
    pub(crate) fn open(address: SocketAddr) -> Result<Self, Fault> {
        let mut stream = TcpStream::connect(address).map_err(system("connecting"))?;
        stream.set_nodelay(true).map_err(system("TCP_NODELAY"))?;
        stream.write_all(frame::request(address).as_bytes()).map_err(system("writing a request"))?;
        Ok(Self { stream, is_upgraded: false, rest: Vec::new() })
    }

    /// Reads once and tells `each` what is whole. What is not waits for more.
    pub(crate) fn read(
        &mut self,
        buffer: &mut [u8],
        each: impl FnMut(&TcpStream, Incoming<'_>) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        let count = self.stream.read(buffer).map_err(Wrong::System)?;
        if count == 0 {
            return Err(Wrong::Protocol("closed by the server".to_owned()));
        }
        if self.rest.is_empty() {
            let taken = self.take(&buffer[..count], each)?;
            self.rest.extend_from_slice(&buffer[taken..count]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(&buffer[..count]);
            let taken = self.take(&bytes, each)?;
            bytes.drain(..taken);
            self.rest = bytes;
        }
        Ok(())
    }

    /// Takes what is whole of `bytes` and returns its length.
    fn take(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(&TcpStream, Incoming<'_>) -> Result<(), Wrong>,
    ) -> Result<usize, Wrong> {
        let mut taken = 0;
        if !self.is_upgraded {
            let Some(end) = bytes.windows(4).position(|end| end == b"\r\n\r\n") else { return Ok(0) };
            taken = end + 4;
            let response = String::from_utf8_lossy(&bytes[..taken]);
            if !response.starts_with("HTTP/1.1 101 ") || !response.contains(frame::ACCEPT) {
                return Err(Wrong::text("refused", &bytes[..taken]));
            }
            self.is_upgraded = true;
            each(&self.stream, Incoming::Upgraded)?;
        }
        while let Some((frame, length)) = frame::next(&bytes[taken..]).map_err(|what| Wrong::Protocol(what.into()))? {
            taken += length;
            match frame {
                Frame::Text(text) => each(&self.stream, Incoming::Text(text))?,
                Frame::Ping(body) => {
                    let mut pong = Vec::new();
                    frame::client_pong(&mut pong, body);
                    self.stream.write_all(&pong).map_err(Wrong::System)?;
                }
                Frame::Pong => {}
                Frame::Close(body) => return Err(Wrong::Protocol(format!("closed by the server: {body:?}"))),
            }
        }
        Ok(taken)
    }
}
