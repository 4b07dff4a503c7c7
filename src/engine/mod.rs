//! The engine: how it publishes, delivers, counts and ends.

pub mod config;
pub mod contract;
pub mod error;
pub mod outbox;
pub mod publish;
pub mod run;
pub mod shutdown;
pub mod stats;
pub mod worker;
