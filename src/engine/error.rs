//! What may go wrong, by call.

use crate::cluster::StartError;
use crate::message::payload::{EncodeError, Event, Payload};
use crate::message::slab::Content;
use std::fmt;
use std::io;

/// A topic's name that the limits do not allow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TopicError {
    /// The empty name.
    Empty,
    /// Too long, in bytes of UTF-8: see [`PubSubBuilder::topic_bytes_max`](crate::PubSubBuilder::topic_bytes_max).
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

impl fmt::Display for TopicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TopicError::Empty => f.write_str("a topic's name cannot be empty"),
            TopicError::TooLong { bytes, max } => {
                write!(f, "a topic's name of {bytes} bytes is over the limit of {max}")
            }
        }
    }
}

impl std::error::Error for TopicError {}

/// Why a subscriber was not made, or did not subscribe.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubscribeError {
    /// The topic's name is not within the limits.
    Topic(TopicError),
    /// The subscriber is closed.
    SubscriberClosed,
    /// The engine is shut down.
    Closed,
    /// The subscriber has as many subscriptions as it may: see
    /// [`PubSubBuilder::subscriptions_max`](crate::PubSubBuilder::subscriptions_max). Those that it has given up count
    /// until their worker has removed them.
    TooManySubscriptions {
        /// The limit.
        max: u32,
    },
    /// A worker has as many subscribers, or types of handlers, as it can number: 67 million, and 65,534.
    TooManySubscribers,
    /// A mailbox's capacity must be from 1 to the limit: see
    /// [`PubSubBuilder::mailbox_capacity_max`](crate::PubSubBuilder::mailbox_capacity_max).
    Capacity {
        /// What was asked for.
        given: usize,
        /// The limit.
        max: usize,
    },
    /// Workers are numbered from 0.
    NoSuchWorker {
        /// What was asked for.
        given: usize,
        /// How many there are.
        workers: usize,
    },
}

impl fmt::Display for SubscribeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SubscribeError::Topic(error) => error.fmt(f),
            SubscribeError::SubscriberClosed => f.write_str("the subscriber is closed"),
            SubscribeError::Closed => f.write_str("the engine is shut down"),
            SubscribeError::TooManySubscriptions { max } => {
                write!(f, "the subscriber has {max} subscriptions, the limit")
            }
            SubscribeError::TooManySubscribers => f.write_str("the worker has as many subscribers as it can number"),
            SubscribeError::Capacity { given, max } => {
                write!(f, "a mailbox's capacity is from 1 to {max} messages, not {given}")
            }
            SubscribeError::NoSuchWorker { given, workers } => {
                write!(f, "there is no worker {given}: the {workers} workers are numbered from 0")
            }
        }
    }
}

impl std::error::Error for SubscribeError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            SubscribeError::Topic(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TopicError> for SubscribeError {
    fn from(error: TopicError) -> Self {
        SubscribeError::Topic(error)
    }
}

/// What was to be broadcast and was not, handed back.
#[derive(Debug, Clone)]
pub struct Rejected {
    topic: Box<str>,
    event: Event,
    payload: Payload,
}

impl Rejected {
    pub(crate) fn new(content: Content) -> Box<Rejected> {
        Box::new(Rejected { topic: content.topic.name().into(), event: content.event, payload: content.payload })
    }

    /// The topic.
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The event and the payload, to try again with.
    pub fn into_parts(self) -> (Event, Payload) {
        (self.event, self.payload)
    }
}

/// Why nobody got a broadcast.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum BroadcastError {
    /// The topic's name is not within the limits.
    Topic(TopicError),
    /// The engine is shut down, or shutting down.
    Closed,
    /// An inbox was full and the call does not wait: `try_broadcast`, or any broadcast on a worker's own thread (where
    /// the outbox was full too). What was to be sent comes back.
    Full(Box<Rejected>),
    /// There is no node of that name, and no cluster that might know one.
    NoSuchNode(String),
    /// For other nodes the payload must be encoded, and it can't be.
    Encode(EncodeError),
    /// A message for other nodes has at most 64 MiB.
    TooLong {
        /// Its topic, event and payload.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The call would wait for the worker on whose thread it was made.
    OnWorker,
}

impl fmt::Display for BroadcastError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BroadcastError::Topic(error) => error.fmt(f),
            BroadcastError::Closed => f.write_str("the engine is shut down"),
            BroadcastError::Full(rejected) => write!(f, "an inbox that topic {:?} needs is full", rejected.topic),
            BroadcastError::NoSuchNode(node) => write!(f, "there is no node {node:?}"),
            BroadcastError::Encode(error) => error.fmt(f),
            BroadcastError::TooLong { bytes, max } => {
                write!(f, "a message of {bytes} bytes is over the limit of {max} for other nodes")
            }
            BroadcastError::OnWorker => f.write_str("a worker cannot wait for itself"),
        }
    }
}

impl std::error::Error for BroadcastError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BroadcastError::Topic(error) => Some(error),
            BroadcastError::Encode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<TopicError> for BroadcastError {
    fn from(error: TopicError) -> Self {
        BroadcastError::Topic(error)
    }
}

/// Why an engine was not made.
#[derive(Debug)]
#[non_exhaustive]
pub enum ConfigError {
    /// A number that is not within its bounds.
    OutOfRange {
        /// Which option.
        option: &'static str,
        /// What was given.
        given: u64,
        /// The least.
        min: u64,
        /// The greatest.
        max: u64,
    },
    /// The node's name is empty.
    EmptyNode,
    /// The cluster could not be started.
    Cluster(StartError),
    /// The system gave no thread, or no descriptor for its poll.
    Spawn(io::Error),
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ConfigError::OutOfRange { option, given, min, max } => {
                write!(f, "{option} is from {min} to {max}, not {given}")
            }
            ConfigError::EmptyNode => f.write_str("the node's name is empty"),
            ConfigError::Cluster(error) => write!(f, "the cluster could not be started: {error}"),
            ConfigError::Spawn(error) => write!(f, "a worker could not start: {error}"),
        }
    }
}

impl std::error::Error for ConfigError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ConfigError::Spawn(error) => Some(error),
            ConfigError::Cluster(error) => Some(error),
            _ => None,
        }
    }
}
