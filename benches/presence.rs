//! What presence costs: to come, to change, to go, to look; and a storm of joins, all of whom listen.
//!
//! Times of changes are until all has been told (`flush`), not until the calls return. Where nobody is subscribed, what
//! is told is not published: the storm shows that.

mod common;

use std::sync::Arc;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use common::{criterion, measure, size};
use criterion::Criterion;
use fanfare::presence::{Aligned, Diff, Owner, Presence, Scope};
use fanfare::{MailboxSet, PubSub, SetEvent};
use serde::Serialize;

/// Changes between two flushes, where somebody comes.
const BATCH: usize = 100_000;
/// Changes in one iteration, where those who are there change.
const CHANGES: usize = 10_000;
const ROOM: &str = "room:lobby";

/// What a chat would know of somebody.
#[derive(Serialize)]
struct Seen {
    online_at: u64,
    status: &'static str,
}

const SEEN: Seen = Seen { online_at: 1_700_000_000, status: "online" };

fn main() {
    let mut criterion = criterion();
    change(&mut criterion);
    look(&mut criterion);
    leave(&mut criterion);
    storm();
    criterion.final_summary();
}

struct House {
    _pubsub: PubSub,
    presence: Presence,
    keys: Vec<String>,
    topics: Vec<String>,
    owners: Vec<Owner>,
}

impl House {
    /// With so many names for those who come.
    fn new(names: usize) -> Self {
        let pubsub = PubSub::builder().workers(common::WORKERS).build().unwrap();
        let presence = Presence::builder().start(&pubsub).unwrap();
        let names = |kind: &str| (0..names).map(|number| format!("{kind}{number:07}")).collect();
        House { _pubsub: pubsub, presence, keys: names("user"), topics: names("room:"), owners: Vec::new() }
    }

    /// With so many present in one room.
    fn with(mut self, count: usize) -> Self {
        self.owners = (0..count).map(|_| Owner::new()).collect();
        // In an order that is not that of the keys' memory.
        for number in (0..count).map(|number| number * 7_919 % count) {
            self.come(number..number + 1, |_| 0);
        }
        self.presence.flush().unwrap();
        self
    }

    fn come(&self, which: std::ops::Range<usize>, room: impl Fn(usize) -> usize) {
        for number in which {
            let place = (&self.owners[number], &*self.topics[room(number)]);
            self.presence.track(place, &self.keys[number], &SEEN).unwrap();
        }
    }

    /// Lets so many come, on some threads, and then go again, off the clock.
    fn come_and_go(&mut self, count: usize, threads: usize, room: impl Fn(usize) -> usize + Sync) -> Duration {
        self.owners = (0..count).map(|_| Owner::new()).collect();
        let (start, each) = (Barrier::new(threads + 1), count / threads);
        let begin = std::thread::scope(|scope| {
            for thread in 0..threads {
                let (this, start, room) = (&*self, &start, &room);
                scope.spawn(move || {
                    start.wait();
                    this.come(thread * each..(thread + 1) * each, room);
                });
            }
            start.wait();
            Instant::now()
        });
        self.presence.flush().unwrap();
        let took = begin.elapsed();
        self.owners.clear();
        self.presence.flush().unwrap();
        took * count as u32 / (each * threads) as u32
    }
}

fn in_batches(iterations: u64, mut batch: impl FnMut(usize) -> Duration) -> Duration {
    let (mut took, mut left) = (Duration::ZERO, iterations as usize);
    while left > 0 {
        let count = left.min(BATCH);
        took += batch(count);
        left -= count;
    }
    took
}

fn change(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("presence, change");
    for threads in [1, 2] {
        let name = format!("track, one topic, {threads} threads");
        measure(
            &mut group,
            &name,
            1,
            || House::new(BATCH),
            |house, iterations| in_batches(iterations, |count| house.come_and_go(count.max(threads), threads, |_| 0)),
        );
        let name = format!("track, 100,000 topics, {threads} threads");
        measure(
            &mut group,
            &name,
            1,
            || House::new(BATCH),
            |house, iterations| {
                in_batches(iterations, |count| house.come_and_go(count.max(threads), threads, |number| number))
            },
        );
    }
    for threads in [1, 2] {
        let name = format!("track, 100,000 topics with somebody there, {threads} threads");
        let resident = Owner::new();
        let setup = || {
            let house = House::new(BATCH);
            house.topics.iter().for_each(|topic| {
                house.presence.track((&resident, &**topic), "resident", &SEEN).unwrap();
            });
            house
        };
        measure(&mut group, &name, 1, setup, |house, iterations| {
            in_batches(iterations, |count| house.come_and_go(count.max(threads), threads, |number| number))
        });
    }
    for named in [1_000, 100_000, 1_000_000] {
        let count = size(named);
        let setup = || (House::new(count).with(count), 0);
        measure(&mut group, &format!("update, among {named}"), CHANGES, setup, |(house, next), iterations| {
            let begin = Instant::now();
            for _ in 0..iterations as usize * CHANGES {
                *next = (*next + 7_919) % count;
                let place = (&house.owners[*next], &*house.topics[0]);
                house.presence.update(place, &house.keys[*next], &SEEN).unwrap();
            }
            house.presence.flush().unwrap();
            begin.elapsed()
        });
        measure(
            &mut group,
            &format!("untrack and track again, among {named}"),
            CHANGES,
            setup,
            |(house, next), iterations| {
                let begin = Instant::now();
                for _ in 0..iterations as usize * CHANGES {
                    *next = (*next + 7_919) % count;
                    let place = (&house.owners[*next], &*house.topics[0]);
                    assert!(house.presence.untrack(place, &house.keys[*next]));
                    house.presence.track(place, &house.keys[*next], &SEEN).unwrap();
                }
                house.presence.flush().unwrap();
                begin.elapsed()
            },
        );
    }
    group.finish();
}

