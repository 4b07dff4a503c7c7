//! Workers: one thread per core, each with its own members, mailboxes and inbox.
//!
//! [`core`] is what the worker alone changes, [`shared`] what its callers see of it. How it is reached from outside is
//! [`remote`](crate::protocol::remote), with the other protocols beside it.

pub mod barrier;
pub mod core;
pub mod handlers;
pub mod item;
pub mod members;
pub mod pin;
pub mod places;
#[cfg(feature = "server")]
pub mod poll;
pub mod segments;
pub mod shared;
pub mod task;
pub mod walk;
