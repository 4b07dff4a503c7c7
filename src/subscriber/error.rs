//! What reading may come to beside a message.

use crate::engine::contract::CloseReason;
use std::fmt;

/// Messages that were lost at this place of the mailbox, exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lagged(pub u64);

impl fmt::Display for Lagged {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} messages were dropped before this reader came to them", self.0)
    }
}

impl std::error::Error for Lagged {}

/// What a blocking read finds in place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvError {
    /// So many messages were dropped here, because the reader was slow. The subscriber is still subscribed, and the
    /// next read goes on behind the gap.
    Lagged(u64),
    /// The subscriber is closed, and everything that was in the mailbox has been read.
    Closed(CloseReason),
}

/// What a read that does not wait finds in place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TryRecvError {
    /// There is nothing to read now.
    Empty,
    /// As [`RecvError::Lagged`].
    Lagged(u64),
    /// As [`RecvError::Closed`].
    Closed(CloseReason),
}

/// What a read that waits for a bounded time finds in place of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecvTimeoutError {
    /// The time is over.
    Timeout,
    /// As [`RecvError::Lagged`].
    Lagged(u64),
    /// As [`RecvError::Closed`].
    Closed(CloseReason),
}

impl From<RecvError> for TryRecvError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(lost) => TryRecvError::Lagged(lost),
            RecvError::Closed(reason) => TryRecvError::Closed(reason),
        }
    }
}

impl From<RecvError> for RecvTimeoutError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Lagged(lost) => RecvTimeoutError::Lagged(lost),
            RecvError::Closed(reason) => RecvTimeoutError::Closed(reason),
        }
    }
}

pub(crate) fn to_timeout(error: TryRecvError) -> RecvTimeoutError {
    match error {
        TryRecvError::Empty => RecvTimeoutError::Timeout,
        TryRecvError::Lagged(lost) => RecvTimeoutError::Lagged(lost),
        TryRecvError::Closed(reason) => RecvTimeoutError::Closed(reason),
    }
}

impl fmt::Display for RecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvError::Lagged(lost) => Lagged(*lost).fmt(f),
            RecvError::Closed(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for TryRecvError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TryRecvError::Empty => f.write_str("there is no message now"),
            TryRecvError::Lagged(lost) => Lagged(*lost).fmt(f),
            TryRecvError::Closed(reason) => reason.fmt(f),
        }
    }
}

impl fmt::Display for RecvTimeoutError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecvTimeoutError::Timeout => f.write_str("no message came in time"),
            RecvTimeoutError::Lagged(lost) => Lagged(*lost).fmt(f),
            RecvTimeoutError::Closed(reason) => reason.fmt(f),
        }
    }
}

impl std::error::Error for RecvError {}

impl std::error::Error for TryRecvError {}

impl std::error::Error for RecvTimeoutError {}
