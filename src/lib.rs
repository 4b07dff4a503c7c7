//! An in-process pub/sub engine for latency-sensitive servers, with Phoenix-compatible channels and presence.
//!
//! Subscribers subscribe to topics, and a broadcast reaches every subscriber of its topic. Handing it to the workers
//! costs its publisher the same at one subscriber and at a million.
//!
//! ```
//! use fanfare::PubSub;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pubsub = PubSub::new()?;
//! let mut alice = pubsub.subscriber().build()?;
//! alice.subscribe("room:lobby")?;
//!
//! pubsub.broadcast("room:lobby", "new_msg", serde_json::json!({ "body": "hello" }))?;
//!
//! let message = alice.recv()?;
//! assert_eq!(message.event(), "new_msg");
//! assert_eq!(message.json()?, br#"{"body":"hello"}"#);
//! # Ok(())
//! # }
//! ```
//!
//! # What there is
//!
//! - [`PubSub`] is the engine: [`broadcast`](PubSub::broadcast) and its variants, [`Topic`] handles,
//!   [`stats`](PubSub::stats), [`shutdown`](PubSub::shutdown).
//! - A [`Subscriber`] is an identity with one bounded mailbox, subscribed to any number of topics. It splits into a
//!   [`Control`] handle and a [`Mailbox`], which is read by a thread ([`recv`](Mailbox::recv) and the like) or by a
//!   task on any executor (it is a `Stream`). What a full mailbox does is chosen when it is made: see [`Overflow`] and
//!   [`conflate_by`](SubscriberBuilder::conflate_by).
//! - A [`MailboxSet`] lets one thread or task read thousands of mailboxes.
//! - A [`Handler`] is a callback on a worker in place of a mailbox: the cheapest delivery.
//! - A [`Message`] is a topic, an event and a [`Payload`]: JSON, bytes, or a Rust value that receivers in the process
//!   see as it is and that is encoded at most once.
//! - A [`Dispatcher`] lets one broadcast decide for each subscription.
//! - [`presence`] knows who is online where, and tells what changes: `docs/presence.md` is the guide.
//! - [`cluster`] binds several nodes: `docs/cluster.md` is the guide.
//! - [`channel`] has channels for the `phoenix` client, sans I/O: `docs/channels.md` is the guide.
//!
//! # What it promises
//!
//! [`PubSub`] has the order of delivery; [`Overflow`] what may be lost, and that nothing else is; `docs/guide.md` all
//! of it at length, and `docs/internals.md` how it is kept.
//!
//! # Features
//!
//! `server` (default): workers can sleep in a poll, from which sockets wake them ([`Wait`]); and what goes over
//! sockets, in the module `net`. `nats`: nodes over NATS. Without default features the engine and presence alone are
//! built, with few dependencies. The `fanfare` program is a package of its own.

#![cfg_attr(
    fanfare_loom,
    allow(clippy::new_without_default, clippy::len_without_is_empty, reason = "public for the models only")
)]

mod hash;
pub mod presence;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
mod protocol;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
mod sync;

#[cfg(not(fanfare_loom))]
pub mod channel;
#[cfg(not(fanfare_loom))]
pub mod cluster;
#[cfg(not(fanfare_loom))]
mod engine;
#[cfg(not(fanfare_loom))]
mod message;
#[cfg(not(fanfare_loom))]
mod names;
#[cfg(all(feature = "server", not(fanfare_loom)))]
pub mod net;
#[cfg(not(fanfare_loom))]
mod pool;
#[cfg(not(fanfare_loom))]
mod pubsub;
#[cfg(not(fanfare_loom))]
mod subscriber;
#[cfg(not(fanfare_loom))]
mod topic;

#[cfg(not(fanfare_loom))]
pub use {
    engine::config::{Idle, Wait},
    engine::contract::{CloseReason, Overflow},
    engine::error::{BroadcastError, ConfigError, Rejected, SubscribeError, TopicError},
    engine::outcome::Outcome,
    engine::shutdown::ShutdownReport,
    engine::stats::{Stats, WorkerStats},
    engine::worker::places::SubscriberId,
    message::body::Message,
    message::dispatch::{Dispatch, Dispatcher, SubscriptionRef},
    message::payload::{EncodeError, Event, ParseError, Payload, Typed},
    pubsub::PubSub,
    pubsub::builder::PubSubBuilder,
    pubsub::topic::Topic,
    subscriber::builder::SubscriberBuilder,
    subscriber::control::Control,
    subscriber::error::{Lagged, RecvError, RecvTimeoutError, TryRecvError},
    subscriber::handler::{Context, Handler, HandlerSubscriber},
    subscriber::reader::{Mailbox, Subscriber},
    subscriber::set::{MailboxSet, SetEvent, SetKey},
};

/// The concurrent protocols, for the model checker and the fuzzer. No part of the API: anything here may change.
#[doc(hidden)]
#[cfg(any(fanfare_loom, fuzzing))]
pub mod internals {
    pub use crate::presence::rooms::{meta, owner, room as presence_room, signal};
    pub use crate::protocol::*;
    pub use crate::sync::{AtomicU32, Mutex, Parker};
}

/// The example of the README, compiled and run.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The examples of the guide to channels.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../docs/channels.md")]
struct Channels;
