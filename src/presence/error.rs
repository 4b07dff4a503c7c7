//! What can go wrong.

use super::MetaError;
use crate::engine::error::TopicError;
use std::fmt;
use std::time::Duration;

/// Why somebody is not tracked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackError {
    /// This owner is present on this topic with this key already: see `update`.
    AlreadyTracked,
    /// The owner has gone.
    OwnerGone,
    /// The topic's name is not within the engine's limits.
    Topic(TopicError),
    /// The key is longer than [`key_bytes_max`](super::Builder::key_bytes_max).
    KeyTooLong {
        /// How long it is.
        bytes: usize,
        /// How long it may be.
        max: usize,
    },
    /// As many are present on this topic as may be: [`topic_metas_max`](super::Builder::topic_metas_max).
    TopicFull {
        /// How many may be.
        max: usize,
    },
    /// What came with it.
    Meta(MetaError),
}

impl fmt::Display for TrackError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TrackError::AlreadyTracked => f.write_str("the owner is tracked on this topic with this key already"),
            TrackError::OwnerGone => f.write_str("the owner has gone"),
            TrackError::Topic(error) => error.fmt(f),
            TrackError::KeyTooLong { bytes, max } => write!(f, "the key has {bytes} bytes; {max} are allowed"),
            TrackError::TopicFull { max } => write!(f, "{max} are present on this topic, as many as may be"),
            TrackError::Meta(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for TrackError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            TrackError::Topic(error) => Some(error),
            TrackError::Meta(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MetaError> for TrackError {
    fn from(error: MetaError) -> Self {
        TrackError::Meta(error)
    }
}

/// Why a meta is not updated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpdateError {
    /// This owner is not present on this topic with this key.
    NotTracked,
    /// The owner has gone.
    OwnerGone,
    /// What was to take the meta's place.
    Meta(MetaError),
}

impl fmt::Display for UpdateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpdateError::NotTracked => f.write_str("the owner is not tracked on this topic with this key"),
            UpdateError::OwnerGone => f.write_str("the owner has gone"),
            UpdateError::Meta(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for UpdateError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            UpdateError::Meta(error) => Some(error),
            _ => None,
        }
    }
}

impl From<MetaError> for UpdateError {
    fn from(error: MetaError) -> Self {
        UpdateError::Meta(error)
    }
}

/// Why a presence is not built.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// This must not be zero.
    Zero(&'static str),
    /// The time between two diffs is longer than [`DIFF_PERIOD_MAX`](super::DIFF_PERIOD_MAX).
    PeriodTooLong(Duration),
    /// The system gives no more threads.
    Spawn(std::io::Error),
    /// Another presence of this engine is replicated to other nodes, and one can be.
    Replicated,
    /// The numbers of the gossip do not go together.
    Gossip(super::GossipError),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::Replicated => f.write_str("another presence of this engine is replicated to other nodes"),
            BuildError::Gossip(error) => error.fmt(f),
            BuildError::Zero(what) => write!(f, "`{what}` must not be zero"),
            BuildError::PeriodTooLong(period) => {
                let max = super::DIFF_PERIOD_MAX;
                write!(f, "`diff_period` is {period:?}; at most {max:?} is allowed")
            }
            BuildError::Spawn(error) => write!(f, "the presence's thread does not start: {error}"),
        }
    }
}

impl std::error::Error for BuildError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BuildError::Spawn(error) => Some(error),
            BuildError::Gossip(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a flush did not wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlushError {
    /// On a thread of the engine or of the presence it could wait for itself.
    OnWorker,
    /// The presence's thread has ended.
    Closed,
}

impl fmt::Display for FlushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlushError::OnWorker => f.write_str("a worker cannot wait for a flush"),
            FlushError::Closed => f.write_str("the presence has ended"),
        }
    }
}

impl std::error::Error for FlushError {}
