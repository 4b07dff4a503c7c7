//! The hot paths, for `cargo xtask perf`, which counts their instructions and compares with
//! `benches/instructions.toml`.
//!
//! One row a process: `fanfare-perf NAME` prepares, calls `measured` a number of times, and prints how many operations
//! that were; `fanfare-perf --list` prints the names. Callgrind counts within `measured` alone. The engine has no
//! threads (`--cfg fanfare_stepped`): what its workers do happens in `step`, measured or between two measurements.

#[cfg(not(fanfare_stepped))]
fn main() {
    println!("instructions are counted by `cargo xtask perf`, which builds this with `--cfg fanfare_stepped`");
}

#[cfg(fanfare_stepped)]
fn main() {
    let wanted = std::env::args().nth(1).expect("the name of a row, or --list");
    if wanted == "--list" {
        stepped::ROWS.iter().for_each(|(name, _)| println!("{name}"));
        return;
    }
    let row = stepped::ROWS.iter().find(|(name, _)| *name == wanted);
    let (_, run) = row.unwrap_or_else(|| panic!("no row `{wanted}`"));
    println!("{}", run());
}

#[cfg(fanfare_stepped)]
mod stepped {
    use std::hint::black_box;

    use bytes::Bytes;
    use fanfare::channel::{Frame, Serializer, V2};
    use fanfare::net::websocket::{self, Decoder, Limits};
    use fanfare::presence::{Owner, Presence};
    use fanfare::{
        Context, Handler, HandlerSubscriber, MailboxSet, Message, Payload, PubSub, PubSubBuilder, Subscriber, Topic,
    };

    /// Callgrind counts from its begin to its end: it finds it by its name.
    #[inline(never)]
    fn measured(work: &mut dyn FnMut()) {
        black_box(work)();
    }

    /// Before the first round that counts: tables have grown, and caches of memory are full.
    const WARM_UP: u64 = 2;
    /// Rounds that count.
    const ROUNDS: u64 = 8;

    /// A row: measures, and returns how many operations that were.
    type Row = fn() -> u64;

    pub(crate) const ROWS: &[(&str, Row)] = &[
        ("publish_to_nobody_by_name", publish_to_nobody_by_name),
        ("publish_to_nobody_by_handle", publish_to_nobody_by_handle),
        ("publish_in_place_to_1", || publish_in_place(1)),
        ("publish_in_place_to_32", || publish_in_place(32)),
        ("hand_over", hand_over),
        ("deliver_to_mailbox_drained", || deliver_to_mailboxes(true)),
        ("deliver_to_mailbox_full", || deliver_to_mailboxes(false)),
        ("deliver_to_handler", deliver_to_handlers),
        ("read_by_recv", read_by_recv),
        ("read_by_set", read_by_set),
        ("subscribe", || subscribe(Part::Call)),
        ("subscribe_applied", || subscribe(Part::Application)),
        ("unsubscribe", || unsubscribe(Part::Call)),
        ("unsubscribe_applied", || unsubscribe(Part::Application)),
        ("track", || presence(Change::Track)),
        ("update", || presence(Change::Update)),
        ("untrack", || presence(Change::Untrack)),
        ("seal", || presence(Change::Seal)),
        ("decode_websocket_text", decode_websocket_text),
        ("encode_websocket_text", encode_websocket_text),
        ("decode_v2", decode_v2),
        ("encode_v2_broadcast", encode_v2_broadcast),
    ];

    /// Members of a topic that a worker walks: the fixed part of a walk and of a step is lost among so many.
    const MEMBERS: usize = 1024;
    /// Messages that a mailbox takes in its own line, and broadcasts in a round.
    const CAPACITY: usize = 8;
    /// Calls in a round of what is short.
    const CALLS: usize = 256;

    /// Rounds of what `round` does. It is given the way to measure a part of that, which does nothing but the work
    /// while warming up. Returns `operations`, of a round, times the rounds that count.
    fn rounds(operations: usize, mut round: impl FnMut(&mut dyn FnMut(&mut dyn FnMut()))) -> u64 {
        for _ in 0..WARM_UP {
            round(&mut |work| work());
        }
        for _ in 0..ROUNDS {
            round(&mut measured);
        }
        operations as u64 * ROUNDS
    }

    /// As [`rounds`], of `call` alone, so many times in each.
    fn calls(count: usize, mut call: impl FnMut()) -> u64 {
        rounds(count, |measure| measure(&mut || (0..count).for_each(|_| call())))
    }

    /// An engine with one worker, and whose publishers deliver in place to that many members.
    fn engine(in_place: u64) -> PubSub {
        PubSubBuilder::default().workers(1).in_place_members_max(in_place).build().unwrap()
    }

    const BY_INBOX: u64 = 0;
    const IN_PLACE: u64 = 4096;
    const TOPIC: &str = "room:lobby";
    const EVENT: &str = "new_msg";

    /// 64 bytes, shared.
    fn payload() -> Payload {
        Payload::binary(Bytes::from_static(&[b'x'; 64]))
    }

