//! Code of users that runs where a panic must not go on: when their values are dropped, and when their payloads or
//! serializers encode.
//!
//! Connections and channels hold values of users: assigns, a channel's state, messages on their way to it. The last
//! reference to one may go on a worker's thread, in the middle of what concerns others.

use super::Frame;
use super::serializer::EncodeError;
use std::ops::{Deref, DerefMut};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Drops a value. A panic in there is its last.
pub(crate) fn discard<T>(value: T) {
    // The value is gone either way, and shared nothing with us.
    let _ = catch_unwind(AssertUnwindSafe(move || drop(value)));
}

/// Encodes. A panic is an error like others.
pub(crate) fn encode(make: impl FnOnce() -> Result<Frame, EncodeError>) -> Result<Frame, EncodeError> {
    // Nothing that `make` borrows is changed by it.
    catch_unwind(AssertUnwindSafe(make))
        .unwrap_or_else(|_| Err(EncodeError::Payload(crate::EncodeError::Failed("it panicked".into()))))
}

/// A value of a user, dropped by [`discard`].
#[derive(Debug, Clone)]
pub(crate) struct Guarded<T>(Option<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Guarded(Some(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl<T> DerefMut for Guarded<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("it is there until it is dropped")
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        discard(self.0.take());
    }
}
