//! Subscribers: what a delivery lands in.
//!
//! A [`Subscriber`] is an identity with one mailbox, subscribed to any number of topics. It lives on one worker. Its
//! [`Control`] handle subscribes and unsubscribes from anywhere; its [`Mailbox`] is read by its owner. A
//! [`HandlerSubscriber`] has a callback on its worker in place of a mailbox.

mod builder;
mod conflate;
mod control;
pub mod handler;
mod mailbox;
mod set;

pub use self::builder::SubscriberBuilder;
pub use self::control::Control;
pub use self::handler::{Context, Handler, HandlerSubscriber};
pub use self::mailbox::{Lagged, Mailbox, RecvError, RecvTimeoutError, Subscriber, TryRecvError};
pub use self::set::{MailboxSet, SetEvent, SetKey};
use crate::engine::contract::CloseReason;
