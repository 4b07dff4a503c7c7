//! The ways to read: by waiting and without, one by one and in batches, from threads, tasks and sets.

mod common;

use common::{Blocker, Setup, matrix, number, numbers, value, watch};
use fanfare::{
    CloseReason, Control, HandlerSubscriber, Lagged, Mailbox, MailboxSet, Message, Overflow, PubSub, RecvError,
    RecvTimeoutError, SetEvent, SetKey, Subscriber, Topic, TryRecvError,
};
use futures_util::{FutureExt, StreamExt};
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(100);

/// Who may go where.
const _: fn() = || {
    fn send<T: Send>() {}
    fn sync<T: Sync>() {}
    fn clone<T: Clone>() {}
    send::<PubSub>();
    sync::<PubSub>();
    clone::<PubSub>();
    send::<Control>();
    sync::<Control>();
    clone::<Control>();
    send::<Topic>();
    sync::<Topic>();
    clone::<Topic>();
    send::<Message>();
    sync::<Message>();
    clone::<Message>();
    send::<Mailbox>();
    send::<Subscriber>();
    send::<HandlerSubscriber>();
    sync::<HandlerSubscriber>();
    send::<MailboxSet>();
};

fn subscriber(pubsub: &PubSub, topic: &str) -> Subscriber {
    let subscriber = pubsub.subscriber().capacity(1000).build().unwrap();
    subscriber.subscribe(topic).unwrap();
    subscriber
}

fn send(pubsub: &PubSub, topic: &str, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        pubsub.broadcast(topic, "n", number(n)).unwrap();
    }
}

#[test]
fn recv_waits_for_the_next_message() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        // One message at a time, there and back, so that both sides sleep again and again.
        let (mut ping, mut pong) = (subscriber(&pubsub, "ping"), subscriber(&pubsub, "pong"));
        thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..500 {
                    assert_eq!(value(&ping.recv().unwrap()), n);
                    send(&pubsub, "pong", [n]);
                }
            });
            for n in 0..500 {
                send(&pubsub, "ping", [n]);
                assert_eq!(value(&pong.recv().unwrap()), n);
            }
        });
    });
}

#[test]
fn try_recv_takes_what_is_there_and_does_not_wait() {
    matrix(|_, pubsub| {
        let mut subscriber = subscriber(&pubsub, "t");
        assert_eq!(subscriber.try_recv().unwrap_err(), TryRecvError::Empty);
        send(&pubsub, "t", 0..2);
        pubsub.flush().unwrap();
        assert_eq!((subscriber.len(), subscriber.is_empty()), (2, false));
        assert_eq!(value(&subscriber.try_recv().unwrap()), 0);
        assert_eq!(value(&subscriber.try_recv().unwrap()), 1);
        assert_eq!(subscriber.try_recv().unwrap_err(), TryRecvError::Empty);
    });
}

#[test]
fn recv_with_a_bound_gives_up_when_it_has_passed_and_not_before_a_message() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = subscriber(&pubsub, "t");
    assert_eq!(subscriber.recv_timeout(Duration::ZERO).unwrap_err(), RecvTimeoutError::Timeout);
    assert_eq!(subscriber.recv_timeout(Duration::from_millis(1)).unwrap_err(), RecvTimeoutError::Timeout);
    assert_eq!(subscriber.recv_deadline(Instant::now()).unwrap_err(), RecvTimeoutError::Timeout);
    let begun = Instant::now();
    let deadline = begun + Duration::from_millis(2);
    assert_eq!(subscriber.recv_deadline(deadline).unwrap_err(), RecvTimeoutError::Timeout);
    assert!(Instant::now() >= deadline, "it gave up too early");
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let first = value(&subscriber.recv_timeout(LONG).unwrap());
            let second = value(&subscriber.recv_deadline(Instant::now() + LONG).unwrap());
            // A time past the end of time is none.
            let third = value(&subscriber.recv_timeout(Duration::MAX).unwrap());
            [first, second, third]
        });
        send(&pubsub, "t", 0..3);
        assert_eq!(reader.join().unwrap(), [0, 1, 2]);
    });
    subscriber.control().close();
    let closed = RecvTimeoutError::Closed(CloseReason::Dropped);
    assert_eq!(subscriber.recv_timeout(LONG).unwrap_err(), closed);
}

