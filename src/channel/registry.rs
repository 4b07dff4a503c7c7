//! The connections of a worker: where each is found, and how others reach it.
//!
//! A connection's state ([`Connection`]) belongs to its worker's thread and lies in that thread's registry; a key names
//! it, and never another one after it has gone. From elsewhere a connection is reached by its [`Address`]: a task on
//! its worker, which keeps the order with broadcasts.
//!
//! - I1. The registry is borrowed only while a connection handles one input, or a frame is handed to its transport;
//!   neither waits, and neither comes back to the registry: inline callbacks may run within, and all that these can do
//!   to a connection is a task or noted (I2).
//! - I2. What must happen to a connection while the registry may be borrowed is noted, and done at the end of the
//!   borrow.

use super::address::Address;
use super::connection::Connection;
use super::guarded::discard;
use super::transport::Out;
use super::{Close, Frame};
use crate::engine::Engine;
use crate::sync::Arc;
use slotmap::{DefaultKey, Key, KeyData, SlotMap};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};

thread_local! {
    static CONNECTIONS: RefCell<Registry> = RefCell::new(Registry::default());
    /// See I2.
    static GIVEN_UP: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

/// The connections of a thread. What is left when the thread ends goes one by one.
#[derive(Default)]
struct Registry(SlotMap<DefaultKey, Box<Connection>>);

impl Drop for Registry {
    fn drop(&mut self) {
        // A panic here would end the process.
        self.0.drain().for_each(discard);
    }
}

/// Puts a new connection into the registry of this thread, a worker's. `make` is given its address. One that is closed
/// at once does not stay.
pub(crate) fn insert(engine: &Arc<Engine>, worker: usize, make: impl FnOnce(Address) -> Box<Connection>) -> u64 {
    let (key, gone) = CONNECTIONS.with_borrow_mut(|Registry(connections)| {
        let key = connections
            .insert_with_key(|key| make(Address { engine: engine.clone(), worker, key: key.data().as_ffi() }));
        let is_closed = connections.get(key).is_some_and(|connection| connection.is_closed());
        (key.data().as_ffi(), if is_closed { connections.remove(key) } else { None })
    });
    drop(gone);
    key
}

/// Calls `f` with a connection of this thread, if it is still there. A connection that has closed goes, and one in
/// which code of users has panicked is closed.
pub(crate) fn with(key: u64, f: impl FnOnce(&mut Connection)) {
    let key = DefaultKey::from(KeyData::from_ffi(key));
    let gone = CONNECTIONS.with_borrow_mut(|Registry(connections)| {
        let connection = connections.get_mut(key)?;
        if catch_unwind(AssertUnwindSafe(|| f(connection))).is_err() {
            connection.close(Close::Undecodable);
        }
        if connection.is_closed() { connections.remove(key) } else { None }
    });
    // What it holds may run code of users when it goes.
    drop(gone);
    for key in GIVEN_UP.take() {
        close_here(key, Close::Overloaded);
    }
}

/// Sends a connection of this thread something, if it is still there.
pub(crate) fn send_here(key: u64, out: Out<'_>) {
    CONNECTIONS.with_borrow_mut(|Registry(connections)| {
        if let Some(connection) = connections.get_mut(DefaultKey::from(KeyData::from_ffi(key))) {
            connection.send(out);
        }
    });
}

/// Closes a connection of this thread that can't be told what it must know: now, or when the registry is free (I2).
pub(crate) fn give_up(key: u64) {
    if CONNECTIONS.with(|connections| connections.try_borrow_mut().is_ok()) {
        close_here(key, Close::Overloaded);
    } else {
        GIVEN_UP.with_borrow_mut(|keys| keys.push(key));
    }
}

/// Closes a connection of this thread, if it is still there.
pub(crate) fn close_here(key: u64, why: Close) {
    with(key, |connection| connection.close(why));
}

/// A connection of the calling thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SocketKey(pub(crate) u64);

impl SocketKey {
    /// A frame of the client. Without effect on a connection that has been closed.
    pub(crate) fn frame(self, frame: &Frame) {
        with(self.0, |connection| connection.frame(frame));
    }

    /// The client has missed so many frames, since it read too slowly: it is told.
    pub(crate) fn lagged(self, dropped: u64) {
        with(self.0, |connection| connection.lagged(dropped));
    }

    /// The connection has ended, or is to be ended, for this reason.
    pub(crate) fn close(self, why: Close) {
        close_here(self.0, why);
    }
}
