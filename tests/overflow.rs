//! What a full mailbox does: each policy's contract, sentence by sentence.

mod common;

use common::{Random, Read, Setup, matrix, number, numbers, read_all, value, watch};
use fanfare::{CloseReason, Mailbox, Overflow, PubSub, RecvError, SetEvent, SubscribeError, Subscriber, TryRecvError};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Less than a line, a line, more than a line, much more; powers of two and not.
const CAPACITIES: [usize; 5] = [1, 3, 8, 9, 1000];

fn subscriber(pubsub: &PubSub, capacity: usize, overflow: Overflow) -> Subscriber {
    let subscriber = pubsub.subscriber().capacity(capacity).overflow(overflow).build().unwrap();
    subscriber.subscribe("t").unwrap();
    subscriber
}

/// Broadcasts the numbers, and waits until they are delivered.
fn send(pubsub: &PubSub, numbers: impl IntoIterator<Item = u64>) {
    for n in numbers {
        pubsub.broadcast("t", "n", number(n)).unwrap();
    }
    pubsub.flush().unwrap();
}

fn read(numbers: impl IntoIterator<Item = u64>) -> Vec<Read> {
    numbers.into_iter().map(Read::Number).collect()
}

#[test]
fn a_mailbox_holds_its_capacity_exactly() {
    for overflow in [Overflow::DropOldest, Overflow::DropNewest, Overflow::Close] {
        for capacity in CAPACITIES {
            let pubsub = Setup::PLAIN.build();
            let mut subscriber = subscriber(&pubsub, capacity, overflow);
            send(&pubsub, 0..capacity as u64);
            assert_eq!(subscriber.len(), capacity);
            assert_eq!(read_all(&mut subscriber), read(0..capacity as u64), "{overflow:?}, {capacity}");
            assert_eq!(pubsub.stats().dropped, 0);
        }
    }
}

#[test]
fn drop_oldest_the_oldest_unread_message_goes_and_the_exact_number_is_at_the_place_of_the_gap() {
    matrix(|_, pubsub| {
        for capacity in CAPACITIES {
            let mut subscriber = subscriber(&pubsub, capacity, Overflow::DropOldest);
            let capacity = capacity as u64;
            send(&pubsub, 0..capacity + 5);
            let mut expected = vec![Read::Lagged(5)];
            expected.extend(read(5..capacity + 5));
            assert_eq!(read_all(&mut subscriber), expected);
            // Without a loss since, there is no gap.
            send(&pubsub, 0..capacity);
            assert_eq!(read_all(&mut subscriber), read(0..capacity));
            assert_eq!(subscriber.refused(), 0, "refused is for the other policies");
        }
    });
}

/// A mailbox that drops the oldest, as a plain queue.
#[derive(Debug, Default)]
struct Model {
    queue: VecDeque<u64>,
    lost: u64,
}

