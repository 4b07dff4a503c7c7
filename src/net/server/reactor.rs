//! The connections of one server on one worker.
//!
//! - I1. A token names a slot and its generation: an event of a connection that has gone finds nobody.
//! - I2. A connection with something to write is in the list of dirty ones, or blocked and to be told by the system.
//! - I3. A connection that did not read all there is, since others must have their turn, is in the list of those to be
//!   read again. Events are edge-triggered, so nobody else says so.
//! - I4. A connection has an entry among the timers that is not later than its deadline, or than its last one.

use super::conn::{ChannelWire, Conn, Phase, Wire};
use super::handshake::{self, Handshake};
use super::raw::RawOut;
use super::{Connected, Shared, ToReactor};
use crate::channel::{Close, ConnectError, Frame};
use crate::net::http::{Body, HeadError, Parsed, Request, Response, UpgradeError, parse, switching_protocols};
use crate::net::websocket::{CloseCode, Decoder, Event as Message, close, pong};
use crate::sync::{Arc, Ordering};
use crate::worker::poll::Reactor;
use bytes::Bytes;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// The listener's slot.
const LISTENER: usize = u32::MAX as usize;
/// Bytes read at once.
const READ: usize = 64 << 10;
/// Reads of a connection before others have their turn.
const READS: usize = 4;
/// Connections accepted before others have their turn.
const ACCEPTS: usize = 256;
/// Connections written to before others have their turn.
const FLUSHES: usize = 1024;
/// How long frames may wait for more while the worker has more to deliver, so that a burst is one write to each
/// connection: this for each connection that has some, about as long as writing to them takes,
const GATHER: Duration = Duration::from_micros(1);
/// and this at most.
const GATHER_MAX: Duration = Duration::from_millis(2);

/// See the module's text.
pub(super) struct NetReactor {
    /// `None` once it has been stopped.
    server: Option<Arc<Shared>>,
    worker: usize,
    base: usize,
    registry: Registry,
    listener: Option<TcpListener>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    open: usize,
    /// See I2.
    dirty: Rc<RefCell<Vec<usize>>>,
    /// Those that have been taken out of it and not been written to.
    flushing: VecDeque<usize>,
    /// Since when frames wait while the worker is busy.
    gathering: Option<Instant>,
    /// See I3.
    again: Vec<usize>,
    /// See I4.
    timers: BinaryHeap<Reverse<(Instant, usize)>>,
    buffer: Box<[u8]>,
    accept_again: bool,
    draining: Option<Instant>,
}

struct Slot {
    generation: u16,
    conn: Option<Box<Conn>>,
}

/// Whether a connection stays.
#[derive(PartialEq, Eq)]
enum Stay {
    Yes,
    No,
}

