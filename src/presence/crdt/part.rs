//! Parts, which is what goes from node to node, and the changes that they bring.

use super::Node;

/// What is so of all dots of one node after `from` up to `to`: those of `joins` are live, the others dead.
///
/// A part is either *whole*, which begins at zero and needs no leaves, or has all the leaves of its interval.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Part<E> {
    /// The node.
    pub node: Node,
    /// The interval begins behind this dot.
    pub from: u64,
    /// The interval ends with this dot.
    pub to: u64,
    /// The elements that are live, by their dots.
    pub joins: Vec<(u64, E)>,
    /// For each dot that is a leave: the dot that it killed.
    pub leaves: Vec<(u64, u64)>,
    /// Whether leaves are left out.
    pub is_whole: bool,
}

impl<E> Part<E> {
    /// Whether it does not contradict itself, which what comes from a network might.
    pub(crate) fn is_sound(&self) -> bool {
        let is_live = |dot: u64| self.joins.binary_search_by_key(&dot, |&(dot, _)| dot).is_ok();
        self.from < self.to
            && self.holds_in_order(self.joins.iter().map(|&(dot, _)| dot))
            && self.holds_in_order(self.leaves.iter().map(|&(at, _)| at))
            && self.leaves.iter().all(|&(at, dot)| 0 < dot && dot < at && !is_live(at) && !is_live(dot))
            && (!self.is_whole || self.from == 0 && self.leaves.is_empty())
    }

    /// Whether dots ascend, and lie in the interval.
    fn holds_in_order(&self, mut dots: impl Iterator<Item = u64>) -> bool {
        let mut last = self.from;
        dots.all(|dot| std::mem::replace(&mut last, dot) < dot && dot <= self.to)
    }
}

/// What became visible and what no longer is. An update is in both: apply the joins first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Changes<E> {
    /// Those that have joined.
    pub joined: Vec<E>,
    /// Those that have left.
    pub left: Vec<E>,
}

impl<E> Changes<E> {
    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.joined.is_empty() && self.left.is_empty()
    }
}

impl<E> Default for Changes<E> {
    fn default() -> Self {
        Changes { joined: Vec::new(), left: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_that_contradict_themselves_are_told() {
        let node = Node { name: "a".into(), vsn: 1 };
        let sound = Part { node, from: 2, to: 6, joins: vec![(3, ()), (5, ())], leaves: vec![(4, 1)], is_whole: false };
        assert!(sound.is_sound());
        let whole = Part { from: 0, leaves: vec![], is_whole: true, ..sound.clone() };
        assert!(whole.is_sound());
        for (name, unsound) in [
            ("empty", Part { from: 6, ..sound.clone() }),
            ("backwards", Part { from: 7, joins: vec![], leaves: vec![], ..sound.clone() }),
            ("join before it", Part { from: 3, ..sound.clone() }),
            ("join behind it", Part { to: 4, ..sound.clone() }),
            ("joins out of order", Part { joins: vec![(5, ()), (3, ())], ..sound.clone() }),
            ("join twice", Part { joins: vec![(3, ()), (3, ())], ..sound.clone() }),
            ("leave behind it", Part { leaves: vec![(7, 1)], ..sound.clone() }),
            ("leave of zero", Part { leaves: vec![(4, 0)], ..sound.clone() }),
            ("leave of a later one", Part { leaves: vec![(4, 6)], ..sound.clone() }),
            ("leave that is a join", Part { leaves: vec![(3, 1)], ..sound.clone() }),
            ("leave of one that is live", Part { leaves: vec![(4, 3)], ..sound.clone() }),
            ("whole, from later on", Part { from: 1, ..whole.clone() }),
            ("whole, with leaves", Part { leaves: vec![(4, 1)], ..whole.clone() }),
        ] {
            assert!(!unsound.is_sound(), "{name}");
        }
    }
}
