//! What is to go out, and the state that says whether it can: where publishers, who may be any thread, and the thread
//! of the connection meet.
//!
//! One short lock. Publishers append under it; the thread takes from the front while there is a link. A wake costs a
//! system call, so the thread leaves its waker here only when it has found nothing to do, and whoever changes that
//! takes the waker along: a burst wakes once.
//!
//! - I1. What is taken leaves in the order in which it was taken, for what could not be handed to the connection is put
//!   back in front.
//! - I2. The bytes of all payloads in the queue are at most the limit, or there is one payload.
//! - I3. Once stopped, nothing is taken and nothing leaves.

use crate::cluster::{Health, Taken, counted};
use crate::sync::{Arc, AtomicBool, AtomicU64, Mutex, Ordering, Parker};
use async_nats::Subject;
use bytes::Bytes;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Poll, Wake, Waker};
use std::time::Instant;

#[derive(Debug)]
pub(crate) struct Outgoing {
    state: Mutex<OutgoingState>,
    /// Written when a connection is made. Relaxed: a limit that changes says nothing about anything else.
    payload_bytes_max: AtomicU64,
    buffer_bytes_max: usize,
    /// Written by `end`. Relaxed: who has called it on the thread itself sees it there, and others wait for the thread.
    is_ended: AtomicBool,
}

#[derive(Debug)]
struct OutgoingState {
    queue: VecDeque<OutgoingEntry>,
    bytes: usize,
    health: Health,
    /// The thread's, when it has nothing to send.
    sender: Option<Waker>,
    /// The thread's, for the end.
    ender: Option<Waker>,
}

#[derive(Debug)]
pub(crate) enum OutgoingEntry {
    Payload(Subject, Bytes),
    /// Somebody waits until all before it has reached the server.
    Flush(Flush),
}

/// The thread's end of a flush. The waiter wakes when it goes, done or not.
#[derive(Debug)]
pub(crate) struct Flush(Arc<Flushing>);

#[derive(Debug)]
struct Flushing {
    /// Set by the thread (release), read by the waiter (acquire).
    done: AtomicBool,
    /// Set by the waiter, read by the thread. Relaxed: a late look costs one more question to the server.
    given_up: AtomicBool,
    waiter: Arc<Parker>,
}

impl Outgoing {
    pub(crate) fn new(payload_bytes_max: usize, buffer_bytes_max: usize) -> Outgoing {
        Outgoing {
            state: Mutex::new(OutgoingState {
                queue: VecDeque::new(),
                bytes: 0,
                health: Health::Stopped,
                sender: None,
                ender: None,
            }),
            payload_bytes_max: AtomicU64::new(payload_bytes_max as u64),
            buffer_bytes_max,
            is_ended: AtomicBool::new(false),
        }
    }

    pub(crate) fn payload_bytes_max(&self) -> usize {
        self.payload_bytes_max.load(Ordering::Relaxed) as usize
    }

