//! Workers: one thread per core, each with its own members, mailboxes and inbox.
//!
//! [`core`] is what the worker alone changes, [`shared`] what its callers see of it. How it is reached from outside is
//! [`remote`](crate::protocol::remote), with the other protocols beside it.

pub(crate) mod barrier;
pub(crate) mod core;
pub(crate) mod handlers;
pub(crate) mod item;
pub(crate) mod members;
pub(crate) mod pin;
pub(crate) mod places;
#[cfg(feature = "server")]
pub(crate) mod poll;
pub(crate) mod segments;
pub(crate) mod shared;
pub(crate) mod task;
pub(crate) mod walk;
