//! A broadcast reaches exactly the subscribers of its moment: all whose subscribe had returned before it was called,
//! none whose subscribe was called after it returned, and likewise for leaving.

mod common;

use common::{Blocker, Clock, MANY, Notes, Random, Read, Setup, Span, fill, matrix, number, numbers, read_all, watch};
use fanfare::{CloseReason, Control, HandlerSubscriber, PubSub, Subscriber};
use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

/// A broadcast: its number, its topic, and when it was called.
type Sent = (u64, usize, Span);

/// A subscriber that came, stayed and went.
struct Guest {
    topic: usize,
    times: u64,
    came: Span,
    went: Option<Span>,
    kind: GuestKind,
}

enum GuestKind {
    Mailbox(Box<Subscriber>),
    Handler(HandlerSubscriber, Notes),
}

impl Guest {
    fn control(&self) -> Control {
        match &self.kind {
            GuestKind::Mailbox(subscriber) => subscriber.control(),
            GuestKind::Handler(handler, _) => handler.control(),
        }
    }

    fn got(&mut self) -> Vec<u64> {
        match &mut self.kind {
            GuestKind::Mailbox(subscriber) => {
                let number = |read| match read {
                    Read::Number(n) => Some(n),
                    Read::Closed(CloseReason::Dropped) => None,
                    other => panic!("{other:?} in a mailbox that is large enough"),
                };
                read_all(subscriber).into_iter().filter_map(number).collect()
            }
            GuestKind::Handler(_, notes) => notes.take(),
        }
    }
}

/// Keeps guests and publishers in step: each guest that comes or goes lets every publisher go on.
#[derive(Debug, Default)]
struct Pace {
    allowed: AtomicU64,
    done: AtomicU64,
    publishers: u64,
}

impl Pace {
    /// For a guest that has just come: waits until some broadcast has been called and has returned since.
    fn wait(&self) {
        let done = self.done.load(Ordering::SeqCst);
        self.allowed.fetch_add(2, Ordering::SeqCst);
        // One of each publisher may have begun before; one more than that has not.
        while self.done.load(Ordering::SeqCst) <= done + self.publishers {
            thread::yield_now();
        }
    }
}

/// Comes, stays a while, and mostly goes again, one way or another.
fn visit(pubsub: &PubSub, clock: &Clock, pace: &Pace, random: &mut Random, topics: &[&str]) -> Guest {
    let topic = random.below(topics.len() as u64) as usize;
    let kind = if random.below(2) == 0 {
        let subscriber = pubsub.subscriber().capacity(1 << 14).build().unwrap();
        GuestKind::Mailbox(Box::new(subscriber))
    } else {
        let notes = Notes::new();
        GuestKind::Handler(pubsub.subscriber().handler(notes.handler()).unwrap(), notes)
    };
    let times = 1 + random.below(2);
    let mut guest = Guest { topic, times, came: Span { begin: 0, end: 0 }, went: None, kind };
    let control = guest.control();
    let (came, ()) = clock.span(|| (0..times).for_each(|_| control.subscribe(topics[topic]).unwrap()));
    guest.came = came;
    match random.below(2) {
        0 => pace.wait(),
        _ => (0..random.below(200)).for_each(|_| thread::yield_now()),
    }
    // Others that are dropped meanwhile, so that places are used again.
    let passing = pubsub.subscriber().build().unwrap();
    topics.iter().for_each(|topic| passing.subscribe(topic).unwrap());
    drop(passing);
    guest.went = match random.below(4) {
        0 => None,
        1 | 2 => Some(clock.span(|| control.unsubscribe(topics[topic]).unwrap()).0),
        _ => Some(clock.span(|| control.close()).0),
    };
    pace.allowed.fetch_add(1, Ordering::SeqCst);
    guest
}