    pub(crate) fn limit_payloads(&self, bytes: usize) {
        self.payload_bytes_max.store(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn health(&self) -> Health {
        self.state.lock().health.clone()
    }

    /// Returns whether it was another one. Without effect once it is stopped, but for `begin`.
    pub(crate) fn set_health(&self, health: Health) -> bool {
        let mut state = self.state.lock();
        if state.health == health || state.health == Health::Stopped {
            return false;
        }
        state.health = health;
        let waker = state.sender.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        true
    }

    /// Whether nothing more is to be received.
    pub(crate) fn is_ended(&self) -> bool {
        self.is_ended.load(Ordering::Relaxed)
    }

    /// Begins to take.
    pub(crate) fn begin(&self, health: Health) {
        self.is_ended.store(false, Ordering::Relaxed);
        self.state.lock().health = health;
    }

    /// Takes nothing any more, and lets the thread and all who wait for it go.
    pub(crate) fn end(&self) {
        self.is_ended.store(true, Ordering::Relaxed);
        let mut state = self.state.lock();
        state.health = Health::Stopped;
        state.bytes = 0;
        let queue = std::mem::take(&mut state.queue);
        let wakers = [state.sender.take(), state.ender.take()];
        drop(state);
        wakers.into_iter().flatten().for_each(Waker::wake);
        drop(queue);
    }

    pub(crate) fn take(&self, subject: Subject, payload: Bytes) -> Taken {
        if payload.len() > self.payload_bytes_max() {
            return Taken::TooLong;
        }
        let mut state = self.state.lock();
        let taken = match state.health {
            Health::Stopped => return Taken::Down,
            Health::Ready => Taken::Sent,
            Health::Connecting { .. } => Taken::Buffered,
        };
        let bytes = state.bytes + counted(&payload);
        if bytes > self.buffer_bytes_max && state.bytes > 0 {
            return Taken::Down;
        }
        state.bytes = bytes;
        state.queue.push_back(OutgoingEntry::Payload(subject, payload));
        let waker = if taken == Taken::Sent { state.sender.take() } else { None };
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        taken
    }

    /// Waits, on the calling thread, until what was taken before has reached the server.
    pub(crate) fn flush(&self, deadline: Instant) -> bool {
        let flush = Arc::new(Flushing {
            done: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
            waiter: Parker::of_this_thread(),
        });
        let mut state = self.state.lock();
        if state.health == Health::Stopped {
            return false;
        }
        state.queue.push_back(OutgoingEntry::Flush(Flush(flush.clone())));
        let waker = state.sender.take();
        drop(state);
        waker.into_iter().for_each(Waker::wake);
        // Pairs with the store in `Flush::finish`.
        while !flush.done.load(Ordering::Acquire) {
            if !flush.waiter.wait(Some(deadline)) || self.is_ended() {
                let is_this =
                    |entry: &OutgoingEntry| matches!(entry, OutgoingEntry::Flush(Flush(of)) if Arc::ptr_eq(of, &flush));
                self.state.lock().queue.retain(|entry| !is_this(entry));
                flush.given_up.store(true, Ordering::Relaxed);
                return flush.done.load(Ordering::Acquire);
            }
        }
        true
    }

    /// The next to go out, when there is a link.
    pub(crate) async fn next(&self) -> OutgoingEntry {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.health == Health::Ready
                && let Some(entry) = state.queue.pop_front()
            {
                if let OutgoingEntry::Payload(_, payload) = &entry {
                    state.bytes -= counted(payload);
                }
                return Poll::Ready(entry);
            }
            state.sender = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    /// Puts back what `next` has given, and could not leave.
    pub(crate) fn put_back(&self, entry: OutgoingEntry) {
        let mut state = self.state.lock();
        if state.health == Health::Stopped {
            return;
        }
        if let OutgoingEntry::Payload(_, payload) = &entry {
            state.bytes += counted(payload);
        }
        state.queue.push_front(entry);
    }

    /// Waits for the end.
    pub(crate) async fn ended(&self) {
        poll_fn(|context| {
            let mut state = self.state.lock();
            if state.health == Health::Stopped {
                return Poll::Ready(());
            }
            state.ender = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

impl Flush {
    pub(crate) fn finish(self) {
        // Pairs with the loads in `Outgoing::flush`.
        self.0.done.store(true, Ordering::Release);
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.0.given_up.load(Ordering::Relaxed)
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        self.0.waiter.wake_by_ref();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::AtomicU32;
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Wake};

    #[derive(Default)]
    struct Wakes(AtomicU32);

    impl Wake for Wakes {
        fn wake(self: std::sync::Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn ready() -> Outgoing {
        let outgoing = Outgoing::new(100, 1000);
        outgoing.begin(Health::Ready);
        outgoing
    }

    fn payload(byte: u8) -> Bytes {
        Bytes::from(vec![byte; 100])
    }

    /// The next that goes out, if one can; leaves the waker otherwise.
    fn next(outgoing: &Outgoing, wakes: &std::sync::Arc<Wakes>) -> Option<OutgoingEntry> {
        let waker = Waker::from(wakes.clone());
        match pin!(outgoing.next()).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(entry) => Some(entry),
            Poll::Pending => None,
        }
    }

    fn byte_of(entry: Option<OutgoingEntry>) -> Option<u8> {
        match entry? {
            OutgoingEntry::Payload(_, payload) => Some(payload[0]),
            OutgoingEntry::Flush(_) => None,
        }
    }

    #[test]
    fn a_burst_wakes_once() {
        let (outgoing, wakes) = (ready(), std::sync::Arc::new(Wakes::default()));
        outgoing.take("s".into(), payload(0));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0, "nobody sleeps");
        assert_eq!(byte_of(next(&outgoing, &wakes)), Some(0));
        for burst in 1..4 {
            assert!(next(&outgoing, &wakes).is_none());
            for byte in 0..5 {
                outgoing.take("s".into(), payload(byte));
            }
            assert_eq!(wakes.0.load(Ordering::SeqCst), burst);
            for byte in 0..5 {
                assert_eq!(byte_of(next(&outgoing, &wakes)), Some(byte));
            }
        }
    }

    #[test]
    fn nobody_is_woken_while_nothing_can_leave() {
        let (outgoing, wakes) = (ready(), std::sync::Arc::new(Wakes::default()));
        let away = Health::Connecting { why: "x".to_owned() };
        assert!(outgoing.set_health(away.clone()) && !outgoing.set_health(away));
        assert!(next(&outgoing, &wakes).is_none());
        assert_eq!(outgoing.take("s".into(), payload(0)), Taken::Buffered);
        assert_eq!(wakes.0.load(Ordering::SeqCst), 0);
        assert!(outgoing.set_health(Health::Ready));
        assert_eq!(wakes.0.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn what_could_not_leave_is_the_next_again() {
        let (outgoing, wakes) = (ready(), std::sync::Arc::new(Wakes::default()));
        for byte in 0..10 {
            assert_eq!(outgoing.take("s".into(), payload(byte)), Taken::Sent);
        }
        assert_eq!(outgoing.take("s".into(), payload(10)), Taken::Down);
        let first = next(&outgoing, &wakes).unwrap();
        outgoing.put_back(first);
        assert_eq!(outgoing.take("s".into(), payload(10)), Taken::Down, "it counts again");
        for byte in 0..10 {
            assert_eq!(byte_of(next(&outgoing, &wakes)), Some(byte));
        }
        assert_eq!(outgoing.take("s".into(), payload(11)), Taken::Sent);
    }

    #[test]
    fn a_flush_that_is_given_up_leaves_nothing_behind() {
        let outgoing = ready();
        assert!(!outgoing.flush(Instant::now()));
        assert!(outgoing.state.lock().queue.is_empty());
    }
}
