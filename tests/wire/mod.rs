//! A client of plain sockets for the tests of the server: HTTP and WebSocket by hand, so that a test decides which
//! bytes go out together and sees which come back. It blocks; the watchdog of `common` ends a test that hangs.

#![allow(dead_code)]

use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, JoinResult, Joining, Params, Router, Socket,
};
use fanfare::net::server::{Options, Server, ServerBuilder};
use fanfare::{Payload, PubSub, Wait};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;
/// The bit of a frame that is the last of its message.
pub(crate) const FIN: u8 = 0x80;

/// Anyone may connect.
pub(crate) struct Anyone;

impl Socket for Anyone {
    type Assigns = ();

    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
        Connect::Accept(())
    }

    fn id(&self, (): &()) -> Option<String> {
        Some("anyone".to_owned())
    }
}

/// Sends back what it is pushed, and broadcasts `shout`.
pub(crate) struct Room;

impl Channel for Room {
    type Assigns = ();

    fn join(_: &str, _: &Payload, _: &mut Joining<'_, ()>) -> JoinResult<Self> {
        Ok(Room.into())
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, ()>) -> Answer {
        if event == "shout" {
            socket.broadcast("shout", payload.clone()).unwrap();
        }
        Answer::ok(payload.clone())
    }
}

/// An engine whose workers sleep in a poll.
pub(crate) fn engine(workers: usize) -> PubSub {
    PubSub::builder().workers(workers).wait(Wait::Poll).build().unwrap()
}

/// An endpoint with `Anyone` and rooms at `/socket`.
pub(crate) fn endpoint(pubsub: &PubSub) -> Endpoint {
    let router = Router::new().channel::<Room>("room:*").unwrap();
    Endpoint::builder(pubsub.clone()).socket("/socket", Anyone, router).build()
}

/// A server of that endpoint, with these options and whatever `more` adds.
pub(crate) fn server(pubsub: &PubSub, options: Options, more: impl FnOnce(ServerBuilder) -> ServerBuilder) -> Server {
    let builder = Server::builder(endpoint(pubsub)).options(options);
    more(builder).listen("127.0.0.1:0".parse().unwrap()).unwrap()
}

/// The options with something changed.
pub(crate) fn options(change: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    change(&mut options);
    options
}

/// An answer of HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub status: u16,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// A frame of the server: its first byte without `FIN`, which it always has, and its payload.
pub(crate) type Frame = (u8, Vec<u8>);

/// A connection.
#[derive(Debug)]
pub(crate) struct Wire {
    input: BufReader<TcpStream>,
}

impl Wire {
    pub(crate) fn connect(to: SocketAddr) -> Wire {
        let stream = TcpStream::connect(to).unwrap();
        stream.set_nodelay(true).unwrap();
        Wire { input: BufReader::new(stream) }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.input.get_ref()
    }