impl NetReactor {
    pub(super) fn new(
        server: Arc<Shared>,
        worker: usize,
        registry: &Registry,
        base: usize,
        listener: Option<std::net::TcpListener>,
    ) -> Option<Self> {
        let registry = registry.try_clone().ok()?;
        let mut listener = listener.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            registry.register(listener, Token(base | LISTENER), Interest::READABLE).ok()?;
        }
        Some(NetReactor {
            server: Some(server),
            worker,
            base,
            registry,
            listener,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            dirty: Rc::default(),
            flushing: VecDeque::new(),
            gathering: None,
            again: Vec::new(),
            timers: BinaryHeap::new(),
            buffer: vec![0; READ].into(),
            accept_again: true,
            draining: None,
        })
    }

    fn conn(&mut self, token: usize) -> Option<&mut Option<Box<Conn>>> {
        let slot = self.slots.get_mut(token & LISTENER)?;
        (usize::from(slot.generation) == token >> 32).then_some(&mut slot.conn)
    }

    /// Does something with a connection that is taken out of its slot meanwhile, and closes it if it does not stay.
    fn with(&mut self, token: usize, f: impl FnOnce(&mut Self, &Arc<Shared>, &mut Conn, usize) -> Stay) {
        let Some(server) = self.server.clone() else { return };
        let Some(mut conn) = self.conn(token).and_then(Option::take) else { return };
        let stay = f(self, &server, &mut conn, token);
        if stay == Stay::Yes {
            if let Some(slot) = self.conn(token) {
                *slot = Some(conn);
            }
        } else {
            self.forget(&server, conn, token);
        }
    }

    fn forget(&mut self, server: &Shared, mut conn: Box<Conn>, token: usize) {
        // A socket that can't be deregistered goes with its descriptor.
        let _ = self.registry.deregister(&mut conn.stream);
        conn.wire.end(None);
        match std::mem::replace(&mut conn.phase, Phase::Ending) {
            Phase::Channels(_, key) => key.close(Close::Gone),
            Phase::Raw(_, mut socket) => drop(catch_unwind(AssertUnwindSafe(move || socket.on_close()))),
            _ => {}
        }
        drop(conn);
        let index = token & LISTENER;
        self.slots[index].generation = self.slots[index].generation.wrapping_add(1) & 0x7FFF;
        self.free.push(index as u32);
        self.open -= 1;
        server.workers[self.worker].connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn accept(&mut self) {
        let Some(server) = self.server.clone() else { return };
        self.accept_again = false;
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    server.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    self.place(&server, stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // A connection that went before it was taken; or no descriptor is left, and one may be the next time.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => {
                    self.accept_again = true;
                    return;
                }
            }
        }
        self.accept_again = true;
    }

    /// Keeps a new connection, or hands it to the worker that has the fewest if this one has many more.
    fn place(&mut self, server: &Arc<Shared>, stream: TcpStream) {
        let count = |worker: usize| server.workers[worker].connections.load(Ordering::Relaxed);
        let least = (0..server.workers.len()).min_by_key(|&worker| count(worker)).unwrap_or(self.worker);
        if u64::from(count(self.worker)) * 5 > u64::from(count(least)) * 6 + 5 {
            server.workers[least].connections.fetch_add(1, Ordering::Relaxed);
            server.tell(least, ToReactor::Take(stream.into()));
        } else {
            server.workers[self.worker].connections.fetch_add(1, Ordering::Relaxed);
            self.take(server, stream);
        }
    }

    /// A new connection, which is counted already.
    fn take(&mut self, server: &Arc<Shared>, mut stream: TcpStream) {
        // What is small goes at once. A socket that does not know the option is slower, no more.
        let _ = stream.set_nodelay(true);
        let index = self.free.pop().map_or_else(
            || {
                self.slots.push(Slot { generation: 0, conn: None });
                self.slots.len() - 1
            },
            |index| index as usize,
        );
        let token = usize::from(self.slots[index].generation) << 32 | index;
        self.open += 1;
        let registered =
            self.registry.register(&mut stream, Token(self.base | token), Interest::READABLE | Interest::WRITABLE);
        let deadline = Instant::now() + server.options.handshake_timeout;
        let conn = Box::new(Conn {
            peer: stream.peer_addr().ok(),
            stream,
            phase: Phase::Request(Vec::new()),
            wire: Wire::new(token, self.dirty.clone(), server.options.clone()),
            deadline,
            ended: false,
        });
        if registered.is_err() {
            return self.forget(server, conn, token);
        }
        self.slots[index].conn = Some(conn);
        self.timers.push(Reverse((deadline, token)));
    }

    /// Reads what a connection has, and acts on it.
    fn read(&mut self, token: usize) {
        self.with(token, |this, server, conn, token| {
            let mut buffer = std::mem::take(&mut this.buffer);
            let stay = this.read_into(server, conn, token, &mut buffer);
            this.buffer = buffer;
            stay
        });
    }

    fn read_into(&mut self, server: &Arc<Shared>, conn: &mut Conn, token: usize, buffer: &mut [u8]) -> Stay {
        for _ in 0..READS {
            match conn.stream.read(buffer) {
                Ok(0) => return Stay::No,
                Ok(count) => {
                    if self.bytes(server, conn, token, &mut buffer[..count]) == Stay::No {
                        return Stay::No;
                    }
                    if count < buffer.len() {
                        // All there was: if more has come since, there is an event for it.
                        return Stay::Yes;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Stay::Yes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Stay::No,
            }
        }
        self.again.push(token);
        Stay::Yes
    }

    fn bytes(&mut self, server: &Arc<Shared>, conn: &mut Conn, token: usize, bytes: &mut [u8]) -> Stay {
        match &mut conn.phase {
            Phase::Request(head) => {
                head.extend_from_slice(bytes);
                self.request(server, conn, token)
            }
            Phase::Waiting(behind) => {
                behind.extend_from_slice(bytes);
                // A client that has no answer yet has not much to say.
                if behind.len() > server.options.websocket.frame_bytes_max { Stay::No } else { Stay::Yes }
            }
            Phase::Channels(..) | Phase::Raw(..) => {
                conn.deadline = Instant::now() + server.options.idle_timeout;
                messages(server, conn, bytes);
                if matches!(conn.phase, Phase::Ending) {
                    self.end_by(server, conn, token);
                }
                Stay::Yes
            }
            Phase::Ending => Stay::Yes,
        }
    }

    /// A connection that is ending is not waited for long.
    fn end_by(&mut self, server: &Shared, conn: &mut Conn, token: usize) {
        conn.deadline = Instant::now() + server.options.handshake_timeout;
        self.timers.push(Reverse((conn.deadline, token)));
    }

    /// Looks whether a request has come whole, and begins to answer it.
    fn request(&mut self, server: &Arc<Shared>, conn: &mut Conn, token: usize) -> Stay {
        let Phase::Request(bytes) = &mut conn.phase else { return Stay::Yes };
        let bytes = std::mem::take(bytes);
        let (request, body_bytes) = match whole_request(&bytes, server) {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                conn.phase = Phase::Request(bytes);
                return Stay::Yes;
            }
            Err(refused) => {
                self.answer_last(server, conn, token, refused);
                return Stay::Yes;
            }
        };
        let end = request.head_bytes + body_bytes;
        let behind = bytes[end..].to_vec();
        if let Some(mount) = server.endpoint.mount_of(request.path, "/websocket") {
            return match handshake::begin(server, conn.peer, mount, &request) {
                Ok(handshake) => {
                    conn.phase = Phase::Waiting(behind);
                    self.connect(server, token, handshake);
                    Stay::Yes
                }
                Err(response) => {
                    self.answer_last(server, conn, token, response.encode_closing(Some(&request)));
                    Stay::Yes
                }
            };
        }
        if let Some((_, make)) = server.raw.iter().find(|(path, _)| **path == *request.path) {
            match handshake::raw(server, &request) {
                Ok(accept) => {
                    conn.wire.push_always(accept);
                    conn.phase = Phase::Raw(Decoder::new(), make());
                    return self.begin_messages(server, conn, token, behind);
                }
                Err(response) => {
                    self.answer_last(server, conn, token, response.encode_closing(Some(&request)));
                    return Stay::Yes;
                }
            }
        }
        conn.phase = Phase::Waiting(behind);
        drop(request);
        let mut bytes = bytes;
        bytes.truncate(end);
        self.respond(server, token, bytes);
        Stay::Yes
    }

    /// Has the endpoint decide about a connection, on the pool.
    fn connect(&self, server: &Arc<Shared>, token: usize, handshake: Handshake) {
        let (shared, worker) = (server.clone(), self.worker);
        server.endpoint.spawn(move || {
            let Handshake { mount, params, info, upgrade, subprotocol } = handshake;
            let connect = || shared.endpoint.connect(mount, &params, &info);
            let result = catch_unwind(AssertUnwindSafe(connect)).ok();
            shared.tell(worker, ToReactor::Connected { token, upgrade, subprotocol, result });
        });
    }

    /// Has the server's route answer a request, on the pool.
    fn respond(&self, server: &Arc<Shared>, token: usize, bytes: Vec<u8>) {
        let (shared, worker) = (server.clone(), self.worker);
        server.endpoint.spawn(move || {
            let Ok(Parsed::Request(request)) = parse(&bytes, &shared.options.head) else { return };
            let body = &bytes[request.head_bytes..];
            let response = catch_unwind(AssertUnwindSafe(|| (shared.route)(&request, body)));
            let response = response.unwrap_or_else(|_| Response::new(500));
            let keep_alive = request.keep_alive();
            let bytes = response.encode(&request);
            shared.tell(worker, ToReactor::Response { token, bytes, keep_alive });
        });
    }

    /// Answers, and ends the connection.
    fn answer_last(&mut self, server: &Shared, conn: &mut Conn, token: usize, response: Bytes) {
        conn.phase = Phase::Ending;
        conn.wire.end(Some(response));
        self.end_by(server, conn, token);
    }

    /// The endpoint has decided about a connection.
    fn connected(
        &mut self,
        token: usize,
        upgrade: Result<String, UpgradeError>,
        subprotocol: Option<&str>,
        result: Connected,
    ) {
        self.with(token, |this, server, conn, token| {
            let Phase::Waiting(behind) = &mut conn.phase else { return Stay::Yes };
            let behind = std::mem::take(behind);
            let refusal = match (result, upgrade) {
                (Some(Ok(accepted)), Ok(accept)) => {
                    conn.wire.push_always(switching_protocols(&accept, subprotocol));
                    let wire = Box::new(ChannelWire(conn.wire.clone()));
                    let key = server.endpoint.open(this.worker, accepted, wire);
                    conn.phase = Phase::Channels(Decoder::new(), key);
                    return this.begin_messages(server, conn, token, behind);
                }
                (Some(Ok(_)), Err(error)) => Response::new(error.status()).body(error.body()),
                (Some(Err(ConnectError::Refused { status, body })), _) => Response::new(status).body(body),
                (Some(Err(_)), _) => Response::new(403),
                (None, _) => Response::new(500),
            };
            this.answer_last(server, conn, token, refusal.encode_closing(None));
            Stay::Yes
        });
    }

    fn begin_messages(&mut self, server: &Arc<Shared>, conn: &mut Conn, token: usize, mut behind: Vec<u8>) -> Stay {
        conn.deadline = Instant::now() + server.options.idle_timeout;
        if behind.is_empty() { Stay::Yes } else { self.bytes(server, conn, token, &mut behind) }
    }

    fn response(&mut self, token: usize, bytes: Bytes, keep_alive: bool) {
        self.with(token, |this, server, conn, token| {
            let Phase::Waiting(behind) = &mut conn.phase else { return Stay::Yes };
            let behind = std::mem::take(behind);
            if !keep_alive {
                this.answer_last(server, conn, token, bytes);
                return Stay::Yes;
            }
            conn.wire.push_always(bytes);
            conn.phase = Phase::Request(behind);
            conn.deadline = Instant::now() + server.options.idle_timeout;
            this.request(server, conn, token)
        });
    }

    /// Writes what waits for a connection.
    fn flush(&mut self, token: usize) {
        self.with(token, |this, server, conn, token| {
            let mut outbound = conn.wire.outbound();
            outbound.is_dirty = false;
            let flushed = outbound.flush(&mut conn.stream);
            let (ending, lagged) = (outbound.is_ending, outbound.is_empty().then(|| outbound.take_refused()));
            drop(outbound);
            if flushed == super::outbound::Flushed::Gone {
                return Stay::No;
            }
            if let (Some(dropped @ 1..), Phase::Channels(_, key)) = (lagged, &conn.phase) {
                server.counters.slow.fetch_add(dropped, Ordering::Relaxed);
                key.lagged(dropped);
            }
            if ending && !matches!(conn.phase, Phase::Ending) {
                // It was ended from above.
                match std::mem::replace(&mut conn.phase, Phase::Ending) {
                    Phase::Channels(_, key) => key.close(Close::Gone),
                    Phase::Raw(_, mut socket) => drop(catch_unwind(AssertUnwindSafe(move || socket.on_close()))),
                    _ => {}
                }
                this.end_by(server, conn, token);
            }
            if ending && flushed == super::outbound::Flushed::All {
                // The client answers the close, or sees the end, and goes; until then what it sends is read, since a
                // socket that is closed with something unread takes back what it has sent last.
                if conn.ended || conn.stream.shutdown(Shutdown::Write).is_err() {
                    return Stay::No;
                }
                conn.ended = true;
            }
            Stay::Yes
        });
    }

    /// Writes to connections that have something: to some of them if they are many, and later if the worker is about to
    /// give them more.
    fn flush_all(&mut self, busy: bool) {
        if self.flushing.is_empty() && self.dirty.borrow().is_empty() {
            return;
        }
        if busy {
            let now = Instant::now();
            let dirty = u32::try_from(self.dirty.borrow().len()).unwrap_or(u32::MAX);
            let bound = GATHER.saturating_mul(dirty).min(GATHER_MAX);
            if self.flushing.is_empty() && now.duration_since(*self.gathering.get_or_insert(now)) < bound {
                return;
            }
        }
        for _ in 0..FLUSHES {
            if self.flushing.is_empty() {
                self.flushing.extend(self.dirty.borrow_mut().drain(..));
            }
            let Some(token) = self.flushing.pop_front() else {
                self.gathering = None;
                return;
            };
            self.flush(token);
        }
    }

    fn inbox(&mut self) {
        let Some(server) = &self.server else { return };
        let all = std::mem::take(&mut *server.workers[self.worker].inbox.lock());
        for what in all {
            let Some(server) = self.server.clone() else { return };
            match what {
                ToReactor::Take(stream) => self.take(&server, TcpStream::from_std(stream)),
                ToReactor::Connected { token, upgrade, subprotocol, result } => {
                    self.connected(token, upgrade, subprotocol.as_deref(), result);
                }
                ToReactor::Response { token, bytes, keep_alive } => self.response(token, bytes, keep_alive),
                ToReactor::Drain => {
                    self.listener = None;
                    self.draining = Some(Instant::now());
                }
                ToReactor::Stop => self.stop(&server),
            }
        }
    }

    fn stop(&mut self, server: &Shared) {
        self.listener = None;
        for index in 0..self.slots.len() {
            let token = usize::from(self.slots[index].generation) << 32 | index;
            if let Some(conn) = self.slots[index].conn.take() {
                self.forget(server, conn, token);
            }
        }
        self.timers.clear();
        self.server = None;
    }

    /// Tells the next batch of connections to go.
    fn drain(&mut self, server: &Arc<Shared>, now: Instant) {
        let Some(next) = self.draining else { return };
        if next > now {
            return;
        }
        self.draining = Some(now + server.options.drain_interval);
        let mut left = (server.options.drain_batch / server.workers.len()).max(1);
        for index in 0..self.slots.len() {
            let token = usize::from(self.slots[index].generation) << 32 | index;
            let Some(conn) = &mut self.slots[index].conn else { continue };
            match &conn.phase {
                Phase::Channels(_, key) => key.close(Close::Draining),
                Phase::Raw(..) => conn.wire.end(Some(close(CloseCode::SERVICE_RESTART, ""))),
                Phase::Request(bytes) if bytes.is_empty() => conn.wire.end(None),
                _ => continue,
            }
            self.dirty.borrow_mut().push(token);
            left -= 1;
            if left == 0 {
                break;
            }
        }
    }

    /// Ends the connections whose time is over.
    fn expire(&mut self, now: Instant) {
        while let Some(&Reverse((at, token))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            self.with(token, |this, server, conn, token| {
                if conn.deadline > now {
                    this.timers.push(Reverse((conn.deadline, token)));
                    return Stay::Yes;
                }
                match conn.phase {
                    Phase::Channels(..) | Phase::Raw(..) => {
                        conn.wire.end(Some(close(CloseCode::PROTOCOL_ERROR, "idle")));
                        this.end_by(server, conn, token);
                        Stay::Yes
                    }
                    // A callback takes long; it is the client's to give up.
                    Phase::Waiting(_) => {
                        this.end_by(server, conn, token);
                        Stay::Yes
                    }
                    Phase::Request(_) | Phase::Ending => Stay::No,
                }
            });
        }
    }
}

