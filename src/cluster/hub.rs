//! A transport in one process: nodes that join one hub reach each other. For tests, and for several engines side by
//! side.
//!
//! One thread, `fanfare-hub`, makes every call of every receiver, in the order of one queue. Who gets a payload is
//! decided when it is published: the faults that are in force then count, not those at its delivery. Faults are made by
//! hand and take effect before the call returns, so that a test decides what happens, and needs no time to pass.

use super::{Cluster, Health, PARTITIONS, PAYLOAD_BYTES_MAX, Receiver, StartError, Taken, caught, check_node, counted};
use crate::sync::{Arc, Condvar, Mutex, MutexGuard, thread};
use bytes::Bytes;
use std::collections::VecDeque;
use std::io;
use std::time::Instant;

const BUFFER_BYTES_MAX: usize = 8 << 20;

/// Joins nodes in one process. Handles are cheap to clone; it lasts as long as one of them or of its nodes.
#[derive(Debug, Clone)]
pub struct Hub {
    owner: Arc<Owner>,
}

/// One node's place at a [`Hub`]. It is stopped when it is dropped.
#[derive(Debug)]
pub struct HubNode {
    id: usize,
    owner: Arc<Owner>,
    buffer_bytes_max: usize,
}

/// Keeps the thread running. Its drop ends it.
#[derive(Debug)]
struct Owner {
    shared: Arc<HubShared>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct HubShared {
    state: Mutex<HubState>,
    /// Told of every change that somebody may wait for: there is something to deliver, it is delivered, a buffer is
    /// empty.
    changed: Condvar,
    payload_bytes_max: usize,
}

#[derive(Debug, Default)]
struct HubState {
    /// By number, and never removed.
    nodes: Vec<Node>,
    calls: VecDeque<(usize, Call)>,
    /// Whose receiver is being called.
    calling: Option<usize>,
    held: bool,
    ended: bool,
}

#[derive(Default)]
struct Node {
    name: String,
    receiver: Option<Arc<dyn Receiver>>,
    /// It has been started or stopped, and can't be started any more.
    used: bool,
    cut: bool,
    lose: u64,
    buffer: VecDeque<(To, Bytes)>,
    buffer_bytes: usize,
}

/// Where a payload goes.
#[derive(Debug, Clone)]
enum To {
    Partition(u16),
    Node(Box<str>),
}

/// A call of a receiver.
#[derive(Debug)]
enum Call {
    Receive(Option<u16>, Bytes),
    Health(Health),
    Lost,
}

impl Hub {
    /// A hub without nodes.
    ///
    /// # Errors
    ///
    /// If the system gives no more threads.
    pub fn new() -> io::Result<Hub> {
        Hub::with_payload_bytes_max(PAYLOAD_BYTES_MAX)
    }

    /// A hub whose nodes take payloads of at most so many bytes.
    ///
    /// # Errors
    ///
    /// As [`new`](Self::new).
    ///
    /// # Panics
    ///
    /// If that is over [`PAYLOAD_BYTES_MAX`].
    pub fn with_payload_bytes_max(bytes: usize) -> io::Result<Hub> {
        assert!(bytes <= PAYLOAD_BYTES_MAX, "no transport takes payloads of {bytes} bytes");
        let shared = Arc::new(HubShared {
            state: Mutex::new(HubState::default()),
            changed: Condvar::new(),
            payload_bytes_max: bytes,
        });
        let of_thread = shared.clone();
        let thread = thread::Builder::new().name("fanfare-hub".to_owned()).spawn(move || of_thread.deliver())?;
        Ok(Hub { owner: Arc::new(Owner { shared, thread: Some(thread) }) })
    }

    /// A place for one more node, to be started.
    pub fn join(&self) -> HubNode {
        let mut state = self.owner.shared.state.lock();
        state.nodes.push(Node::default());
        HubNode { id: state.nodes.len() - 1, owner: self.owner.clone(), buffer_bytes_max: BUFFER_BYTES_MAX }
    }

    /// Calls no receiver any more, until [`release`](Self::release): what is published is under way meanwhile. Returns
    /// when the call that was being made, if one was, has returned.
    pub fn hold(&self) {
        let mut state = self.owner.shared.state.lock();
        state.held = true;
        if !self.owner.is_own_thread() {
            self.owner.shared.wait(&mut state, |state| state.calling.is_none());
        }
    }

