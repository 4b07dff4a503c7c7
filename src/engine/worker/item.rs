//! What inboxes and control logs carry.

use super::barrier::Barrier;
use super::handlers::NewHandler;
use super::members::Place;
use super::task::Task;
use crate::engine::contract::CloseReason;
use crate::message::body::Bias;
use crate::message::dispatch::Metadata;
use crate::protocol::ready::Group;
use crate::sync::{Arc, AtomicU32};
use crate::topic::table::TopicEntry;

/// A broadcast on its way to one worker.
#[derive(Debug)]
pub(crate) struct Broadcast {
    /// The message, with this worker's bias.
    pub message: Bias,
    /// How far the log must be applied before the walk.
    pub position: u64,
    /// Whose subscriptions are skipped, if they are on this worker.
    pub from: Option<(Place, u32)>,
    /// What it counts for in the inbox.
    pub weight: u32,
}

/// What an inbox carries.
pub(crate) enum Item {
    /// A broadcast.
    Broadcast(Broadcast),
    /// Reached when everything before it has been delivered, and the log has been applied so far.
    Barrier { barrier: Arc<Barrier>, position: u64 },
    /// Run when everything before it has been delivered, and the log has been applied so far.
    Task { task: Task, position: u64 },
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Item::Broadcast(_) => "Broadcast",
            Item::Barrier { .. } => "Barrier",
            Item::Task { .. } => "Task",
        })
    }
}

/// With its sequence number it fills a slot of the inbox, which is one line.
const _: () = assert!(size_of::<Item>() <= 56);

/// What a log carries.
pub(crate) enum Op {
    /// A subscription begins. It is counted in the topic already.
    /// The topic comes along if its bit was not set: then it has no list.
    Subscribe { topic: u32, entry: Option<Arc<TopicEntry>>, place: Place, metadata: Option<Metadata> },
    /// All subscriptions of a subscriber to a topic end.
    Unsubscribe { topic: u32, place: Place },
    /// A mailbox is closed: its subscriptions end, and its reader is told. Its place is still its own.
    End { place: Place, reason: CloseReason },
    /// The subscriber is gone, and its place is free once its subscriptions have ended.
    Remove { place: Place, generation: u32 },
    /// A handler comes to its worker.
    Handler { place: Place, handler: Box<dyn NewHandler> },
    /// The slots of a mailbox that is larger than its line.
    Wide { index: u32, slots: Arc<[AtomicU32]> },
    /// A group of a mailbox set is no longer named by any mailbox.
    DropGroup(Arc<Group>),
}

impl Op {
    /// The subscriber that it is about, if it changes who is subscribed.
    pub(crate) fn place(&self) -> Option<Place> {
        match self {
            Op::Subscribe { place, .. }
            | Op::Unsubscribe { place, .. }
            | Op::End { place, .. }
            | Op::Remove { place, .. } => Some(*place),
            Op::Handler { .. } | Op::Wide { .. } | Op::DropGroup(_) => None,
        }
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::Subscribe { .. } => "Subscribe",
            Op::Unsubscribe { .. } => "Unsubscribe",
            Op::End { .. } => "End",
            Op::Remove { .. } => "Remove",
            Op::Handler { .. } => "Handler",
            Op::Wide { .. } => "Wide",
            Op::DropGroup(_) => "DropGroup",
        })
    }
}
