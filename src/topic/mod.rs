//! Topics: their names, their table, and who uses them.

pub mod state;

#[cfg(not(fanfare_loom))]
mod table;
#[cfg(not(fanfare_loom))]
pub use table::{Entry, Table};
