//! What one node knows of all. See the module's text for the model and the invariants.

use super::part::{Changes, Part};
use super::seen::Seen;
use super::{Element, Node};
use std::collections::{BTreeMap, HashMap};

/// The knowledge of one node.
#[derive(Debug)]
pub(crate) struct State<E: Element> {
    own: Node,
    /// The dots of our own elements.
    dots: HashMap<E::Id, u64, crate::hash::Quality>,
    /// With ourselves, who are never shown: what is ours need not be told to us.
    known: BTreeMap<Node, Known<E>>,
    /// Leaves that are kept of each node.
    leaves_max: usize,
}

/// What is known of one node.
#[derive(Debug)]
struct Known<E> {
    seen: Seen,
    /// By dot. Some may be beyond the clock.
    live: BTreeMap<u64, E>,
    /// The leaves after `logged` that were seen, and what they killed.
    leaves: BTreeMap<u64, u64>,
    /// At most the clock.
    logged: u64,
    /// Whether its elements are visible.
    is_shown: bool,
}

impl<E: Element> State<E> {
    /// That of a node that has done nothing, and keeps at most `leaves_max` leaves of each node.
    pub(crate) fn new(own: Node, leaves_max: usize) -> Self {
        let known = BTreeMap::from([(own.clone(), Known::default())]);
        State { own, dots: HashMap::default(), known, leaves_max }
    }

    /// Changes what is ours. Leaves of what is not are ignored.
    pub(crate) fn apply(&mut self, joins: impl IntoIterator<Item = E>, leaves: impl IntoIterator<Item = E::Id>) {
        let own = self.known.get_mut(&self.own).expect("we know ourselves");
        let before = own.seen.clock();
        let mut clock = before;
        for id in leaves {
            let Some(dot) = self.dots.remove(&id) else { continue };
            clock += 1;
            own.live.remove(&dot);
            own.leaves.insert(clock, dot);
        }
        for element in joins {
            clock += 1;
            let other = self.dots.insert(element.id(), clock);
            debug_assert!(other.is_none(), "the names of elements are unique");
            own.live.insert(clock, element);
        }
        if clock > before {
            own.seen.insert(before, clock);
            own.trim(self.leaves_max);
        }
    }

    /// Makes a node known, of whom nothing was seen yet. It is not shown.
    pub(crate) fn add(&mut self, node: Node) {
        self.known.entry(node).or_default();
    }

    /// Takes in a part that is sound. What it tells of a node that is not known, or of ourselves, is ignored.
    pub(crate) fn merge(&mut self, part: &Part<E>, changes: &mut Changes<E>) {
        debug_assert!(part.is_sound());
        if part.node == self.own {
            return;
        }
        let Some(known) = self.known.get_mut(&part.node) else { return };
        known.merge(part, changes);
        known.trim(self.leaves_max);
    }

    /// Adds to `parts` what somebody lacks who has seen all dots of `node` up to `since`.
    pub(crate) fn extract(&self, node: &Node, since: u64, parts: &mut Vec<Part<E>>) {
        let Some(known) = self.known.get(node) else { return };
        // The latest first, so that what they killed is not told as joined by the earlier ones.
        let beyond = known.seen.beyond().rev().filter(|&(_, to)| to > since);
        parts.extend(beyond.map(|(from, to)| known.part(node, from, to)));
        let clock = known.seen.clock();
        if since < clock {
            let is_logged = since >= known.logged;
            let delta = is_logged.then(|| known.part(node, since, clock));
            // After many changes to few elements, all is less than what has changed.
            let delta = delta.filter(|delta| delta.leaves.len() <= known.live.len());
            parts.push(delta.unwrap_or_else(|| known.whole(node)));
        }
    }

    /// The dot up to which all of a node were seen; none if it is not known.
    pub(crate) fn clock(&self, node: &Node) -> Option<u64> {
        Some(self.known.get(node)?.seen.clock())
    }

    /// Makes a node's elements visible.
    pub(crate) fn show(&mut self, node: &Node, changes: &mut Changes<E>) {
        if let Some(known) = self.known.get_mut(node)
            && !std::mem::replace(&mut known.is_shown, true)
        {
            changes.joined.extend(known.live.values().cloned());
        }
    }