fn look(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("presence, look");
    for named in [1_000, 100_000, 1_000_000] {
        let count = size(named);
        let setup = || (House::new(count).with(count), 0);
        measure(&mut group, &format!("list of {named}, read to its end"), count, setup, |(house, _), iterations| {
            let begin = Instant::now();
            for _ in 0..iterations {
                let list = house.presence.list(&house.topics[0]);
                let bytes: usize =
                    list.iter().map(|(key, metas)| key.len() + metas.map(|m| m.json().len()).sum::<usize>()).sum();
                assert!(std::hint::black_box(bytes) > count);
            }
            begin.elapsed()
        });
        measure(&mut group, &format!("list of {named}, as JSON"), count, setup, |(house, _), iterations| {
            let begin = Instant::now();
            for _ in 0..iterations {
                std::hint::black_box(house.presence.list(&house.topics[0]).json());
            }
            begin.elapsed()
        });
        // By keys that lie in the order in which they are asked for, which is not that in which they came.
        let name = format!("get_by_key among {named}");
        measure(&mut group, &name, CHANGES, setup, |(house, next), iterations| {
            let begin = Instant::now();
            for _ in 0..iterations as usize * CHANGES {
                *next = (*next + 1) % count;
                assert!(house.presence.get_by_key(&house.topics[0], &house.keys[*next]).is_some());
            }
            begin.elapsed()
        });
        measure(&mut group, &format!("count of {named}"), CHANGES, setup, |(house, _), iterations| {
            let begin = Instant::now();
            for _ in 0..iterations as usize * CHANGES {
                assert_eq!(house.presence.count(std::hint::black_box(&house.topics[0])), count);
            }
            begin.elapsed()
        });
    }
    group.finish();
}

fn leave(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("presence, owners gone");
    let count = size(100_000);
    for (name, rooms) in [("one topic", 1), ("10,000 topics", 10_000)] {
        let name = format!("{count} at once, {name}");
        measure(
            &mut group,
            &name,
            count,
            || House::new(count),
            |house, iterations| {
                let mut took = Duration::ZERO;
                for _ in 0..iterations {
                    house.owners = (0..count).map(|_| Owner::new()).collect();
                    house.come(0..count, |number| number % rooms);
                    house.presence.flush().unwrap();
                    let begin = Instant::now();
                    house.owners.clear();
                    house.presence.flush().unwrap();
                    took += begin.elapsed();
                }
                took
            },
        );
    }
    group.finish();
}

/// Everybody subscribes, comes and asks for the state, within a second; one thread reads all their mailboxes. What each
/// member is told must add up: the state that it was given, and then everybody who came after that.
fn storm() {
    if std::env::args().skip(1).any(|argument| !argument.starts_with('-') && argument != "storm") {
        return;
    }
    let count = size(10_000);
    let within = Duration::from_secs(1);
    let pubsub = PubSub::builder().workers(common::WORKERS).build().unwrap();
    let presence = Presence::builder().start(&pubsub).unwrap();
    let mut set = MailboxSet::new();
    let mut controls = Vec::new();
    for _ in 0..count {
        let (control, mailbox) = pubsub.subscriber().capacity(64).build().unwrap().split();
        set.insert(mailbox);
        controls.push(control);
    }
    let owners: Vec<Owner> = (0..count).map(|_| Owner::new()).collect();
    let keys: Vec<String> = (0..count).map(|number| format!("user{number:07}")).collect();
    let last = keys[count - 1].clone();
    let cpu = cpu_time();
    let begin = Instant::now();
    let states = Arc::new(AtomicUsize::new(0));
    let (joined, told, messages, metas) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut messages, mut metas, mut complete) = (0, 0, 0);
            while complete < count {
                set.read(|_, event| match event {
                    SetEvent::Message(message) => {
                        let diff: &Diff = message.downcast_ref().unwrap();
                        messages += 1;
                        metas += diff.joins().len();
                        complete += usize::from(diff.joins().iter().any(|present| present.key() == last));
                    }
                    other => panic!("{other:?}"),
                });
            }
            (Instant::now(), messages, metas)
        });
        for (number, ((control, owner), key)) in controls.iter().zip(&owners).zip(&keys).enumerate() {
            while begin.elapsed() < within * number as u32 / count as u32 {
                std::thread::yield_now();
            }
            control.subscribe(ROOM).unwrap();
            presence.track((owner, ROOM), key, &SEEN).unwrap();
            let states = states.clone();
            let tell = move |_: &Aligned| {
                states.fetch_add(1, Ordering::Relaxed);
            };
            presence.with_state(ROOM, Scope::Full, tell).unwrap();
        }
        let joined = Instant::now();
        let (told, messages, metas) = reader.join().unwrap();
        (joined, told, messages, metas)
    });
    presence.flush().unwrap();
    assert_eq!(states.load(Ordering::Relaxed), count);
    let stats = presence.stats();
    let each = |total: usize| total as f64 / count as f64;
    println!("presence, storm: {count} join within {within:?}, all listening:");
    println!("    each gets {:.1} diffs with {:.0} metas", each(messages), each(metas));
    println!("    {} states in {} encodings", stats.states, stats.states_encoded);
    println!("    complete {:?} after the last join", told.saturating_duration_since(joined));
    println!("    {:?} of CPU, with the joiners and the reader", cpu_time() - cpu);
}

/// CPU time of this process so far.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |place: usize| fields.get(place).and_then(|ticks| ticks.parse::<u64>().ok()).unwrap_or(0);
    // A tick is 10 ms on Linux, whatever the kernel's own.
    Duration::from_millis(10 * (ticks(11) + ticks(12)))
}
