//! A replica, and the owner that believes what it reports.

use super::*;
use std::collections::BTreeSet;
use std::time::Duration;

/// What happened to a node, as its replica reports it of others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Up(Node),
    Down(Node),
    PermanentlyDown(Node),
    NameTaken(Node),
    Changed(Changes<u64>),
}

/// A message, and to whom; none is everybody.
pub(crate) type Sent = (Option<Node>, Message<u64>);

/// See the module's text. Each call checks that what was reported is what is shown.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) node: Node,
    pub(crate) replica: Replica<u64>,
    pub(crate) own: BTreeSet<u64>,
    pub(crate) visible: BTreeSet<u64>,
    up: BTreeSet<Node>,
}

impl Host {
    pub(crate) fn new(node: Node, options: Options, now: Duration) -> Self {
        let replica = Replica::new(node.name.clone(), node.vsn, options, now).expect("options go together");
        Host { node, replica, own: BTreeSet::new(), visible: BTreeSet::new(), up: BTreeSet::new() }
    }

    pub(crate) fn apply(&mut self, joins: &[u64], leaves: &[u64]) {
        self.replica.apply(joins.iter().copied(), leaves.iter().copied());
        self.own.retain(|element| !leaves.contains(element));
        self.own.extend(joins);
    }

    pub(crate) fn is_up(&self, node: &Node) -> bool {
        self.up.contains(node)
    }

    pub(crate) fn tick(&mut self, now: Duration, drained: bool) -> Result<(Vec<Sent>, Vec<Event>), String> {
        let mut out = Vec::new();
        self.replica.tick(now, drained, &mut out);
        self.believe(out)
    }

    pub(crate) fn receive(&mut self, now: Duration, message: Message<u64>) -> Result<(Vec<Sent>, Vec<Event>), String> {
        let mut out = Vec::new();
        self.replica.receive(now, message, &mut out);
        self.believe(out)
    }

    fn believe(&mut self, out: Vec<Output<u64>>) -> Result<(Vec<Sent>, Vec<Event>), String> {
        let (mut sent, mut events) = (Vec::new(), Vec::new());
        for output in out {
            let event = match output {
                Output::SendAll(message) => {
                    sent.push((None, message));
                    continue;
                }
                Output::Send(to, message) => {
                    sent.push((Some(to), message));
                    continue;
                }
                Output::Up(node) => Event::Up(node),
                Output::Down(node) => Event::Down(node),
                Output::PermanentlyDown(node) => Event::PermanentlyDown(node),
                Output::NameTaken(node) => Event::NameTaken(node),
                Output::Changed(changes) => Event::Changed(changes),
            };
            if !self.fits(&event) {
                return Err(format!("{:?} reports {event:?}, which does not fit what it reported before", self.node));
            }
            events.push(event);
        }
        let shown = || self.replica.state().visible();
        if shown().count() != self.visible.len() || !shown().all(|element| self.visible.contains(element)) {
            let shown: BTreeSet<&u64> = shown().collect();
            return Err(format!("{:?} has reported {:?} and shows {shown:?}", self.node, self.visible));
        }
        Ok((sent, events))
    }

    /// Notes what is reported; whether it can be so.
    fn fits(&mut self, event: &Event) -> bool {
        match event {
            Event::Up(node) => self.up.insert(node.clone()),
            Event::Down(node) => self.up.remove(node),
            Event::PermanentlyDown(node) => !self.up.contains(node),
            Event::NameTaken(elder) => elder.name == self.node.name && elder.vsn < self.node.vsn,
            Event::Changed(Changes { joined, left }) => {
                !joined.is_empty() | !left.is_empty()
                    && joined.iter().all(|element| self.visible.insert(*element))
                    && left.iter().all(|element| self.visible.remove(element))
            }
        }
    }
}
