//! The whole engine against a plain model of one thread, over any sequence of operations.
//!
//! The model delivers a broadcast when it is called. The engine may take its time, but a flush lets it catch up, and
//! before each read there is one: from then on the two must agree in every message, gap, end and counter. Where a
//! topic is so large that its walks are suspended there is no order between topics, so what is read is compared topic
//! by topic.

mod common;

use common::{Notes, Read, Setup, number, value};
use fanfare::{
    CloseReason, Context, Control, Dispatch, HandlerSubscriber, MailboxSet, Message, Outcome, Overflow, PubSub,
    SetEvent, SubscribeError, Subscriber, SubscriberId, SubscriptionRef, TryRecvError, Wait,
};
use proptest::prelude::*;
use proptest_state_machine::{ReferenceStateMachine, StateMachineTest, prop_state_machine};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

const TOPICS: [&str; 3] = ["a", "b", "c"];
/// Members that make the first two topics large.
const FILLERS: usize = 9_000;
const SUBSCRIBERS_MAX: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Ring(Overflow),
    Conflating,
    Handler,
}

/// What a dispatcher decides by the metadata of a subscriber's subscriptions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    None,
    Skip,
    Replace,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Spec {
    kind: Kind,
    capacity: usize,
    rule: Rule,
    /// Of a handler or a key function: which messages it panics at, and at which a handler closes itself.
    panics: Option<u64>,
    closes: Option<u64>,
    worker: usize,
}

#[derive(Debug, Clone)]
enum Step {
    New(Spec),
    Subscribe(usize, usize),
    Unsubscribe(usize, usize),
    Close(usize),
    Drop(usize),
    Broadcast { topic: usize, from: Option<usize>, how: How },
    Read { subscriber: usize, max: usize },
    Flush,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum How {
    Name,
    Handle,
    Try,
    With,
}

/// Messages are numbers that say what they are of and how they were sent.
fn message(n: u64, topic: usize) -> u64 {
    n << 8 | (topic as u64) << 4
}

const REPLACED: u64 = 1;

fn topic_of(message: u64) -> u64 {
    message >> 4 & 0xF
}

/// Something that happens at some messages.
fn is_at(at: Option<u64>, message: u64) -> bool {
    at.is_some_and(|at| (message >> 8) % 8 == at)
}

#[derive(Debug, Clone)]
struct Model {
    setup: Setup,
    large: bool,
    subscribers: Vec<Member>,
    sent: u64,
    delivered: u64,
    dropped: u64,
    panics: u64,
    /// What the last step should have found.
    found: Vec<Read>,
    accepted: bool,
}

#[derive(Debug, Clone)]
struct Member {
    spec: Spec,
    topics: Vec<usize>,
    unread: VecDeque<u64>,
    lost: u64,
    refused: u64,
    conflated: u64,
    closed: Option<CloseReason>,
    dropped: bool,
}

impl Member {
    fn new(spec: Spec) -> Member {
        Member {
            spec,
            topics: Vec::new(),
            unread: VecDeque::new(),
            lost: 0,
            refused: 0,
            conflated: 0,
            closed: None,
            dropped: false,
        }
    }

    fn close(&mut self, reason: CloseReason) {
        self.closed.get_or_insert(reason);
        self.topics.clear();
    }

