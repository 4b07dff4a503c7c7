//! The map: rooms in shards, who is present in them, and what of that is to be told.

pub mod aligned;
pub mod entries;
pub mod meta;
pub mod owner;
pub mod room;
pub mod signal;
#[cfg(not(fanfare_loom))]
pub mod table;
