//! Workers: one thread per core, each with its own members, mailboxes and inbox.
//!
//! [`core`] is what the worker alone changes; [`run`](super::run) is its thread. How it is reached from outside is
//! [`remote`](crate::protocol::remote), with the other protocols beside it.

pub mod barrier;
pub mod core;
pub mod members;
pub mod pin;
#[cfg(feature = "server")]
pub mod poll;
mod segments;
mod shared;
pub mod task;
pub mod walk;
pub use shared::*;
pub use task::Task;