    fn read(&mut self, max: usize) -> Vec<Read> {
        if self.lost > 0 {
            return vec![Read::Lagged(std::mem::take(&mut self.lost))];
        }
        let read: Vec<Read> = self.unread.drain(..max.min(self.unread.len())).map(Read::Number).collect();
        match (read.is_empty(), self.closed) {
            (true, Some(reason)) => vec![Read::Closed(reason)],
            _ => read,
        }
    }
}

/// Delivers to one subscription. Returns messages delivered, dropped, and panics.
fn deliver(member: &mut Member, n: u64) -> [u64; 3] {
    let Spec { kind, capacity, panics, closes, .. } = member.spec;
    if member.closed.is_some() {
        return [0; 3];
    }
    match kind {
        Kind::Handler => {
            member.unread.push_back(n);
            if is_at(panics, n) {
                member.close(CloseReason::Panicked);
                return [0, 0, 1];
            }
            if is_at(closes, n) {
                member.close(CloseReason::Dropped);
            }
            return [1, 0, 0];
        }
        Kind::Conflating => {
            if is_at(panics, n) {
                member.close(CloseReason::Panicked);
                return [0, 0, 1];
            }
            if let Some(same) = member.unread.iter_mut().find(|same| key(**same) == key(n)) {
                *same = n;
                member.conflated += 1;
                return [1, 0, 0];
            }
            if member.unread.len() == capacity {
                member.unread.pop_front();
                member.lost += 1;
            }
        }
        Kind::Ring(overflow) if member.unread.len() == capacity => {
            if overflow != Overflow::DropOldest {
                member.refused += 1;
                if overflow == Overflow::Close {
                    member.close(CloseReason::Overflow);
                }
                return [0, 1, 0];
            }
            member.unread.pop_front();
            member.lost += 1;
            member.unread.push_back(n);
            return [1, 1, 0];
        }
        Kind::Ring(_) => {}
    }
    member.unread.push_back(n);
    [1, 0, 0]
}

fn key(message: u64) -> u64 {
    (message >> 8) % 3
}

impl Model {
    fn broadcast(&mut self, topic: usize, from: Option<usize>, how: How) {
        let n = message(self.sent, topic);
        self.sent += 1;
        self.accepted = false;
        for (i, member) in self.subscribers.iter_mut().enumerate() {
            let times = member.topics.iter().filter(|&&subscribed| subscribed == topic).count();
            self.accepted |= times > 0;
            if from == Some(i) {
                continue;
            }
            for _ in 0..times {
                let [delivered, dropped, panics] = match (how, member.spec.rule) {
                    (How::With, Rule::Skip) => [0; 3],
                    (How::With, Rule::Replace) => deliver(member, n | REPLACED),
                    _ => deliver(member, n),
                };
                self.delivered += delivered;
                self.dropped += dropped;
                self.panics += panics;
            }
        }
    }

    fn subscriptions(&self, topic: usize) -> usize {
        self.subscribers.iter().flat_map(|member| &member.topics).filter(|&&subscribed| subscribed == topic).count()
    }

    fn fillers(&self, topic: usize) -> usize {
        if self.large && topic < 2 { FILLERS } else { 0 }
    }
}

fn specs(large: bool, workers: usize) -> BoxedStrategy<Spec> {
    let rule = prop_oneof![4 => Just(Rule::None), 1 => Just(Rule::Skip), 1 => Just(Rule::Replace)];
    let at = || proptest::option::weighted(0.2, 0..8_u64);
    let kind = if large {
        // Nothing may depend on the order between topics.
        prop_oneof![Just(Kind::Ring(Overflow::DropOldest)), Just(Kind::Handler)].boxed()
    } else {
        let ring = |overflow| Just(Kind::Ring(overflow));
        prop_oneof![
            2 => ring(Overflow::DropOldest),
            1 => ring(Overflow::DropNewest),
            1 => ring(Overflow::Close),
            1 => Just(Kind::Conflating),
            2 => Just(Kind::Handler)
        ]
        .boxed()
    };
    let capacity = if large { Just(4096).boxed() } else { prop_oneof![1..4_usize, Just(8), Just(9), Just(20)].boxed() };
    (kind, capacity, rule, at(), at(), 0..workers)
        .prop_map(move |(kind, capacity, rule, panics, closes, worker)| {
            let (panics, closes) = if large { (None, None) } else { (panics, closes) };
            Spec { kind, capacity, rule, panics, closes, worker }
        })
        .boxed()
}

impl ReferenceStateMachine for Model {
    type State = Model;
    type Transition = Step;

