//! What nodes know of each other's presences, and how they tell each other. Pure: no I/O, clocks, threads or chance.
//!
//! [`State`] is the knowledge, an add-wins observed-remove set that is replicated by deltas (Almeida, Shoker, Baquero,
//! "Delta state replicated data types", 2018). [`Replica`] is the gossip around it, the state machine of one node.
//!
//! # The model
//!
//! A [`Node`] is one life of a node. What it does to its own presences is a sequence of operations, numbered from 1 by
//! its *clock*: a join of an element, or a leave of an earlier join. A node and a number are a *dot*. Only net changes
//! get one, and every change does, so the numbers have no holes. Only the node itself makes its operations; to others
//! a dot is unknown, live (its element is present), or dead (the element has left, or the dot is that of a leave). It
//! goes through these in this order and never back.
//!
//! A [`Part`] says of all dots of one node in an interval whether they are live or dead, and which earlier ones the
//! leaves among them killed. Merging takes, for each dot, the later of what both know. That is commutative,
//! associative and idempotent, so parts may be lost, doubled and reordered. An element that joins while another
//! leaves is another dot: the add wins.
//!
//! - I1. Of each node we have seen all dots up to a clock, and perhaps some *beyond* it. A dot that was seen is live
//!   if it has an element, else dead.
//! - I2. A part that begins at zero needs nothing else. One that begins later has every leave of its interval, so it
//!   kills what it must in a state that has seen all before it, and does no harm in any other.
//! - I3. We can cut a part for every clock from `logged` on, since all later leaves are in the log; for an earlier one
//!   the answer is the whole of that node. There is nothing else to keep for those who lag: live elements lie in the
//!   order of their dots, so the log takes the place of stored deltas of several sizes, and each peer gets
//!   just what it lacks.
//! - I4. A gap is seen: a heartbeat tells its sender's clocks, and whoever has seen less asks for the rest.
//! - I5. What was reported is what is shown: at each node the elements that were reported as joined and not as left
//!   are those of the nodes that are up.
//!
//! # Cost
//!
//! Merging costs by the part and what it changes, cutting a part by its size, a node's coming and going by its own
//! elements; each times a logarithm.
//!
//! # Up and down
//!
//! A node is *up* from when it was heard and we have seen all that it then said to have done. So an element that has
//! left while the node could not be heard is never told as joined. It is *down*, its elements hidden, when it was not
//! heard for the down period; and forgotten wholly after the permanent-down period, when it says goodbye, or when a
//! later life of it is heard. What third parties tell of a node that is down is taken in, and not reported.
//!
//! An earlier life than the known one is ignored. So of two nodes that live under one name, others heed the younger
//! alone. The elder answers the younger's heartbeat, and the younger reports that its name is taken. A heartbeat of the
//! elder does not prove that it lives: it may be late.
//!
//! # Time
//!
//! Time is monotonic, and that through which this node itself ran: of a pause between two of its own steps it counts
//! at most two periods. It judges a peer only when its inbound queue is drained. So a node that was stopped, or is
//! overloaded, does not take its peers for dead.
//!
//! # What is not promised
//!
//! Nothing is known of a node that was never heard itself. A late heartbeat from before its goodbye makes a node known
//! again, until the down period is over; it is shown only if somebody still has what it announces. Nodes are trusted:
//! parts that contradict themselves are refused, lies are not found out.
//!
//! Tests: `tests/state.rs` (I1 to I3, laws), `tests/oracle.rs`, `tests/gossip.rs` (up and down, time), and seeded
//! schedules of whole clusters, `tests/simulation/` (I4, I5; `cargo xtask simulate`).

#![forbid(unsafe_code)]

mod message;
mod options;
mod part;
mod replica;
mod seen;
mod state;
#[cfg(test)]
mod tests;

pub(crate) use message::{Message, Output};
pub use options::{Options, OptionsError};
pub(crate) use part::{Changes, Part};
pub(crate) use replica::Replica;
pub(crate) use state::State;

use super::{Meta, PhxRef};
use crate::sync::Text;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;

/// One life of a node. A later one of the same name has a greater `vsn`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Node {
    /// Its name.
    pub name: Text,
    /// Which life.
    pub vsn: u64,
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.vsn)
    }
}

/// How much was seen of each node: all its dots up to a clock.
pub(crate) type Clocks = BTreeMap<Node, u64>;

/// What can be present. Cheap to clone: it shares its memory.
pub(crate) trait Element: Clone {
    /// What names it: unique in the cluster and for ever, so an update is another element.
    type Id: Clone + Eq + Hash + fmt::Debug;

    /// Its name.
    fn id(&self) -> Self::Id;
}

/// A presence: a meta, with its key in it, on a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tracked {
    /// The topic.
    pub topic: Text,
    /// The key and the meta.
    pub meta: Meta,
}

impl Element for Tracked {
    type Id = PhxRef;

    fn id(&self) -> PhxRef {
        self.meta.phx_ref()
    }
}
