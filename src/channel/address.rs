//! Where a connection is, for others to reach it.

use super::Frame;
use super::actor::{Actor, Command};
use super::outcome::PostError;
use super::registry::{give_up, with};
use crate::engine::Engine;
use crate::message::payload::Payload;
use crate::protocol::gate;
use crate::sync::Arc;

/// Where a connection is.
#[derive(Debug, Clone)]
pub(crate) struct Address {
    pub(crate) engine: Arc<Engine>,
    pub(crate) worker: usize,
    pub(crate) key: u64,
}

impl Address {
    pub(crate) fn worker(&self) -> usize {
        self.worker
    }

    pub(crate) fn key(&self) -> u64 {
        self.key
    }

    /// Whether this is the connection's worker.
    pub(crate) fn is_here(&self) -> bool {
        crate::engine::outbox::worker_of(&self.engine) == Some(self.worker)
    }

    /// Runs something on the connection's worker, behind what was broadcast before.
    pub(crate) fn run(&self, task: impl FnOnce() + Send + 'static) -> Result<(), PostError> {
        Ok(self.engine.run_on(self.worker, Box::new(task))?)
    }

    pub(crate) fn post(&self, command: Command) -> Result<(), PostError> {
        let key = self.key;
        self.run(move || {
            with(key, |connection| connection.command(command));
        })
    }

    /// Sends a frame of a channel.
    pub(crate) fn send(&self, actor: &Arc<Actor>, frame: Frame) -> Result<(), PostError> {
        let (key, actor) = (self.key, actor.clone());
        self.run(move || {
            with(key, |connection| connection.forward(&actor, frame));
        })
    }

    /// Sends pushes of a channel, encoded on the connection's worker.
    pub(crate) fn push(&self, actor: &Arc<Actor>, pushes: Vec<(&'static str, Payload)>) -> Result<(), PostError> {
        let (key, actor) = (self.key, actor.clone());
        self.run(move || {
            with(key, |connection| pushes.iter().for_each(|(event, payload)| connection.push(&actor, event, payload)));
        })
    }

    /// Whether the engine takes anything from outside.
    pub(crate) fn is_open(&self) -> bool {
        self.engine.gate.phase() == gate::OPEN
    }

    /// For the connection's worker: the connection can't be told what it must know, and is closed, now or when the
    /// registry is free (`registry`, I2).
    pub(crate) fn give_up(&self) {
        if self.is_here() {
            give_up(self.key);
        }
    }
}