#[test]
fn a_batch_stops_at_its_bound_at_a_gap_and_at_the_end() {
    let pubsub = Setup::PLAIN.build();
    for capacity in [8, 9, 200] {
        let mut subscriber = pubsub.subscriber().capacity(capacity).build().unwrap();
        subscriber.subscribe("t").unwrap();
        let mut buffer = Vec::new();
        let mut read = |subscriber: &mut Subscriber, max| {
            buffer.clear();
            subscriber.try_recv_many(&mut buffer, max).map(|count| {
                assert_eq!(count, buffer.len());
                buffer.iter().map(value).collect::<Vec<_>>()
            })
        };
        let n = capacity as u64;
        assert_eq!(read(&mut subscriber, 10), Err(TryRecvError::Empty));
        send(&pubsub, "t", 0..n);
        pubsub.flush().unwrap();
        assert_eq!(read(&mut subscriber, 0), Ok(vec![]));
        assert_eq!(read(&mut subscriber, 3), Ok(vec![0, 1, 2]));
        assert_eq!(read(&mut subscriber, 1000), Ok((3..n).collect()));
        send(&pubsub, "t", 0..n + 2);
        pubsub.flush().unwrap();
        assert_eq!(read(&mut subscriber, 1000), Err(TryRecvError::Lagged(2)));
        assert_eq!(read(&mut subscriber, 2), Ok(vec![2, 3]));
        assert_eq!(read(&mut subscriber, 1000), Ok((4..n + 2).collect()));
        send(&pubsub, "t", [7]);
        pubsub.flush().unwrap();
        subscriber.control().close();
        pubsub.flush().unwrap();
        assert_eq!(read(&mut subscriber, 1000), Ok(vec![7]));
        assert_eq!(read(&mut subscriber, 1000), Err(TryRecvError::Closed(CloseReason::Dropped)));
    }
}

#[test]
fn a_gap_that_has_grown_since_it_was_told_is_told_again() {
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = pubsub.subscriber().capacity(2).build().unwrap();
    subscriber.subscribe("t").unwrap();
    send(&pubsub, "t", 0..3);
    pubsub.flush().unwrap();
    // What lies behind the gap stays in the mailbox until it is read, and may be lost too.
    assert_eq!(subscriber.try_recv().unwrap_err(), TryRecvError::Lagged(1));
    send(&pubsub, "t", 3..6);
    pubsub.flush().unwrap();
    let mut buffer = Vec::new();
    assert_eq!(subscriber.try_recv_many(&mut buffer, 10).unwrap_err(), TryRecvError::Lagged(3));
    assert_eq!(subscriber.try_recv_many(&mut buffer, 10).unwrap(), 2);
    assert_eq!(buffer.iter().map(value).collect::<Vec<_>>(), [4, 5]);
}

/// Reads a stream to its end.
async fn collect(mut subscriber: Subscriber) -> Vec<Result<u64, Lagged>> {
    let mut all = Vec::new();
    while let Some(item) = subscriber.next().await {
        all.push(item.map(|message| value(&message)));
    }
    all
}

/// Runs a reader to its end by `run`, while 300 messages are sent, after which the mailbox is closed.
fn stream(run: impl FnOnce(Subscriber) -> Vec<Result<u64, Lagged>> + Send) {
    let pubsub = Setup::workers(2).build();
    let subscriber = subscriber(&pubsub, "t");
    let control = subscriber.control();
    let all = thread::scope(|scope| {
        let reader = scope.spawn(move || run(subscriber));
        for n in 0..300 {
            send(&pubsub, "t", [n]);
            if n % 50 == 0 {
                pubsub.flush().unwrap();
            }
        }
        control.close();
        reader.join().unwrap()
    });
    assert_eq!(all, (0..300).map(Ok).collect::<Vec<_>>());
}