    /// Calls receivers again, beginning with what is under way.
    pub fn release(&self) {
        self.owner.shared.state.lock().held = false;
        self.owner.shared.changed.notify_all();
    }

    /// Waits until nothing is under way: all receivers have returned from all calls that were due. Returns at once
    /// while deliveries are [held](Self::hold), and when a receiver calls it.
    pub fn settle(&self) {
        if self.owner.is_own_thread() {
            return;
        }
        let mut state = self.owner.shared.state.lock();
        self.owner.shared.wait(&mut state, |state| state.calling.is_none() && (state.held || state.calls.is_empty()));
    }
}

impl HubNode {
    /// How many bytes may wait here while the link is cut: an empty buffer takes any payload, and each counts for at
    /// least 64 bytes. The default is 8 MiB.
    #[must_use]
    pub fn buffer_bytes_max(mut self, bytes: usize) -> HubNode {
        self.buffer_bytes_max = bytes;
        self
    }

    /// Cuts the node's link: what others publish passes it by, and what it publishes waits in its buffer. What is under
    /// way to it arrives.
    pub fn cut(&self) {
        self.with_state(|state| {
            let node = &mut state.nodes[self.id];
            if !std::mem::replace(&mut node.cut, true) && node.receiver.is_some() {
                state.calls.push_back((self.id, Call::Health(connecting())));
            }
        });
    }

    /// Heals the link: what is in the buffer goes out first.
    pub fn heal(&self) {
        self.with_state(|state| {
            let node = &mut state.nodes[self.id];
            if !std::mem::replace(&mut node.cut, false) || node.receiver.is_none() {
                return;
            }
            node.buffer_bytes = 0;
            let buffer = std::mem::take(&mut node.buffer);
            state.calls.push_back((self.id, Call::Health(Health::Ready)));
            for (to, payload) in buffer {
                state.pass(self.id, &to, &payload);
            }
        });
    }

    /// Loses so many of the payloads that come to this node next, and tells nobody. They add to those that it was to
    /// lose before.
    pub fn lose_next(&self, payloads: u64) {
        self.with_state(|state| state.nodes[self.id].lose += payloads);
    }

    /// Tells this node's receiver that something was lost, as if it had been too slow.
    pub fn tell_lost(&self) {
        self.with_state(|state| state.calls.push_back((self.id, Call::Lost)));
    }

    fn with_state<R>(&self, change: impl FnOnce(&mut HubState) -> R) -> R {
        let result = change(&mut self.owner.shared.state.lock());
        self.owner.shared.changed.notify_all();
        result
    }

    fn take(&self, to: To, payload: Bytes) -> Taken {
        let shared = &self.owner.shared;
        if payload.len() > shared.payload_bytes_max {
            return Taken::TooLong;
        }
        self.with_state(|state| {
            let node = &mut state.nodes[self.id];
            if node.receiver.is_none() {
                return Taken::Down;
            }
            if !node.cut {
                state.pass(self.id, &to, &payload);
                return Taken::Sent;
            }
            let bytes = node.buffer_bytes + counted(&payload);
            if bytes > self.buffer_bytes_max && !node.buffer.is_empty() {
                return Taken::Down;
            }
            node.buffer_bytes = bytes;
            node.buffer.push_back((to, payload));
            Taken::Buffered
        })
    }
}

impl Cluster for HubNode {
    fn start(&self, node: &str, receiver: Arc<dyn Receiver>) -> Result<(), StartError> {
        check_node(node)?;
        self.with_state(|state| {
            let place = &mut state.nodes[self.id];
            if std::mem::replace(&mut place.used, true) {
                return Err(StartError::Started);
            }
            node.clone_into(&mut place.name);
            place.receiver = Some(receiver);
            let health = if place.cut { connecting() } else { Health::Ready };
            state.calls.push_back((self.id, Call::Health(health)));
            Ok(())
        })
    }

    fn publish(&self, partition: u16, payload: Bytes) -> Taken {
        assert!(partition < PARTITIONS, "there is no partition {partition}");
        self.take(To::Partition(partition), payload)
    }

