//! What a run found, as a table and as JSON.

use std::fmt::Write;

use hdrhistogram::Histogram;
use serde_json::json;

use crate::cli::{Kind, Load};

/// What was found with one broadcast at a time.
pub(crate) struct Alone {
    pub(crate) broadcasts: u64,
    /// Time from the call to the last delivery, in nanoseconds.
    pub(crate) last_delivery: Histogram<u64>,
    /// The same over the topic's members, in thousandths of a nanosecond.
    pub(crate) per_delivery: Histogram<u64>,
    /// Nanoseconds.
    pub(crate) publish_return: Histogram<u64>,
    pub(crate) dropped: u64,
}

/// What was found right behind another broadcast.
pub(crate) struct Behind {
    pub(crate) broadcasts: u64,
    /// Nanoseconds.
    pub(crate) publish_return: Histogram<u64>,
}

/// What was found with as many broadcasts as go.
pub(crate) struct Flat {
    pub(crate) broadcasts: u64,
    /// From the first call to the last delivery.
    pub(crate) seconds: f64,
    pub(crate) deliveries: u64,
    pub(crate) dropped: u64,
    pub(crate) read_per_s: Option<f64>,
}

/// What a run found.
pub(crate) struct Report {
    pub(crate) load: Load,
    pub(crate) create_per_s: f64,
    pub(crate) subscribe_per_s: f64,
    pub(crate) bytes_per_subscriber: Option<f64>,
    pub(crate) alone: Alone,
    pub(crate) behind: Behind,
    pub(crate) flat: Flat,
}

impl Alone {
    pub(crate) fn new(a: Histogram<u64>, b: Histogram<u64>, c: Histogram<u64>) -> Self {
        Alone { broadcasts: 0, last_delivery: a, per_delivery: b, publish_return: c, dropped: 0 }
    }
}

impl Report {
    /// One object. Times carry their unit in their names.
    pub(crate) fn json(&self) -> String {
        let Report { load, alone, behind, flat, .. } = self;
        let microseconds = |quantile| alone.last_delivery.value_at_quantile(quantile) as f64 / 1e3;
        let object = json!({
            "subscribers": load.subscribers,
            "workers": load.workers,
            "topics": load.topics,
            "kind": load.kind.name(),
            "payload_bytes": load.payload,
            "readers": load.readers,
            "slow_readers": load.slow_readers,
            "pinned": load.pin,
            "idle": load.idle.name(),
            "delivery": self.delivery(),
            "create_per_s": self.create_per_s,
            "subscribe_per_s": self.subscribe_per_s,
            "bytes_per_subscriber": self.bytes_per_subscriber,
            "single_broadcasts": alone.broadcasts,
            "single_dropped": alone.dropped,
            "ns_per_delivery": alone.per_delivery.value_at_quantile(0.5) as f64 / 1e3,
            "last_delivery_us_p50": microseconds(0.5),
            "last_delivery_us_p99": microseconds(0.99),
            "last_delivery_us_p999": microseconds(0.999),
            "publish_return_asleep_ns_p50": alone.publish_return.value_at_quantile(0.5),
            "publish_return_asleep_ns_p99": alone.publish_return.value_at_quantile(0.99),
            "publish_return_ns_p50": behind.publish_return.value_at_quantile(0.5),
            "publish_return_ns_p99": behind.publish_return.value_at_quantile(0.99),
            "broadcasts": flat.broadcasts,
            "seconds": flat.seconds,
            "deliveries": flat.deliveries,
            "deliveries_per_s": flat.deliveries as f64 / flat.seconds,
            "dropped": flat.dropped,
            "read_per_s": flat.read_per_s,
        });
        object.to_string()
    }

