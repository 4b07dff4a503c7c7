//! Which dots of one node were seen: all up to a clock, and intervals beyond it.

use std::collections::BTreeMap;

/// See the module's text. Intervals are written `from`, `to`: the dots after `from` up to `to`.
///
/// Between the clock and the first interval, and between any two, at least one dot is missing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    clock: u64,
    /// First and last dot of each interval.
    beyond: BTreeMap<u64, u64>,
}

impl Seen {
    /// The dot up to which all were seen.
    pub(crate) fn clock(&self) -> u64 {
        self.clock
    }

    /// The intervals beyond the clock.
    pub(crate) fn beyond(&self) -> impl DoubleEndedIterator<Item = (u64, u64)> {
        self.beyond.iter().map(|(&first, &last)| (first - 1, last))
    }

    /// Whether a dot was seen.
    pub(crate) fn contains(&self, dot: u64) -> bool {
        dot <= self.clock || self.beyond.range(..=dot).next_back().is_some_and(|(_, &last)| dot <= last)
    }

    /// Adds an interval.
    pub(crate) fn insert(&mut self, from: u64, to: u64) {
        debug_assert!(from < to);
        let (mut first, mut last) = (from + 1, to);
        // Those that overlap or touch become one with it. None that starts before one that does neither can.
        while let Some((&start, &end)) = self.beyond.range(..=last.saturating_add(1)).next_back()
            && end >= first - 1
        {
            self.beyond.remove(&start);
            (first, last) = (first.min(start), last.max(end));
        }
        if first <= self.clock.saturating_add(1) {
            self.clock = self.clock.max(last);
        } else {
            self.beyond.insert(first, last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn it_is_the_set_of_its_intervals(intervals in prop::collection::vec((0_u64..40, 1_u64..6), 0..20)) {
            let (mut seen, mut plain) = (Seen::default(), BTreeSet::new());
            for (from, length) in intervals {
                seen.insert(from, from + length);
                plain.extend(from + 1..=from + length);
                let contiguous = (1..).take_while(|dot| plain.contains(dot)).count() as u64;
                prop_assert_eq!(seen.clock(), contiguous);
                for dot in 1..50 {
                    prop_assert_eq!(seen.contains(dot), plain.contains(&dot));
                }
                let edges: Vec<(u64, u64)> = seen.beyond().collect();
                prop_assert!(edges.iter().all(|(from, to)| from < to && *from > seen.clock()));
                prop_assert!(edges.windows(2).all(|pair| pair[0].1 < pair[1].0));
            }
        }
    }
}
