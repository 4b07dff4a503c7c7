//! Workers: one thread per core, each with its own members, mailboxes and inbox.
//!
//! [`core`] is what the worker alone changes; [`run`] is its thread. How it is reached from outside is
//! [`remote`](crate::protocol::remote), with the other protocols beside it.

pub mod barrier;
pub mod core;
pub mod deliver;
pub mod members;
pub mod outbox;
mod parts;
mod pin;
#[cfg(feature = "server")]
pub mod poll;
pub mod run;
mod segments;
pub mod task;
pub use parts::*;
pub use task::Task;