impl Model {
    fn send(&mut self, n: u64, capacity: usize) {
        if self.queue.len() == capacity {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back(n);
    }

    fn read(&mut self) -> Option<Read> {
        if self.lost > 0 {
            return Some(Read::Lagged(std::mem::take(&mut self.lost)));
        }
        self.queue.pop_front().map(Read::Number)
    }
}

#[test]
fn drop_oldest_agrees_with_a_plain_queue_over_any_mixture_of_sends_and_reads() {
    let _watchdog = watch();
    for capacity in CAPACITIES {
        let pubsub = Setup::PLAIN.build();
        let mut subscriber = subscriber(&pubsub, capacity, Overflow::DropOldest);
        let (mut model, mut random, mut next) = (Model::default(), Random(capacity as u64), 0);
        for _ in 0..300 {
            let burst = random.below(capacity as u64 + 3);
            send(&pubsub, next..next + burst);
            (next..next + burst).for_each(|n| model.send(n, capacity));
            next += burst;
            for _ in 0..random.below(capacity as u64 + 3) {
                let expected = model.read();
                let got = match subscriber.try_recv() {
                    Ok(message) => Some(Read::Number(value(&message))),
                    Err(TryRecvError::Lagged(lost)) => Some(Read::Lagged(lost)),
                    Err(TryRecvError::Empty) => None,
                    Err(other) => panic!("{other}"),
                };
                assert_eq!(got, expected, "capacity {capacity}, before {next}");
            }
            assert_eq!(subscriber.len(), model.queue.len());
        }
    }
}

#[test]
fn drop_newest_the_new_message_is_refused_and_counted_and_those_in_the_mailbox_stay() {
    matrix(|_, pubsub| {
        let mut refused = 0;
        for capacity in CAPACITIES {
            let mut subscriber = subscriber(&pubsub, capacity, Overflow::DropNewest);
            let capacity = capacity as u64;
            send(&pubsub, 0..capacity + 5);
            assert_eq!(subscriber.refused(), 5);
            assert_eq!(read_all(&mut subscriber), read(0..capacity), "there is no gap among those that stay");
            send(&pubsub, [70, 71].into_iter().take(capacity.min(2) as usize));
            assert_eq!(numbers(&mut subscriber)[0], 70, "what was read makes room");
            assert_eq!(subscriber.refused(), 5);
            refused += 5;
        }
        assert_eq!(pubsub.stats().dropped, refused);
    });
}

#[test]
fn a_new_subscriber_at_a_place_that_was_used_counts_from_nothing() {
    let pubsub = Setup::PLAIN.build();
    let old = subscriber(&pubsub, 1, Overflow::DropNewest);
    let control = old.control();
    send(&pubsub, 0..3);
    assert_eq!(old.refused(), 2);
    drop(old);
    pubsub.flush().unwrap();
    let mut new = subscriber(&pubsub, 1, Overflow::DropNewest);
    assert_eq!((new.refused(), new.len()), (0, 0));
    send(&pubsub, 5..6);
    assert_eq!(numbers(&mut new), [5]);
    assert_eq!(control.close_reason(), Some(CloseReason::Dropped));
    assert_eq!(control.subscribe("t"), Err(SubscribeError::SubscriberClosed));
}

#[test]
fn close_the_subscriber_is_closed_with_a_reason_and_the_reader_reads_what_is_there_and_then_finds_it() {
    matrix(|_, pubsub| {
        for capacity in CAPACITIES {
            let mut subscriber = subscriber(&pubsub, capacity, Overflow::Close);
            let control = subscriber.control();
            let capacity = capacity as u64;
            send(&pubsub, 0..capacity);
            assert_eq!(control.close_reason(), None);
            send(&pubsub, capacity..capacity + 3);
            assert_eq!(control.close_reason(), Some(CloseReason::Overflow));
            assert_eq!(subscriber.refused(), 1, "the one that closed it, and none after");
            assert_eq!(control.subscribe("u"), Err(SubscribeError::SubscriberClosed));
            assert_eq!(control.unsubscribe("t"), Err(SubscribeError::SubscriberClosed));
            // The end is noted while the broadcast is delivered: perhaps behind where the flush came to.
            pubsub.flush().unwrap();
            assert_eq!(pubsub.subscriber_count("t"), 0);
            let mut expected = read(0..capacity);
            expected.push(Read::Closed(CloseReason::Overflow));
            assert_eq!(read_all(&mut subscriber), expected);
            assert_eq!(subscriber.recv().unwrap_err(), RecvError::Closed(CloseReason::Overflow), "again and again");
        }
    });
}

#[test]
fn close_wakes_a_reader_that_waits() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = subscriber(&pubsub, 1, Overflow::Close);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut read = 0;
            loop {
                match subscriber.recv() {
                    Ok(_) => read += 1,
                    Err(error) => return (read, error),
                }
            }
        });
        while pubsub.subscriber_count("t") > 0 {
            pubsub.broadcast("t", "n", number(1)).unwrap();
        }
        let (read, error) = reader.join().unwrap();
        assert!(read > 0);
        assert_eq!(error, RecvError::Closed(CloseReason::Overflow));
    });
}

