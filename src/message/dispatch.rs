//! Custom dispatch: a broadcast that decides for each subscription.

use super::body::Message;
use crate::sync::Arc;
use std::any::Any;

/// Decides, for each subscription of a broadcast's topic, what becomes of the message there.
///
/// It runs on the workers, once for each subscription, and must not block. A panic in it skips that subscription and is
/// counted in [`Stats::panics`](crate::Stats).
pub trait Dispatcher: Send + Sync + 'static {
    /// What this subscription gets.
    fn dispatch(&self, message: &Message, subscription: &SubscriptionRef<'_>) -> Dispatch;
}

impl<F: Fn(&Message, &SubscriptionRef<'_>) -> Dispatch + Send + Sync + 'static> Dispatcher for F {
    fn dispatch(&self, message: &Message, subscription: &SubscriptionRef<'_>) -> Dispatch {
        self(message, subscription)
    }
}

/// What a subscription gets.
#[derive(Debug)]
#[non_exhaustive]
pub enum Dispatch {
    /// The message.
    Deliver,
    /// Nothing.
    Skip,
    /// This one in its place.
    Replace(Message),
}

/// A subscription, as a [`Dispatcher`] sees it.
#[derive(Debug, Clone, Copy)]
pub struct SubscriptionRef<'a> {
    metadata: Option<&'a Metadata>,
}

impl<'a> SubscriptionRef<'a> {
    pub(crate) fn new(metadata: Option<&'a Metadata>) -> Self {
        SubscriptionRef { metadata }
    }

    /// What [`subscribe_with`](crate::Control::subscribe_with) was given, if it is a `T`.
    pub fn metadata<T: Any>(&self) -> Option<&'a T> {
        self.metadata.and_then(|metadata| metadata.downcast_ref())
    }
}

/// What a subscriber attaches to a subscription, for dispatchers.
pub(crate) type Metadata = Arc<dyn Any + Send + Sync>;
