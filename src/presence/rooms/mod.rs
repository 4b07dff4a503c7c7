//! The map: rooms in shards, who is present in them, and what of that is to be told.

pub(crate) mod aligned;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
pub mod entries;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
pub mod meta;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
pub mod owner;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
pub mod room;
#[allow(unreachable_pub, reason = "the models reach it through `internals`")]
pub mod signal;
#[cfg(not(fanfare_loom))]
pub(crate) mod table;
