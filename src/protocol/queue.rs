//! What many threads put in and one takes out, all that has gathered at a time: the queue before a thread that sleeps
//! when it has nothing to do.
//!
//! It is one lock. Whoever puts something in holds it for as long as a copy takes; the reader holds it for a swap. What
//! lies in it is up to its owner: it is changed by [`put`](Queue::put) and emptied by [`take`](Queue::take).
//!
//! - I1. What was put in by calls one after the other is found in that order, if the owner appends; each thing is taken
//!   once.
//! - I2. No wake-up is lost. The reader notes under the lock that it sleeps, having seen under the same lock that there
//!   is nothing to do. So who puts something in, or closes the queue, either comes before, and is seen, or finds the
//!   reader's parker, takes it out and wakes it, after the lock. A wake that comes before the reader sleeps is kept
//!   ([`Parker`]), and one that comes after it has woken by the clock makes its next sleep return early, no more.
//! - I3. What waits is bounded, in bytes that the callers tell. Something is refused if it finds too many waiting; an
//!   empty queue takes one of any size, and what counts for nothing is always taken.
//! - I4. Closing is final. What was taken in before is taken out, by the last take at the latest, which says that it is
//!   the last one; what comes after is refused.
//! - I5. A queue is *idle* if nothing waits and the reader has come back for more since it last took something: so
//!   what was put in before has been dealt with.
//!
//! All that is shared lies under the lock, which orders it; the parker orders nothing that is read without it.
//!
//! It does not promise that a reader finds something when it wakes, nor that of two threads that put something in at
//! one moment the first to call comes first.
//!
//! Models: `loom-tests/tests/queue.rs` (I1, I2, I4), `queue_idle.rs` (I5).

use crate::sync::{Mutex, Parker, mutated, wake};
use std::time::Instant;

/// See the module's text.
#[derive(Debug)]
pub struct Queue<S> {
    bytes_max: usize,
    state: Mutex<QueueState<S>>,
}

#[derive(Debug)]
struct QueueState<S> {
    gathered: S,
    /// What was put in since the last take counts for so much.
    bytes: usize,
    /// Something was put in since the last take.
    has_some: bool,
    /// The last take has found something.
    is_busy: bool,
    is_closed: bool,
    /// The reader, while it sleeps. Whoever takes it out wakes it.
    sleeper: Option<std::sync::Arc<Parker>>,
}

/// Why something was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Too much waits.
    Full,
    /// The queue is closed.
    Closed,
}

/// What was taken out.
#[derive(Debug)]
pub struct Taken<T> {
    /// It, or nothing.
    pub what: T,
    /// The queue was closed: there is no more.
    pub is_last: bool,
}

impl<S> Queue<S> {
    /// One in which so many bytes may wait, and where they gather.
    pub fn new(bytes_max: usize, gathered: S) -> Self {
        let state = QueueState { gathered, bytes: 0, has_some: false, is_busy: false, is_closed: false, sleeper: None };
        Queue { bytes_max, state: Mutex::new(state) }
    }

    /// Puts something of so many bytes in. `put` is called under the lock.
    ///
    /// # Errors
    ///
    /// [`Refused`]: nothing was put in.
    pub fn put(&self, bytes: usize, put: impl FnOnce(&mut S)) -> Result<(), Refused> {
        let mut state = self.state.lock();
        if state.is_closed && !mutated!("queue.put_behind_the_end") {
            return Err(Refused::Closed);
        }
        if bytes > 0 && state.bytes > 0 && state.bytes.saturating_add(bytes) > self.bytes_max {
            return Err(Refused::Full);
        }
        put(&mut state.gathered);
        state.bytes = state.bytes.saturating_add(bytes);
        state.has_some = true;
        let sleeper = if mutated!("queue.put_without_wake") { None } else { state.sleeper.take() };
        drop(state);
        wake(sleeper);
        Ok(())
    }

    /// Nothing is taken in from now on. `false`: nothing was before.
    pub fn close(&self) -> bool {
        let mut state = self.state.lock();
        let is_first = !std::mem::replace(&mut state.is_closed, true);
        let sleeper = if mutated!("queue.close_without_wake") { None } else { state.sleeper.take() };
        drop(state);
        wake(sleeper);
        is_first
    }

    /// For the reader, which has that parker: waits until there is something, or until `deadline`, and takes out what
    /// is there. `take` is called once, under the lock, and leaves nothing.
    pub fn take<T>(
        &self,
        parker: &std::sync::Arc<Parker>,
        deadline: Option<Instant>,
        take: impl FnOnce(&mut S) -> T,
    ) -> Taken<T> {
        let mut is_late = false;
        loop {
            let mut state = self.state.lock();
            state.sleeper = None;
            state.is_busy = false;
            if state.has_some && !mutated!("queue.sleep_over_work") || state.is_closed || is_late {
                state.bytes = 0;
                state.is_busy = std::mem::take(&mut state.has_some);
                return Taken { what: take(&mut state.gathered), is_last: state.is_closed };
            }
            state.sleeper = Some(parker.clone());
            drop(state);
            is_late = !parker.wait(deadline);
        }
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        !self.state.lock().has_some
    }

    /// Whether nothing waits, and what was taken before has been dealt with (I5).
    pub fn is_idle(&self) -> bool {
        let state = self.state.lock();
        !state.has_some && (!state.is_busy || mutated!("queue.idle_at_work"))
    }
}

#[cfg(all(test, not(fanfare_loom)))]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_and_an_empty_queue_takes_one_of_any_size() {
        let (queue, parker) = (Queue::new(10, Vec::new()), Parker::new());
        assert_eq!(queue.put(11, |gathered| gathered.push(1)), Ok(()));
        assert_eq!(queue.put(1, |gathered| gathered.push(2)), Err(Refused::Full));
        assert_eq!(queue.put(0, |gathered| gathered.push(3)), Ok(()));
        assert_eq!(queue.take(&parker, None, std::mem::take).what, [1, 3]);
        assert_eq!(queue.put(6, |gathered| gathered.push(4)), Ok(()));
        assert_eq!(queue.put(usize::MAX, |gathered| gathered.push(5)), Err(Refused::Full));
        assert_eq!(queue.put(4, |gathered| gathered.push(6)), Ok(()));
        assert_eq!(queue.put(1, |gathered| gathered.push(7)), Err(Refused::Full));
        assert_eq!(queue.take(&parker, None, std::mem::take).what, [4, 6]);
    }

    #[test]
    fn who_waits_until_a_deadline_has_nothing_then() {
        let (queue, parker) = (Queue::new(10, Vec::<u8>::new()), Parker::new());
        let taken = queue.take(&parker, Some(Instant::now()), std::mem::take);
        assert!(taken.what.is_empty() && !taken.is_last && queue.is_idle());
    }

    #[test]
    fn a_queue_that_is_closed_gives_what_it_has_and_takes_nothing() {
        let (queue, parker) = (Queue::new(10, Vec::new()), Parker::new());
        queue.put(1, |gathered| gathered.push(1)).unwrap();
        assert!(!queue.is_empty() && !queue.is_idle());
        assert!(queue.close() && !queue.close());
        assert_eq!(queue.put(0, |gathered| gathered.push(2)), Err(Refused::Closed));
        let taken = queue.take(&parker, None, std::mem::take);
        assert_eq!((taken.what, taken.is_last), (vec![1], true));
        assert!(queue.is_empty() && !queue.is_idle(), "it may be at work");
        let taken = queue.take(&parker, None, std::mem::take);
        assert!(taken.what.is_empty() && taken.is_last && queue.is_idle());
    }
}
