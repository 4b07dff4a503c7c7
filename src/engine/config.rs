//! How an engine is made.

use super::error::TopicError;
use super::worker::shared::weight_of;
use crate::cluster::Cluster;
use std::time::Duration;

/// What a worker does when it has nothing to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Idle {
    /// Sleeps at once. A broadcast to a sleeping worker costs its publisher one wake.
    #[default]
    Park,
    /// Looks for work for so long, and then sleeps. Saves that wake, at the price of the processor: worth it only where
    /// each worker has one to itself.
    Spin(Duration),
}

/// What a worker sleeps in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Wait {
    /// The parking of its thread.
    #[default]
    Park,
    /// A poll of its own, from which sockets can wake it too.
    #[cfg(feature = "server")]
    Poll,
}

/// What was decided, checked.
#[derive(Debug)]
pub(crate) struct Config {
    pub(crate) workers: usize,
    pub(crate) pin: bool,
    pub(crate) idle: Idle,
    pub(crate) wait: Wait,
    pub(crate) inbox_entries_max: usize,
    pub(crate) inbox_weight_max: u32,
    pub(crate) topic_bytes_max: usize,
    pub(crate) mailbox_capacity_max: usize,
    pub(crate) subscriptions_max: u32,
    /// To how many members a publisher delivers itself: by what it costs, or so many.
    pub(crate) in_place: Option<u64>,
    pub(crate) node: String,
    pub(crate) cluster: Option<std::sync::Arc<dyn Cluster>>,
}

impl Config {
    /// What so many deliveries weigh in an inbox. Whatever weighs anything weighs so much that fewer than the inbox
    /// has entries can be on their way at once: else those of one busy topic, which wait for its walk, would keep the
    /// worker from taking anything of another topic (`worker::core`, I4).
    #[inline]
    pub(crate) fn weight_of(&self, deliveries: u64) -> u32 {
        match weight_of(deliveries) {
            0 => 0,
            weight => weight.max(self.inbox_weight_max / self.inbox_entries_max as u32 + 1),
        }
    }

    #[inline]
    pub(crate) fn check_topic(&self, name: &str) -> Result<(), TopicError> {
        // One comparison for both ends: the length of an empty name wraps.
        if name.len().wrapping_sub(1) < self.topic_bytes_max {
            return Ok(());
        }
        Err(if name.is_empty() {
            TopicError::Empty
        } else {
            TopicError::TooLong { bytes: name.len(), max: self.topic_bytes_max }
        })
    }
}
