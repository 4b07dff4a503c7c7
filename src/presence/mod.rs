//! Presence: who is online where.
//!
//! A [`Presence`] knows, for each topic, which keys are present, such as the ids of users, and for each key the metas
//! of those who are present by it, such as the tabs of one user. Whoever is present is an [`Owner`]: a channel, or what
//! you make one of; when it goes, its presences go.
//!
//! ```
//! use fanfare::PubSub;
//! use fanfare::presence::{Diff, Owner, Presence};
//! use serde_json::json;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let pubsub = PubSub::new()?;
//! let presence = Presence::builder().start(&pubsub)?;
//! let mut watcher = pubsub.subscriber().build()?;
//! watcher.subscribe("room:lobby")?;
//!
//! let phone = Owner::new();
//! let phx_ref = presence.track((&phone, "room:lobby"), "alice", json!({ "device": "phone" }))?;
//! assert_eq!(presence.list("room:lobby").keys().collect::<Vec<_>>(), ["alice"]);
//!
//! let message = watcher.recv()?;
//! let diff: &Diff = message.downcast_ref().expect("a presence_diff");
//! assert_eq!(diff.joins()[0].key(), "alice");
//! assert_eq!(diff.joins()[0].metas()[0].phx_ref(), phx_ref);
//! # Ok(())
//! # }
//! ```
//!
//! # Diffs
//!
//! Every change is told to the topic's subscribers as a `presence_diff`, and to the clients that have joined the topic
//! through a channel. The first one after a quiet time is told at
//! once; those that follow within [`diff_period`](Builder::diff_period) are gathered, and told together at its end as
//! their net effect: who came and went in between is not mentioned. So a topic has at most one diff each period (more
//! only if it is split: [`diff_metas_max`](Builder::diff_metas_max)), and what a change costs does not depend on how
//! many are present.
//!
//! No change is lost and none is told twice. The diffs of a topic come in their order.
//!
//! # Two ways to look
//!
//! [`list`](Presence::list) and its like show what is so at this moment, with all that the caller has done. A consumer
//! of diffs must not begin with that: who has come but is in no diff yet may go again without a diff, and would stay in
//! its view for ever. It begins with an *aligned* state ([`with_state`](Presence::with_state), and `push_state` for
//! channels): that of the end of an epoch, which all diffs before add up to and all later ones come behind. So:
//! subscribe first, ask for the state, apply it, and apply every diff that comes before or after it.
//!
//! # Memory
//!
//! A presence takes some 130 bytes beyond its key and meta, and 48 for its [`Owner`]; a topic with one presence some
//! 250 beyond its name.

#![forbid(unsafe_code)]

#[cfg(not(fanfare_loom))]
mod api;
#[cfg(not(fanfare_loom))]
mod builder;
#[cfg(not(fanfare_loom))]
mod crdt;
#[cfg(not(fanfare_loom))]
mod diff;
#[cfg(not(fanfare_loom))]
mod error;
#[cfg(not(fanfare_loom))]
mod replication;
pub(crate) mod rooms;
#[cfg(not(fanfare_loom))]
mod sealer;
#[cfg(not(fanfare_loom))]
mod shared;

pub use rooms::aligned::{Aligned, Cursor};
pub use rooms::meta::{Meta, MetaError, Metas, PhxRef};
#[cfg(not(fanfare_loom))]
pub use {
    api::{Owner, Page, Place, Presence, Scope},
    builder::{Builder, DIFF_PERIOD_MAX},
    crdt::{Options as GossipOptions, OptionsError as GossipError},
    diff::{Batch, Diff, Fetched, Presences, Present},
    error::{BuildError, FlushError, TrackError, UpdateError},
    shared::Stats,
};

/// The event of a diff.
#[cfg(not(fanfare_loom))]
const DIFF: &str = "presence_diff";