#[test]
fn a_mailbox_is_a_stream_under_tokio() {
    let _watchdog = watch();
    stream(|subscriber| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
        runtime.block_on(async { tokio::spawn(collect(subscriber)).await.unwrap() })
    });
    stream(|subscriber| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(collect(subscriber)));
}

#[test]
fn a_mailbox_is_a_stream_under_smol() {
    let _watchdog = watch();
    stream(|subscriber| smol::block_on(async { smol::spawn(collect(subscriber)).await }));
}

#[test]
fn a_mailbox_is_a_stream_under_a_bare_executor() {
    let _watchdog = watch();
    stream(|subscriber| futures_executor::block_on(collect(subscriber)));
}

#[test]
fn a_stream_tells_of_gaps_and_ends_when_the_subscriber_is_closed() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let (control, mut mailbox) = pubsub.subscriber().capacity(2).build().unwrap().split();
    control.subscribe("t").unwrap();
    send(&pubsub, "t", 0..5);
    pubsub.flush().unwrap();
    control.close();
    let (mut all, mut read) = (Vec::new(), 0);
    futures_executor::block_on(async {
        while let Some(item) = mailbox.next().await {
            all.push(item.map(|message| value(&message)));
            read += 1;
        }
    });
    assert_eq!(all, [Err(Lagged(3)), Ok(3), Ok(4)]);
    assert!(read == 3 && mailbox.next().now_or_never().unwrap().is_none(), "it stays at its end");
}

#[test]
fn recv_async_waits_in_a_task_and_may_be_given_up() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = subscriber(&pubsub, "t");
    assert!(subscriber.recv_async().now_or_never().is_none());
    send(&pubsub, "t", 0..2);
    futures_executor::block_on(async {
        assert_eq!(value(&subscriber.recv_async().await.unwrap()), 0);
        assert_eq!(value(&subscriber.recv_async().await.unwrap()), 1);
        subscriber.control().close();
        assert_eq!(subscriber.recv_async().await.unwrap_err(), RecvError::Closed(CloseReason::Dropped));
    });
}

/// A waker that counts, and panics if it is told to.
#[derive(Default)]
struct Counting {
    wakes: AtomicU64,
    panics: bool,
}

impl Wake for Counting {
    fn wake(self: Arc<Self>) {
        self.wakes.fetch_add(1, Ordering::SeqCst);
        assert!(!self.panics, "a waker panics");
    }
}

#[test]
fn a_registered_task_is_woken_when_there_is_a_message() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut subscriber = subscriber(&pubsub, "t");
        let counting = Arc::new(Counting::default());
        let waker = Waker::from(counting.clone());
        for n in 0..20 {
            assert!(subscriber.poll_recv(&mut Context::from_waker(&waker)).is_pending());
            send(&pubsub, "t", [n]);
            while counting.wakes.load(Ordering::SeqCst) == n {
                thread::yield_now();
            }
            match subscriber.poll_recv(&mut Context::from_waker(&waker)) {
                Poll::Ready(Ok(message)) => assert_eq!(value(&message), n),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(counting.wakes.load(Ordering::SeqCst), 20);
    });
}

#[test]
fn a_waker_that_panics_hurts_no_one() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let (mut bad, mut good) = (subscriber(&pubsub, "t"), subscriber(&pubsub, "t"));
        let counting = Arc::new(Counting { panics: true, ..Counting::default() });
        assert!(bad.poll_recv(&mut Context::from_waker(&Waker::from(counting.clone()))).is_pending());
        send(&pubsub, "t", [1]);
        assert_eq!(value(&good.recv().unwrap()), 1);
        pubsub.flush().unwrap();
        while counting.wakes.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(numbers(&mut bad), [1]);
    });
}

