//! The connections of one server on one worker.
//!
//! - I1. A token names a slot and its generation: an event of a connection that has gone finds nobody.
//! - I2. A connection with something to write is in the list of dirty ones, or blocked and to be told by the system.
//! - I3. A connection that did not read all there is, since others must have their turn, is in the list of those to be
//!   read again. Events are edge-triggered, so nobody else says so.
//! - I4. A connection has an entry among the timers that is not later than its deadline.
//! - I5. A connection that is not read, since what has come of it must wait, is read again when it goes on.

use super::conn::{Conn, Phase};
use super::messages::{leave, messages, say_lagged, say_restart};
use super::outbound::Flushed;
use super::wire::Wire;
use super::{ServerShared, ToReactor};
use crate::engine::worker::poll::Reactor;
use crate::net::websocket::{CloseCode, close};
use crate::sync::{Arc, Ordering};
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::io::{self, Read};
use std::net::Shutdown;
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
const GATHER_MAX: Duration = Duration::from_millis(10);
/// How long nothing is accepted when no descriptor is left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);
/// What stands for ever, where a duration is longer than the clock goes.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// See the module's text.
pub(crate) struct NetReactor {
    /// `None` once it has been stopped.
    server: Option<Arc<ServerShared>>,
    worker: usize,
    base: usize,
    registry: Registry,
    listener: Option<TcpListener>,
    slots: Vec<ConnSlot>,
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
    /// When to accept again, though no event says so.
    accept_at: Option<Instant>,
    draining: Option<Instant>,
    /// Connections so far.
    serials: u64,
}

struct ConnSlot {
    generation: u16,
    conn: Option<Box<Conn>>,
}

/// Whether a connection stays.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stay {
    Yes,
    No,
}

impl NetReactor {
    pub(crate) fn new(
        server: Arc<ServerShared>,
        worker: usize,
        registry: &Registry,
        base: usize,
        listener: Option<std::net::TcpListener>,
    ) -> io::Result<Self> {
        let registry = registry.try_clone()?;
        let mut listener = listener.map(TcpListener::from_std);
        if let Some(listener) = &mut listener {
            registry.register(listener, Token(base | LISTENER), Interest::READABLE)?;
        }
        Ok(NetReactor {
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
            accept_at: Some(Instant::now()),
            draining: None,
            serials: 0,
        })
    }

    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    fn conn(&mut self, token: usize) -> Option<&mut Option<Box<Conn>>> {
        let slot = self.slots.get_mut(token & LISTENER)?;
        (usize::from(slot.generation) == token >> 32).then_some(&mut slot.conn)
    }