fn conflating(pubsub: &PubSub, capacity: usize) -> Subscriber {
    let subscriber = pubsub.subscriber().capacity(capacity).conflate_by(|message| value(message) / 100).unwrap();
    subscriber.subscribe("t").unwrap();
    subscriber
}

#[test]
fn conflate_a_new_value_replaces_the_unread_one_of_its_key_at_that_ones_place_and_is_counted() {
    matrix(|_, pubsub| {
        let mut subscriber = conflating(&pubsub, 3);
        send(&pubsub, [100, 200, 300, 201, 101, 202]);
        assert_eq!(subscriber.conflated(), 3);
        assert_eq!(subscriber.len(), 3);
        assert_eq!(numbers(&mut subscriber), [101, 202, 300]);
        // One that has been read is not replaced.
        send(&pubsub, [102, 203]);
        assert_eq!(numbers(&mut subscriber), [102, 203]);
        assert_eq!((subscriber.conflated(), subscriber.refused()), (3, 0));
    });
}

#[test]
fn conflate_a_new_key_at_capacity_drops_the_oldest_key_and_reports_it() {
    matrix(|_, pubsub| {
        let mut subscriber = conflating(&pubsub, 2);
        send(&pubsub, [100, 200, 101, 300]);
        assert_eq!(read_all(&mut subscriber), [Read::Lagged(1), Read::Number(200), Read::Number(300)]);
        assert_eq!(subscriber.conflated(), 1);
        send(&pubsub, [100, 200, 300, 400, 100]);
        assert_eq!(read_all(&mut subscriber), [Read::Lagged(3), Read::Number(400), Read::Number(100)]);
    });
}

#[test]
fn conflate_agrees_with_a_plain_queue() {
    let pubsub = Setup::PLAIN.build();
    for capacity in [1, 2, 7] {
        let mut subscriber = conflating(&pubsub, capacity);
        let mut model: VecDeque<u64> = VecDeque::new();
        let (mut random, mut lost, mut conflated) = (Random(7), 0, 0);
        for _ in 0..200 {
            for _ in 0..random.below(9) {
                let n = random.below(1000);
                send(&pubsub, [n]);
                match model.iter_mut().find(|known| **known / 100 == n / 100) {
                    Some(known) => {
                        *known = n;
                        conflated += 1;
                    }
                    None => {
                        if model.len() == capacity {
                            model.pop_front();
                            lost += 1;
                        }
                        model.push_back(n);
                    }
                }
            }
            for _ in 0..random.below(4) {
                let expected = if lost > 0 {
                    Err(TryRecvError::Lagged(std::mem::take(&mut lost)))
                } else {
                    model.pop_front().ok_or(TryRecvError::Empty)
                };
                assert_eq!(subscriber.try_recv().map(|message| value(&message)), expected);
            }
            assert_eq!(subscriber.conflated(), conflated);
        }
    }
}

#[test]
fn conflate_the_panic_of_a_key_function_closes_that_subscriber_alone() {
    matrix(|_, pubsub| {
        let key = |message: &fanfare::Message| assert_ne!(value(message), 3, "the key function panics");
        let mut bad = pubsub.subscriber().conflate_by(key).unwrap();
        bad.subscribe("t").unwrap();
        let (mut other, mut mailbox) = (conflating(&pubsub, 9), subscriber(&pubsub, 9, Overflow::DropOldest));
        send(&pubsub, [1, 2, 3, 400]);
        assert_eq!(read_all(&mut bad), [Read::Number(2), Read::Closed(CloseReason::Panicked)]);
        assert_eq!(bad.control().close_reason(), Some(CloseReason::Panicked));
        assert_eq!(numbers(&mut other), [3, 400]);
        assert_eq!(numbers(&mut mailbox), [1, 2, 3, 400]);
        assert_eq!(pubsub.stats().panics, 1);
        // The end is noted while the broadcast is delivered: behind where the first flush came to.
        pubsub.flush().unwrap();
        assert_eq!(pubsub.subscriber_count("t"), 2);
    });
}

