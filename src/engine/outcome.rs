//! What became of what was handed to an engine.

/// What became of a broadcast.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Accepted: on its way to the workers that have subscribers, or delivered already.
    Sent,
    /// Nobody was subscribed.
    NoSubscribers,
    /// This node's subscribers get it. The cluster is away: it is kept for the other nodes until it is back.
    Buffered,
    /// This node's subscribers get it, and no other node: the cluster is away, and what is kept for it is full.
    ClusterDown,
}

/// Why a task was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TaskError {
    /// The engine is closed.
    Closed,
    /// On a worker's thread, which never waits: its outbox is full.
    Full,
}
