//! Subscribers: what a delivery lands in.
//!
//! A [`Subscriber`] is an identity with one mailbox, subscribed to any number of topics. It lives on one worker. Its
//! [`Control`] handle subscribes and unsubscribes from anywhere; its [`Mailbox`] is read by its owner. A
//! [`HandlerSubscriber`] has a callback on its worker in place of a mailbox.

mod builder;
mod conflate;
mod contract;
mod control;
pub mod handler;
mod mailbox;
mod set;

pub use self::{
    builder::SubscriberBuilder,
    contract::{CloseReason, Overflow},
    control::Control,
    handler::{Context, Handler, HandlerSubscriber},
    mailbox::{Lagged, Mailbox, RecvError, RecvTimeoutError, Subscriber, TryRecvError},
    set::{MailboxSet, SetEvent, SetKey},
};
