//! What the benchmarks share: sizes, engines full of subscribers, waiting for the last of many, percentiles, the floor.
#![allow(dead_code, reason = "each benchmark uses its part")]

pub(crate) mod floor;

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::Thread;
use std::time::{Duration, Instant};

use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput};
use fanfare::{HandlerSubscriber, Payload, PubSub, PubSubBuilder, Subscriber, Topic};
use hdrhistogram::Histogram;

/// Workers, where a benchmark does not say: the bars are for two.
pub(crate) const WORKERS: usize = 2;

/// Whether each thing is to be run once, small, to see that it works.
pub(crate) fn is_test() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// `full`, but not above 10,000 in a test.
pub(crate) fn size(full: usize) -> usize {
    if is_test() { full.min(10_000) } else { full }
}

/// Numbers of subscribers: to a million, or to 10,000 in a test.
pub(crate) fn sizes() -> Vec<usize> {
    [1, 100, 10_000, 1_000_000].into_iter().filter(|&size| size <= self::size(size)).collect()
}

/// Criterion with few and short samples: there are many things to measure, and a million subscribers are slow to make.
pub(crate) fn criterion() -> Criterion {
    let short = Criterion::default().sample_size(20).without_plots();
    short.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2)).configure_from_args()
}

/// Measures `routine`, which runs so many times and returns how long that took. What `setup` makes is made once, and
/// only if the benchmark is not filtered out; it comes back to be asked what happened to it.
pub(crate) fn measure<S>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    elements: usize,
    setup: impl Fn() -> S,
    mut routine: impl FnMut(&mut S, u64) -> Duration,
) -> Option<S> {
    let mut state = None;
    group.throughput(Throughput::Elements(elements as u64));
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|iterations| routine(state.get_or_insert_with(&setup), iterations));
    });
    state
}

/// Says how many deliveries pushed an unread message out, if any did.
pub(crate) fn tell_dropped(pubsub: &PubSub) {
    let stats = pubsub.stats();
    if stats.dropped > 0 {
        println!("    contains drops: {} of {} deliveries", stats.dropped, stats.delivered);
    }
}

/// A payload as it is broadcast: 64 bytes, shared.
pub(crate) fn payload() -> Payload {
    Payload::binary(bytes::Bytes::from_static(&[b'x'; 64]))
}

/// An engine with one topic and its members.
pub(crate) struct Engine {
    pub pubsub: PubSub,
    pub topic: Topic,
    pub payload: Payload,
    pub mailboxes: Vec<Subscriber>,
    pub handlers: Vec<HandlerSubscriber>,
}

impl Engine {
    /// An engine without members.
    pub(crate) fn new(builder: PubSubBuilder) -> Self {
        let pubsub = builder.build().unwrap();
        let topic = pubsub.topic("bench").unwrap();
        Engine { pubsub, topic, payload: payload(), mailboxes: Vec::new(), handlers: Vec::new() }
    }

    /// With so many mailboxes of 8.
    pub(crate) fn with_mailboxes(mut self, count: usize) -> Self {
        self.mailboxes = mailboxes(&self.pubsub, self.topic.name(), count);
        self
    }

    /// With the handlers that `make` makes, in order: the first half on the first worker. What they allocate then lies
    /// in the order of the walk, and no two workers write to one line.
    pub(crate) fn with_handlers<H: fanfare::Handler>(mut self, count: usize, mut make: impl FnMut(usize) -> H) -> Self {
        for number in 0..count {
            let worker = number * self.pubsub.workers() / count;
            let handler = self.pubsub.subscriber().worker(worker).handler(make(number)).unwrap();
            handler.subscribe(self.topic.name()).unwrap();
            self.handlers.push(handler);
        }
        self.pubsub.flush().unwrap();
        self
    }

    pub(crate) fn broadcast(&self) {
        self.topic.broadcast("event", self.payload.clone()).unwrap();
    }

    /// Broadcasts once, and waits. Returns the time to the last delivery, as the worker that made it stamped it; for
    /// what the caller delivered in place, to the return.
    pub(crate) fn broadcast_and_wait(&self) -> Duration {
        let before = self.pubsub.stats().in_place;
        let begin = Instant::now();
        self.broadcast();
        let returned = begin.elapsed();
        let flushed = self.pubsub.flush().unwrap();
        if self.pubsub.stats().in_place == before { flushed.duration_since(begin) } else { returned }
    }

    /// Reads and drops whatever is in the mailboxes.
    pub(crate) fn drain(&mut self) {
        for mailbox in &mut self.mailboxes {
            while mailbox.try_recv().is_ok() {}
        }
    }

    /// Waits until all workers sleep.
    pub(crate) fn wait_until_asleep(&self) {
        while self.pubsub.stats().workers.iter().any(|worker| !worker.sleeps) {
            std::thread::yield_now();
        }
    }
}

