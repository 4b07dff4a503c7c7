//! The promises of presence, seen from outside, each by a test that says it.

#[path = "../common/mod.rs"]
mod common;

mod epochs;
mod hooks;
mod limits;
mod model;
mod owners;
mod states;
mod tracking;
mod view;

use fanfare::presence::{Builder, Presence, Scope};
use fanfare::{PubSub, Subscriber};
use std::time::Duration;

const ROOM: &str = "room:1";

/// An engine, and a presence on it. But for the first change after a quiet time, epochs end only when they are told to.
struct House {
    _watchdog: common::Watchdog,
    pubsub: PubSub,
    presence: Presence,
}

impl House {
    fn new() -> House {
        House::with(Presence::builder())
    }

    fn with(builder: Builder) -> House {
        let watchdog = common::watch();
        let pubsub = PubSub::builder().workers(2).build().unwrap();
        let presence = builder.diff_period(Duration::from_secs(3600)).start(&pubsub).unwrap();
        House { _watchdog: watchdog, pubsub, presence }
    }

    /// Ends all epochs, and sees to it that what they came to is in the mailboxes.
    fn told(&self) {
        self.presence.flush().unwrap();
        self.pubsub.flush().unwrap();
    }

    /// Lets epochs gather from now on: the room has just been told something, and cools for an hour.
    fn gather(&self, topic: &str) {
        let (sender, told) = std::sync::mpsc::channel();
        self.presence.with_state(topic, Scope::Count, move |_| sender.send(()).unwrap()).unwrap();
        told.recv().unwrap();
    }

    fn subscriber(&self, topic: &str) -> Subscriber {
        let subscriber = self.pubsub.subscriber().capacity(1 << 14).build().unwrap();
        subscriber.subscribe(topic).unwrap();
        subscriber
    }
}