    fn send(&self, node: &str, payload: Bytes) -> Taken {
        self.take(To::Node(node.into()), payload)
    }

    fn payload_bytes_max(&self) -> usize {
        self.owner.shared.payload_bytes_max
    }

    fn health(&self) -> Health {
        let state = self.owner.shared.state.lock();
        let node = &state.nodes[self.id];
        match (&node.receiver, node.cut) {
            (None, _) => Health::Stopped,
            (Some(_), true) => connecting(),
            (Some(_), false) => Health::Ready,
        }
    }

    fn flush(&self, deadline: Instant) -> bool {
        if self.owner.is_own_thread() {
            return false;
        }
        let mut state = self.owner.shared.state.lock();
        while state.nodes[self.id].receiver.is_some() && !state.nodes[self.id].buffer.is_empty() {
            if self.owner.shared.changed.wait_until(&mut state, deadline).timed_out() {
                return false;
            }
        }
        state.nodes[self.id].receiver.is_some()
    }

    fn stop(&self) {
        let shared = &self.owner.shared;
        let mut state = shared.state.lock();
        let node = &mut state.nodes[self.id];
        node.used = true;
        let receiver = node.receiver.take();
        let buffer = std::mem::take(&mut node.buffer);
        state.calls.retain(|(id, _)| *id != self.id);
        shared.changed.notify_all();
        if !self.owner.is_own_thread() {
            shared.wait(&mut state, |state| state.calling != Some(self.id));
        }
        // Without the lock: a receiver's drop is code of somebody else.
        drop(state);
        drop((receiver, buffer));
    }
}

impl Drop for HubNode {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Owner {
    fn is_own_thread(&self) -> bool {
        self.thread.as_ref().is_some_and(|own| own.thread().id() == thread::current().id())
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
        // A receiver may hold the last handle; its thread can't wait for itself.
        if !self.is_own_thread()
            && let Some(thread) = self.thread.take()
        {
            let _ = thread.join();
        }
    }
}

impl HubShared {
    fn wait(&self, state: &mut MutexGuard<'_, HubState>, mut until: impl FnMut(&HubState) -> bool) {
        while !until(state) {
            self.changed.wait(state);
        }
    }

    /// The thread: makes the calls that are due, until the hub ends.
    fn deliver(&self) {
        let mut state = self.state.lock();
        loop {
            self.wait(&mut state, |state| state.ended || !state.held && !state.calls.is_empty());
            if state.ended {
                return;
            }
            let (id, call) = state.calls.pop_front().expect("waited for it");
            if let Some(receiver) = state.nodes[id].receiver.clone() {
                state.calling = Some(id);
                drop(state);
                caught(|| match call {
                    Call::Receive(partition, payload) => receiver.receive(partition, payload),
                    Call::Health(health) => receiver.health(health),
                    Call::Lost => receiver.lost(),
                });
                // Before the call counts as returned: `stop` then leaves no reference behind.
                caught(|| drop(receiver));
                state = self.state.lock();
                state.calling = None;
            }
            self.changed.notify_all();
        }
    }
}

impl HubState {
    /// Puts a payload on its way to those that it reaches.
    fn pass(&mut self, from: usize, to: &To, payload: &Bytes) {
        for (id, node) in self.nodes.iter_mut().enumerate() {
            let partition = match to {
                To::Partition(partition) => Some(*partition),
                To::Node(name) if **name == node.name => None,
                To::Node(_) => continue,
            };
            if id == from || node.cut || node.receiver.is_none() {
                continue;
            }
            if node.lose > 0 {
                node.lose -= 1;
            } else {
                self.calls.push_back((id, Call::Receive(partition, payload.clone())));
            }
        }
    }
}

fn connecting() -> Health {
    Health::Connecting { why: "the link is cut".to_owned() }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Node { name, receiver, used: _, cut, lose, buffer, buffer_bytes } = self;
        f.debug_struct("Node")
            .field("name", name)
            .field("is_running", &receiver.is_some())
            .field("cut", cut)
            .field("lose", lose)
            .field("buffer", &buffer.len())
            .field("buffer_bytes", buffer_bytes)
            .finish()
    }
}