#[test]
fn a_control_handle_works_from_other_threads_and_keeps_nothing_alive() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let (control, mut mailbox) = pubsub.subscriber().capacity(1000).build().unwrap().split();
        thread::scope(|scope| {
            for i in 0..4 {
                let control = control.clone();
                scope.spawn(move || {
                    for n in 0..50 {
                        control.subscribe(&format!("t:{i}:{n}")).unwrap();
                    }
                    for n in 0..49 {
                        control.unsubscribe(&format!("t:{i}:{n}")).unwrap();
                    }
                });
            }
        });
        pubsub.flush().unwrap();
        assert_eq!(pubsub.topics().len(), 4);
        for i in 0..4 {
            (0..50).for_each(|n| send(&pubsub, &format!("t:{i}:{n}"), [i * 100 + n]));
        }
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut mailbox), [49, 149, 249, 349]);
        assert_eq!(control.id(), mailbox.id());
        drop(mailbox);
        assert_eq!(control.close_reason(), Some(CloseReason::Dropped));
        pubsub.flush().unwrap();
        assert!(pubsub.topics().is_empty());
        drop(pubsub);
        assert!(control.subscribe("t").is_err(), "the engine has gone, though the handle is here");
    });
}

/// What a set has read, by mailbox.
#[derive(Default)]
struct FromSet(HashMap<SetKey, Vec<u64>>);

impl FromSet {
    fn note(&mut self, key: SetKey, event: &SetEvent<'_>) {
        match event {
            SetEvent::Message(message) => self.0.entry(key).or_default().push(value(message)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_set_reads_thousands_of_mailboxes() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        // More than a group of each worker.
        let mut set = MailboxSet::new();
        let keys: Vec<SetKey> = (0..15_000)
            .map(|i| {
                let subscriber = pubsub.subscriber().build().unwrap();
                subscriber.subscribe("all").unwrap();
                subscriber.subscribe(&format!("{}", i % 100)).unwrap();
                set.insert(subscriber)
            })
            .collect();
        assert_eq!(set.len(), 15_000);
        send(&pubsub, "all", [1]);
        send(&pubsub, "7", [2]);
        let (mut from, mut left) = (FromSet::default(), 15_150);
        while left > 0 {
            left -= set.read(|key, event| from.note(key, &event));
        }
        assert_eq!(set.try_read(|_, event| panic!("{event:?}")), 0);
        for (i, key) in keys.iter().enumerate() {
            let expected: &[u64] = if i % 100 == 7 { &[1, 2] } else { &[1] };
            // Between topics there is no order.
            let mut got = from.0.remove(key).unwrap();
            got.sort_unstable();
            assert_eq!(got, expected);
        }
    });
}

#[test]
fn a_set_finds_what_was_unread_when_a_mailbox_came_and_leaves_it_when_it_goes() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut set = MailboxSet::new();
        let subscribers = [subscriber(&pubsub, "t"), subscriber(&pubsub, "t")];
        let conflating = pubsub.subscriber().capacity(100).conflate_by(value).unwrap();
        conflating.subscribe("t").unwrap();
        send(&pubsub, "t", 0..3);
        pubsub.flush().unwrap();
        let [a, b] = subscribers.map(|subscriber| set.insert(subscriber));
        let c = set.insert(conflating);
        let mut from = FromSet::default();
        while set.try_read(|key, event| from.note(key, &event)) > 0 {}
        assert!([a, b, c].iter().all(|key| from.0[key] == [0, 1, 2]));
        send(&pubsub, "t", 3..5);
        pubsub.flush().unwrap();
        let mut gone = set.remove(b).unwrap();
        assert!(set.remove(b).is_none() && set.mailbox(b).is_none());
        assert_eq!((set.len(), set.mailbox(a).unwrap().len()), (2, 2));
        let mut from = FromSet::default();
        while set.try_read(|key, event| from.note(key, &event)) > 0 {}
        assert!([a, c].iter().all(|key| from.0[key] == [3, 4]) && from.0.len() == 2);
        assert_eq!(numbers(&mut gone), [3, 4]);
        send(&pubsub, "t", [5]);
        assert_eq!(value(&gone.recv().unwrap()), 5, "on its own again");
        // And into another set.
        let mut other = MailboxSet::new();
        send(&pubsub, "t", [6]);
        let key = other.insert(gone);
        let mut from = FromSet::default();
        while from.0.is_empty() {
            other.read(|key, event| from.note(key, &event));
        }
        assert_eq!(from.0[&key], [6]);
    });
}