    fn delivery(&self) -> &'static str {
        match self.load.kind {
            Kind::Mailbox => "the message is in the mailbox",
            Kind::Handler => "the handler has run",
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let Report { load, alone, behind, flat, .. } = self;
        let mut text = String::new();
        self.write_head(&mut text);
        section(&mut text, "Subscribing, on one thread");
        row(&mut text, "create", &rate(self.create_per_s), "");
        row(&mut text, "subscribe", &rate(self.subscribe_per_s), "");
        if let Some(bytes) = self.bytes_per_subscriber {
            let note = "resident memory, the owner's handle included";
            row(&mut text, "memory per subscriber", &format!("{bytes:.0} B"), note);
        }
        section(&mut text, &format!("One broadcast at a time: {}", grouped(alone.broadcasts)));
        let per_delivery = alone.per_delivery.value_at_quantile(0.5) as f64 / 1e3;
        row(&mut text, "ns per delivery", &number(per_delivery), &format!("until {}", self.all_have_it()));
        row(&mut text, "last delivery", &times(&alone.last_delivery, &[0.5, 0.99, 0.999]), "p50, p99, p99.9");
        let note = if load.idle == crate::cli::Idle::Park { "p50, p99; workers asleep" } else { "p50, p99" };
        row(&mut text, "broadcast returns", &times(&alone.publish_return, &[0.5, 0.99]), note);
        drops(&mut text, alone.dropped);
        section(&mut text, &format!("Right behind another broadcast: {}", grouped(behind.broadcasts)));
        let note = "p50, p99; workers awake";
        row(&mut text, "broadcast returns", &times(&behind.publish_return, &[0.5, 0.99]), note);
        section(&mut text, &format!("As many as go: {} in {:.2} s", grouped(flat.broadcasts), flat.seconds));
        let note = format!("{} in all", grouped(flat.deliveries));
        row(&mut text, "deliveries", &rate(flat.deliveries as f64 / flat.seconds), &note);
        if let Some(read) = flat.read_per_s {
            row(&mut text, "read by their owners", &rate(read), "");
        }
        drops(&mut text, flat.dropped);
        text
    }

    fn write_head(&self, text: &mut String) {
        let load = &self.load;
        let kind = match load.kind {
            Kind::Mailbox => "mailboxes",
            Kind::Handler => "handlers",
        };
        let subscribers = grouped(load.subscribers as u64);
        *text += &format!("{subscribers} {kind}, topics: {}, workers: {}", grouped(load.topics as u64), load.workers);
        if load.kind == Kind::Mailbox {
            *text += &format!(", readers: {}", load.readers);
        }
        if load.slow_readers > 0 {
            *text += &format!(", never read: {}", grouped(load.slow_readers as u64));
        }
        *text += &format!(", payload: {} B\n", grouped(load.payload as u64));
    }

    fn all_have_it(&self) -> &'static str {
        match (self.load.kind, self.load.readers) {
            (Kind::Handler, _) => "the callbacks of all have run",
            (Kind::Mailbox, 0) => "it is in all mailboxes, which nobody reads",
            (Kind::Mailbox, _) => "it is in all mailboxes; they are read before the next",
        }
    }
}

fn section(text: &mut String, title: &str) {
    let _ = writeln!(text, "\n{title}");
}

fn row(text: &mut String, name: &str, value: &str, note: &str) {
    let line = format!("  {name:<22} {value:>28}  {note}");
    let _ = writeln!(text, "{}", line.trim_end());
}

fn drops(text: &mut String, dropped: u64) {
    if dropped > 0 {
        row(text, "DROPPED", &grouped(dropped), "unread messages pushed out of full mailboxes by these deliveries");
    }
}

fn times(histogram: &Histogram<u64>, quantiles: &[f64]) -> String {
    let time = |&quantile: &f64| time(histogram.value_at_quantile(quantile));
    quantiles.iter().map(time).collect::<Vec<_>>().join(", ")
}

/// Nanoseconds with three digits and a fitting unit.
fn time(nanoseconds: u64) -> String {
    match nanoseconds as f64 {
        ns if ns < 1e3 => format!("{ns} ns"),
        ns if ns < 1e6 => format!("{} us", number(ns / 1e3)),
        ns if ns < 1e9 => format!("{} ms", number(ns / 1e6)),
        ns => format!("{} s", number(ns / 1e9)),
    }
}

fn rate(per_second: f64) -> String {
    match per_second {
        rate if rate < 1e3 => format!("{} /s", number(rate)),
        rate if rate < 1e6 => format!("{} k/s", number(rate / 1e3)),
        rate => format!("{} M/s", number(rate / 1e6)),
    }
}

