//! What memory the engine keeps: bytes by an allocator that counts. One test at a time, since the count is of the
//! process.

mod common;

use common::{Setup, number, value, wait_until_asleep, watch};
use fanfare::{Context, Message, Overflow, Payload, PubSub, TryRecvError};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicIsize, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

struct Counting;

static LIVE: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Allocations of this thread.
    static MINE: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        count_allocation();
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size() as isize, Ordering::Relaxed);
        count_allocation();
        // SAFETY: the caller's promise.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size() as isize, Ordering::Relaxed);
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        LIVE.fetch_add(new_size as isize - layout.size() as isize, Ordering::Relaxed);
        count_allocation();
        // SAFETY: the caller's promise.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

fn count_allocation() {
    ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
    // A thread that ends has none any more, and nobody asks for its count.
    let _ = MINE.try_with(|mine| mine.set(mine.get() + 1));
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// One test at a time. The first also starts the watchdog's thread before anything is counted.
fn alone() -> (MutexGuard<'static, ()>, common::Watchdog) {
    static ONE: Mutex<()> = Mutex::new(());
    let one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    (one, watch())
}

fn live() -> isize {
    LIVE.load(Ordering::Relaxed)
}

/// Allocations of all threads.
fn allocations(f: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    f();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

/// Runs rounds of 50 cycles until one leaves the highest number of live bytes where the round before left it. Slabs
/// and queues keep their peak, which a slow worker may still raise once or twice, and the table of topics collects its
/// garbage now and then; but a leak of a byte for each of the 50,000 that a round makes shows in every round.
fn settles(pubsub: &PubSub, cycle: impl Fn()) {
    let peak = || {
        let one = |_| {
            cycle();
            pubsub.flush().unwrap();
            live()
        };
        (0..50).map(one).max().unwrap()
    };
    let mut peaks = vec![peak()];
    while peaks.len() < 10 {
        let (last, next) = (peaks[peaks.len() - 1], peak());
        peaks.push(next);
        if next < last + 20_000 {
            return;
        }
    }
    panic!("live bytes grow: {peaks:?}");
}

#[test]
fn a_hundred_thousand_subscribers_come_and_go() {
    let _alone = alone();
    for workers in 1..=2 {
        let pubsub = Setup::workers(workers).build();
        settles(&pubsub, || {
            for n in 0..1000_u64 {
                let subscriber = pubsub.subscriber().capacity(if n % 8 == 0 { 16 } else { 8 }).build().unwrap();
                subscriber.subscribe("t").unwrap();
                subscriber.subscribe_with("u", n).unwrap();
                if n % 100 == 0 {
                    pubsub.broadcast("t", "n", number(n)).unwrap();
                }
            }
        });
        assert!(pubsub.topics().is_empty());
    }
}

#[test]
fn a_hundred_thousand_handlers_and_conflating_mailboxes_come_and_go() {
    let _alone = alone();
    let pubsub = Setup::workers(2).build();
    settles(&pubsub, || {
        for n in 0..1000_u64 {
            let boxed = Box::new(n);
            let handler = move |message: &Message, _: &mut Context<'_>| assert!(value(message) <= 1000 + *boxed);
            let handler = pubsub.subscriber().handler(handler).unwrap();
            handler.subscribe("t").unwrap();
            let conflating = pubsub.subscriber().conflate_by(value).unwrap();
            conflating.subscribe("t").unwrap();
            if n % 100 == 0 {
                pubsub.broadcast("t", "n", number(n)).unwrap();
            }
        }
    });
}

#[test]
fn a_million_topics_come_and_go() {
    let _alone = alone();
    let pubsub = Setup::workers(1).build();
    // 100 times 10,000, with a subscriber and with a handle.
    let names: Vec<String> = (0..10_000).map(|n| format!("topic:{n}")).collect();
    settles(&pubsub, || {
        let subscriber = pubsub.subscriber().build().unwrap();
        for name in &names {
            subscriber.subscribe(name).unwrap();
        }
    });
    assert!(pubsub.topics().is_empty());
    settles(&pubsub, || {
        for name in &names {
            drop(pubsub.topic(name).unwrap());
        }
    });
    assert_eq!(pubsub.stats().topics, 0);
}

#[test]
fn engines_come_and_go() {
    let _alone = alone();
    let cycle = || {
        let pubsub = Setup::workers(2).build();
        let subscriber = pubsub.subscriber().capacity(100).build().unwrap();
        subscriber.subscribe("t").unwrap();
        let handler = pubsub.subscriber().handler(|_: &Message, _: &mut Context<'_>| {}).unwrap();
        handler.subscribe("t").unwrap();
        (0..50).for_each(|n| assert!(pubsub.broadcast("t", "n", number(n)).is_ok()));
        pubsub.shutdown(std::time::Duration::from_secs(100)).unwrap();
    };
    let half = || {
        (0..20).for_each(|_| cycle());
        live()
    };
    let (first, second) = (half(), half());
    assert!(second <= first + 20_000, "from {first} to {second} bytes");
}

#[test]
fn a_broadcast_that_nobody_would_receive_allocates_nothing() {
    let _alone = alone();
    let pubsub = Setup::workers(2).build();
    let topic = pubsub.topic("handle").unwrap();
    let mut went = pubsub.subscriber().build().unwrap();
    went.subscribe("went").unwrap();
    pubsub.broadcast("went", "n", number(1)).unwrap();
    assert_eq!(value(&went.recv().unwrap()), 1);
    drop(went);
    pubsub.flush().unwrap();
    let broadcast = || {
        let payload = || Payload::binary(&b"bytes"[..]);
        assert_eq!(pubsub.broadcast("nobody", "n", payload()).unwrap(), fanfare::Outcome::NoSubscribers);
        assert_eq!(pubsub.broadcast("went", "n", payload()).unwrap(), fanfare::Outcome::NoSubscribers);
        assert_eq!(pubsub.broadcast("handle", "n", payload()).unwrap(), fanfare::Outcome::NoSubscribers);
        assert_eq!(topic.try_broadcast("n", payload()).unwrap(), fanfare::Outcome::NoSubscribers);
    };
    broadcast();
    let before = MINE.get();
    (0..1000).for_each(|_| broadcast());
    assert_eq!(MINE.get() - before, 0);
}

/// What a broadcast to so many mailboxes allocates, with its flush; the least of some, since other threads allocate
/// too.
fn allocations_of_a_broadcast(pubsub: &PubSub, members: usize) -> usize {
    let mailboxes: Vec<_> = (0..members)
        .map(|_| {
            let mailbox = pubsub.subscriber().build().unwrap();
            mailbox.subscribe("t").unwrap();
            mailbox
        })
        .collect();
    let broadcast = || {
        pubsub.broadcast("t", "n", Payload::binary(&b"bytes"[..])).unwrap();
        pubsub.flush().unwrap();
    };
    // The mailboxes fill, and then the oldest goes.
    let least = (0..30).map(|_| allocations(broadcast)).min().unwrap();
    drop(mailboxes);
    pubsub.flush().unwrap();
    least
}

#[test]
fn a_broadcast_allocates_nothing_for_each_delivery() {
    let _alone = alone();
    for workers in 1..=2 {
        let pubsub = Setup::workers(workers).build();
        let (few, many) = (allocations_of_a_broadcast(&pubsub, 20), allocations_of_a_broadcast(&pubsub, 180));
        // What wakes and waits allocate differs by a few from run to run; 160 deliveries would show.
        assert!(many < few + 16, "{workers} workers: {few}, {many}");
        let pubsub = Setup { in_place: Some(0), ..Setup::workers(workers) }.build();
        let few = allocations_of_a_broadcast(&pubsub, 10);
        let many = allocations_of_a_broadcast(&pubsub, 4000);
        assert!(many < few + 16, "{workers} workers: {few}, {many}");
        // A walk that is suspended has a queue for what waits behind it, once.
        let suspended = allocations_of_a_broadcast(&pubsub, 100_000);
        assert!(suspended < few + 16, "{suspended}, {few}");
    }
}

#[test]
fn a_broadcast_in_place_allocates_nothing() {
    let _alone = alone();
    for workers in 1..=2 {
        let pubsub = Setup::workers(workers).build();
        let topic = pubsub.topic("t").unwrap();
        let mut mailboxes: Vec<_> = (0..20).map(|_| pubsub.subscriber().build().unwrap()).collect();
        mailboxes.iter().for_each(|mailbox| mailbox.subscribe("t").unwrap());
        pubsub.flush().unwrap();
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        let mut in_place = 0;
        while in_place < 100 {
            wait_until_asleep(&pubsub);
            // All wait, and are woken.
            assert!(mailboxes.iter_mut().all(|mailbox| mailbox.poll_recv(&mut context).is_pending()));
            let before = (pubsub.stats().in_place, MINE.get());
            topic.broadcast("n", Payload::binary(&b"bytes"[..])).unwrap();
            let allocated = MINE.get() - before.1;
            pubsub.flush().unwrap();
            mailboxes.iter_mut().for_each(|mailbox| drop(mailbox.try_recv().unwrap()));
            if pubsub.stats().in_place > before.0 {
                in_place += 1;
                // The first ones make the lists of who is to be woken.
                assert!(in_place < 10 || allocated == 0, "{workers} workers, broadcast {in_place}: {allocated}");
            }
        }
    }
}

/// A payload that counts how many of it there are.
struct Counted(#[allow(dead_code)] Arc<()>);

impl serde::Serialize for Counted {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

/// Waits until there are so many of a payload, itself included.
fn wait_for(payload: &Arc<()>, count: usize) {
    while Arc::strong_count(payload) != count {
        std::thread::yield_now();
    }
}

#[test]
fn a_subscriber_that_is_dropped_releases_its_messages_at_once() {
    let _alone = alone();
    for capacity in [1, 8, 100] {
        let pubsub = Setup::workers(1).build();
        let payload = Arc::new(());
        let builder = || pubsub.subscriber().capacity(capacity);
        let subscribers = [
            builder().build().unwrap(),
            builder().overflow(Overflow::DropNewest).build().unwrap(),
            builder().conflate_by(|message| message.event().to_owned()).unwrap(),
        ];
        subscribers.iter().for_each(|subscriber| subscriber.subscribe("t").unwrap());
        for n in 0..3 * capacity + 5 {
            let payload = Payload::typed(Counted(payload.clone()));
            pubsub.broadcast("t", format!("event {n}"), payload).unwrap();
        }
        pubsub.flush().unwrap();
        // The last ones, twice, and the first ones. Those that went are released behind the worker's slice.
        wait_for(&payload, 1 + 2 * capacity);
        let [mut oldest, newest, conflating] = subscribers;
        assert_eq!(oldest.try_recv().unwrap_err(), TryRecvError::Lagged(2 * capacity as u64 + 5));
        drop(oldest);
        drop(newest);
        drop(conflating);
        assert_eq!(Arc::strong_count(&payload), 1);
    }
}

#[test]
fn a_set_that_is_dropped_releases_its_messages_at_once() {
    let _alone = alone();
    let pubsub = Setup::workers(2).build();
    let payload = Arc::new(());
    let mut set = fanfare::MailboxSet::new();
    for _ in 0..100 {
        let subscriber = pubsub.subscriber().build().unwrap();
        subscriber.subscribe("t").unwrap();
        set.insert(subscriber);
    }
    for _ in 0..5 {
        pubsub.broadcast("t", "n", Payload::typed(Counted(payload.clone()))).unwrap();
    }
    pubsub.flush().unwrap();
    let mut read = 0;
    while read < 250 {
        read += set.try_read(|_, _| {});
    }
    drop(set);
    // The workers settle their parts behind their slices.
    wait_for(&payload, 1);
}

#[test]
fn a_message_that_all_have_read_is_released() {
    let _alone = alone();
    let pubsub = Setup::workers(2).build();
    let payload = Arc::new(());
    let mut subscribers: Vec<_> = (0..10)
        .map(|_| {
            let subscriber = pubsub.subscriber().build().unwrap();
            subscriber.subscribe("t").unwrap();
            subscriber
        })
        .collect();
    pubsub.broadcast("t", "n", Payload::typed(Counted(payload.clone()))).unwrap();
    pubsub.flush().unwrap();
    let kept = subscribers[0].try_recv().unwrap();
    subscribers[1..].iter_mut().for_each(|subscriber| drop(subscriber.try_recv().unwrap()));
    // The workers settle their parts behind their slices.
    wait_for(&payload, 2);
    drop(kept);
    assert_eq!(Arc::strong_count(&payload), 1);
}
