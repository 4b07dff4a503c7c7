//! A reader that never reads slows no one: everybody else gets everything, and all calls return.

mod common;

use common::{Notes, Read, matrix, number, read_all, value, watch};
use fanfare::{MailboxSet, Overflow, SetEvent, Subscriber};
use std::thread;

const SENT: u64 = 3000;

#[test]
fn a_reader_that_never_reads_slows_no_one() {
    let _watchdog = watch();
    matrix(|_, pubsub| {
        let builder = |capacity| pubsub.subscriber().capacity(capacity);
        let lazy: Vec<Subscriber> = [1, 8, 100]
            .into_iter()
            .flat_map(|capacity| {
                [
                    builder(capacity).overflow(Overflow::DropOldest).build().unwrap(),
                    builder(capacity).overflow(Overflow::DropNewest).build().unwrap(),
                    builder(capacity).overflow(Overflow::Close).build().unwrap(),
                    builder(capacity).conflate_by(value).unwrap(),
                ]
            })
            .collect();
        lazy.iter().for_each(|lazy| lazy.subscribe("t").unwrap());
        // A set that nobody reads, too.
        let mut lazy_set = MailboxSet::new();
        for _ in 0..10 {
            let subscriber = builder(8).build().unwrap();
            subscriber.subscribe("t").unwrap();
            lazy_set.insert(subscriber);
        }
        let notes = Notes::new();
        let handler = pubsub.subscriber().handler(notes.handler()).unwrap();
        handler.subscribe("t").unwrap();
        thread::scope(|scope| {
            for _ in 0..2 {
                let mut diligent = builder(SENT as usize).build().unwrap();
                diligent.subscribe("t").unwrap();
                scope.spawn(move || (0..SENT).for_each(|n| assert_eq!(value(&diligent.recv().unwrap()), n)));
            }
            let mut set = MailboxSet::new();
            let member = builder(SENT as usize).build().unwrap();
            member.subscribe("t").unwrap();
            set.insert(member);
            scope.spawn(move || {
                let mut next = 0;
                while next < SENT {
                    set.read(|_, event| match event {
                        SetEvent::Message(message) => {
                            assert_eq!(value(message), next);
                            next += 1;
                        }
                        other => panic!("{other:?}"),
                    });
                }
            });
            for n in 0..SENT {
                pubsub.broadcast("t", "n", number(n)).unwrap();
            }
        });
        pubsub.flush().unwrap();
        assert_eq!(notes.take(), (0..SENT).collect::<Vec<_>>());
        // They find what their policies say, at last.
        for (i, mut lazy) in lazy.into_iter().enumerate() {
            let capacity = [1, 8, 100][i / 4];
            let found = read_all(&mut lazy);
            let first = (0..capacity).map(Read::Number);
            let last = [Read::Lagged(SENT - capacity)].into_iter().chain((SENT - capacity..SENT).map(Read::Number));
            let expected: Vec<Read> = match i % 4 {
                0 | 3 => last.collect(),
                1 => first.collect(),
                _ => first.chain([Read::Closed(fanfare::CloseReason::Overflow)]).collect(),
            };
            assert_eq!(found, expected, "policy {}, capacity {capacity}", i % 4);
        }
    });
}