    fn init_state() -> BoxedStrategy<Model> {
        let waits = if cfg!(feature = "server") { vec![Wait::Park, poll()] } else { vec![Wait::Park] };
        let setup =
            (1..=3_usize, prop_oneof![Just(Some(0)), Just(Some(200)), Just(None)], prop_oneof![Just(4), Just(1024)]);
        (setup, proptest::sample::select(waits), proptest::bool::weighted(0.2))
            .prop_map(|((workers, in_place, inbox), wait, large)| Model {
                setup: Setup { workers, in_place, inbox, wait },
                large,
                subscribers: Vec::new(),
                sent: 0,
                delivered: 0,
                dropped: 0,
                panics: 0,
                found: Vec::new(),
                accepted: true,
            })
            .boxed()
    }

    fn transitions(model: &Model) -> BoxedStrategy<Step> {
        let new = specs(model.large, model.setup.workers).prop_map(Step::New);
        let count = model.subscribers.len();
        let alive: Vec<usize> = (0..count).filter(|&i| !model.subscribers[i].dropped).collect();
        if alive.is_empty() {
            return if count < SUBSCRIBERS_MAX { new.boxed() } else { Just(Step::Flush).boxed() };
        }
        let (one, topic) = (|| proptest::sample::select(alive.clone()), || 0..TOPICS.len());
        let how = prop_oneof![Just(How::Name), Just(How::Handle), Just(How::Try), Just(How::With)];
        let broadcast = (topic(), how).prop_map(|(topic, how)| Step::Broadcast { topic, from: None, how });
        // Also from one that has gone.
        let from = (topic(), 0..count, any::<bool>()).prop_map(|(topic, from, handle)| Step::Broadcast {
            topic,
            from: Some(from),
            how: if handle { How::Handle } else { How::Name },
        });
        let read = (one(), 1..80_usize).prop_map(|(subscriber, max)| Step::Read { subscriber, max });
        prop_oneof![
            if count < SUBSCRIBERS_MAX { 3 } else { 0 } => new,
            6 => (one(), topic()).prop_map(|(one, topic)| Step::Subscribe(one, topic)),
            2 => (one(), topic()).prop_map(|(one, topic)| Step::Unsubscribe(one, topic)),
            1 => one().prop_map(Step::Close),
            1 => one().prop_map(Step::Drop),
            10 => broadcast,
            3 => from,
            4 => read,
            1 => Just(Step::Flush),
        ]
        .boxed()
    }

    fn preconditions(model: &Model, step: &Step) -> bool {
        let there = |i: &usize| *i < model.subscribers.len();
        let alive = |i: &usize| model.subscribers.get(*i).is_some_and(|member| !member.dropped);
        match step {
            Step::New(spec) => model.subscribers.len() < SUBSCRIBERS_MAX && spec.worker < model.setup.workers,
            Step::Subscribe(i, _) | Step::Unsubscribe(i, _) | Step::Close(i) | Step::Drop(i) => alive(i),
            Step::Read { subscriber, .. } => alive(subscriber),
            Step::Broadcast { from, .. } => from.as_ref().is_none_or(there),
            Step::Flush => true,
        }
    }

