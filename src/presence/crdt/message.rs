//! What goes between nodes, and what a node gives its owner.

use super::{Changes, Clocks, Node, Part};

/// What one node tells others. Any of them may be lost, doubled or late.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message<E> {
    /// To all: the sender lives.
    Heartbeat {
        /// The sender.
        from: Node,
        /// Counts the sender's heartbeats, from 1.
        beat: u64,
        /// What it has seen of all that it does not hold to be down; of itself, what it has done.
        clocks: Clocks,
        /// What it has done since the last one that had any.
        delta: Option<Part<E>>,
    },
    /// To one: the sender lacks what the receiver has seen of the nodes in `clocks` beyond these.
    TransferRequest {
        /// The sender.
        from: Node,
        /// What it has seen, of all that it does not hold to be down.
        clocks: Clocks,
    },
    /// To one: the answer to a `TransferRequest`.
    Transfer {
        /// What the receiver lacks.
        parts: Vec<Part<E>>,
    },
    /// To all: the sender goes for good.
    Leave {
        /// The sender.
        from: Node,
    },
    /// To all: the name of a node that was heard is taken by the sender.
    Taken {
        /// The sender.
        elder: Node,
        /// Whom it has heard.
        younger: Node,
    },
}

/// What the owner of a [`Replica`](super::Replica) has to see to, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Output<E> {
    /// To be sent to all nodes. Our own need not get it, and takes no harm if it does.
    SendAll(Message<E>),
    /// To be sent to one node.
    Send(Node, Message<E>),
    /// A node is up. Its elements are in the next `Changed`.
    Up(Node),
    /// A node that was up is down. Its elements are in the next `Changed`.
    Down(Node),
    /// A node was forgotten. It may never have been up.
    PermanentlyDown(Node),
    /// Elements of other nodes have joined and left.
    Changed(Changes<E>),
    /// An elder node that lives has our name, and of the two others heed us alone. One of them should go.
    NameTaken(Node),
}