#[test]
fn conflate_an_end_is_found_behind_what_is_unread() {
    let pubsub = Setup::PLAIN.build();
    let mut subscriber = conflating(&pubsub, 2);
    send(&pubsub, [100]);
    subscriber.control().close();
    pubsub.flush().unwrap();
    send(&pubsub, [200]);
    assert_eq!(read_all(&mut subscriber), [Read::Number(100), Read::Closed(CloseReason::Dropped)]);
}

/// What a reader has found.
#[derive(Debug, Default)]
struct Found {
    read: u64,
    lagged: u64,
    last: [Option<u64>; PUBLISHERS as usize],
}

const PUBLISHERS: u64 = 4;
const EACH: u64 = 4000;

impl Found {
    fn message(&mut self, n: u64) {
        self.read += 1;
        let last = &mut self.last[(n / EACH) as usize];
        assert!(last.is_none_or(|last| last < n), "{n} after {last:?}");
        *last = Some(n);
    }
}

/// Publishes from several threads, and sets `finished` when all is delivered.
fn publish(pubsub: &PubSub, finished: &AtomicBool) {
    thread::scope(|scope| {
        for publisher in 0..PUBLISHERS {
            scope.spawn(move || {
                for n in publisher * EACH..(publisher + 1) * EACH {
                    pubsub.broadcast("t", "n", number(n)).unwrap();
                }
            });
        }
    });
    pubsub.flush().unwrap();
    finished.store(true, Ordering::Release);
}

/// Reads one by one, in batches, or by waiting, until all that was sent has been read.
fn read_until(mailbox: &mut Mailbox, finished: &AtomicBool, how: usize) -> Found {
    let mut found = Found::default();
    let mut batch = Vec::new();
    loop {
        let last = finished.load(Ordering::Acquire);
        let result = match how {
            0 => mailbox.try_recv().map(|message| found.message(value(&message))),
            _ => mailbox.try_recv_many(&mut batch, 100).map(|count| {
                assert!(count == batch.len() && (1..=100).contains(&count));
                batch.drain(..).for_each(|message| found.message(value(&message)));
            }),
        };
        match result {
            Ok(()) => {}
            Err(TryRecvError::Lagged(lost)) => found.lagged += lost,
            Err(TryRecvError::Empty) if last => return found,
            Err(TryRecvError::Empty) => thread::yield_now(),
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn drop_oldest_what_is_read_and_what_is_lost_are_all_that_was_sent() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let finished = AtomicBool::new(false);
        let found: Vec<Found> = thread::scope(|scope| {
            let mut readers = Vec::new();
            for capacity in CAPACITIES {
                for how in 0..2 {
                    let mut subscriber = subscriber(&pubsub, capacity, Overflow::DropOldest);
                    let finished = &finished;
                    readers.push(scope.spawn(move || read_until(&mut subscriber, finished, how)));
                }
            }
            publish(&pubsub, &finished);
            readers.into_iter().map(|reader| reader.join().unwrap()).collect()
        });
        for found in &found {
            assert_eq!(found.read + found.lagged, PUBLISHERS * EACH);
        }
        assert_eq!(pubsub.stats().dropped, found.iter().map(|found| found.lagged).sum::<u64>());
    });
}

