//! Messages taken from a mailbox: owned as numbers, turned into messages one by one or lent.

use super::body::Message;
use super::references::{References, ReleaseCache};
use std::mem::ManuallyDrop;

/// Up to `N` messages that were taken together. What is not used is given back.
pub(crate) struct Batch<const N: usize> {
    handles: [u32; N],
    next: usize,
    end: usize,
}

impl<const N: usize> Batch<N> {
    /// An empty batch.
    #[inline]
    pub(crate) const fn new() -> Self {
        Batch { handles: [0; N], next: 0, end: 0 }
    }

    /// Lets `fill` write up to `max` handles, and takes over as many as it says.
    ///
    /// # Safety
    ///
    /// The batch must be empty, and each handle that `fill` counts must come with a reference of the caller's.
    #[inline]
    pub(crate) unsafe fn fill(&mut self, max: usize, fill: impl FnOnce(&mut [u32]) -> usize) -> usize {
        debug_assert!(self.len() == 0, "what is in it would be lost");
        self.next = 0;
        self.end = 0;
        self.end = fill(&mut self.handles[..max.min(N)]).min(N);
        self.end
    }

    /// Takes over messages that a reader holds already, up to `N` of them. The batch must be empty.
    pub(crate) fn refill(&mut self, messages: impl Iterator<Item = Message>) {
        debug_assert!(self.len() == 0, "what is in it would be lost");
        self.next = 0;
        self.end = 0;
        for (message, handle) in messages.zip(&mut self.handles) {
            *handle = message.into_handle();
            self.end += 1;
        }
    }

    /// How many are left.
    pub(crate) fn len(&self) -> usize {
        self.end - self.next
    }

    fn next_handle(&mut self) -> Option<u32> {
        if self.next == self.end {
            return None;
        }
        self.next += 1;
        Some(self.handles[self.next - 1])
    }

    /// Lends each message to `read`, and gives its reference to `cache`. A `read` that panics leaves those behind its
    /// own in the batch.
    pub(crate) fn lend(&mut self, cache: &mut ReleaseCache, mut read: impl FnMut(&Message)) {
        while let Some(handle) = self.next_handle() {
            let lent = Lent {
                // SAFETY: the reference came with the handle (`fill`, `refill`), is used once, and goes to the cache
                // below.
                message: ManuallyDrop::new(unsafe { Message::from_handle(handle) }),
                handle,
                cache: &mut *cache,
            };
            read(&lent.message);
        }
    }
}

struct Lent<'a> {
    message: ManuallyDrop<Message>,
    handle: u32,
    cache: &'a mut ReleaseCache,
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        // SAFETY: the message's reference is ours, and the message is not dropped itself.
        unsafe { self.cache.release(self.handle) };
    }
}

impl<const N: usize> Iterator for Batch<N> {
    type Item = Message;

    #[inline]
    fn next(&mut self) -> Option<Message> {
        // SAFETY: the reference came with the handle (`fill`, `refill`) and is used once.
        self.next_handle().map(|handle| unsafe { Message::from_handle(handle) })
    }
}

impl<const N: usize> Drop for Batch<N> {
    #[inline]
    fn drop(&mut self) {
        while let Some(handle) = self.next_handle() {
            // SAFETY: the reference came with the handle (`fill`, `refill`) and is used once.
            drop(unsafe { References::from_handle(handle, 1) });
        }
    }
}