#[test]
fn a_closed_mailbox_is_read_to_its_end_and_leaves_the_set() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let mut set = MailboxSet::new();
        let subscribers = [subscriber(&pubsub, "t"), pubsub.subscriber().conflate_by(value).unwrap()];
        for subscriber in subscribers {
            subscriber.subscribe("t").unwrap();
            let control = subscriber.control();
            let key = set.insert(subscriber);
            send(&pubsub, "t", [1]);
            pubsub.flush().unwrap();
            control.close();
            let mut events = Vec::new();
            while !set.is_empty() {
                set.read(|known, event| {
                    assert_eq!(known, key);
                    events.push(format!("{event:?}"));
                });
            }
            assert!(events.last().unwrap().contains("Closed(Dropped)"), "{events:?}");
            assert!(events.len() >= 2);
        }
        assert_eq!(set.read(|_, event| panic!("{event:?}")), 0, "an empty set does not wait");
    });
}

#[test]
fn a_set_tells_of_gaps_and_overflows() {
    let pubsub = Setup::workers(2).build();
    let mut set = MailboxSet::new();
    let one = |overflow| {
        let subscriber = pubsub.subscriber().capacity(2).overflow(overflow).build().unwrap();
        subscriber.subscribe("t").unwrap();
        subscriber
    };
    let [oldest, newest, close] =
        [Overflow::DropOldest, Overflow::DropNewest, Overflow::Close].map(|overflow| set.insert(one(overflow)));
    send(&pubsub, "t", 0..5);
    pubsub.flush().unwrap();
    let mut events: HashMap<SetKey, Vec<String>> = HashMap::new();
    while set.try_read(|key, event| {
        events.entry(key).or_default().push(match event {
            SetEvent::Message(message) => value(message).to_string(),
            SetEvent::Lagged(lagged) => lagged.to_string(),
            SetEvent::Closed(reason) => reason.to_string(),
            other => panic!("{other:?}"),
        });
    }) > 0
    {}
    assert_eq!(events[&oldest], ["3 messages were dropped before this reader came to them", "3", "4"]);
    assert_eq!(events[&newest], ["0", "1"]);
    assert_eq!(events[&close], ["0", "1", "the mailbox overflowed"]);
    assert_eq!(set.mailbox(newest).unwrap().refused(), 3);
    assert_eq!(set.len(), 2);
}

#[test]
fn a_callback_that_panics_loses_nothing_but_what_it_was_shown() {
    let _watchdog = watch();
    for (mailboxes, capacity) in [(1, 8), (1, 200), (200, 8), (200, 9)] {
        let pubsub = Setup::workers(2).build();
        let mut set = MailboxSet::new();
        let keys: Vec<_> = (0..mailboxes)
            .map(|_| {
                let subscriber = pubsub.subscriber().capacity(capacity).build().unwrap();
                subscriber.subscribe("t").unwrap();
                set.insert(subscriber)
            })
            .collect();
        let each = capacity.min(100) as u64;
        send(&pubsub, "t", 0..each);
        pubsub.flush().unwrap();
        let (mut from, mut shown) = (FromSet::default(), 0);
        loop {
            let calls = catch_unwind(AssertUnwindSafe(|| {
                set.try_read(|key, event| {
                    from.note(key, &event);
                    shown += 1;
                    assert!(shown % 7 != 1, "a callback panics");
                })
            }));
            if calls.is_ok_and(|calls| calls == 0) {
                break;
            }
        }
        assert!(keys.iter().all(|key| from.0[key] == (0..each).collect::<Vec<_>>()));
    }
}

