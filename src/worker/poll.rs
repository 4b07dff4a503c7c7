//! Sleeping in `mio::Poll`: for a worker whose sockets must wake it as broadcasts do.

use super::sleep::Sleeper;
use mio::{Events, Poll, Token};
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// The token of the engine's own waker: no connection has it.
pub const WAKE: Token = Token(usize::MAX);

const EVENTS: usize = 256;

/// Sleeps in a poll, from which sockets and the engine wake it alike.
#[derive(Debug)]
pub struct PollSleeper {
    poll: Poll,
    events: Events,
    waker: Arc<PollWaker>,
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
    pub fn new() -> io::Result<Self> {
        let poll = Poll::new()?;
        let waker = Arc::new(PollWaker(mio::Waker::new(poll.registry(), WAKE)?));
        Ok(PollSleeper { poll, events: Events::with_capacity(EVENTS), waker })
    }
}

impl Sleeper for PollSleeper {
    fn waker(&self) -> Waker {
        Waker::from(self.waker.clone())
    }

    fn sleep(&mut self, bound: Option<Duration>) {
        // An interrupted poll is a wake for no reason, which a sleeper may have.
        let _ = self.poll.poll(&mut self.events, bound);
    }
}