/// Guests come and go on `topics` while others broadcast there, and everything that each got is checked.
fn come_and_go(pubsub: &PubSub, topics: &[&str], publishers: u64, guests: usize) {
    let pace = Pace { publishers, ..Pace::default() };
    let (clock, finished) = (Clock::default(), AtomicBool::new(false));
    let (sent, mut all) = (Mutex::new(Vec::new()), Vec::new());
    thread::scope(|scope| {
        for publisher in 0..publishers {
            let (clock, pace, finished, sent) = (&clock, &pace, &finished, &sent);
            scope.spawn(move || {
                let mut i = 0;
                while !finished.load(Ordering::Relaxed) {
                    if i > pace.allowed.load(Ordering::SeqCst) {
                        thread::yield_now();
                        continue;
                    }
                    let (n, topic) = (publisher << 32 | i, (i + publisher) as usize % topics.len());
                    let (span, result) = clock.span(|| pubsub.broadcast(topics[topic], "n", number(n)));
                    result.unwrap();
                    sent.lock().unwrap().push((n, topic, span));
                    pace.done.fetch_add(1, Ordering::SeqCst);
                    i += 1;
                }
            });
        }
        let visitor = |seed| {
            let (clock, pace) = (&clock, &pace);
            let mut random = Random(seed);
            move || (0..guests).map(|_| visit(pubsub, clock, pace, &mut random, topics)).collect::<Vec<_>>()
        };
        let visitors: Vec<_> = (0..3).map(|seed| scope.spawn(visitor(seed))).collect();
        all.extend(visitors.into_iter().flat_map(|visitor| visitor.join().unwrap()));
        finished.store(true, Ordering::Relaxed);
    });
    pubsub.flush().unwrap();
    check(&sent.into_inner().unwrap(), &mut all);
}

fn check(sent: &[Sent], guests: &mut [Guest]) {
    let (mut certain, mut forbidden) = (0_u64, 0_u64);
    for guest in guests {
        let mut got: HashMap<u64, u64> = HashMap::new();
        guest.got().into_iter().for_each(|n| *got.entry(n).or_default() += 1);
        for &(n, topic, span) in sent {
            let times = got.remove(&n).unwrap_or(0);
            if topic != guest.topic {
                assert_eq!(times, 0, "a message of a topic that it was never subscribed to");
                continue;
            }
            let (came, went) = (guest.came, guest.went);
            let said =
                format!("broadcast {n} at {span:?}; subscribed {} times at {came:?}; left at {went:?}", guest.times);
            let gone = went.is_some_and(|went| went.is_before(&span));
            let stayed = went.is_none_or(|went| span.is_before(&went));
            if gone || span.is_before(&came) {
                assert_eq!(times, 0, "{said}");
                forbidden += 1;
            } else if stayed && came.is_before(&span) {
                assert_eq!(times, guest.times, "{said}");
                certain += 1;
            } else {
                assert!(times <= guest.times, "{said}");
            }
        }
        assert!(got.is_empty(), "messages that nobody sent: {got:?}");
    }
    assert!(certain > 0 && forbidden > 0, "nothing was decided: {certain} certain, {forbidden} forbidden");
}

#[test]
fn exactly_the_subscribers_of_the_moment_of_small_topics() {
    let _watchdog = watch();
    matrix(|_, pubsub| come_and_go(&pubsub, &["a", "b"], 3, 150));
}

#[test]
fn exactly_the_subscribers_of_the_moment_of_topics_whose_walks_are_suspended() {
    let _watchdog = watch();
    matrix(|setup, pubsub| {
        // Two topics that are large on every worker and a small one beside them.
        let fillers: Vec<_> =
            (0..setup.workers).flat_map(|worker| fill(&pubsub, worker, &["a", "b"], MANY / 2)).collect();
        come_and_go(&pubsub, &["a", "b", "c"], 2, 50);
        drop(fillers);
    });
}

/// An engine of one worker with topics that are so large that walks over them are suspended.
fn large(topics: &[&str]) -> (PubSub, Vec<Subscriber>) {
    let pubsub = Setup::workers(1).build();
    let fillers = fill(&pubsub, 0, topics, MANY);
    (pubsub, fillers)
}

