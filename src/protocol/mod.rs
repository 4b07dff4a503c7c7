//! The engine's lock-free protocols: what loom checks.
//!
//! Each file has one protocol, with its numbered invariants and the models that check them (`loom-tests/tests/`). They
//! import [`sync`](crate::sync) and each other alone, so that the models run the code of production.

pub mod baton;
pub mod control_log;
pub mod gate;
pub mod inbox;
pub mod notify;
pub mod queue;
pub mod ready;
pub mod refs;
pub mod remote;
pub mod ring;
pub mod sleep;
pub mod topic_lifecycle;
pub mod waiters;
