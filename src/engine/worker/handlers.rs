//! What a worker knows of handlers: slabs of them, and how one comes to its slab.

use super::shared::Worker;
use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::message::body::Message;
use crate::sync::Arc;
use std::any::Any;

/// A run of members of one kind, and the message for them.
pub(crate) struct Run<'a> {
    /// The engine.
    pub engine: &'a Arc<Engine>,
    /// The worker.
    pub me: &'a Worker,
    /// The kind of the members.
    pub kind: u16,
    /// Where they are.
    pub places: &'a [u32],
    /// What they get.
    pub message: &'a Message,
    /// Who is skipped.
    pub skip: u32,
}

/// A slab of handlers of one type.
pub(crate) trait Handlers: Send {
    /// Calls each handler of the run. Returns how many calls returned.
    fn run(&mut self, run: &Run<'_>) -> u64;
    /// Closes and drops one.
    fn remove(&mut self, index: u32, reason: CloseReason);
    /// Closes and drops all.
    fn end(&mut self, reason: CloseReason);
    /// Itself, to be downcast.
    fn as_any(&mut self) -> &mut dyn Any;
}

impl std::fmt::Debug for dyn Handlers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handlers")
    }
}

/// A handler on its way to its worker's slab.
pub(crate) trait NewHandler: Send {
    /// An empty slab for handlers of its type.
    fn slab(&self) -> Box<dyn Handlers>;
    /// Puts it into the slab of its type.
    fn put(self: Box<Self>, slab: &mut dyn Handlers, index: u32);
}

impl std::fmt::Debug for dyn NewHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NewHandler")
    }
}
