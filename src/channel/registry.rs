//! The connections of a worker: where each is found, and how others reach it.
//!
//! A connection's state ([`Machine`]) belongs to its worker's thread and lies in that thread's registry; a key names
//! it, and never another one after it has gone. From elsewhere a connection is reached by its [`Address`]: a task on
//! its worker, which keeps the order with broadcasts.
//!
//! - I1. The registry is borrowed only while a machine handles one input, or a frame is handed to its transport;
//!   neither waits, and neither comes back to the registry: inline callbacks may run within, and all that these can do
//!   to a connection is a task or noted (I2).
//! - I2. What must happen to a connection while the registry may be borrowed is noted, and done at the end of the
//!   borrow.

use super::actor::Cell;
use super::connection::Machine;
use super::fastlane::Encoded;
use super::guarded::discard;
use super::{Close, Frame};
use crate::engine::Engine;
use crate::engine::outcome::TaskError;
use crate::message::payload::Payload;
use crate::protocol::gate;
use crate::sync::Arc;
use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static MACHINES: RefCell<Registry> = RefCell::new(Registry::default());
    /// See I2.
    static GIVEN_UP: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The connections of a thread. What is left when the thread ends goes one by one.
#[derive(Default)]
struct Registry(SlotMap<DefaultKey, Box<Machine>>);

impl Drop for Registry {
    fn drop(&mut self) {
        // A panic here would end the process.
        self.0.drain().for_each(discard);
    }
}

/// Something for a connection's client.
#[derive(Debug, Clone)]
pub enum Out<'a> {
    /// For it alone.
    Frame(Frame),
    /// For others too: the bytes are shared.
    Shared(&'a Encoded),
}

impl Out<'_> {
    /// The frame.
    pub fn frame(&self) -> &Frame {
        match self {
            Out::Frame(frame) => frame,
            Out::Shared(encoded) => encoded.frame(),
        }
    }
}

/// What carries a connection's frames. It belongs to the connection's worker, and never waits.
pub trait Transport: 'static {
    /// Queues something for the client, behind all that was queued before.
    fn send(&mut self, out: Out<'_>);

    /// The connection ends: nothing is sent any more but what is queued. The machine has gone.
    fn close(&mut self, why: Close);
}

/// What the callbacks of channels tell their connection.
#[derive(Debug)]
pub(super) enum Command {
    /// A join is decided.
    Joined { cell: Arc<Cell>, outcome: JoinOutcome },
    /// A channel has ended.
    Ended { cell: Arc<Cell>, graceful: bool },
}

#[derive(Debug)]
pub(super) enum JoinOutcome {
    Ok(Payload),
    Refused(Payload),
    Crashed,
}

/// Why a connection could not be told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PostError {
    /// The engine is shut down.
    Closed,
    /// On a worker's thread: there is no room for it.
    Full,
}

impl From<TaskError> for PostError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Closed => PostError::Closed,
            TaskError::Full => PostError::Full,
        }
    }
}

/// Where a connection is.
#[derive(Debug, Clone)]
pub(super) struct Address {
    engine: Arc<Engine>,
    worker: usize,
    key: u64,
}

impl Address {
    pub(super) fn worker(&self) -> usize {
        self.worker
    }

    pub(super) fn key(&self) -> u64 {
        self.key
    }

    /// Whether this is the connection's worker.
    pub(super) fn is_here(&self) -> bool {
        crate::engine::outbox::worker_of(&self.engine) == Some(self.worker)
    }

    /// Runs something on the connection's worker, behind what was broadcast before.
    pub(super) fn run(&self, task: impl FnOnce() + Send + 'static) -> Result<(), PostError> {
        Ok(self.engine.run_on(self.worker, Box::new(task))?)
    }

    pub(super) fn post(&self, command: Command) -> Result<(), PostError> {
        let key = self.key;
        self.run(move || {
            with(key, |machine| machine.command(command));
        })
    }

    /// Sends a frame of a channel.
    pub(super) fn send(&self, cell: &Arc<Cell>, frame: Frame) -> Result<(), PostError> {
        let (key, cell) = (self.key, cell.clone());
        self.run(move || {
            with(key, |machine| machine.forward(&cell, frame));
        })
    }

    /// Sends pushes of a channel, encoded on the connection's worker.
    pub(super) fn push(&self, cell: &Arc<Cell>, pushes: Vec<(&'static str, Payload)>) -> Result<(), PostError> {
        let (key, cell) = (self.key, cell.clone());
        self.run(move || {
            with(key, |machine| pushes.iter().for_each(|(event, payload)| machine.push(&cell, event, payload)));
        })
    }

    /// Whether the engine takes anything from outside.
    pub(super) fn is_open(&self) -> bool {
        self.engine.gate.phase() == gate::OPEN
    }

    /// For the connection's worker: the connection can't be told what it must know, and is closed, now or when the
    /// registry is free (I2).
    pub(super) fn give_up(&self) {
        if !self.is_here() {
            return;
        }
        if MACHINES.with(|machines| machines.try_borrow_mut().is_ok()) {
            close_here(self.key, Close::Overloaded);
        } else {
            GIVEN_UP.with_borrow_mut(|keys| keys.push(self.key));
        }
    }
}

/// Puts a new connection into the registry of this thread, a worker's. `make` is given its address. One that is closed
/// at once does not stay.
pub(super) fn insert(engine: &Arc<Engine>, worker: usize, make: impl FnOnce(Address) -> Box<Machine>) -> u64 {
    let (key, gone) = MACHINES.with_borrow_mut(|Registry(machines)| {
        let key =
            machines.insert_with_key(|key| make(Address { engine: engine.clone(), worker, key: key.data().as_ffi() }));
        let is_closed = machines.get(key).is_some_and(|machine| machine.is_closed());
        (key.data().as_ffi(), if is_closed { machines.remove(key) } else { None })
    });
    drop(gone);
    key
}

/// Calls `f` with a connection of this thread, if it is still there. A machine that has closed goes, and one in which
/// code of users has panicked is closed.
pub(super) fn with(key: u64, f: impl FnOnce(&mut Machine)) {
    let key = DefaultKey::from(KeyData::from_ffi(key));
    let gone = MACHINES.with_borrow_mut(|Registry(machines)| {
        let machine = machines.get_mut(key)?;
        if catch_unwind(AssertUnwindSafe(|| f(machine))).is_err() {
            machine.close(Close::Undecodable);
        }
        if machine.is_closed() { machines.remove(key) } else { None }
    });
    // What it holds may run code of users when it goes.
    drop(gone);
    for key in GIVEN_UP.take() {
        close_here(key, Close::Overloaded);
    }
}

/// Sends a connection of this thread something, if it is still there.
pub(super) fn send_here(key: u64, out: Out<'_>) {
    MACHINES.with_borrow_mut(|Registry(machines)| {
        if let Some(machine) = machines.get_mut(DefaultKey::from(KeyData::from_ffi(key))) {
            machine.send(out);
        }
    });
}

/// Closes a connection of this thread, if it is still there.
pub(super) fn close_here(key: u64, why: Close) {
    with(key, |machine| machine.close(why));
}