impl Reactor for NetReactor {
    fn ready(&mut self, token: usize, event: &Event) {
        if token == LISTENER {
            return self.accept();
        }
        if event.is_writable()
            && let Some(Some(conn)) = self.conn(token)
        {
            conn.wire.unblock();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            self.read(token);
        }
    }

    fn turn(&mut self, busy: bool) -> Option<Duration> {
        self.inbox();
        let server = self.server.clone()?;
        if self.accept_again {
            self.accept();
        }
        for token in std::mem::take(&mut self.again) {
            self.read(token);
        }
        if !self.timers.is_empty() || self.draining.is_some() {
            let now = Instant::now();
            self.expire(now);
            self.drain(&server, now);
        }
        self.flush_all(busy);
        if self.draining.is_some() && self.open == 0 && server.workers[self.worker].inbox.lock().is_empty() {
            self.draining = None;
            self.server = None;
            server.is_done();
            return None;
        }
        if !self.again.is_empty() || !self.flushing.is_empty() || !self.dirty.borrow().is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.timers.peek().map(|&Reverse((at, _))| at);
        // Where no descriptor was left one may be soon.
        let accept = self.accept_again.then(|| Instant::now() + Duration::from_millis(10));
        let next = [next, self.draining, accept].into_iter().flatten().min()?;
        Some(next.saturating_duration_since(Instant::now()))
    }
}

