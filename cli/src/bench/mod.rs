//! `fanfare bench`: a load on an engine in this process.
//!
//! Broadcasts go out in three ways, each for its share of the time, and every figure comes from one of them:
//!
//! - *one at a time*: publish, then wait until all members have it, then until all readers have read it. Gives the time
//!   to the last delivery, stamped by the worker that made it, and the publish return with workers that may sleep;
//! - *behind another*: a few right behind one that wakes the workers. Gives the publish return with workers awake;
//! - *as many as go*: to all topics in turn, for throughput.

mod memory;
mod readers;
mod report;
mod subscribers;

use std::error::Error;
use std::time::{Duration, Instant};

use bytes::Bytes;
use fanfare::{Payload, PubSub};
use hdrhistogram::Histogram;

use crate::cli::Load;
use readers::{BEHIND_MAX, ROUNDS, Readers, STOP};
use report::{Alone, Behind, Flat, Report};
use subscribers::{Full, members_of};

/// Broadcasts before anything is measured: more than a mailbox holds, so that those that nobody reads are full.
const WARM_UP: usize = 12;
/// Fewest broadcasts of each kind, however little time there is.
const ROUNDS_MIN: u64 = 3;

/// Runs it.
pub(crate) fn run(load: &Load) -> Result<Report, Box<dyn Error>> {
    let Full { pubsub, names, mailboxes, handlers, create_per_s, subscribe_per_s, bytes_per_subscriber } =
        subscribers::make(load)?;
    let readers = Readers::start(mailboxes, load)?;
    let payload = Payload::binary(Bytes::from(vec![b'x'; load.payload]));
    let bench = Bench { load, pubsub, names, readers, payload };
    bench.warm_up()?;
    let alone = bench.alone(load.duration.mul_f64(0.4))?;
    let behind = bench.behind(load.duration.mul_f64(0.2))?;
    let flat = bench.flat(load.duration.mul_f64(0.4))?;
    // Subscribers go before the engine is dropped, and all of it after the last figure was taken.
    drop(bench);
    drop(handlers);
    Ok(Report { load: load.clone(), create_per_s, subscribe_per_s, bytes_per_subscriber, alone, behind, flat })
}

struct Bench<'a> {
    load: &'a Load,
    /// After the readers in order of dropping would do as well: they keep the engine's memory, not its threads.
    readers: Readers,
    pubsub: PubSub,
    names: Vec<String>,
    payload: Payload,
}