    fn apply(mut model: Model, step: &Step) -> Model {
        match *step {
            Step::New(spec) => model.subscribers.push(Member::new(spec)),
            Step::Subscribe(i, topic) => {
                let member = &mut model.subscribers[i];
                model.accepted = member.closed.is_none();
                if model.accepted {
                    member.topics.push(topic);
                }
            }
            Step::Unsubscribe(i, topic) => {
                let member = &mut model.subscribers[i];
                model.accepted = member.closed.is_none();
                member.topics.retain(|&subscribed| subscribed != topic);
            }
            Step::Close(i) => model.subscribers[i].close(CloseReason::Dropped),
            Step::Drop(i) => {
                model.subscribers[i].close(CloseReason::Dropped);
                model.subscribers[i].dropped = true;
            }
            Step::Broadcast { topic, from, how } => model.broadcast(topic, from, how),
            Step::Read { subscriber, max } => {
                let member = &mut model.subscribers[subscriber];
                model.found = match member.spec.kind {
                    Kind::Handler => member.unread.drain(..).map(Read::Number).collect(),
                    // With an order of its own for each topic, part of what is there is not determined.
                    _ if model.large => member.read(usize::MAX),
                    _ => member.read(max),
                };
            }
            Step::Flush => {}
        }
        model
    }
}

#[cfg(feature = "server")]
fn poll() -> Wait {
    Wait::Poll
}

#[cfg(not(feature = "server"))]
fn poll() -> Wait {
    Wait::Park
}

/// The engine, and the subscribers in the order in which they were made.
struct Engine {
    pubsub: PubSub,
    subscribers: Vec<Real>,
    _fillers: Vec<Subscriber>,
    _watchdog: common::Watchdog,
}

struct Real {
    id: SubscriberId,
    control: Control,
    rule: Rule,
    end: Option<End>,
    notes: Notes,
}

enum End {
    Mailbox(Subscriber),
    #[allow(dead_code)]
    Handler(HandlerSubscriber),
}

impl Real {
    fn new(pubsub: &PubSub, spec: Spec) -> Real {
        let Spec { kind, capacity, rule, panics, closes, worker } = spec;
        let notes = Notes::new();
        let builder = pubsub.subscriber().worker(worker).capacity(capacity);
        let end = match kind {
            Kind::Ring(overflow) => End::Mailbox(builder.overflow(overflow).build().unwrap()),
            Kind::Conflating => {
                let key = move |message: &Message| {
                    assert!(!is_at(panics, value(message)), "a key function panics");
                    key(value(message))
                };
                End::Mailbox(builder.conflate_by(key).unwrap())
            }
            Kind::Handler => {
                let notes = notes.clone();
                let handler = move |message: &Message, context: &mut Context<'_>| {
                    notes.note(value(message));
                    assert!(!is_at(panics, value(message)), "a handler panics");
                    if is_at(closes, value(message)) {
                        context.close();
                    }
                };
                End::Handler(builder.handler(handler).unwrap())
            }
        };
        let control = match &end {
            End::Mailbox(subscriber) => subscriber.control(),
            End::Handler(handler) => handler.control(),
        };
        Real { id: control.id(), control, rule, end: Some(end), notes }
    }

    fn subscribe(&self, topic: usize) -> Result<(), SubscribeError> {
        match self.rule {
            Rule::None => self.control.subscribe(TOPICS[topic]),
            rule => self.control.subscribe_with(TOPICS[topic], rule),
        }
    }

    fn read(&mut self, max: usize) -> Vec<Read> {
        let Some(End::Mailbox(subscriber)) = &mut self.end else {
            return self.notes.take().into_iter().map(Read::Number).collect();
        };
        let mut buffer = Vec::new();
        let result = if max == 1 {
            subscriber.try_recv().map(|message| buffer.push(message))
        } else {
            subscriber.try_recv_many(&mut buffer, max).map(|_| ())
        };
        match result {
            Ok(()) => buffer.iter().map(|message| Read::Number(value(message))).collect(),
            Err(TryRecvError::Empty) => Vec::new(),
            Err(TryRecvError::Lagged(lost)) => vec![Read::Lagged(lost)],
            Err(TryRecvError::Closed(reason)) => vec![Read::Closed(reason)],
            Err(other) => panic!("{other}"),
        }
    }
}

/// Puts what was read in an order that is determined.
fn ordered(mut read: Vec<Read>, large: bool) -> Vec<Read> {
    if large {
        // Stable: within a topic the order counts.
        read.sort_by_key(|read| if let Read::Number(n) = read { topic_of(*n) } else { u64::MAX });
    }
    read
}