#[test]
fn who_subscribes_while_a_walk_is_suspended_gets_the_next_broadcast_and_not_this_one() {
    let _watchdog = watch();
    let (pubsub, _fillers) = large(&["t"]);
    let blocker = Blocker::new(&pubsub, 0);
    let mut subscriber = pubsub.subscriber().build().unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    subscriber.subscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(2)).unwrap();
    subscriber.subscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(3)).unwrap();
    subscriber.unsubscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(4)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(numbers(&mut subscriber), [2, 3, 3]);
}

#[test]
fn a_handler_that_closes_while_walks_are_suspended_gets_what_was_before_and_nothing_after() {
    let _watchdog = watch();
    // In both orders: which of the topics ends first must not matter.
    for topics in [["t", "u"], ["u", "t"]] {
        let (pubsub, _fillers) = large(&topics);
        let blocker = Blocker::new(&pubsub, 0);
        let notes = Notes::new();
        let handler = pubsub.subscriber().worker(0).handler(notes.handler()).unwrap();
        topics.iter().for_each(|topic| handler.subscribe(topic).unwrap());
        blocker.block(&pubsub);
        pubsub.broadcast("t", "n", number(1)).unwrap();
        pubsub.broadcast("u", "n", number(2)).unwrap();
        handler.close();
        pubsub.broadcast("t", "n", number(3)).unwrap();
        pubsub.broadcast("u", "n", number(4)).unwrap();
        blocker.let_go();
        pubsub.flush().unwrap();
        let mut got = notes.take();
        got.sort_unstable();
        assert_eq!(got, [1, 2], "subscribed to {topics:?}");
    }
}

#[test]
fn a_handler_that_subscribes_and_closes_behind_a_suspended_walk_gets_what_lies_between() {
    let _watchdog = watch();
    let (pubsub, _fillers) = large(&["t"]);
    let blocker = Blocker::new(&pubsub, 0);
    let notes = Notes::new();
    let handler = pubsub.subscriber().worker(0).handler(notes.handler()).unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    handler.subscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(2)).unwrap();
    handler.close();
    pubsub.broadcast("t", "n", number(3)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(notes.take(), [2]);
    assert_eq!(pubsub.subscriber_count("t"), MANY);
}

