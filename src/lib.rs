//! fanfare.

mod message;
mod subscriber;
mod sync;
mod topic;
mod worker;

#[cfg(not(fanfare_loom))]
mod pubsub;

#[cfg(not(fanfare_loom))]
pub use {
    message::{EncodeError, Event, Message, Payload},
    pubsub::{
        BroadcastError, Builder, ConfigError, Dispatch, Dispatcher, Idle, Outcome, PubSub, Rejected, ShutdownReport,
        Stats, SubscribeError, SubscriptionRef, Topic, TopicError, Wait, WorkerStats,
    },
    subscriber::{
        CloseReason, Context, Control, Handler, HandlerSubscriber, Lagged, Mailbox, MailboxSet, Overflow, RecvError,
        RecvTimeoutError, SetEvent, SetKey, Subscriber, SubscriberBuilder, TryRecvError,
    },
    worker::SubscriberId,
};

/// The concurrent protocols, for the model checker and the fuzzer. No part of the API: anything here may change.
#[doc(hidden)]
#[cfg(any(fanfare_loom, fuzzing))]
pub mod internals {
    pub use crate::message::refs;
    pub use crate::subscriber::{notify, ready, ring};
    pub use crate::sync::Parker;
    pub use crate::topic::state;
    pub use crate::worker::{baton, gate, inbox, lane, log, room, sleep};
}
