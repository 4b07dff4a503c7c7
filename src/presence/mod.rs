//! Presence: who is online where.

pub mod crdt;
