//! What subscribers, subscriptions, topics and presences hold in memory, by a counting allocator: exact, and without
//! what the system rounds up.
//!
//! The owner's handle, which lies where its owner puts it, is told apart.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{Engine, size};
use fanfare::presence::{Owner, Presence};
use fanfare::{Context, Handler, HandlerSubscriber, Message, PubSub, Subscriber, Topic};

struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

// SAFETY: all work is passed on to the system's allocator; the counter is only counted.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promised us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promised us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as our caller promised us.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Count(u64);

impl Handler for Count {
    fn on_message(&mut self, _: &Message, _: &mut Context<'_>) {
        self.0 += 1;
    }
}

/// Bytes that `change` left allocated, divided by `count`, less `handle` bytes for what it returned.
fn bytes<T>(count: usize, handle: usize, change: impl FnOnce() -> T) -> (T, f64) {
    let before = HELD.load(Ordering::Relaxed);
    let kept = change();
    let grown = HELD.load(Ordering::Relaxed).saturating_sub(before);
    (kept, grown as f64 / count as f64 - handle as f64)
}

fn tell(what: &str, (bytes, handle): (f64, usize)) {
    let handle = if handle > 0 { format!(" + {handle} B for its owner's handle") } else { String::new() };
    println!("memory, {what:<60} {bytes:>7.1} B{handle}");
}

fn main() {
    let count = size(1_000_000);
    let engine = Engine::new(PubSub::builder().workers(common::WORKERS));
    let pubsub = &engine.pubsub;
    let flush = || {
        pubsub.flush().unwrap();
    };
    // Whatever the first of anything needs.
    drop(common::mailboxes(pubsub, "bench", 10));
    flush();

    let handle = size_of::<Subscriber>();
    let (mailboxes, each) = bytes(count, handle, || {
        let mut all = Vec::with_capacity(count);
        (0..count).for_each(|_| all.push(pubsub.subscriber().build().unwrap()));
        flush();
        all
    });
    tell("a subscriber with a mailbox of 8", (each, handle));
    let ((), each) = bytes(count, 0, || {
        mailboxes.iter().for_each(|mailbox| mailbox.subscribe("bench").unwrap());
        flush();
    });
    tell("a subscription to one topic", (each, 0));
    let ((), each) = bytes(count, 0, || {
        mailboxes.iter().enumerate().for_each(|(i, mailbox)| mailbox.subscribe(&format!("s:{}", i % 100)).unwrap());
        flush();
    });
    tell("its second subscription, one of 100 topics", (each, 0));
    drop(mailboxes);
    flush();

    let handle = size_of::<HandlerSubscriber>();
    let (handlers, each) = bytes(count, handle, || {
        let mut all = Vec::with_capacity(count);
        (0..count).for_each(|_| all.push(pubsub.subscriber().handler(Count(0)).unwrap()));
        flush();
        all
    });
    tell("a subscriber with a handler of 8 bytes", (each, handle));
    drop(handlers);
    flush();

    let names: Vec<String> = (0..count).map(|number| format!("t:{number:>08}")).collect();
    let handle = size_of::<Topic>() + names[0].len();
    let (topics, each) = bytes(count, handle, || {
        let mut all = Vec::with_capacity(count);
        names.iter().for_each(|name| all.push(pubsub.topic(name).unwrap()));
        all
    });
    tell("a topic without members, without its name", (each, size_of::<Topic>()));
    drop(topics);
    let one = pubsub.subscriber().build().unwrap();
    let ((), each) = bytes(count, names[0].len(), || {
        names.iter().for_each(|name| one.subscribe(name).unwrap());
        flush();
    });
    tell("a topic with one member, without its name", (each, 0));
    drop(one);
    flush();
    // A table that has just grown has more room to spare than one that is full: two sizes.
    for named in [100_000, 1_000_000] {
        presences(pubsub, named, size(named));
    }
}

/// Presences with a meta of 40 bytes, in one room and each in a room of its own: what each takes beyond key and meta.
fn presences(pubsub: &PubSub, named: usize, count: usize) {
    #[derive(serde::Serialize)]
    struct Seen {
        online_at: u64,
        status: &'static str,
    }
    let keys: Vec<String> = (0..count).map(|number| format!("user{number:>08}")).collect();
    let rooms: Vec<String> = (0..count).map(|number| format!("room{number:>08}")).collect();
    let seen = Seen { online_at: 1_700_000_000, status: "online" };
    let json = serde_json::to_string(&seen).unwrap().len();
    let handle = size_of::<Owner>() + keys[0].len() + json;
    let told = |presence: &Presence| presence.flush().unwrap();
    for (what, name_of) in [("one room", None), ("a room of its own, without its name", Some(&rooms))] {
        let presence = Presence::builder().start(pubsub).unwrap();
        // Whatever the first of anything needs.
        presence.track((&Owner::new(), "first"), "first", &seen).unwrap();
        told(&presence);
        told(&presence);
        let name = name_of.map_or(0, |names| names[0].len());
        let (owners, each) = bytes(count, handle + name, || {
            let owners: Vec<Owner> = (0..count).map(|_| Owner::new()).collect();
            for (number, (owner, key)) in owners.iter().zip(&keys).enumerate() {
                let room = name_of.map_or("room", |names| &*names[number]);
                presence.track((owner, room), key, &seen).unwrap();
            }
            // The second finds nothing to tell: no room is in any queue.
            told(&presence);
            told(&presence);
            owners
        });
        tell(&format!("a presence of {named}, in {what}"), (each, size_of::<Owner>()));
        drop(owners);
        told(&presence);
    }
}