impl Drop for NetReactor {
    fn drop(&mut self) {
        if let Some(server) = self.server.clone() {
            // The engine ends.
            self.stop(&server);
            server.is_done();
        }
    }
}

/// A request that has come whole, and the length of its body; or how it is refused.
fn whole_request<'b>(bytes: &'b [u8], server: &Shared) -> Result<Option<(Request<'b>, usize)>, Bytes> {
    let refuse = |error: HeadError| Response::new(error.status()).encode_closing(None);
    let request = match parse(bytes, &server.options.head).map_err(refuse)? {
        Parsed::Partial => return Ok(None),
        Parsed::Request(request) => request,
    };
    match request.body().map_err(refuse)? {
        Body::Chunked => Err(Response::new(411).encode_closing(Some(&request))),
        Body::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= server.options.body_bytes_max => {
                Ok((bytes.len() - request.head_bytes >= length).then_some((request, length)))
            }
            _ => Err(Response::new(413).encode_closing(Some(&request))),
        },
    }
}

/// Acts on what a WebSocket's client has sent.
fn messages(server: &Shared, conn: &mut Conn, bytes: &mut [u8]) {
    let mut input = bytes;
    loop {
        let decoder = match &mut conn.phase {
            Phase::Channels(decoder, _) | Phase::Raw(decoder, _) => decoder,
            _ => return,
        };
        let last = match decoder.next(&mut input, &server.options.websocket) {
            Ok(None) => return,
            Ok(Some(Message::Pong(_))) => continue,
            Ok(Some(Message::Ping(payload))) => {
                // A ping's payload is always short enough for a pong.
                pong(&payload).into_iter().for_each(|pong| conn.wire.push(pong));
                continue;
            }
            Ok(Some(Message::Text(text))) => {
                message(conn, Frame::Text(Bytes::copy_from_slice(text.as_bytes())));
                continue;
            }
            Ok(Some(Message::Binary(bytes))) => {
                message(conn, Frame::Binary(Bytes::copy_from_slice(&bytes)));
                continue;
            }
            // As Phoenix does, whatever the client's own code was.
            Ok(Some(Message::Close(_))) => close(CloseCode::NORMAL, ""),
            Err(error) => close(error.close_code(), ""),
        };
        conn.wire.end(Some(last));
        match std::mem::replace(&mut conn.phase, Phase::Ending) {
            Phase::Channels(_, key) => key.close(Close::Gone),
            Phase::Raw(_, mut socket) => drop(catch_unwind(AssertUnwindSafe(move || socket.on_close()))),
            _ => {}
        }
        return;
    }
}

fn message(conn: &mut Conn, frame: Frame) {
    match &mut conn.phase {
        Phase::Channels(_, key) => key.frame(&frame),
        Phase::Raw(_, socket) => {
            let mut out = RawOut(&conn.wire);
            if catch_unwind(AssertUnwindSafe(|| socket.on_message(frame, &mut out))).is_err() {
                conn.wire.end(Some(close(CloseCode::INTERNAL_ERROR, "")));
            }
        }
        _ => {}
    }
}