    /// A chat message.
    const JSON: &str = r#"{"user":"alice","body":"The quick brown fox jumps over the lazy dog."}"#;

    fn broadcast(topic: &Topic, payload: &Payload) {
        black_box(topic.broadcast(EVENT, payload.clone()).unwrap());
    }

    fn subscribers(pubsub: &PubSub, count: usize, capacity: usize) -> Vec<Subscriber> {
        let make = |_| {
            let subscriber = pubsub.subscriber().capacity(capacity).build().unwrap();
            subscriber.subscribe(TOPIC).unwrap();
            subscriber
        };
        let subscribers = (0..count).map(make).collect();
        pubsub.step();
        subscribers
    }

    fn drain(subscribers: &mut [Subscriber]) {
        for subscriber in subscribers {
            while subscriber.try_recv().is_ok() {}
        }
    }

    fn publish_to_nobody_by_name() -> u64 {
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        // There are others.
        let _others = subscribers(&pubsub, 1, CAPACITY);
        calls(CALLS, || {
            black_box(pubsub.broadcast(black_box("room:empty"), EVENT, payload.clone()).unwrap());
        })
    }

    fn publish_to_nobody_by_handle() -> u64 {
        let pubsub = engine(BY_INBOX);
        let topic = pubsub.topic(TOPIC).unwrap();
        // Nothing is converted, and a shared payload would be cloned by the caller.
        calls(CALLS, || {
            black_box(black_box(&topic).broadcast(EVENT, serde_json::Value::Null).unwrap());
        })
    }

    fn publish_in_place(members: usize) -> u64 {
        let (pubsub, payload) = (engine(IN_PLACE), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let mut subscribers = subscribers(&pubsub, members, CAPACITY);
        let operations = rounds(CAPACITY, |measure| {
            measure(&mut || (0..CAPACITY).for_each(|_| broadcast(&topic, &payload)));
            drain(&mut subscribers);
        });
        assert_eq!(pubsub.stats().in_place, (WARM_UP + ROUNDS) * CAPACITY as u64, "all were delivered in place");
        operations
    }

    fn hand_over() -> u64 {
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let mut subscribers = subscribers(&pubsub, 1, CALLS);
        let operations = rounds(CALLS, |measure| {
            measure(&mut || (0..CALLS).for_each(|_| broadcast(&topic, &payload)));
            pubsub.step();
            drain(&mut subscribers);
        });
        assert_eq!(pubsub.stats().dropped, 0);
        operations
    }

    /// What the worker does with one broadcast after another to many mailboxes: for each delivery.
    fn deliver_to_mailboxes(drained: bool) -> u64 {
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let mut subscribers = subscribers(&pubsub, MEMBERS, CAPACITY);
        let operations = rounds(MEMBERS * CAPACITY, |measure| {
            (0..CAPACITY).for_each(|_| broadcast(&topic, &payload));
            measure(&mut || pubsub.step());
            if drained {
                drain(&mut subscribers);
            }
        });
        assert_eq!(pubsub.stats().dropped == 0, drained);
        operations
    }

    /// Adds up lengths.
    struct Sum(usize);

    impl Handler for Sum {
        fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
            self.0 += message.event().len();
        }
    }

    fn deliver_to_handlers() -> u64 {
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let make = |_| -> HandlerSubscriber {
            let handler = pubsub.subscriber().handler(Sum(0)).unwrap();
            handler.subscribe(TOPIC).unwrap();
            handler
        };
        let _handlers: Vec<_> = (0..MEMBERS).map(make).collect();
        pubsub.step();
        rounds(MEMBERS * CAPACITY, |measure| {
            (0..CAPACITY).for_each(|_| broadcast(&topic, &payload));
            measure(&mut || pubsub.step());
        })
    }

    fn read_by_recv() -> u64 {
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let mut subscribers = subscribers(&pubsub, 1, CALLS);
        rounds(CALLS, |measure| {
            (0..CALLS).for_each(|_| broadcast(&topic, &payload));
            pubsub.step();
            measure(&mut || {
                (0..CALLS).for_each(|_| {
                    black_box(subscribers[0].recv().unwrap());
                });
            });
        })
    }

