//! One measurement: a server of its own, a number of connections, broadcasts one at a time or in bursts.

use std::time::{Duration, Instant};

use crate::client::Client;
use crate::fault::Fault;
use crate::process::Server;

/// How many connections, and how many broadcasts are in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Case {
    pub(crate) connections: usize,
    pub(crate) burst: u64,
}

/// How long to broadcast: at least so many rounds, and at least so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Length {
    pub(crate) rounds: usize,
    pub(crate) time: Duration,
}

/// What came out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// Processor time of the server for each delivery.
    pub(crate) delivery_us: f64,
    /// From the write of a push, or of a burst, until the last connection has all of it.
    pub(crate) fan_out_p50_ms: f64,
    pub(crate) fan_out_p99_ms: f64,
    pub(crate) deliveries_per_s: f64,
    /// Connections opened, upgraded and joined; with the client on the same machine.
    pub(crate) joins_per_s: f64,
    /// Processor time of the server for each of them.
    pub(crate) join_us: f64,
    /// Memory of the server for each connection that has joined, before the first broadcast.
    pub(crate) idle_bytes: f64,
    /// The same when the last broadcast has been delivered.
    pub(crate) after_bytes: f64,
    pub(crate) deliveries: u64,
}

/// Puts `case` on `server`, which must be fresh.
pub(crate) fn measure(server: &Server, case: Case, length: Length) -> Result<Figures, Fault> {
    let connections = case.connections as f64;
    let (empty, unused) = (server.memory()?, server.cpu()?);
    let begin = Instant::now();
    let mut client = Client::join(server.address, case.connections)?;
    let joining = begin.elapsed();
    let (idle, joined) = (server.memory()?, server.cpu()?);
    for _ in 0..length.rounds.div_ceil(10) {
        client.publish(case.burst)?;
    }
    let mut rounds = Vec::new();
    let (warm, begin) = (server.cpu()?, Instant::now());
    while rounds.len() < length.rounds || begin.elapsed() < length.time {
        rounds.push(client.publish(case.burst)?);
    }
    let (took, end) = (begin.elapsed(), server.cpu()?);
    client.finish()?;
    let after = server.memory()?;
    let deliveries = rounds.len() as u64 * case.burst * case.connections as u64;
    rounds.sort();
    let of_each = |memory: u64| (memory as f64 - empty as f64) / connections;
    Ok(Figures {
        delivery_us: micros(end - warm) / deliveries as f64,
        fan_out_p50_ms: micros(percentile(&rounds, 50)) / 1e3,
        fan_out_p99_ms: micros(percentile(&rounds, 99)) / 1e3,
        deliveries_per_s: deliveries as f64 / took.as_secs_f64(),
        joins_per_s: connections / joining.as_secs_f64(),
        join_us: micros(joined - unused) / connections,
        idle_bytes: of_each(idle),
        after_bytes: of_each(after),
        deliveries,
    })
}

/// The value that `percent` of `sorted` do not exceed.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent).div_ceil(100).max(1) - 1]
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

impl Figures {
    /// The median of each figure; deliveries are summed.
    pub(crate) fn median(all: &[Self]) -> Self {
        let of = |figure: fn(&Self) -> f64| median(all.iter().map(figure).collect());
        Self {
            delivery_us: of(|figures| figures.delivery_us),
            fan_out_p50_ms: of(|figures| figures.fan_out_p50_ms),
            fan_out_p99_ms: of(|figures| figures.fan_out_p99_ms),
            deliveries_per_s: of(|figures| figures.deliveries_per_s),
            joins_per_s: of(|figures| figures.joins_per_s),
            join_us: of(|figures| figures.join_us),
            idle_bytes: of(|figures| figures.idle_bytes),
            after_bytes: of(|figures| figures.after_bytes),
            deliveries: all.iter().map(|figures| figures.deliveries).sum(),
        }
    }
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let middle = numbers.len() / 2;
    if numbers.len() % 2 == 1 { numbers[middle] } else { (numbers[middle - 1] + numbers[middle]) / 2.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians_are_of_what_was_measured() {
        let times: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Duration::from_millis(100));
        assert_eq!(percentile(&times, 99), Duration::from_millis(198));
        assert_eq!(percentile(&times[..1], 50), Duration::from_millis(1));
        assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    }
}