impl Engine {
    /// Waits until all is delivered, and what that led to on the workers is applied too.
    fn settle(&self) {
        self.pubsub.flush().unwrap();
        self.pubsub.flush().unwrap();
    }

    fn broadcast(&self, model: &Model, topic: usize, from: Option<usize>, how: How) {
        let n = number(message(model.sent - 1, topic));
        let name = TOPICS[topic];
        let from = from.map(|i| self.subscribers[i].id);
        let result = match (how, from) {
            (How::Name, None) => self.pubsub.broadcast(name, "n", n),
            (How::Name, Some(from)) => self.pubsub.broadcast_from(from, name, "n", n),
            (How::With, _) => self.pubsub.broadcast_with(Arc::new(dispatch), name, "n", n),
            (How::Handle, None) => self.pubsub.topic(name).unwrap().broadcast("n", n),
            (How::Handle, Some(from)) => self.pubsub.topic(name).unwrap().broadcast_from(from, "n", n),
            (How::Try, _) => match self.pubsub.try_broadcast(name, "n", n.clone()) {
                Err(fanfare::BroadcastError::Full(_)) => self.pubsub.broadcast(name, "n", n),
                other => other,
            },
        };
        let outcome = result.unwrap();
        // One that has just lost its last member may not have noticed yet.
        assert!(outcome == Outcome::Sent || !model.accepted && model.fillers(topic) == 0);
    }

    /// Compares everything that can be seen without reading.
    fn compare(&self, model: &Model) {
        let mut names = Vec::new();
        for (topic, name) in TOPICS.iter().enumerate() {
            let count = model.subscriptions(topic) + model.fillers(topic);
            assert_eq!(self.pubsub.subscriber_count(name), count);
            names.extend((count > 0).then_some(*name));
        }
        let mut topics = self.pubsub.topics();
        topics.sort_unstable();
        assert_eq!(topics, names);
        let stats = self.pubsub.stats();
        assert_eq!(stats.topics, names.len() as u64);
        assert_eq!(stats.panics, model.panics);
        let subscriptions: usize =
            (0..TOPICS.len()).map(|topic| model.subscriptions(topic) + model.fillers(topic)).sum();
        assert_eq!(stats.subscriptions, subscriptions as u64);
        if !model.large {
            assert_eq!((stats.delivered, stats.dropped), (model.delivered, model.dropped));
        }
        for (real, member) in self.subscribers.iter().zip(&model.subscribers) {
            if member.dropped {
                continue;
            }
            let reason = real.control.close_reason();
            // The place of a handler that has ended is used again, and then its reason is forgotten.
            let forgotten = member.closed.map(|_| CloseReason::Dropped);
            let may_be_forgotten = matches!(member.spec.kind, Kind::Handler | Kind::Conflating);
            assert!(reason == member.closed || may_be_forgotten && reason == forgotten, "{reason:?}, {member:?}");
            if let Some(End::Mailbox(subscriber)) = &real.end {
                let seen = (subscriber.len(), subscriber.refused(), subscriber.conflated());
                assert_eq!(seen, (member.unread.len(), member.refused, member.conflated));
            }
        }
    }
}

fn dispatch(message: &Message, subscription: &SubscriptionRef<'_>) -> Dispatch {
    match subscription.metadata::<Rule>() {
        None | Some(Rule::None) => Dispatch::Deliver,
        Some(Rule::Skip) => Dispatch::Skip,
        Some(Rule::Replace) => Dispatch::Replace(message.with_payload(number(value(message) | REPLACED))),
    }
}

struct Whole;

impl StateMachineTest for Whole {
    type SystemUnderTest = Engine;
    type Reference = Model;

