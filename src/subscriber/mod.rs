//! Subscribers: what a delivery lands in.
//!
//! A [`Subscriber`] is an identity with one mailbox, subscribed to any number of topics. It lives on one worker. Its
//! [`Control`] handle subscribes and unsubscribes from anywhere; its [`Mailbox`] is read by its owner. A
//! [`HandlerSubscriber`] has a callback on its worker in place of a mailbox.

pub mod notify;
pub mod ready;
pub mod ring;

#[cfg(not(fanfare_loom))]
mod builder;
#[cfg(not(fanfare_loom))]
mod conflate;
#[cfg(not(fanfare_loom))]
mod contract;
#[cfg(not(fanfare_loom))]
mod control;
#[cfg(not(fanfare_loom))]
pub mod handler;
#[cfg(not(fanfare_loom))]
mod mailbox;
#[cfg(not(fanfare_loom))]
mod set;

#[cfg(not(fanfare_loom))]
pub use self::{
    builder::SubscriberBuilder,
    contract::{CloseReason, Overflow},
    control::Control,
    handler::{Context, Handler, HandlerSubscriber},
    mailbox::{Lagged, Mailbox, RecvError, RecvTimeoutError, Subscriber, TryRecvError},
    set::{MailboxSet, SetEvent, SetKey},
};