#[test]
fn a_waiting_set_is_woken_by_messages_by_an_end_and_by_a_shutdown() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        let blocker = Blocker::new(&pubsub, setup.workers - 1);
        let mut set = MailboxSet::new();
        let conflating = pubsub.subscriber().capacity(1000).conflate_by(value).unwrap();
        conflating.subscribe("t").unwrap();
        let keys = [set.insert(subscriber(&pubsub, "t")), set.insert(conflating)];
        thread::scope(|scope| {
            let reader = scope.spawn(move || {
                let (mut read, mut ends) = (0, Vec::new());
                while !set.is_empty() {
                    let calls = set.read(|key, event| match event {
                        SetEvent::Message(_) => read += 1,
                        SetEvent::Closed(reason) => ends.push((key, reason)),
                        other => panic!("{other:?}"),
                    });
                    assert!(calls > 0, "it waits");
                }
                ends.sort_by_key(|end: &(SetKey, CloseReason)| end.0);
                (read, ends)
            });
            for n in 0..100 {
                send(&pubsub, "t", [n]);
                if n % 10 == 0 {
                    blocker.block(&pubsub);
                    blocker.let_go();
                }
            }
            pubsub.shutdown(LONG).unwrap();
            let (read, ends) = reader.join().unwrap();
            assert_eq!(read, 200);
            let mut expected = keys.map(|key| (key, CloseReason::Shutdown));
            expected.sort_by_key(|end| end.0);
            assert_eq!(ends, expected);
        });
    });
}

#[test]
fn several_sets_and_tasks_read_beside_each_other() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        thread::scope(|scope| {
            for i in 0..4 {
                let mut set = MailboxSet::new();
                for _ in 0..100 {
                    set.insert(subscriber(&pubsub, "t"));
                }
                scope.spawn(move || {
                    let mut left = 100 * 50;
                    while left > 0 {
                        left -= match i % 2 {
                            0 => set.read_deadline(Instant::now() + LONG, |_, _| {}),
                            _ => futures_executor::block_on(std::future::poll_fn(|context| {
                                set.poll_read(context, |_, _| {})
                            })),
                        };
                    }
                    assert_eq!(set.read_deadline(Instant::now(), |_, event| panic!("{event:?}")), 0);
                });
            }
            send(&pubsub, "t", 0..50);
        });
    });
}

#[test]
fn mailboxes_of_two_engines_may_be_in_one_set() {
    let _watchdog = watch();
    let engines = [Setup::workers(1).build(), Setup::workers(2).build()];
    let mut set = MailboxSet::new();
    let keys = [0, 1].map(|i| set.insert(subscriber(&engines[i], "t")));
    engines.iter().zip(0..).for_each(|(engine, n)| send(engine, "t", [n]));
    let mut from = FromSet::default();
    while from.0.len() < 2 {
        set.read(|key, event| from.note(key, &event));
    }
    assert_eq!((from.0[&keys[0]].as_slice(), from.0[&keys[1]].as_slice()), (&[0_u64][..], &[1_u64][..]));
    let [one, other] = engines;
    drop(one);
    while set.len() == 2 {
        set.read(|key, event| assert!(key == keys[0] && matches!(event, SetEvent::Closed(CloseReason::Shutdown))));
    }
    send(&other, "t", [5]);
    while set.read(|_, event| assert!(matches!(event, SetEvent::Message(_)))) == 0 {}
}
