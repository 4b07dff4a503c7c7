//! Target `pubsub`: operations on topics and subscribers, against a plain single-threaded model.
//!
//! The model knows nothing of workers, logs or rings: a broadcast is appended to the queue of each subscription, and a full
//! queue does what its policy says. After a `flush` what the engine delivered must be exactly that.

use arbitrary::{Arbitrary, Unstructured};
use fanfare::{
    CloseReason, Context, HandlerSubscriber, Message, Overflow, Payload, PubSub, SubscribeError, Subscriber, TryRecvError,
};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, OnceLock};

const TOPICS: usize = 4;
const SUBSCRIBERS: usize = 8;

#[derive(Arbitrary, Debug)]
enum Op {
    Mailbox { slot: u8, capacity: u8, policy: u8, worker: u8 },
    Handler { slot: u8, worker: u8 },
    Subscribe { slot: u8, topic: u8 },
    Unsubscribe { slot: u8, topic: u8 },
    Close { slot: u8 },
    Drop { slot: u8 },
    Broadcast { topic: u8, times: u8 },
    BroadcastFrom { topic: u8, slot: u8 },
    Read { slot: u8, many: u8 },
    Flush,
}

enum Real {
    Mailbox(Subscriber),
    Handler(HandlerSubscriber, Arc<Mutex<Vec<u64>>>),
}

struct Slot {
    real: Real,
    policy: Option<Overflow>,
    capacity: usize,
    subscriptions: BTreeMap<usize, usize>,
    queue: VecDeque<u64>,
    lost: u64,
    refused: u64,
    closed: Option<CloseReason>,
}

impl Slot {
    fn deliver(&mut self, value: u64) {
        if self.closed.is_some() {
            return;
        }
        if self.policy.is_some() && self.queue.len() == self.capacity {
            match self.policy {
                Some(Overflow::DropOldest) => {
                    self.queue.pop_front();
                    self.lost += 1;
                }
                Some(Overflow::DropNewest) => {
                    self.refused += 1;
                    return;
                }
                _ => {
                    self.refused += 1;
                    self.closed = Some(CloseReason::Overflow);
                    self.subscriptions.clear();
                    return;
                }
            }
        }
        self.queue.push_back(value);
    }

    /// Reads up to `many` items from both, and compares.
    fn read(&mut self, many: usize) {
        let Real::Mailbox(subscriber) = &mut self.real else {
            let Real::Handler(_, seen) = &self.real else { unreachable!() };
            let seen = std::mem::take(&mut *seen.lock().unwrap());
            assert_eq!(seen, Vec::from(std::mem::take(&mut self.queue)), "what the handler was called with");
            return;
        };
        assert_eq!(subscriber.refused(), self.refused);
        for _ in 0..many {
            let expected = match std::mem::take(&mut self.lost) {
                0 => match (self.queue.pop_front(), self.closed) {
                    (Some(value), _) => Ok(value),
                    (None, Some(reason)) => Err(TryRecvError::Closed(reason)),
                    (None, None) => Err(TryRecvError::Empty),
                },
                lost => Err(TryRecvError::Lagged(lost)),
            };
            assert_eq!(subscriber.try_recv().map(|message| number(&message)), expected);
        }
    }
}

fn number(message: &Message) -> u64 {
    let bytes = message.payload().bytes().expect("sent as bytes");
    u64::from_le_bytes(bytes[..].try_into().expect("eight of them"))
}

/// One engine for all inputs: starting threads for each would be most of the time.
fn engines() -> &'static [PubSub; 2] {
    static ENGINES: OnceLock<[PubSub; 2]> = OnceLock::new();
    ENGINES.get_or_init(|| {
        // One with the publisher's own deliveries and one without, with different numbers of workers.
        let direct = PubSub::builder().workers(2).build().expect("threads to be had");
        let queued = PubSub::builder().workers(3).in_place_members_max(0).build().expect("threads to be had");
        [direct, queued]
    })
}

/// See the module's text.
pub fn pubsub(bytes: &[u8]) {
    let mut input = Unstructured::new(bytes);
    let Ok(which) = bool::arbitrary(&mut input) else { return };
    let mut world = World { engine: &engines()[usize::from(which)], slots: Default::default(), sent: 0 };
    while !input.is_empty() {
        let Ok(op) = Op::arbitrary(&mut input) else { break };
        world.apply(op);
    }
    world.end();
}

struct World {
    engine: &'static PubSub,
    slots: [Option<Slot>; SUBSCRIBERS],
    sent: u64,
}

impl World {
    fn slot(&mut self, slot: u8) -> &mut Option<Slot> {
        &mut self.slots[slot as usize % SUBSCRIBERS]
    }

