//! Target `reading`: every way to read a mailbox, mixed, against a queue; mailboxes in and out of sets, and conflating ones.

use arbitrary::{Arbitrary, Unstructured};
use fanfare::{Mailbox, MailboxSet, Message, Payload, PubSub, SetEvent, SetKey, TryRecvError};
use std::collections::VecDeque;
use std::sync::OnceLock;

#[derive(Arbitrary, Debug)]
enum Op {
    Send { key: u8, times: u8 },
    TryRecv,
    Many { max: u8 },
    IntoSet,
    OutOfSet,
    ReadSet,
    Other,
}

/// What the mailbox holds: (key, number), and what was lost before it.
struct Model {
    queue: VecDeque<(u8, u64)>,
    capacity: usize,
    conflates: bool,
    lost: u64,
    conflated: u64,
}

impl Model {
    fn send(&mut self, key: u8, number: u64) {
        if self.conflates
            && let Some(unread) = self.queue.iter_mut().find(|unread| unread.0 == key)
        {
            unread.1 = number;
            self.conflated += 1;
            return;
        }
        if self.queue.len() == self.capacity {
            self.queue.pop_front();
            self.lost += 1;
        }
        self.queue.push_back((key, number));
    }

    fn next(&mut self) -> Result<(u8, u64), TryRecvError> {
        match std::mem::take(&mut self.lost) {
            0 => self.queue.pop_front().ok_or(TryRecvError::Empty),
            lost => Err(TryRecvError::Lagged(lost)),
        }
    }
}

enum Place {
    Alone(Mailbox),
    InSet(SetKey),
    Moving,
}

fn decode(message: &Message) -> (u8, u64) {
    let bytes = message.payload().bytes().expect("sent as bytes");
    (bytes[0], u64::from_le_bytes(bytes[1..].try_into().expect("eight more")))
}

fn engine() -> &'static PubSub {
    static ENGINE: OnceLock<PubSub> = OnceLock::new();
    ENGINE.get_or_init(|| PubSub::builder().workers(1).build().expect("threads to be had"))
}

/// See the module's text.
pub fn reading(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let (Ok(capacity), Ok(conflates)) = (u8::arbitrary(&mut input), bool::arbitrary(&mut input)) else { return };
    let capacity = capacity as usize % 100 + 1;
    let builder = engine().subscriber().capacity(capacity);
    let subscriber = if conflates { builder.conflate_by(|message| decode(message).0) } else { builder.build() };
    let subscriber = subscriber.expect("within every limit");
    subscriber.subscribe("reading").expect("open");
    let mut model = Model { queue: VecDeque::new(), capacity, conflates, lost: 0, conflated: 0 };
    let mut place = Place::Alone(subscriber.into_mailbox());
    let mut set = MailboxSet::new();
    let mut sent = 0;
    while !input.is_empty() {
        let Ok(op) = Op::arbitrary(&mut input) else { break };
        match (op, &mut place) {
            (Op::Send { key, times }, _) => {
                for _ in 0..times {
                    sent += 1;
                    model.send(key % 8, sent);
                    let bytes = [&[key % 8][..], &u64::to_le_bytes(sent)].concat();
                    engine().broadcast("reading", "n", Payload::binary(bytes)).expect("open");
                }
                engine().flush().expect("open");
            }
            (Op::TryRecv, Place::Alone(mailbox)) => {
                assert_eq!(mailbox.try_recv().map(|message| decode(&message)), model.next());
                assert_eq!(mailbox.conflated(), model.conflated);
                assert_eq!(mailbox.len(), model.queue.len());
            }
            (Op::Many { max }, Place::Alone(mailbox)) => many(mailbox, &mut model, max as usize),
            (Op::IntoSet, Place::Alone(_)) => {
                let Place::Alone(mailbox) = std::mem::replace(&mut place, Place::Moving) else { unreachable!() };
                place = Place::InSet(set.insert(mailbox));
            }
            (Op::OutOfSet, Place::InSet(key)) => {
                place = Place::Alone(set.remove(*key).expect("it is in the set"));
            }
            (Op::ReadSet, Place::InSet(key)) => read_set(&mut set, *key, &mut model),
            (Op::Other, _) => {
                let other = engine().subscriber().build().expect("within every limit");
                set.insert(other);
            }
            _ => {}
        }
    }
    drop((set, place));
    engine().flush().expect("open");
}

fn many(mailbox: &mut Mailbox, model: &mut Model, max: usize) {
    let mut buffer = Vec::new();
    match mailbox.try_recv_many(&mut buffer, max) {
        Ok(count) => {
            assert_eq!(count, buffer.len());
            assert!(max == 0 || count > 0);
            for message in &buffer {
                assert_eq!(Ok(decode(message)), model.next());
            }
            assert!(count == max || model.lost > 0 || model.queue.is_empty(), "it took all that there was");
        }
        Err(error) => assert_eq!(Err(error), model.next()),
    }
}

/// Reads the set until nothing is ready, and expects all that the model holds.
fn read_set(set: &mut MailboxSet, key: SetKey, model: &mut Model) {
    loop {
        let calls = set.try_read(|from, event| {
            assert_eq!(from, key, "the other mailboxes of the set have nothing");
            match event {
                SetEvent::Message(message) => assert_eq!(Ok(decode(message)), model.next()),
                SetEvent::Lagged(lost) => assert_eq!(Err(TryRecvError::Lagged(lost.0)), model.next()),
                other => panic!("unexpected: {other:?}"),
            }
        });
        if calls == 0 {
            break;
        }
    }
    assert_eq!(model.next(), Err(TryRecvError::Empty));
}
