//! Workers: one thread per core, each with its own members, mailboxes and inbox.
//!
//! [`lane`] is the shared side of a worker and the two ways to reach it; [`core`] is what the worker alone changes;
//! [`run`] is its thread. The protocols in between each have a module: [`inbox`], [`log`], [`sleep`], [`baton`],
//! [`room`], [`gate`].

pub mod baton;
pub mod gate;
pub mod inbox;
pub mod lane;
pub mod log;
pub mod room;
pub mod sleep;

#[cfg(not(fanfare_loom))]
pub mod barrier;
#[cfg(not(fanfare_loom))]
pub mod core;
#[cfg(not(fanfare_loom))]
pub mod deliver;
#[cfg(not(fanfare_loom))]
pub mod members;
#[cfg(not(fanfare_loom))]
pub mod outbox;
#[cfg(not(fanfare_loom))]
mod parts;
#[cfg(not(fanfare_loom))]
mod pin;
#[cfg(all(not(fanfare_loom), feature = "server"))]
pub mod poll;
#[cfg(not(fanfare_loom))]
pub mod run;
#[cfg(not(fanfare_loom))]
mod segments;
#[cfg(not(fanfare_loom))]
pub mod task;
#[cfg(not(fanfare_loom))]
pub use parts::*;
#[cfg(not(fanfare_loom))]
pub use task::Task;
