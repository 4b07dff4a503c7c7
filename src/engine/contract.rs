//! What a subscriber chooses, and what it is told when it ends.

#[cfg(doc)]
use crate::{Control, Mailbox, RecvError};

/// What a mailbox does with a message when it is full.
///
/// Each choice is a contract; `docs/guide.md` has them at length.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Overflow {
    /// The oldest unread message goes. The reader finds [`RecvError::Lagged`] with the exact number at the place of
    /// the gap.
    #[default]
    DropOldest,
    /// The new message is refused and counted in [`Mailbox::refused`]; those in the mailbox stay.
    DropNewest,
    /// The subscriber is closed with [`CloseReason::Overflow`]; the reader can read what is in the mailbox, then finds
    /// that.
    Close,
}

/// Why a subscriber is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
#[repr(u32)]
pub enum CloseReason {
    /// Its owner dropped it, or somebody called [`Control::close`].
    Dropped = 0,
    /// Its mailbox was full, with [`Overflow::Close`].
    Overflow = 1,
    /// The engine was shut down.
    Shutdown = 2,
    /// Its handler, or the key function of its conflating mailbox, panicked.
    Panicked = 3,
}

impl CloseReason {
    pub(crate) fn from_bits(bits: u32) -> CloseReason {
        match bits {
            1 => CloseReason::Overflow,
            2 => CloseReason::Shutdown,
            3 => CloseReason::Panicked,
            _ => CloseReason::Dropped,
        }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            CloseReason::Dropped => "the subscriber was closed",
            CloseReason::Overflow => "the mailbox overflowed",
            CloseReason::Shutdown => "the engine was shut down",
            CloseReason::Panicked => "the subscriber's code panicked",
        })
    }
}