    /// Does something with a connection that is taken out of its slot meanwhile, and closes it if it does not stay.
    pub(crate) fn with(
        &mut self,
        token: usize,
        f: impl FnOnce(&mut Self, &Arc<ServerShared>, &mut Conn, usize) -> Stay,
    ) {
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

    fn forget(&mut self, server: &ServerShared, mut conn: Box<Conn>, token: usize) {
        // A socket that can't be deregistered goes with its descriptor.
        let _ = self.registry.deregister(&mut conn.stream);
        conn.wire.end(None);
        leave(&mut conn.phase);
        drop(conn);
        let index = token & LISTENER;
        self.slots[index].generation = self.slots[index].generation.wrapping_add(1) & 0x7FFF;
        self.free.push(index as u32);
        self.open -= 1;
        server.workers[self.worker].connections.fetch_sub(1, Ordering::Relaxed);
    }

    fn accept(&mut self) {
        let Some(server) = self.server.clone() else { return };
        self.accept_at = None;
        for _ in 0..ACCEPTS {
            let Some(listener) = &self.listener else { return };
            match listener.accept() {
                Ok((stream, _)) => {
                    server.counters.accepted.fetch_add(1, Ordering::Relaxed);
                    self.place(&server, stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // Of a connection that went before it was taken.
                Err(error) if is_of_one(error.kind()) => {}
                // No descriptor or memory is left: neither will be at once.
                Err(_) => {
                    self.accept_at = Some(Instant::now() + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        self.accept_at = Some(Instant::now());
    }

    /// Keeps a new connection, or hands it to the worker that has the fewest if this one has many more.
    fn place(&mut self, server: &Arc<ServerShared>, mut stream: TcpStream) {
        let connections = |worker: usize| &server.workers[worker].connections;
        let count = |worker: usize| connections(worker).load(Ordering::Relaxed);
        let least = (0..server.workers.len()).min_by_key(|&worker| count(worker)).unwrap_or(self.worker);
        if u64::from(count(self.worker)) * 5 > u64::from(count(least)) * 6 + 5 {
            connections(least).fetch_add(1, Ordering::Relaxed);
            match server.tell(least, ToReactor::Take(stream.into())) {
                // That one has stopped.
                Err(ToReactor::Take(back)) => stream = TcpStream::from_std(back),
                _ => return,
            }
            connections(least).fetch_sub(1, Ordering::Relaxed);
        }
        connections(self.worker).fetch_add(1, Ordering::Relaxed);
        self.take(server, stream);
    }

    /// A new connection, which is counted already.
    fn take(&mut self, server: &Arc<ServerShared>, mut stream: TcpStream) {
        // What is small goes at once. A socket that does not know the option is slower, no more.
        let _ = stream.set_nodelay(true);
        let index = self.free.pop().map_or_else(
            || {
                self.slots.push(ConnSlot { generation: 0, conn: None });
                self.slots.len() - 1
            },
            |index| index as usize,
        );
        let token = usize::from(self.slots[index].generation) << 32 | index;
        self.open += 1;
        let registered =
            self.registry.register(&mut stream, Token(self.base | token), Interest::READABLE | Interest::WRITABLE);
        self.serials += 1;
        let mut conn = Box::new(Conn {
            peer: stream.peer_addr().ok(),
            stream,
            phase: Phase::Request(Vec::new()),
            wire: Wire::new(token, self.dirty.clone(), server.options.clone()),
            serial: self.serials,
            deadline: Instant::now(),
            timer: None,
            hung_up: false,
            ended: false,
            again: false,
            paused: false,
        });
        if registered.is_err() {
            return self.forget(server, conn, token);
        }
        self.give(&mut conn, token, server.options.handshake_timeout);
        self.slots[index].conn = Some(conn);
    }

    /// Gives a connection so long from now, until it ends.
    pub(crate) fn give(&mut self, conn: &mut Conn, token: usize, time: Duration) {
        conn.deadline = after(time);
        if conn.timer.is_none_or(|timer| timer > conn.deadline) {
            conn.timer = Some(conn.deadline);
            self.timers.push(Reverse((conn.deadline, token)));
        }
    }

    /// A connection goes on with what has come: it may be read again.
    pub(crate) fn resume(&mut self, conn: &mut Conn, token: usize) {
        if std::mem::take(&mut conn.paused) {
            self.read_later(conn, token);
        }
    }

    fn read_later(&mut self, conn: &mut Conn, token: usize) {
        if !std::mem::replace(&mut conn.again, true) {
            self.again.push(token);
        }
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

    fn read_into(&mut self, server: &Arc<ServerShared>, conn: &mut Conn, token: usize, buffer: &mut [u8]) -> Stay {
        for _ in 0..READS {
            if conn.ended {
                return Stay::Yes;
            }
            if is_full(conn) {
                conn.paused = true;
                return Stay::Yes;
            }
            match conn.stream.read(buffer) {
                Ok(0) => {
                    conn.ended = true;
                    return if may_still_write(conn) { Stay::Yes } else { Stay::No };
                }
                Ok(count) => {
                    if self.bytes(server, conn, token, &mut buffer[..count]) == Stay::No {
                        return Stay::No;
                    }
                    if count < buffer.len() && !conn.hung_up {
                        // All there was: if more has come since, there is an event for it.
                        return Stay::Yes;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Stay::Yes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Stay::No,
            }
        }
        self.read_later(conn, token);
        Stay::Yes
    }

    /// Something has come.
    pub(crate) fn bytes(
        &mut self,
        server: &Arc<ServerShared>,
        conn: &mut Conn,
        token: usize,
        bytes: &mut [u8],
    ) -> Stay {
        match &mut conn.phase {
            Phase::Request(head) => {
                if head.is_empty() && conn.deadline > after(server.options.handshake_timeout) {
                    // A request has begun, on a connection that was idle.
                    self.give(conn, token, server.options.handshake_timeout);
                }
                if let Phase::Request(head) = &mut conn.phase {
                    head.extend_from_slice(bytes);
                }
                return self.request(server, conn, token);
            }
            Phase::Waiting(behind) => behind.extend_from_slice(bytes),
            Phase::Channels(..) | Phase::Raw(..) => {
                self.give(conn, token, server.options.idle_timeout);
                messages(server, conn, bytes);
                if matches!(conn.phase, Phase::Ending) {
                    self.give(conn, token, server.options.handshake_timeout);
                }
            }
            Phase::Ending => {}
        }
        Stay::Yes
    }

    /// Writes what waits for a connection.
    fn flush(&mut self, token: usize) {
        self.with(token, |this, server, conn, token| {
            let mut outbound = conn.wire.outbound();
            outbound.is_dirty = false;
            let waited = outbound.bytes();
            let flushed = outbound.flush(&mut conn.stream);
            let (ending, progress) = (outbound.is_ending, outbound.bytes() < waited);
            let tells = ending || outbound.is_low(server.options.outbound_bytes_max);
            let refused = if tells { outbound.take_refused() } else { 0 };
            drop(outbound);
            if flushed == Flushed::Gone {
                return Stay::No;
            }
            if refused > 0 {
                server.counters.slow.fetch_add(refused, Ordering::Relaxed);
                say_lagged(conn, refused);
            }
            if ending {
                return this.flush_last(server, conn, token, flushed);
            }
            if matches!(conn.phase, Phase::Request(_)) {
                if progress {
                    // Whoever takes long to read an answer is not idle.
                    this.give(conn, token, server.options.idle_timeout);
                }
                if flushed == Flushed::All {
                    return this.answered(server, conn, token);
                }
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

    /// What remains to be done for a connection that ends.
    fn flush_last(&mut self, server: &Arc<ServerShared>, conn: &mut Conn, token: usize, flushed: Flushed) -> Stay {
        if !matches!(conn.phase, Phase::Ending) {
            // It was ended from above.
            leave(&mut conn.phase);
            self.give(conn, token, server.options.handshake_timeout);
        }
        // The client answers the close, or sees the end, and goes; until then what it sends is read, since a socket
        // that is closed with something unread takes back what it has sent last.
        if flushed == Flushed::All && (conn.ended || conn.stream.shutdown(Shutdown::Write).is_err()) {
            return Stay::No;
        }
        Stay::Yes
    }

    /// All answers have been written: the next request has its turn.
    fn answered(&mut self, server: &Arc<ServerShared>, conn: &mut Conn, token: usize) -> Stay {
        let is_empty = matches!(&conn.phase, Phase::Request(head) if head.is_empty());
        if !is_empty {
            self.give(conn, token, server.options.handshake_timeout);
            if self.request(server, conn, token) == Stay::No {
                return Stay::No;
            }
        }
        self.resume(conn, token);
        // No more comes of a request that is not whole.
        if conn.ended && matches!(conn.phase, Phase::Request(_)) { Stay::No } else { Stay::Yes }
    }

    fn inbox(&mut self) {
        let Some(server) = self.server.clone() else { return };
        let all = server.workers[self.worker].inbox.lock().as_mut().map(std::mem::take).unwrap_or_default();
        let mut stop = false;
        for what in all {
            match what {
                ToReactor::Take(stream) => self.take(&server, TcpStream::from_std(stream)),
                ToReactor::Connected(decided) => self.connected(*decided),
                ToReactor::Response { token, serial, bytes, keep_alive } => {
                    self.response((token, serial), bytes, keep_alive);
                }
                ToReactor::Drain => {
                    self.listener = None;
                    self.draining = Some(Instant::now());
                }
                ToReactor::Stop => stop = true,
            }
        }
        if stop {
            self.stop(&server);
        }
    }

    /// Closes everything, with what is to be said as the last.
    fn stop(&mut self, server: &ServerShared) {
        self.listener = None;
        for index in 0..self.slots.len() {
            let token = usize::from(self.slots[index].generation) << 32 | index;
            if let Some(mut conn) = self.slots[index].conn.take() {
                say_restart(&conn);
                // What the system takes now; there is no later.
                let _ = conn.wire.outbound().flush(&mut conn.stream);
                self.forget(server, conn, token);
            }
        }
        let left = server.workers[self.worker].inbox.lock().take();
        for what in left.into_iter().flatten() {
            if matches!(what, ToReactor::Take(_)) {
                server.workers[self.worker].connections.fetch_sub(1, Ordering::Relaxed);
            }
        }
        self.timers.clear();
        self.draining = None;
        self.server = None;
    }

    /// Lets nothing more in, if nothing waits there.
    fn close_inbox(&self, server: &ServerShared) -> bool {
        let mut inbox = server.workers[self.worker].inbox.lock();
        let is_empty = inbox.as_ref().is_none_or(Vec::is_empty);
        if is_empty {
            *inbox = None;
        }
        is_empty
    }

    /// Tells the next batch of connections to go.
    fn drain(&mut self, server: &Arc<ServerShared>, now: Instant) {
        let Some(next) = self.draining else { return };
        if next > now {
            return;
        }
        self.draining = Some(after(server.options.drain_interval));
        let mut left = (server.options.drain_batch / server.workers.len()).max(1);
        for index in 0..self.slots.len() {
            let token = usize::from(self.slots[index].generation) << 32 | index;
            let Some(conn) = &mut self.slots[index].conn else { continue };
            match &conn.phase {
                Phase::Channels(..) | Phase::Raw(..) => say_restart(conn),
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
                if conn.timer != Some(at) {
                    // One from before its deadline was brought forward.
                    return Stay::Yes;
                }
                conn.timer = None;
                if conn.deadline > now {
                    conn.timer = Some(conn.deadline);
                    this.timers.push(Reverse((conn.deadline, token)));
                    return Stay::Yes;
                }
                match conn.phase {
                    Phase::Channels(..) | Phase::Raw(..) => {
                        conn.wire.end(Some(close(CloseCode::PROTOCOL_ERROR, "idle")));
                        leave(&mut conn.phase);
                    }
                    // A callback takes long; it is the client's to give up.
                    Phase::Waiting(_) if !conn.ended && !conn.hung_up => {}
                    Phase::Waiting(_) | Phase::Request(_) | Phase::Ending => return Stay::No,
                }
                this.give(conn, token, server.options.handshake_timeout);
                Stay::Yes
            });
        }
    }
}

/// So long from now.
fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now + FOREVER)
}

/// Whether an error of accepting is that of the one connection.
fn is_of_one(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset)
}

/// Whether so much has come that the connection must not be read until it goes on.
fn is_full(conn: &Conn) -> bool {
    match &conn.phase {
        Phase::Waiting(behind) => behind.len() >= READ,
        Phase::Request(head) => head.len() >= READ && conn.wire.is_busy(),
        Phase::Channels(..) | Phase::Raw(..) | Phase::Ending => false,
    }
}

/// Whether a client that sends nothing more may still want what it has asked for.
fn may_still_write(conn: &Conn) -> bool {
    match conn.phase {
        Phase::Waiting(_) => true,
        Phase::Request(_) | Phase::Ending => conn.wire.is_busy(),
        Phase::Channels(..) | Phase::Raw(..) => false,
    }
}

impl Reactor for NetReactor {
    fn ready(&mut self, token: usize, event: &Event) {
        if token == LISTENER {
            if self.accept_at.is_none() {
                self.accept();
            }
            return;
        }
        let Some(Some(conn)) = self.conn(token) else { return };
        if event.is_writable() {
            conn.wire.unblock();
        }
        if event.is_readable() || event.is_read_closed() || event.is_error() {
            conn.hung_up |= event.is_read_closed();
            if conn.paused && event.is_error() {
                // It is not read, which would tell.
                return self.with(token, |_, _, _, _| Stay::No);
            }
            self.read(token);
        }
    }

    fn is_done(&self) -> bool {
        self.server.is_none()
    }

    fn turn(&mut self, busy: bool) -> Option<Duration> {
        self.inbox();
        let server = self.server.clone()?;
        if self.accept_at.is_some_and(|at| at <= Instant::now()) {
            self.accept();
        }
        for token in std::mem::take(&mut self.again) {
            if let Some(Some(conn)) = self.conn(token) {
                conn.again = false;
                self.read(token);
            }
        }
        if !self.timers.is_empty() || self.draining.is_some() {
            let now = Instant::now();
            self.expire(now);
            self.drain(&server, now);
        }
        self.flush_all(busy);
        if self.draining.is_some() && self.open == 0 && self.close_inbox(&server) {
            self.draining = None;
            self.server = None;
            server.is_done();
            return None;
        }
        if !self.again.is_empty() || !self.flushing.is_empty() || !self.dirty.borrow().is_empty() {
            return Some(Duration::ZERO);
        }
        let next = self.timers.peek().map(|&Reverse((at, _))| at);
        let next = [next, self.draining, self.accept_at].into_iter().flatten().min()?;
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
