//! The subscribers of a load: made, subscribed, and dealt out to readers.

use std::error::Error;
use std::time::Instant;

use fanfare::{Context, Handler, HandlerSubscriber, Idle, Message, PubSub, Subscriber};
use indicatif::{ProgressBar, ProgressStyle};

use super::memory::resident_bytes;
use crate::cli::{self, Kind, Load};

/// How long idle workers spin with `--idle spin`.
const SPIN: std::time::Duration = std::time::Duration::from_millis(1);
/// Subscribers between two steps of the progress bar.
const STEP: usize = 4096;

/// A handler that does next to nothing: what is measured is what the engine adds.
struct Count {
    seen: u64,
}

impl Handler for Count {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        self.seen += 1 + (std::hint::black_box(message).payload().bytes().is_none() as u64);
    }
}

/// An engine full of subscribers, and what it took to fill it.
pub(crate) struct Full {
    pub(crate) pubsub: PubSub,
    pub(crate) names: Vec<String>,
    pub(crate) mailboxes: Vec<Subscriber>,
    /// Kept, since dropping one ends its handler.
    pub(crate) handlers: Vec<HandlerSubscriber>,
    pub(crate) create_per_s: f64,
    pub(crate) subscribe_per_s: f64,
    pub(crate) bytes_per_subscriber: Option<f64>,
}

/// The topic of the subscriber with that number.
pub(crate) fn topic_of(subscriber: usize, load: &Load) -> usize {
    subscriber % load.topics
}

/// Members of a topic.
pub(crate) fn members_of(topic: usize, load: &Load) -> usize {
    load.subscribers / load.topics + usize::from(topic < load.subscribers % load.topics)
}

/// Starts an engine, makes the subscribers and subscribes each to its topic, with a progress bar on a terminal.
pub(crate) fn make(load: &Load) -> Result<Full, Box<dyn Error>> {
    let names: Vec<String> = (0..load.topics).map(|topic| format!("bench:{topic}")).collect();
    let idle = match load.idle {
        cli::Idle::Park => Idle::Park,
        cli::Idle::Spin => Idle::Spin(SPIN),
    };
    let before = resident_bytes();
    let pubsub = PubSub::builder().workers(load.workers).pin(load.pin).idle(idle).build()?;
    // Draws to stderr, and to a terminal only.
    let bar = ProgressBar::new(2 * load.subscribers as u64);
    let style = "{msg:>12} {wide_bar} {percent:>3} %, {per_sec}, {eta} left";
    bar.set_style(ProgressStyle::with_template(style).expect("the template is well formed"));

    bar.set_message("creating");
    let (mut mailboxes, mut handlers) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    match load.kind {
        Kind::Mailbox => {
            mailboxes.reserve_exact(load.subscribers);
            for number in 0..load.subscribers {
                mailboxes.push(pubsub.subscriber().build()?);
                step(&bar, number);
            }
        }
        Kind::Handler => {
            handlers.reserve_exact(load.subscribers);
            for number in 0..load.subscribers {
                handlers.push(pubsub.subscriber().handler(Count { seen: 0 })?);
                step(&bar, number);
            }
        }
    }
    let create_per_s = load.subscribers as f64 / (pubsub.flush()? - begin).as_secs_f64();

    bar.set_message("subscribing");
    let begin = Instant::now();
    for number in 0..load.subscribers {
        let topic = &names[topic_of(number, load)];
        match load.kind {
            Kind::Mailbox => mailboxes[number].subscribe(topic)?,
            Kind::Handler => handlers[number].subscribe(topic)?,
        }
        step(&bar, number);
    }
    let subscribe_per_s = load.subscribers as f64 / (pubsub.flush()? - begin).as_secs_f64();
    bar.finish_and_clear();

    let bytes = before.zip(resident_bytes()).map(|(before, after)| after.saturating_sub(before));
    let bytes_per_subscriber = bytes.map(|bytes| bytes as f64 / load.subscribers as f64);
    Ok(Full { pubsub, names, mailboxes, handlers, create_per_s, subscribe_per_s, bytes_per_subscriber })
}

fn step(bar: &ProgressBar, number: usize) {
    if (number + 1).is_multiple_of(STEP) {
        bar.inc(STEP as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_share_the_subscribers_out() {
        let load = Load { subscribers: 10, topics: 4, ..super::super::tests::load() };
        let mut members = [0; 4];
        (0..10).for_each(|subscriber| members[topic_of(subscriber, &load)] += 1);
        assert_eq!(members, [3, 3, 2, 2]);
        assert_eq!([0, 1, 2, 3].map(|topic| members_of(topic, &load)), members);
    }

    #[test]
    fn what_was_made_is_subscribed() {
        for kind in [Kind::Mailbox, Kind::Handler] {
            let full = make(&Load { kind, topics: 3, ..super::super::tests::load() }).unwrap();
            let counts: Vec<usize> = full.names.iter().map(|name| full.pubsub.subscriber_count(name)).collect();
            assert_eq!(counts, [34, 33, 33]);
            assert_eq!(full.pubsub.stats().subscriptions, 100);
            assert_eq!(full.mailboxes.len() + full.handlers.len(), 100);
        }
    }
}