    /// Hides a node's elements, and keeps them.
    pub(crate) fn hide(&mut self, node: &Node, changes: &mut Changes<E>) {
        if let Some(known) = self.known.get_mut(node)
            && std::mem::replace(&mut known.is_shown, false)
        {
            changes.left.extend(known.live.values().cloned());
        }
    }

    /// Forgets all of a node.
    pub(crate) fn forget(&mut self, node: &Node, changes: &mut Changes<E>) {
        debug_assert!(*node != self.own, "we do not forget ourselves");
        self.hide(node, changes);
        self.known.remove(node);
    }

    /// The elements of the nodes that are shown.
    #[cfg(test)]
    pub(crate) fn visible(&self) -> impl Iterator<Item = &E> {
        self.known.values().filter(|known| known.is_shown).flat_map(|known| known.live.values())
    }

    /// Which nodes are known, which of their dots were seen, and which of these are live.
    #[cfg(test)]
    pub(crate) fn knowledge(&self) -> BTreeMap<Node, (Seen, Vec<u64>)> {
        let of = |known: &Known<E>| (known.seen.clone(), known.live.keys().copied().collect());
        self.known.iter().map(|(node, known)| (node.clone(), of(known))).collect()
    }
}

impl<E: Element> Known<E> {
    fn merge(&mut self, part: &Part<E>, changes: &mut Changes<E>) {
        // Those that are live with us and not in the part have left: it knows better (I1).
        let mut joins = part.joins.iter().map(|&(dot, _)| dot).peekable();
        let is_gone = |dot: &u64| {
            while joins.next_if(|join| join < dot).is_some() {}
            joins.peek() != Some(dot)
        };
        let gone: Vec<u64> = self.live.range(part.from + 1..=part.to).map(|(&dot, _)| dot).filter(is_gone).collect();
        for dot in gone.into_iter().chain(part.leaves.iter().map(|&(_, dot)| dot)) {
            if let Some(element) = self.live.remove(&dot)
                && self.is_shown
            {
                changes.left.push(element);
            }
        }
        for (dot, element) in &part.joins {
            if !self.seen.contains(*dot) {
                self.live.insert(*dot, element.clone());
                if self.is_shown {
                    changes.joined.push(element.clone());
                }
            }
        }
        if part.is_whole {
            if part.to > self.seen.clock() {
                // There were leaves that we shall never know of.
                self.logged = part.to;
                self.leaves = self.leaves.split_off(&part.to.saturating_add(1));
            }
        } else {
            let logged = self.logged;
            self.leaves.extend(part.leaves.iter().copied().filter(|&(at, _)| at > logged));
        }
        self.seen.insert(part.from, part.to);
        for &(_, dot) in &part.leaves {
            // It may be one whose join we have not seen, and now must not.
            self.seen.insert(dot - 1, dot);
        }
    }

    /// What is so of an interval, all whose leaves are logged.
    fn part(&self, node: &Node, from: u64, to: u64) -> Part<E> {
        debug_assert!(from >= self.logged);
        let joins = self.live.range(from + 1..=to).map(|(&dot, element)| (dot, element.clone())).collect();
        let leaves = self.leaves.range(from + 1..=to).map(|(&at, &dot)| (at, dot)).collect();
        Part { node: node.clone(), from, to, joins, leaves, is_whole: false }
    }

    /// All up to the clock.
    fn whole(&self, node: &Node) -> Part<E> {
        let to = self.seen.clock();
        let joins = self.live.range(..=to).map(|(&dot, element)| (dot, element.clone())).collect();
        Part { node: node.clone(), from: 0, to, joins, leaves: Vec::new(), is_whole: true }
    }

    /// Keeps the log short. What is beyond the clock stays: parts that begin there need all their leaves (I2).
    fn trim(&mut self, leaves_max: usize) {
        while self.leaves.len() > leaves_max
            && let Some(first) = self.leaves.first_entry()
            && *first.key() <= self.seen.clock()
        {
            self.logged = *first.key();
            first.remove();
        }
    }
}

impl<E> Default for Known<E> {
    fn default() -> Self {
        let (live, leaves) = (BTreeMap::new(), BTreeMap::new());
        Known { seen: Seen::default(), live, leaves, logged: 0, is_shown: false }
    }
}