#[test]
fn a_mailbox_that_is_closed_while_a_walk_is_suspended_gets_what_was_before_and_nothing_after() {
    let _watchdog = watch();
    let (pubsub, _fillers) = large(&["t", "u"]);
    let blocker = Blocker::new(&pubsub, 0);
    let (control, mut mailbox) = pubsub.subscriber().worker(0).build().unwrap().split();
    control.subscribe("t").unwrap();
    control.subscribe("u").unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    pubsub.broadcast("u", "n", number(2)).unwrap();
    control.close();
    pubsub.broadcast("t", "n", number(3)).unwrap();
    pubsub.broadcast("u", "n", number(4)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    let mut got = read_all(&mut mailbox);
    assert_eq!(got.pop(), Some(Read::Closed(CloseReason::Dropped)));
    got.sort_unstable_by_key(|read| if let Read::Number(n) = read { *n } else { 0 });
    assert_eq!(got, [Read::Number(1), Read::Number(2)]);
    assert_eq!((pubsub.subscriber_count("t"), pubsub.subscriber_count("u")), (MANY, MANY));
}

/// A topic whose last member left while a broadcast of it waits is walked without anybody there; meanwhile the worker
/// has reason to forget the topics that it has no members of.
#[test]
fn a_walk_that_finds_everybody_gone_ends_while_others_go_on() {
    let _watchdog = watch();
    let pubsub = Setup::PLAIN.build();
    let blocker = Blocker::new(&pubsub, 0);
    let _long = fill(&pubsub, 0, &["long"], 5 * MANY);
    let short = fill(&pubsub, 0, &["short"], MANY);
    // A worker forgets topics by the thousand. Here it has reason to, in between any two of its rounds.
    let mut few: Vec<Vec<Subscriber>> = (0..16 * 1_100).map(|n| fill(&pubsub, 0, &[&format!("few:{n}")], 1)).collect();
    let mut other = pubsub.subscriber().worker(0).capacity(1024).build().unwrap();
    other.subscribe("other").unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("short", "event", number(1)).unwrap();
    pubsub.broadcast("long", "event", number(1)).unwrap();
    drop(short);
    pubsub.broadcast("short", "event", number(2)).unwrap();
    for round in 0..16 {
        few.truncate(few.len() - 1_100);
        for n in 0..60 {
            pubsub.broadcast("other", "event", number(60 * round + n)).unwrap();
        }
    }
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(numbers(&mut other), (0..16 * 60).collect::<Vec<_>>());
    assert_eq!(pubsub.subscriber_count("short"), 0);
    let mut again = pubsub.subscriber().worker(0).build().unwrap();
    again.subscribe("short").unwrap();
    pubsub.broadcast("short", "event", number(3)).unwrap();
    pubsub.flush().unwrap();
    assert_eq!(numbers(&mut again), [3]);
}

#[test]
fn a_subscription_that_waits_for_a_suspended_walk_ends_with_its_subscriber() {
    let _watchdog = watch();
    let (pubsub, _fillers) = large(&["t"]);
    let blocker = Blocker::new(&pubsub, 0);
    let (control, mut mailbox) = pubsub.subscriber().worker(0).build().unwrap().split();
    let mut other = pubsub.subscriber().worker(0).build().unwrap();
    other.subscribe("other").unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    control.subscribe("t").unwrap();
    pubsub.broadcast("t", "n", number(2)).unwrap();
    control.close();
    // The worker learns of the end before it comes to the subscription, which waits for the first walk.
    pubsub.broadcast("other", "n", number(3)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(pubsub.subscriber_count("t"), MANY);
    assert_eq!(read_all(&mut mailbox), [Read::Number(2), Read::Closed(CloseReason::Dropped)]);
    assert_eq!(numbers(&mut other), [3]);
}

#[test]
fn a_sender_that_closes_after_its_broadcast_is_skipped_nevertheless() {
    let _watchdog = watch();
    let (pubsub, _fillers) = large(&["t"]);
    let blocker = Blocker::new(&pubsub, 0);
    let notes = Notes::new();
    let handler = pubsub.subscriber().worker(0).handler(notes.handler()).unwrap();
    handler.subscribe("t").unwrap();
    let mut other = pubsub.subscriber().worker(0).build().unwrap();
    other.subscribe("other").unwrap();
    blocker.block(&pubsub);
    pubsub.broadcast("t", "n", number(1)).unwrap();
    pubsub.broadcast_from(handler.id(), "t", "n", number(2)).unwrap();
    handler.close();
    // The worker learns of the end before it comes to the second broadcast, which waits for the first.
    pubsub.broadcast("other", "n", number(3)).unwrap();
    blocker.let_go();
    pubsub.flush().unwrap();
    assert_eq!(notes.take(), [1]);
    assert_eq!(numbers(&mut other), [3]);
}

#[test]
fn subscribing_twice_delivers_twice_and_one_unsubscribe_ends_both() {
    matrix(|_, pubsub| {
        let mut subscriber = pubsub.subscriber().build().unwrap();
        subscriber.subscribe("t").unwrap();
        subscriber.subscribe("t").unwrap();
        assert_eq!(pubsub.subscriber_count("t"), 2);
        pubsub.broadcast("t", "n", number(1)).unwrap();
        pubsub.flush().unwrap();
        subscriber.unsubscribe("t").unwrap();
        pubsub.broadcast("t", "n", number(2)).unwrap();
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut subscriber), [1, 1], "what is in the mailbox stays there");
        assert_eq!(pubsub.subscriber_count("t"), 0);
        assert!(pubsub.topics().is_empty());
    });
}

#[test]
fn unsubscribing_without_a_subscription_does_nothing() {
    matrix(|_, pubsub| {
        let (subscriber, mut other) = (pubsub.subscriber().build().unwrap(), pubsub.subscriber().build().unwrap());
        subscriber.unsubscribe("t").unwrap();
        other.subscribe("t").unwrap();
        subscriber.unsubscribe("t").unwrap();
        pubsub.broadcast("t", "n", number(1)).unwrap();
        pubsub.flush().unwrap();
        assert_eq!(numbers(&mut other), [1]);
    });
}