#[test]
fn drop_oldest_what_a_set_reads_and_what_is_lost_are_all_that_was_sent() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let finished = AtomicBool::new(false);
        let mut set = fanfare::MailboxSet::new();
        let keys = CAPACITIES.map(|capacity| set.insert(subscriber(&pubsub, capacity, Overflow::DropOldest)));
        let mut found = CAPACITIES.map(|_| Found::default());
        thread::scope(|scope| {
            scope.spawn(|| publish(&pubsub, &finished));
            loop {
                let last = finished.load(Ordering::Acquire);
                let calls = set.try_read(|key, event| {
                    let found = &mut found[keys.iter().position(|&known| known == key).unwrap()];
                    match event {
                        SetEvent::Message(message) => found.message(value(message)),
                        SetEvent::Lagged(lost) => found.lagged += lost.0,
                        other => panic!("{other:?}"),
                    }
                });
                if calls == 0 && last {
                    break;
                }
            }
        });
        found.iter().for_each(|found| assert_eq!(found.read + found.lagged, PUBLISHERS * EACH));
    });
}

#[test]
fn drop_newest_what_is_read_and_what_is_refused_are_all_that_was_sent() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            for capacity in CAPACITIES {
                let mut subscriber = subscriber(&pubsub, capacity, Overflow::DropNewest);
                let finished = &finished;
                scope.spawn(move || {
                    let found = read_until(&mut subscriber, finished, capacity % 2);
                    assert_eq!(found.read + subscriber.refused(), PUBLISHERS * EACH);
                    assert_eq!(found.lagged, 0);
                });
            }
            publish(&pubsub, &finished);
        });
    });
}

#[test]
fn conflate_what_is_read_replaced_and_lost_are_all_that_was_sent() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let finished = AtomicBool::new(false);
        thread::scope(|scope| {
            for capacity in [1, 8, 1000] {
                let key = |message: &fanfare::Message| value(message) % 50;
                let mut subscriber = pubsub.subscriber().capacity(capacity).conflate_by(key).unwrap();
                subscriber.subscribe("t").unwrap();
                let finished = &finished;
                scope.spawn(move || {
                    let (mut read, mut lagged) = (0, 0);
                    loop {
                        let last = finished.load(Ordering::Acquire);
                        match subscriber.try_recv() {
                            Ok(_) => read += 1,
                            Err(TryRecvError::Lagged(lost)) => lagged += lost,
                            Err(TryRecvError::Empty) if last => break,
                            Err(TryRecvError::Empty) => thread::yield_now(),
                            Err(other) => panic!("{other}"),
                        }
                    }
                    assert_eq!(read + lagged + subscriber.conflated(), PUBLISHERS * EACH);
                });
            }
            publish(&pubsub, &finished);
        });
    });
}

#[test]
fn close_what_is_read_before_the_end_is_what_was_sent_first() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        thread::scope(|scope| {
            for capacity in CAPACITIES {
                let mut subscriber = subscriber(&pubsub, capacity, Overflow::Close);
                scope.spawn(move || {
                    let mut next = 0;
                    let end = loop {
                        match subscriber.recv() {
                            Ok(message) if value(&message) == u64::MAX => return,
                            Ok(message) => {
                                assert_eq!(value(&message), next);
                                next += 1;
                            }
                            Err(error) => break error,
                        }
                    };
                    assert_eq!(end, RecvError::Closed(CloseReason::Overflow));
                    assert!(next >= capacity as u64);
                });
            }
            send(&pubsub, 0..EACH);
            // For whoever has kept up.
            send(&pubsub, [u64::MAX]);
        });
        assert!(pubsub.stats().dropped <= CAPACITIES.len() as u64);
    });
}

#[test]
fn close_the_subscriptions_are_gone_when_the_overflow_has_been_delivered() {
    matrix(|_, pubsub| {
        for members in [1, 300] {
            let subscribers: Vec<_> = (0..members)
                .map(|_| {
                    let subscriber = subscriber(&pubsub, 1, Overflow::Close);
                    subscriber.subscribe("also").unwrap();
                    subscriber
                })
                .collect();
            let before = pubsub.subscriber_count("also");
            assert_eq!(before, members);
            send(&pubsub, 0..2);
            pubsub.flush().unwrap();
            assert_eq!(pubsub.subscriber_count("also"), 0);
            assert_eq!(pubsub.stats().subscriptions, 0);
            drop(subscribers);
        }
    });
}
