//! What publishers, subscribers and long walks cost each other.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Engine, criterion, histogram, is_test, is_wanted, mailboxes, measure, payload, size, tell, tell_dropped};
use criterion::Criterion;
use fanfare::{Context, Message, Outcome, PubSub, Topic};

/// Topics that exist beside those that are used.
const TOPICS: usize = 200_000;
/// Names that are used in turn.
const NAMES: usize = 4_096;

fn main() {
    let mut criterion = criterion();
    nobody(&mut criterion);
    publishers(&mut criterion);
    criterion.final_summary();
    beside_walks();
}

/// Runs `go` on so many threads at once, each the whole count, and returns how long that took.
fn on_threads(threads: usize, go: impl Fn(usize) + Sync) -> Duration {
    let begin = Instant::now();
    std::thread::scope(|scope| {
        (1..threads).for_each(|number| {
            drop(scope.spawn({
                let go = &go;
                move || go(number)
            }))
        });
        go(0);
    });
    begin.elapsed()
}

/// Broadcasts that nobody has subscribed to. Elements are calls of all threads.
fn nobody(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("contention, broadcast to nobody");
    let setup = |prefix: &'static str| {
        move || {
            let pubsub = PubSub::builder().workers(common::WORKERS).build().unwrap();
            let topics: Vec<Topic> =
                (0..size(TOPICS)).map(|number| pubsub.topic(&format!("users_socket:{number:>09}")).unwrap()).collect();
            let names: Vec<String> = (0..NAMES).map(|number| format!("{prefix}:{number:>09}")).collect();
            (pubsub, topics, names)
        }
    };
    for threads in [1, 2] {
        for (what, prefix) in [("no such topic", "other_socket"), ("a topic without members", "users_socket")] {
            let name = format!("by name, {what}, {threads} threads");
            measure(&mut group, &name, threads, setup(prefix), |(pubsub, _, names), iterations| {
                let payload = payload();
                on_threads(threads, |_| {
                    for call in 0..iterations as usize {
                        let outcome = pubsub.broadcast(&names[call % NAMES], "event", payload.clone());
                        assert_eq!(outcome.unwrap(), Outcome::NoSubscribers);
                    }
                })
            });
        }
        let name = format!("by handle, {threads} threads");
        measure(&mut group, &name, threads, setup("users_socket"), |(_, topics, _), iterations| {
            on_threads(threads, |thread| {
                let topic = &topics[thread];
                for _ in 0..iterations {
                    let outcome = topic.broadcast("event", fanfare::Payload::binary(bytes::Bytes::new()));
                    assert_eq!(outcome.unwrap(), Outcome::NoSubscribers);
                }
            })
        });
    }
    group.finish();
}

/// Publishers that each broadcast to all topics in turn, until the last delivery. Nobody reads: mailboxes are full.
fn publishers(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("contention, in the ring, full");
    for (topics, members) in [(1, 100), (1_000, 100), (1, 10_000)] {
        for publishers in [1, 2] {
            let name = format!("{publishers} publishers, {topics} topics of {members}");
            let setup = || {
                let pubsub = PubSub::builder().workers(common::WORKERS).build().unwrap();
                let handles: Vec<Topic> =
                    (0..topics).map(|number| pubsub.topic(&format!("topic:{number}")).unwrap()).collect();
                let all: Vec<_> = handles.iter().map(|topic| mailboxes(&pubsub, topic.name(), members)).collect();
                (pubsub, handles, all)
            };
            let elements = publishers * members;
            let state = measure(&mut group, &name, elements, setup, |(pubsub, handles, _), iterations| {
                let payload = payload();
                let begin = Instant::now();
                on_threads(publishers, |_| {
                    for call in 0..iterations as usize {
                        handles[call % topics].broadcast("event", payload.clone()).unwrap();
                    }
                });
                pubsub.flush().unwrap().duration_since(begin)
            });
            state.inspect(|(pubsub, ..)| tell_dropped(pubsub));
        }
    }
    group.finish();
}

/// A thread that has the workers walk over a million mailboxes, one broadcast right behind another.
struct Walks {
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Walks {
    fn begin(engine: &Arc<Engine>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let thread = {
            let (stop, engine) = (stop.clone(), engine.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    engine.broadcast();
                }
            })
        };
        // Until there is more than one to walk.
        while engine.pubsub.stats().workers.iter().any(|worker| worker.inbox == 0) {
            std::thread::yield_now();
        }
        Walks { stop, thread: Some(thread) }
    }
}

impl Drop for Walks {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

fn beside_walks() {
    let calls = if is_test() { 10 } else { 200_000 };
    if is_wanted("contention, beside walks over a million: subscribe to another topic") {
        let engine = Arc::new(Engine::new(PubSub::builder().workers(common::WORKERS)).with_mailboxes(size(1_000_000)));
        let subscribers: Vec<_> = (0..1_000).map(|_| engine.pubsub.subscriber().build().unwrap()).collect();
        let walks = Walks::begin(&engine);
        let mut took = histogram();
        for call in 0..calls {
            let begin = Instant::now();
            subscribers[call % 1_000].subscribe("another").unwrap();
            took.record(begin.elapsed().as_nanos() as u64).unwrap();
        }
        drop(walks);
        tell("contention, beside walks over a million: subscribe to another topic", &took);
    }
    let name = "contention, beside walks over a million: broadcast to another topic of 10";
    if is_wanted(name) {
        let engine = Arc::new(Engine::new(PubSub::builder().workers(common::WORKERS)).with_mailboxes(size(1_000_000)));
        small_broadcasts(name, &engine, if is_test() { 3 } else { 2_000 });
    }
    let name = "contention, without walks: broadcast to a topic of 10";
    if is_wanted(name) {
        let engine = Arc::new(Engine::new(PubSub::builder().workers(common::WORKERS)));
        small_broadcasts(name, &engine, if is_test() { 3 } else { 2_000 });
    }
}

/// Times broadcasts to ten handlers on both workers, from the call to the last callback, stamped in it.
fn small_broadcasts(name: &str, engine: &Arc<Engine>, calls: u64) {
    const MEMBERS: u64 = 10;
    let base = Instant::now();
    let (last, done) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let publisher = std::thread::current();
    let make = |_| {
        let (last, done, publisher) = (last.clone(), done.clone(), publisher.clone());
        let stamp = move |_: &Message, _: &mut Context<'_>| {
            last.fetch_max(base.elapsed().as_nanos() as u64, Ordering::Relaxed);
            if (done.fetch_add(1, Ordering::AcqRel) + 1).is_multiple_of(MEMBERS) {
                publisher.unpark();
            }
        };
        let handler = engine.pubsub.subscriber().handler(stamp).unwrap();
        handler.subscribe("small").unwrap();
        handler
    };
    let handlers: Vec<_> = (0..MEMBERS).map(make).collect();
    engine.pubsub.flush().unwrap();
    let walks = (engine.pubsub.stats().subscriptions > MEMBERS).then(|| Walks::begin(engine));
    let mut took = histogram();
    for call in 1..=calls {
        let begin = base.elapsed().as_nanos() as u64;
        engine.pubsub.broadcast("small", "event", engine.payload.clone()).unwrap();
        while done.load(Ordering::Acquire) < call * MEMBERS {
            std::thread::park();
        }
        took.record(last.load(Ordering::Relaxed) - begin).unwrap();
    }
    drop(walks);
    drop(handlers);
    tell(name, &took);
}
