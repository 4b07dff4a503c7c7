//! Sleeping in `mio::Poll`: for a worker whose sockets must wake it as broadcasts do.
//!
//! What owns sockets is a [`Reactor`]; a worker has one for each server. It is installed from the worker's own thread,
//! and from then on gets its events and a turn between any two rounds of the worker, so that long walks and sockets
//! share the thread. Reactors run without the worker's baton.
//!
//! - I1. A token is a reactor's number in its upper bits and what that reactor likes in the lower [`TOKEN_BITS`].
//! - I2. A reactor's events are those of its own tokens.

use crate::protocol::sleep::Sleeper;
use mio::event::Event;
use mio::{Events, Poll, Registry, Token};
use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// The token of the engine's own waker: no connection has it.
pub(crate) const WAKE: Token = Token(usize::MAX);

const EVENTS: usize = 256;
/// The bits of a token that are its reactor's.
pub(crate) const TOKEN_BITS: u32 = 48;
/// Most reactors of a worker.
const REACTORS_MAX: usize = (1 << 15) - 1;
/// A busy worker looks for events once in so many turns.
const TURNS: u32 = 8;

/// What owns sockets on a worker. Everything here is called on the worker's thread.
pub(crate) trait Reactor {
    /// Something happened to one of its sockets. `token` is without the reactor's number.
    fn ready(&mut self, token: usize, event: &Event);

    /// Between two rounds of the worker: sends what has been queued, and looks at its clocks. `busy`: the worker has
    /// more to deliver, to the same connections perhaps. Returns after how long it must be called again at the latest.
    fn turn(&mut self, busy: bool) -> Option<Duration>;

    /// Whether it has ended: it owns no socket, and gets no more calls.
    fn is_done(&self) -> bool;
}

/// Makes a reactor, given where to register sockets and the token that its own tokens are added to.
pub(crate) type Install = Box<dyn FnOnce(&Registry, usize) -> Option<Box<dyn Reactor>>>;

thread_local! {
    static TO_INSTALL: RefCell<Vec<Install>> = const { RefCell::new(Vec::new()) };
}

/// For a worker's thread: installs a reactor before the worker next looks for events. Without effect on a thread that
/// does not sleep in a poll.
pub(crate) fn install(install: Install) {
    TO_INSTALL.with_borrow_mut(|all| all.push(install));
}

/// Sleeps in a poll, from which sockets and the engine wake it alike.
pub(crate) struct PollSleeper {
    poll: Poll,
    events: Events,
    /// Whether there are events that have not been handled.
    is_due: bool,
    turns: u32,
    waker: Arc<PollWaker>,
    /// By number. One that is done leaves its place to the next.
    reactors: Vec<Option<Box<dyn Reactor>>>,
    /// When a reactor must be called again.
    timeout: Option<Duration>,
}

#[derive(Debug)]
struct PollWaker(mio::Waker);

impl Wake for PollWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // An eventfd refuses a write only when its counter is full, and then it is readable already.
        let _ = self.0.wake();
    }
}

impl PollSleeper {
    /// A poll of its own.
    ///
    /// # Errors
    ///
    /// What the system says when it has no more descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(PollWaker(mio::Waker::new(poll.registry(), WAKE)?));
        let events = Events::with_capacity(EVENTS);
        Ok(PollSleeper { poll, events, is_due: false, turns: 0, waker, reactors: Vec::new(), timeout: None })
    }

    fn poll(&mut self, bound: Option<Duration>) {
        // An interrupted poll is a wake for no reason, which a sleeper may have.
        let _ = self.poll.poll(&mut self.events, bound);
    }

    fn install(&mut self) {
        for install in TO_INSTALL.take() {
            let free = self.reactors.iter().position(Option::is_none);
            let number = free.unwrap_or(self.reactors.len());
            if number == self.reactors.len() {
                self.reactors.push(None);
            }
            if number < REACTORS_MAX {
                self.reactors[number] = install(self.poll.registry(), number << TOKEN_BITS);
            }
        }
    }

    /// Hands events to their reactors. Returns whether there were any.
    fn handle(&mut self) -> bool {
        let mut any = false;
        for event in self.events.iter().filter(|event| event.token() != WAKE) {
            any = true;
            let Token(token) = event.token();
            if let Some(Some(reactor)) = self.reactors.get_mut(token >> TOKEN_BITS) {
                reactor.ready(token & ((1 << TOKEN_BITS) - 1), event);
            }
        }
        self.events.clear();
        self.is_due = false;
        any
    }
}

impl Sleeper for PollSleeper {
    fn waker(&self) -> Waker {
        Waker::from(self.waker.clone())
    }

    fn sleep(&mut self, bound: Option<Duration>) {
        let timeout = self.timeout;
        self.poll([bound, timeout].into_iter().flatten().min());
        // Without reactors there is nothing but wakes. With a timeout the reactors must be asked whatever happened.
        self.is_due = !self.reactors.is_empty() && (timeout.is_some() || self.events.iter().any(|e| e.token() != WAKE));
    }

    fn is_due(&self) -> bool {
        self.is_due
    }

    fn turn(&mut self, busy: bool) -> bool {
        self.install();
        if self.reactors.is_empty() {
            return false;
        }
        self.turns = self.turns.wrapping_add(1);
        if busy && !self.is_due && self.turns.is_multiple_of(TURNS) {
            self.poll(Some(Duration::ZERO));
        }
        let any = self.handle();
        self.timeout = self.reactors.iter_mut().flatten().filter_map(|reactor| reactor.turn(busy)).min();
        for reactor in &mut self.reactors {
            // Its sockets are closed, so that no event is left that could be taken for one of the next.
            reactor.take_if(|reactor| reactor.is_done());
        }
        while self.reactors.pop_if(|last| last.is_none()).is_some() {}
        any
    }

    fn end(&mut self) {
        self.reactors.clear();
        TO_INSTALL.take();
    }
}

impl std::fmt::Debug for PollSleeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PollSleeper").field("reactors", &self.reactors.len()).finish_non_exhaustive()
    }
}