fn histogram() -> Histogram<u64> {
    // Three digits, any value: it grows as it must.
    Histogram::new(3).expect("three digits are within its bounds")
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Bench<'_> {
    fn send(&self, topic: usize, event: &'static str) -> Result<(), Box<dyn Error>> {
        self.pubsub.broadcast(&self.names[topic], event, self.payload.clone())?;
        Ok(())
    }

    /// Fills the mailboxes that nobody reads, and the caches.
    fn warm_up(&self) -> Result<(), Box<dyn Error>> {
        for _ in 0..WARM_UP {
            for topic in 0..self.names.len() {
                self.send(topic, ROUNDS[0])?;
            }
            self.pubsub.flush()?;
            self.readers.drain(None, 1)?;
        }
        Ok(())
    }

    /// One broadcast at a time.
    fn alone(&self, time: Duration) -> Result<Alone, Box<dyn Error>> {
        let mut alone = Alone::new(histogram(), histogram(), histogram());
        let stats = self.pubsub.stats();
        let mut in_place = stats.in_place;
        let end = Instant::now() + time;
        while alone.broadcasts < ROUNDS_MIN || Instant::now() < end {
            let topic = alone.broadcasts as usize % self.names.len();
            let begin = Instant::now();
            self.send(topic, ROUNDS[0])?;
            let returned = Instant::now();
            let flushed = self.pubsub.flush()?;
            // What the caller delivered itself was delivered by the return; the workers stamp what comes after.
            let now_in_place = self.pubsub.stats().in_place;
            let last = if now_in_place == in_place { flushed } else { returned };
            in_place = now_in_place;
            let last = nanoseconds(last.saturating_duration_since(begin));
            alone.last_delivery.record(last)?;
            alone.publish_return.record(nanoseconds(returned - begin))?;
            // In thousandths of a nanosecond, since it may be less than one.
            alone.per_delivery.record(last * 1000 / members_of(topic, self.load) as u64)?;
            self.readers.drain(Some(topic), 1)?;
            alone.broadcasts += 1;
        }
        alone.dropped = self.pubsub.stats().dropped - stats.dropped;
        Ok(alone)
    }

    /// A few broadcasts right behind one that wakes the workers.
    fn behind(&self, time: Duration) -> Result<Behind, Box<dyn Error>> {
        let mut behind = Behind { broadcasts: 0, publish_return: histogram() };
        let end = Instant::now() + time;
        let mut burst = 0;
        while burst < ROUNDS_MIN || Instant::now() < end {
            let topic = burst as usize % self.names.len();
            self.send(topic, ROUNDS[0])?;
            for _ in 1..BEHIND_MAX {
                let begin = Instant::now();
                self.send(topic, ROUNDS[0])?;
                behind.publish_return.record(nanoseconds(begin.elapsed()))?;
                behind.broadcasts += 1;
            }
            self.pubsub.flush()?;
            self.readers.drain(Some(topic), BEHIND_MAX)?;
            burst += 1;
        }
        Ok(behind)
    }

    /// As many broadcasts as go: to all topics in turn, the readers at most a few rounds behind.
    fn flat(&self, time: Duration) -> Result<Flat, Box<dyn Error>> {
        let before = self.pubsub.stats();
        self.readers.begin();
        let begin = Instant::now();
        let mut rounds = 0;
        while rounds < ROUNDS_MIN || begin.elapsed() < time {
            self.readers.wait_for_room(rounds);
            for topic in 0..self.names.len() {
                self.send(topic, ROUNDS[rounds as usize % ROUNDS.len()])?;
            }
            rounds += 1;
        }
        let delivered = self.pubsub.flush()?;
        let after = self.pubsub.stats();
        self.readers.wait_for_room(rounds);
        if !self.readers.is_empty() {
            for topic in 0..self.names.len() {
                self.send(topic, STOP)?;
            }
        }
        let read = self.readers.end()?;
        let flat = Flat {
            broadcasts: rounds * self.names.len() as u64,
            seconds: (delivered - begin).as_secs_f64(),
            deliveries: after.delivered - before.delivered,
            dropped: after.dropped - before.dropped,
            read_per_s: read.map(|read| read.messages as f64 / (read.last - begin).as_secs_f64()),
        };
        let expected = rounds * self.load.subscribers as u64;
        if flat.deliveries != expected {
            return Err(format!("{} deliveries were made where {expected} were due", flat.deliveries).into());
        }
        Ok(flat)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::cli::{Idle, Kind};

    /// A load that takes no time.
    pub(crate) fn load() -> Load {
        Load {
            subscribers: 100,
            workers: 2,
            topics: 1,
            payload: 8,
            kind: Kind::Mailbox,
            readers: 2,
            slow_readers: 0,
            duration: Duration::from_millis(10),
            pin: false,
            idle: Idle::Park,
        }
    }

    #[test]
    fn read_mailboxes_drop_nothing() {
        for topics in [1, 7, 100] {
            let report = run(&Load { topics, ..load() }).unwrap();
            assert_eq!((report.alone.dropped, report.flat.dropped), (0, 0), "{topics} topics");
            assert_eq!(report.flat.deliveries, report.flat.broadcasts * 100 / topics as u64);
            assert!(report.flat.read_per_s.unwrap() > 0.0);
        }
    }

    #[test]
    fn mailboxes_that_nobody_reads_drop_one_for_each_delivery() {
        let report = run(&Load { readers: 0, ..load() }).unwrap();
        assert_eq!(report.alone.dropped, report.alone.broadcasts * 100);
        assert_eq!(report.flat.dropped, report.flat.deliveries);
        assert_eq!(report.flat.read_per_s, None);
    }

    #[test]
    fn slow_mailboxes_drop_theirs_alone() {
        let report = run(&Load { slow_readers: 7, ..load() }).unwrap();
        assert_eq!(report.alone.dropped, report.alone.broadcasts * 7);
        assert_eq!(report.flat.dropped, report.flat.broadcasts * 7);
    }

    #[test]
    fn handlers_are_called_for_each_broadcast() {
        let report = run(&Load { kind: Kind::Handler, readers: 0, ..load() }).unwrap();
        assert_eq!(report.flat.deliveries, report.flat.broadcasts * 100);
        assert_eq!((report.alone.dropped, report.flat.dropped), (0, 0));
    }

    #[test]
    fn more_readers_than_mailboxes_is_no_trouble() {
        let report = run(&Load { subscribers: 1, readers: 3, ..load() }).unwrap();
        assert_eq!(report.flat.deliveries, report.flat.broadcasts);
    }
}