    /// Sends bytes, all at once if the system takes them so.
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap();
    }

    /// Says that nothing more will be sent.
    pub(crate) fn finish(&mut self) {
        self.stream().shutdown(Shutdown::Write).unwrap();
    }

    /// Reads the answer to a request; `has_body` is false for one to HEAD.
    pub(crate) fn reply_to(&mut self, has_body: bool) -> Reply {
        let mut line = String::new();
        self.input.read_line(&mut line).unwrap();
        let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).and_then(|code| code.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no status line: {line:?}"));
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.input.read_line(&mut line).unwrap();
            let line = line.strip_suffix("\r\n").expect("lines end with CR and LF");
            let Some((name, value)) = line.split_once(": ") else {
                assert_eq!(line, "");
                break;
            };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut reply = Reply { status, headers, body: String::new() };
        let length = reply.header("content-length").filter(|_| has_body).map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        self.input.read_exact(&mut body).unwrap();
        reply.body = String::from_utf8(body).unwrap();
        reply
    }

    /// Sends a request and reads the answer.
    pub(crate) fn request(&mut self, text: &str) -> Reply {
        self.send(text);
        self.reply_to(!text.starts_with("HEAD "))
    }

    /// Reads to the end; a reset is an end too.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        let _ = self.input.read_to_end(&mut rest);
        rest
    }

    /// A frame goes to the server. `first` has the opcode and `FIN`.
    pub(crate) fn frame(&mut self, first: u8, payload: &[u8]) {
        self.send(frame(first, payload));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.frame(FIN | TEXT, text.as_bytes());
    }

    /// The next frame of the server, if the connection has not ended.
    pub(crate) fn try_next(&mut self) -> Option<Frame> {
        let mut head = [0; 2];
        self.input.read_exact(&mut head).ok()?;
        assert_eq!(head[0] & 0xF0, FIN, "the server sends whole messages");
        assert_eq!(head[1] & 0x80, 0, "the server does not mask");
        let mut bytes = [0; 8];
        let length = match head[1] {
            126 => self.input.read_exact(&mut bytes[6..]).map(|()| u64::from_be_bytes(bytes)),
            127 => self.input.read_exact(&mut bytes).map(|()| u64::from_be_bytes(bytes)),
            short => Ok(u64::from(short)),
        };
        let mut payload = vec![0; length.ok()? as usize];
        self.input.read_exact(&mut payload).ok()?;
        Some((head[0] & 0x0F, payload))
    }

    pub(crate) fn next(&mut self) -> Frame {
        self.try_next().expect("the connection goes on")
    }

    /// The next message, which is JSON.
    pub(crate) fn json(&mut self) -> Value {
        let (opcode, payload) = self.next();
        assert_eq!(opcode, TEXT, "{payload:?}");
        serde_json::from_slice(&payload).unwrap()
    }

    /// Sends a message of version 2 and reads the answer.
    pub(crate) fn ask(&mut self, message: &Value) -> Value {
        self.text(&message.to_string());
        self.json()
    }

    /// Joins a topic with 1 as its join's reference, by version 2.
    pub(crate) fn join(&mut self, topic: &str) {
        let answer = self.ask(&json!(["1", "1", topic, "phx_join", {}]));
        assert_eq!(answer, json!(["1", "1", topic, "phx_reply", { "status": "ok", "response": {} }]));
    }

    /// Sees that the connection still lives.
    pub(crate) fn heartbeat(&mut self) {
        let answer = self.ask(&json!([null, "hb", "phoenix", "heartbeat", {}]));
        assert_eq!(answer, json!([null, "hb", "phoenix", "phx_reply", { "status": "ok", "response": {} }]));
    }

    /// The code of the close that comes next, behind which the connection ends.
    pub(crate) fn close_code(&mut self) -> u16 {
        let (opcode, payload) = self.next();
        assert_eq!(opcode, CLOSE, "{}", String::from_utf8_lossy(&payload));
        let code = u16::from_be_bytes([payload[0], payload[1]]);
        assert_eq!(self.try_next(), None);
        code
    }
}

/// A client's frame.
pub(crate) fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        middle @ 126..=0xFFFF => {
            bytes.push(0x80 | 126);
            bytes.extend((middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend((long as u64).to_be_bytes());
        }
    }
    let key = [0x12, 0x34, 0x56, 0x78];
    bytes.extend(key);
    bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    bytes
}

/// The key of RFC 6455's own example.
pub(crate) const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
/// What answers it.
pub(crate) const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// A request to open a WebSocket, with more headers, each line with its end.
pub(crate) fn handshake(target: &str, more: &str) -> String {
    format!(
        "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
         sec-websocket-key: {KEY}\r\nsec-websocket-version: 13\r\n{more}\r\n"
    )
}

/// Opens a WebSocket.
pub(crate) fn open(to: SocketAddr, target: &str) -> Wire {
    let mut wire = Wire::connect(to);
    let reply = wire.request(&handshake(target, ""));
    assert_eq!((reply.status, reply.header("sec-websocket-accept")), (101, Some(ACCEPT)));
    wire
}

/// Opens a WebSocket of `/socket` by version 2.
pub(crate) fn socket(to: SocketAddr) -> Wire {
    open(to, "/socket/websocket?vsn=2.0.0")
}