    /// From a set of 64 mailboxes, all of which have something.
    fn read_by_set() -> u64 {
        const MAILBOXES: usize = 64;
        let (pubsub, payload) = (engine(BY_INBOX), payload());
        let topic = pubsub.topic(TOPIC).unwrap();
        let mut set = MailboxSet::new();
        for subscriber in subscribers(&pubsub, MAILBOXES, CAPACITY) {
            set.insert(subscriber);
        }
        let mut read = 0;
        let operations = rounds(MAILBOXES * CAPACITY, |measure| {
            (0..CAPACITY).for_each(|_| broadcast(&topic, &payload));
            pubsub.step();
            measure(&mut || {
                let mut see = |_, event: fanfare::SetEvent<'_>| {
                    black_box(event);
                    read += 1;
                };
                while set.try_read(&mut see) > 0 {}
            });
        });
        assert_eq!(read, (WARM_UP + ROUNDS) as usize * MAILBOXES * CAPACITY, "all were read");
        operations
    }

    /// The part of a change that is measured: the call, or what the worker does later.
    #[derive(Clone, Copy, PartialEq)]
    enum Part {
        Call,
        Application,
    }

    impl Part {
        /// Does a piece of work, measured if that is `self`.
        fn of(self, measured: Part, measure: &mut dyn FnMut(&mut dyn FnMut()), mut work: impl FnMut()) {
            if self == measured { measure(&mut work) } else { work() }
        }
    }

    /// Of other subscribers each to a topic that has many, by its name.
    fn subscribe(part: Part) -> u64 {
        let pubsub = engine(BY_INBOX);
        let _members = subscribers(&pubsub, MEMBERS, CAPACITY);
        let others: Vec<_> = (0..CALLS).map(|_| pubsub.subscriber().build().unwrap()).collect();
        pubsub.step();
        rounds(CALLS, |measure| {
            Part::Call.of(part, measure, || others.iter().for_each(|other| other.subscribe(TOPIC).unwrap()));
            Part::Application.of(part, measure, || pubsub.step());
            others.iter().for_each(|other| other.unsubscribe(TOPIC).unwrap());
            pubsub.step();
        })
    }

    fn unsubscribe(part: Part) -> u64 {
        let pubsub = engine(BY_INBOX);
        let _members = subscribers(&pubsub, MEMBERS, CAPACITY);
        let others = subscribers(&pubsub, CALLS, CAPACITY);
        rounds(CALLS, |measure| {
            Part::Call.of(part, measure, || others.iter().for_each(|other| other.unsubscribe(TOPIC).unwrap()));
            Part::Application.of(part, measure, || pubsub.step());
            others.iter().for_each(|other| other.subscribe(TOPIC).unwrap());
            pubsub.step();
        })
    }

    #[derive(Clone, Copy, PartialEq)]
    enum Change {
        Track,
        Update,
        Untrack,
        Seal,
    }

    /// In a room with many, whose diffs one hears: each owner is present once, and each round tracks, seals, updates
    /// and untracks some. Sealing: for each join, with the diff that is published.
    fn presence(change: Change) -> u64 {
        let pubsub = engine(BY_INBOX);
        let presence = Presence::builder().start(&pubsub).unwrap();
        let mut hears = subscribers(&pubsub, 1, CAPACITY);
        let owners: Vec<(Owner, String)> = (0..MEMBERS).map(|n| (Owner::new(), format!("user:{n}"))).collect();
        let (meta, other) = (serde_json::json!({"status": "online"}), serde_json::json!({"status": "away"}));
        let (others, members) = owners.split_at(CALLS);
        let track = |all: &[(Owner, String)]| {
            for (owner, key) in all {
                black_box(presence.track((owner, TOPIC), key, &meta).unwrap());
            }
        };
        track(members);
        presence.step();
        rounds(CALLS, |measure| {
            let mut perform =
                |step: Change, work: &mut dyn FnMut()| if step == change { measure(work) } else { work() };
            perform(Change::Track, &mut || track(others));
            perform(Change::Seal, &mut || presence.step());
            perform(Change::Update, &mut || {
                for (owner, key) in others {
                    black_box(presence.update((owner, TOPIC), key, &other).unwrap());
                }
            });
            presence.step();
            perform(Change::Untrack, &mut || {
                others.iter().for_each(|(owner, key)| assert!(presence.untrack((owner, TOPIC), key)));
            });
            presence.step();
            pubsub.step();
            drain(&mut hears);
        })
    }

    /// A client's push of a chat message.
    fn push() -> String {
        format!(r#"["4","17","{TOPIC}","{EVENT}",{JSON}]"#)
    }

    fn decode_websocket_text() -> u64 {
        let (text, key) = (push(), [0x1D, 0x2C, 0x3B, 0x4A]);
        let length = u8::try_from(text.len()).expect("it fits the shortest header");
        assert!(length < 126);
        let mut frame = vec![0x81, 0x80 | length];
        frame.extend(key);
        frame.extend(text.bytes().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        let frames = frame.repeat(CALLS);
        let (mut decoder, limits) = (Decoder::new(), Limits::default());
        rounds(CALLS, |measure| {
            // They are unmasked where they lie.
            let mut input = frames.clone();
            let mut rest = &mut input[..];
            measure(&mut || {
                while let Some(event) = decoder.next(&mut rest, &limits).unwrap() {
                    black_box(event);
                }
            });
            assert!(rest.is_empty());
        })
    }

    fn encode_websocket_text() -> u64 {
        let text = push();
        calls(CALLS, || {
            black_box(websocket::text(black_box(&text)));
        })
    }

    fn decode_v2() -> u64 {
        let frame = Frame::Text(Bytes::from(push()));
        calls(CALLS, || {
            black_box(V2.decode(black_box(&frame)).unwrap());
        })
    }

    fn encode_v2_broadcast() -> u64 {
        let payload = Payload::json_bytes(JSON);
        calls(CALLS, || {
            black_box(V2.broadcast(TOPIC, EVENT, black_box(&payload)).unwrap());
        })
    }
}