    fn apply(&mut self, op: Op) {
        match op {
            Op::Mailbox { slot, capacity, policy, worker } => self.mailbox(slot, capacity, policy, worker),
            Op::Handler { slot, worker } => self.handler(slot, worker),
            Op::Subscribe { slot, topic } => self.subscribe(slot, topic as usize % TOPICS),
            Op::Unsubscribe { slot, topic } => {
                self.flush();
                let topic = topic as usize % TOPICS;
                let Some(slot) = self.slot(slot) else { return };
                let expected = if slot.closed.is_some() { Err(SubscribeError::SubscriberClosed) } else { Ok(()) };
                let result = match &slot.real {
                    Real::Mailbox(subscriber) => subscriber.unsubscribe(&name(topic)),
                    Real::Handler(handler, _) => handler.unsubscribe(&name(topic)),
                };
                assert_eq!(result, expected);
                slot.subscriptions.remove(&topic);
            }
            Op::Close { slot } => {
                self.flush();
                let Some(slot) = self.slot(slot) else { return };
                match &slot.real {
                    Real::Mailbox(subscriber) => subscriber.control().close(),
                    Real::Handler(handler, _) => handler.close(),
                }
                slot.closed.get_or_insert(CloseReason::Dropped);
                slot.subscriptions.clear();
                self.flush();
            }
            Op::Drop { slot } => *self.slot(slot) = None,
            Op::Broadcast { topic, times } => {
                for _ in 0..times % 16 {
                    self.broadcast(topic as usize % TOPICS, None);
                }
            }
            Op::BroadcastFrom { topic, slot } => self.broadcast(topic as usize % TOPICS, Some(slot as usize % SUBSCRIBERS)),
            Op::Read { slot, many } => {
                self.flush();
                if let Some(slot) = self.slot(slot) {
                    slot.read(many as usize % 16);
                }
            }
            Op::Flush => self.flush(),
        }
    }

    fn mailbox(&mut self, slot: u8, capacity: u8, policy: u8, worker: u8) {
        let policy = [Overflow::DropOldest, Overflow::DropNewest, Overflow::Close][policy as usize % 3];
        let capacity = capacity as usize % 20 + 1;
        let worker = worker as usize % self.engine.workers();
        let subscriber = self.engine.subscriber().capacity(capacity).overflow(policy).worker(worker).build();
        let real = Real::Mailbox(subscriber.expect("within every limit"));
        *self.slot(slot) = Some(new_slot(real, Some(policy), capacity));
    }

    fn handler(&mut self, slot: u8, worker: u8) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = seen.clone();
        let on_message = move |message: &Message, _: &mut Context<'_>| sink.lock().unwrap().push(number(message));
        let worker = worker as usize % self.engine.workers();
        let handler = self.engine.subscriber().worker(worker).handler(on_message).expect("within every limit");
        *self.slot(slot) = Some(new_slot(Real::Handler(handler, seen), None, 0));
    }

    fn subscribe(&mut self, slot: u8, topic: usize) {
        // A mailbox that is closing has to know it.
        self.flush();
        let Some(slot) = self.slot(slot) else { return };
        let result = match &slot.real {
            Real::Mailbox(subscriber) => subscriber.subscribe(&name(topic)),
            Real::Handler(handler, _) => handler.subscribe(&name(topic)),
        };
        if slot.closed.is_some() {
            assert_eq!(result, Err(SubscribeError::SubscriberClosed));
        } else {
            assert_eq!(result, Ok(()));
            *slot.subscriptions.entry(topic).or_default() += 1;
        }
    }

    fn broadcast(&mut self, topic: usize, from: Option<usize>) {
        self.sent += 1;
        let payload = Payload::binary(self.sent.to_le_bytes().to_vec());
        let sender = from.and_then(|from| self.slots[from].as_ref()).map(|slot| match &slot.real {
            Real::Mailbox(subscriber) => subscriber.id(),
            Real::Handler(handler, _) => handler.id(),
        });
        let result = match sender {
            Some(id) => self.engine.broadcast_from(id, &name(topic), "n", payload),
            None => self.engine.broadcast(&name(topic), "n", payload),
        };
        result.expect("the engine is open");
        for (number, slot) in self.slots.iter_mut().enumerate() {
            let Some(slot) = slot.as_mut().filter(|_| sender.is_none() || from != Some(number)) else { continue };
            for _ in 0..slot.subscriptions.get(&topic).copied().unwrap_or(0) {
                slot.deliver(self.sent);
            }
        }
    }

    fn flush(&mut self) {
        self.engine.flush().expect("the engine is open");
        for topic in 0..TOPICS {
            let of = |slot: &Slot| slot.subscriptions.get(&topic).copied().unwrap_or(0);
            let expected: usize = self.slots.iter().flatten().map(of).sum();
            assert_eq!(self.engine.subscriber_count(&name(topic)), expected, "subscriptions of topic {topic}");
        }
    }

    fn end(mut self) {
        self.flush();
        for slot in self.slots.iter_mut().flatten() {
            let all = slot.queue.len() + 2;
            slot.read(all);
        }
        self.slots = Default::default();
        self.flush();
        assert!(self.engine.topics().is_empty(), "a topic without users is gone");
    }
}

fn new_slot(real: Real, policy: Option<Overflow>, capacity: usize) -> Slot {
    let (subscriptions, queue) = Default::default();
    Slot { real, policy, capacity, subscriptions, queue, lost: 0, refused: 0, closed: None }
}

fn name(topic: usize) -> String {
    format!("topic:{topic}")
}