/// Three digits.
fn number(value: f64) -> String {
    match value {
        value if value < 10.0 => format!("{value:.2}"),
        value if value < 100.0 => format!("{value:.1}"),
        value => format!("{value:.0}"),
    }
}

fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |at: usize| if at > 0 && (digits.len() - at).is_multiple_of(3) { "," } else { "" };
    digits.chars().enumerate().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made-up figures, each unlike the others.
    fn report() -> Report {
        let of = |values: &[u64]| {
            let mut histogram = Histogram::new(3).unwrap();
            values.iter().for_each(|&value| histogram.record(value).unwrap());
            histogram
        };
        let alone = Alone {
            broadcasts: 3,
            dropped: 5,
            ..Alone::new(of(&[1_000, 2_000, 900_000]), of(&[1_500, 1_500, 9_000]), of(&[700, 800, 990]))
        };
        let load = Load { subscribers: 1_234_567, slow_readers: 9, ..super::super::tests::load() };
        let behind = Behind { broadcasts: 4, publish_return: of(&[120, 120, 150]) };
        let flat = Flat { broadcasts: 10, seconds: 0.5, deliveries: 12_345_670, dropped: 6, read_per_s: Some(2.5e6) };
        let (create_per_s, subscribe_per_s) = (5e6, 2.5e7);
        Report { load, create_per_s, subscribe_per_s, bytes_per_subscriber: Some(144.4), alone, behind, flat }
    }

    #[test]
    fn json_is_one_object_with_each_figure_at_its_name() {
        let text = report().json();
        assert!(!text.contains('\n'));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let near = |name: &str, expected: f64| {
            let found = value[name].as_f64().unwrap_or_else(|| panic!("{name} in {text}"));
            // A histogram keeps three digits.
            assert!((found - expected).abs() <= expected * 2e-3, "{name} is {found}, not {expected}");
        };
        near("subscribers", 1_234_567.0);
        near("workers", 2.0);
        near("slow_readers", 9.0);
        near("bytes_per_subscriber", 144.4);
        near("ns_per_delivery", 1.5);
        near("last_delivery_us_p50", 2.0);
        near("last_delivery_us_p99", 900.0);
        near("publish_return_asleep_ns_p50", 800.0);
        near("publish_return_ns_p50", 120.0);
        near("publish_return_ns_p99", 150.0);
        near("deliveries", 12_345_670.0);
        near("deliveries_per_s", 24_691_340.0);
        near("subscribe_per_s", 2.5e7);
        near("create_per_s", 5e6);
        near("read_per_s", 2.5e6);
        near("single_dropped", 5.0);
        near("dropped", 6.0);
        assert_eq!(value["kind"], "mailbox");
        assert_eq!(value["idle"], "park");
    }

    #[test]
    fn what_was_not_measured_is_null() {
        let mut report = report();
        report.bytes_per_subscriber = None;
        report.flat.read_per_s = None;
        let value: serde_json::Value = serde_json::from_str(&report.json()).unwrap();
        assert!(value["bytes_per_subscriber"].is_null());
        assert!(value["read_per_s"].is_null());
    }

    #[test]
    fn the_table_names_drops_beside_what_they_are_in() {
        let mut report = report();
        let text = report.table();
        assert!(text.starts_with("1,234,567 mailboxes, topics: 1, workers: 2, readers: 2, never read: 9"), "{text}");
        assert_eq!(text.matches("DROPPED").count(), 2, "{text}");
        report.flat.dropped = 0;
        assert_eq!(report.table().matches("DROPPED").count(), 1);
        report.alone.dropped = 0;
        assert!(!report.table().contains("DROPPED"));
    }

    #[test]
    fn figures_have_three_digits_and_a_unit() {
        assert_eq!(
            [0, 999, 1_500, 2_000_000, 3_200_000_000].map(time),
            ["0 ns", "999 ns", "1.50 us", "2.00 ms", "3.20 s"]
        );
        assert_eq!([12.0, 1_500.0, 123_400_000.0].map(rate), ["12.0 /s", "1.50 k/s", "123 M/s"]);
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