    fn init_test(model: &Model) -> Engine {
        let pubsub = model.setup.build();
        let fillers = common::fill(&pubsub, 0, &TOPICS[..2], model.fillers(0));
        Engine { pubsub, subscribers: Vec::new(), _fillers: fillers, _watchdog: common::watch() }
    }

    fn apply(mut engine: Engine, model: &Model, step: Step) -> Engine {
        // Whether one has ended by itself is known once what was sent has been delivered; and to a mailbox that is gone
        // nothing is delivered any more, though it was sent before.
        let must_settle = match step {
            Step::Subscribe(i, _) | Step::Unsubscribe(i, _) => model.subscribers[i].closed.is_some(),
            Step::Close(i) => model.subscribers[i].closed != Some(CloseReason::Dropped),
            Step::Drop(i) => {
                let member = &model.subscribers[i];
                member.spec.kind != Kind::Handler || member.closed != Some(CloseReason::Dropped)
            }
            _ => false,
        };
        if must_settle {
            engine.settle();
        }
        let expected = if model.accepted { Ok(()) } else { Err(SubscribeError::SubscriberClosed) };
        match step {
            Step::New(spec) => engine.subscribers.push(Real::new(&engine.pubsub, spec)),
            Step::Subscribe(i, topic) => assert_eq!(engine.subscribers[i].subscribe(topic), expected),
            Step::Unsubscribe(i, topic) => {
                assert_eq!(engine.subscribers[i].control.unsubscribe(TOPICS[topic]), expected);
            }
            Step::Close(i) => engine.subscribers[i].control.close(),
            Step::Drop(i) => drop(engine.subscribers[i].end.take()),
            Step::Broadcast { topic, from, how } => engine.broadcast(model, topic, from, how),
            Step::Read { subscriber, max } => {
                engine.settle();
                let max = if model.large { usize::MAX } else { max };
                let found = engine.subscribers[subscriber].read(max);
                assert_eq!(ordered(found, model.large), ordered(model.found.clone(), model.large));
            }
            Step::Flush => {
                engine.settle();
                engine.compare(model);
            }
        }
        engine
    }

    fn teardown(mut engine: Engine, mut model: Model) {
        engine.settle();
        engine.compare(&model);
        let report = engine.pubsub.shutdown(Duration::from_secs(100)).unwrap();
        assert_eq!((report.undelivered, report.running), (0, 0));
        // What is unread is read by a set, to its end.
        let mut set = MailboxSet::new();
        let mut keys = Vec::new();
        for (i, real) in engine.subscribers.iter_mut().enumerate() {
            match real.end.take() {
                Some(End::Mailbox(subscriber)) => keys.push((set.insert(subscriber), i, Vec::new())),
                _ if model.subscribers[i].spec.kind == Kind::Handler => {
                    let unread = model.subscribers[i].unread.drain(..).map(Read::Number).collect();
                    let got = real.notes.take().into_iter().map(Read::Number).collect();
                    assert_eq!(ordered(got, model.large), ordered(unread, model.large));
                }
                _ => {}
            }
        }
        while !set.is_empty() {
            set.read(|key, event| {
                let (_, _, found) = keys.iter_mut().find(|(known, ..)| *known == key).unwrap();
                found.push(match event {
                    SetEvent::Message(message) => Read::Number(value(message)),
                    SetEvent::Lagged(lagged) => Read::Lagged(lagged.0),
                    SetEvent::Closed(reason) => Read::Closed(reason),
                    other => panic!("{other:?}"),
                });
            });
        }
        for (_, i, found) in keys {
            let member = &mut model.subscribers[i];
            member.close(CloseReason::Shutdown);
            let mut expected = member.read(usize::MAX);
            while !matches!(expected.last(), Some(Read::Closed(_))) {
                expected.extend(member.read(usize::MAX));
            }
            assert_eq!(ordered(found, model.large), ordered(expected, model.large));
        }
    }
}

prop_state_machine! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(sequential 1..120 => Whole);
}
