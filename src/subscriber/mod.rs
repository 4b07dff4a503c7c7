//! Subscribers: what a delivery lands in.
//!
//! A [`Subscriber`](reader::Subscriber) is an identity with one mailbox, subscribed to any number of topics. It lives
//! on one worker. Its [`Control`](control::Control) handle subscribes and unsubscribes from anywhere; its
//! [`Mailbox`](reader::Mailbox) is read by its owner. A [`HandlerSubscriber`](handler::HandlerSubscriber) has a
//! callback on its worker in place of a mailbox.

pub(crate) mod builder;
pub(crate) mod conflate;
pub(crate) mod control;
pub(crate) mod error;
pub(crate) mod handler;
pub(crate) mod reader;
pub(crate) mod set;