/// So many mailboxes of 8, subscribed.
pub(crate) fn mailboxes(pubsub: &PubSub, topic: &str, count: usize) -> Vec<Subscriber> {
    let make = |_| {
        let mailbox = pubsub.subscriber().build().unwrap();
        mailbox.subscribe(topic).unwrap();
        mailbox
    };
    let mailboxes = (0..count).map(make).collect();
    pubsub.flush().unwrap();
    mailboxes
}

/// Waits for the last of many, and keeps the time at which it came, stamped by the last.
pub(crate) struct Latch {
    left: AtomicUsize,
    last: Mutex<Option<Instant>>,
    waiter: Thread,
}

impl Latch {
    /// For the calling thread to wait at.
    pub(crate) fn new() -> Self {
        Latch { left: AtomicUsize::new(0), last: Mutex::new(None), waiter: std::thread::current() }
    }

    /// So many are to come.
    pub(crate) fn set(&self, count: usize) {
        self.left.store(count, Ordering::Release);
    }

    /// `count` have come.
    pub(crate) fn count_down(&self, count: usize) {
        // AcqRel: the waiter sees what all have done.
        if self.left.fetch_sub(count, Ordering::AcqRel) == count {
            *self.last.lock().unwrap() = Some(Instant::now());
            self.waiter.unpark();
        }
    }

    /// When the last came.
    pub(crate) fn wait(&self) -> Instant {
        loop {
            if let Some(last) = self.last.lock().unwrap().take() {
                return last;
            }
            std::thread::park();
        }
    }
}

/// Passes the time without giving the processor away.
pub(crate) fn spin(time: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < time {
        std::hint::spin_loop();
    }
}

/// A histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new(3).unwrap()
}

/// One line: a name, and percentiles in the unit that fits.
pub(crate) fn tell(name: &str, histogram: &Histogram<u64>) {
    let at = |quantile| time(histogram.value_at_quantile(quantile));
    let (count, max) = (histogram.len(), time(histogram.max()));
    println!("{name:<72} p50 {:>9}  p99 {:>9}  p99.9 {:>9}  max {max:>9}  ({count})", at(0.5), at(0.99), at(0.999));
}

/// Nanoseconds, in the unit that fits.
pub(crate) fn time(nanoseconds: u64) -> String {
    match nanoseconds as f64 {
        ns if ns < 1e3 => format!("{ns} ns"),
        ns if ns < 1e6 => format!("{:.2} us", ns / 1e3),
        ns => format!("{:.2} ms", ns / 1e6),
    }
}

/// How waking a thread that sleeps went.
pub(crate) struct Wakes {
    /// What it cost the waker.
    pub call: Histogram<u64>,
    /// From the begin of the call until the thread ran.
    pub runs: Histogram<u64>,
}

impl Wakes {
    /// Wakes a thread so many times. It runs `at_start` first, and `work` whenever it has been woken.
    pub(crate) fn measure(
        calls: u64,
        at_start: impl FnOnce() + Send + 'static,
        mut work: impl FnMut() + Send + 'static,
    ) -> Self {
        const RUNS: u32 = 0;
        const SLEEPS: u32 = 1;
        const ENDS: u32 = 2;
        let base = Instant::now();
        let now = move || base.elapsed().as_nanos() as u64;
        let shared = Arc::new((AtomicU32::new(RUNS), AtomicU64::new(0)));
        let waker = std::thread::current();
        let thread = {
            let shared = shared.clone();
            std::thread::spawn(move || {
                at_start();
                let (state, ran) = &*shared;
                while state.load(Ordering::Acquire) != ENDS {
                    ran.store(now(), Ordering::Release);
                    work();
                    let _ = state.compare_exchange(RUNS, SLEEPS, Ordering::AcqRel, Ordering::Acquire);
                    waker.unpark();
                    while state.load(Ordering::Acquire) == SLEEPS {
                        std::thread::park();
                    }
                }
            })
        };
        let (state, ran) = &*shared;
        let mut wakes = Wakes { call: histogram(), runs: histogram() };
        let mut sent = None;
        for _ in 0..calls {
            while state.load(Ordering::Acquire) != SLEEPS {
                std::thread::park();
            }
            if let Some(sent) = sent {
                wakes.runs.record(ran.load(Ordering::Acquire) - sent).unwrap();
            }
            // As long as the engine's worker gets to be asleep after it has said so.
            (0..64).for_each(|_| std::thread::yield_now());
            sent = Some(now());
            state.store(RUNS, Ordering::Release);
            let begin = Instant::now();
            thread.thread().unpark();
            wakes.call.record(begin.elapsed().as_nanos() as u64).unwrap();
        }
        state.store(ENDS, Ordering::Release);
        thread.thread().unpark();
        thread.join().unwrap();
        wakes
    }
}

/// Whether the command line asks for a benchmark of that name: any of its words that are not flags is in it. For
/// benchmarks that do not go through criterion.
pub(crate) fn is_wanted(name: &str) -> bool {
    let mut filters = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).peekable();
    filters.peek().is_none() || filters.any(|filter| name.contains(&filter))
}

/// A cheap sequence of numbers that looks random.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new() -> Self {
        Random(0x9E37_79B9_7F4A_7C15)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}
