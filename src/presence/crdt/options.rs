//! The numbers of the gossip, and which of them go together.

use std::fmt;
use std::time::Duration;

/// The numbers of the gossip. All nodes of a cluster should have the same.
///
/// The periods are shorter than those of Phoenix.Tracker (1.5 s, 10, 30 s): a node does not take its own pauses, or a
/// full inbound queue, for the silence of others, so it need not wait as long before it believes in that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Time from tick to tick: the longest that a change waits before it is told. 500 ms by default.
    pub broadcast_period: Duration,
    /// Ticks without a change that may pass between two heartbeats. 10 by default, so a heartbeat comes each 5.5 s.
    pub max_silent_periods: u32,
    /// Ticks from one look at what is missing to the next. 2 by default.
    pub clock_sample_periods: u32,
    /// Silence after which a node is down: its presences are hidden. 15 s by default, time for two lost heartbeats.
    pub down_period: Duration,
    /// Silence after which a node is forgotten. 20 minutes by default.
    pub permdown_period: Duration,
    /// Leaves of each node that are kept for those who lag; who lags more is sent all of that node. 10,000 by default,
    /// some 20 bytes each.
    pub leaves_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            broadcast_period: Duration::from_millis(500),
            max_silent_periods: 10,
            clock_sample_periods: 2,
            down_period: Duration::from_secs(15),
            permdown_period: Duration::from_secs(1200),
            leaves_max: 10_000,
        }
    }
}

impl Options {
    /// Time from one heartbeat of an idle node to the next.
    fn heartbeat_period(&self) -> Duration {
        self.broadcast_period.saturating_mul(self.max_silent_periods.saturating_add(1))
    }

    /// Whether the numbers go together.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        if self.broadcast_period.is_zero() {
            return Err(OptionsError::NoBroadcastPeriod);
        }
        if self.clock_sample_periods == 0 {
            return Err(OptionsError::NoClockSamplePeriods);
        }
        // Two periods more: that is how far two nodes' ticks may be apart, and how coarsely silence is measured.
        let min = self.heartbeat_period().saturating_add(self.broadcast_period.saturating_mul(2));
        if self.down_period < min {
            return Err(OptionsError::DownPeriodTooShort { min });
        }
        if self.permdown_period <= self.down_period {
            return Err(OptionsError::PermdownPeriodTooShort);
        }
        Ok(())
    }
}

/// Why numbers do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// `broadcast_period` is zero.
    NoBroadcastPeriod,
    /// `clock_sample_periods` is zero.
    NoClockSamplePeriods,
    /// `down_period` is so short that a node which has nothing to tell would be down between two of its heartbeats.
    DownPeriodTooShort {
        /// How long it must be, with the other numbers as they are.
        min: Duration,
    },
    /// `permdown_period` is not longer than `down_period`.
    PermdownPeriodTooShort,
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OptionsError::NoBroadcastPeriod => f.write_str("broadcast_period must not be zero"),
            OptionsError::NoClockSamplePeriods => f.write_str("clock_sample_periods must not be zero"),
            OptionsError::DownPeriodTooShort { min } => write!(f, "down_period must be at least {min:?}"),
            OptionsError::PermdownPeriodTooShort => f.write_str("permdown_period must be longer than down_period"),
        }
    }
}

impl std::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_do_not_go_together_are_refused() {
        let good = Options::default;
        assert_eq!(good().check(), Ok(()));
        let min = Duration::from_millis(6500);
        assert_eq!(Options { down_period: min, ..good() }.check(), Ok(()));
        for (options, error) in [
            (Options { broadcast_period: Duration::ZERO, ..good() }, OptionsError::NoBroadcastPeriod),
            (Options { clock_sample_periods: 0, ..good() }, OptionsError::NoClockSamplePeriods),
            (
                Options { down_period: min - Duration::from_millis(1), ..good() },
                OptionsError::DownPeriodTooShort { min },
            ),
            (Options { permdown_period: good().down_period, ..good() }, OptionsError::PermdownPeriodTooShort),
        ] {
            assert_eq!(options.check(), Err(error));
        }
    }
}
