//! The gossip of one node: who is up, what is told, what is asked for. See the module's text.
//!
//! Its owner calls [`tick`](Replica::tick) each `broadcast_period` and [`receive`](Replica::receive) for each message,
//! one after the other, and does what the outputs say.

use super::message::{Message, Output};
use super::options::{Options, OptionsError};
use super::{Changes, Clocks, Element, Node, Part, State};
use crate::sync::Text;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

/// The gossip of one node.
#[derive(Debug)]
pub(crate) struct Replica<E: Element> {
    own: Node,
    options: Options,
    state: State<E>,
    /// Those that are known, by name. The state knows the same, and ourselves.
    peers: BTreeMap<Text, Peer>,
    /// Heartbeats that were sent.
    beats: u64,
    /// Our clock when they last had a delta.
    told: u64,
    /// Ticks since the last one.
    silent: u32,
    /// Ticks since we last looked for what is missing.
    sampled: u32,
    /// Whom we last asked.
    asked: Option<Node>,
    /// When we were last called.
    now: Duration,
    /// How long we have run: see `advance`.
    lived: Duration,
    is_name_taken: bool,
}

/// Another node.
#[derive(Debug)]
struct Peer {
    node: Node,
    status: Status,
    /// The latest heartbeat, when it was heard, and what it told.
    beat: u64,
    heard: Duration,
    clocks: Clocks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Status {
    /// Shown.
    Up,
    /// Heard. To be shown when all dots up to `need` were seen.
    Coming { need: u64 },
    /// Not heard for long.
    Down,
}

impl<E: Element> Replica<E> {
    /// The node `name`, which begins at `now`, a monotonic time. A later life of it must have a greater `vsn`.
    ///
    /// # Errors
    ///
    /// Options that do not go together.
    pub(crate) fn new(name: Text, vsn: u64, options: Options, now: Duration) -> Result<Self, OptionsError> {
        options.check()?;
        let own = Node { name, vsn };
        Ok(Replica {
            state: State::new(own.clone(), options.leaves_max),
            own,
            peers: BTreeMap::new(),
            beats: 0,
            told: 0,
            // A newcomer introduces itself at its first tick.
            silent: options.max_silent_periods,
            sampled: 0,
            asked: None,
            now,
            lived: Duration::ZERO,
            is_name_taken: false,
            options,
        })
    }

    /// This node, in this life.
    pub(crate) fn node(&self) -> &Node {
        &self.own
    }

    /// What this node knows.
    #[cfg(test)]
    pub(crate) fn state(&self) -> &State<E> {
        &self.state
    }

    /// Changes what is ours: an epoch's net changes. They are told with the next tick.
    pub(crate) fn apply(&mut self, joins: impl IntoIterator<Item = E>, leaves: impl IntoIterator<Item = E::Id>) {
        self.state.apply(joins, leaves);
    }

    /// Does what is due. `drained`: every message that had come before `now` was received.
    pub(crate) fn tick(&mut self, now: Duration, drained: bool, out: &mut Vec<Output<E>>) {
        self.advance(now);
        if drained {
            self.judge(out);
        }
        self.tell(out);
        self.sampled += 1;
        if self.sampled >= self.options.clock_sample_periods {
            self.sampled = 0;
            self.ask(out);
        }
    }

    /// Something of others has been missed, or may have been: they are told at the next tick how far we have seen, and
    /// answer.
    pub(crate) fn missed(&mut self) {
        self.silent = self.options.max_silent_periods;
    }

    /// Takes in what another node told.
    pub(crate) fn receive(&mut self, now: Duration, message: Message<E>, out: &mut Vec<Output<E>>) {
        self.advance(now);
        let mut changes = Changes::default();
        match message {
            Message::Heartbeat { from, beat, clocks, delta } => {
                if self.hear(&from, beat, clocks, &mut changes, out) {
                    self.merge(delta.as_slice(), &mut changes, out);
                }
            }
            Message::TransferRequest { from, clocks } => self.answer(from, &clocks, out),
            Message::Transfer { parts } => self.merge(&parts, &mut changes, out),
            Message::Leave { from } => {
                if self.peers.get(&from.name).is_some_and(|peer| peer.node.vsn <= from.vsn) {
                    self.forget(&from.name, &mut changes, out);
                }
            }
            Message::Taken { elder, younger } => {
                if younger == self.own && !self.is_name_taken {
                    self.is_name_taken = true;
                    out.push(Output::NameTaken(elder));
                }
            }
        }
        report(changes, out);
    }

    /// Goes for good: others forget us and what is ours at once.
    pub(crate) fn leave(self, out: &mut Vec<Output<E>>) {
        out.push(Output::SendAll(Message::Leave { from: self.own }));
    }

    /// Lets time pass. Of a longer pause we cannot tell whether the others were silent or we were stopped.
    fn advance(&mut self, now: Duration) {
        let passed = now.saturating_sub(self.now);
        let most = self.options.broadcast_period * 2;
        if passed > most {
            // They are told that we live.
            self.missed();
        }
        self.lived += passed.min(most);
        self.now = self.now.max(now);
    }

    /// A heartbeat. Whether its delta may be taken in.
    fn hear(
        &mut self,
        from: &Node,
        beat: u64,
        clocks: Clocks,
        changes: &mut Changes<E>,
        out: &mut Vec<Output<E>>,
    ) -> bool {
        if from.name == self.own.name {
            // An elder may be an earlier life of ours, whose last words come late. If it lives, it will answer.
            if from.vsn > self.own.vsn {
                out.push(Output::SendAll(Message::Taken { elder: self.own.clone(), younger: from.clone() }));
            }
            return false;
        }
        match self.peers.get(&from.name) {
            Some(known) if known.node.vsn > from.vsn => return false,
            Some(known) if known.node.vsn < from.vsn => self.forget(&from.name, changes, out),
            _ => {}
        }
        let need = clocks.get(from).copied().unwrap_or(0);
        let peer = match self.peers.entry(from.name.clone()) {
            Entry::Occupied(peer) => peer.into_mut(),
            Entry::Vacant(place) => {
                self.state.add(from.clone());
                let clocks = Clocks::new();
                place.insert(Peer { node: from.clone(), status: Status::Down, beat: 0, heard: self.lived, clocks })
            }
        };
        // One that comes late says nothing of now.
        if beat > peer.beat {
            if clocks.get(&self.own).is_none_or(|seen| *seen < self.told) {
                // It does not hear us, or missed something of ours, and learns of that by our next heartbeat.
                self.silent = self.options.max_silent_periods;
            }
            (peer.beat, peer.heard, peer.clocks) = (beat, self.lived, clocks);
            if peer.status == Status::Down {
                peer.status = Status::Coming { need };
            }
        }
        true
    }

    /// Takes in parts, and shows those of whom enough was seen.
    fn merge(&mut self, parts: &[Part<E>], changes: &mut Changes<E>, out: &mut Vec<Output<E>>) {
        for part in parts.iter().filter(|part| part.is_sound()) {
            self.state.merge(part, changes);
        }
        for peer in self.peers.values_mut() {
            if let Status::Coming { need } = peer.status
                && self.state.clock(&peer.node) >= Some(need)
            {
                peer.status = Status::Up;
                out.push(Output::Up(peer.node.clone()));
                self.state.show(&peer.node, changes);
            }
        }
    }

    /// A heartbeat, if there is something to tell or it is time.
    fn tell(&mut self, out: &mut Vec<Output<E>>) {
        let clock = self.state.clock(&self.own).unwrap_or(0);
        if clock == self.told && self.silent < self.options.max_silent_periods {
            self.silent += 1;
            return;
        }
        let mut delta = Vec::new();
        self.state.extract(&self.own, self.told, &mut delta);
        debug_assert!(delta.len() <= 1, "we have seen all that we have done");
        self.told = clock;
        self.silent = 0;
        self.beats += 1;
        let mut clocks = self.clocks();
        clocks.insert(self.own.clone(), clock);
        let (from, beat, delta) = (self.own.clone(), self.beats, delta.pop());
        out.push(Output::SendAll(Message::Heartbeat { from, beat, clocks, delta }));
    }

    /// What was seen of the others, but for those that are down: who never knew these should not ask for them.
    fn clocks(&self) -> Clocks {
        let heard = self.peers.values().filter(|peer| peer.status != Status::Down);
        heard.filter_map(|peer| Some((peer.node.clone(), self.state.clock(&peer.node)?))).collect()
    }

    /// Asks for what is missing: those who have seen most of it.
    ///
    /// Only what we lack of nodes that we hear is compared, node by node: that is a partial order. Of two who have the
    /// same, the one is asked who comes after the one asked last, since that one may not hear us.
    fn ask(&mut self, out: &mut Vec<Output<E>>) {
        let clocks = self.clocks();
        let lacks = |peer: &Peer| -> Clocks {
            let more = peer.clocks.iter().filter(|(node, clock)| clocks.get(node).is_some_and(|ours| ours < clock));
            more.map(|(node, &clock)| (node.clone(), clock)).collect()
        };
        let is_after = |peer: &&Peer| self.asked.as_ref().is_some_and(|asked| peer.node > *asked);
        let heard = || self.peers.values().filter(|peer| peer.status != Status::Down);
        let mut best: Vec<(&Node, Clocks)> = Vec::new();
        for peer in heard().filter(is_after).chain(heard().filter(|peer| !is_after(peer))) {
            let has = lacks(peer);
            if !has.is_empty() && !best.iter().any(|(_, other)| covers(other, &has)) {
                best.retain(|(_, other)| !covers(&has, other));
                best.push((&peer.node, has));
            }
        }
        let asked = best.last().map(|&(node, _)| node.clone());
        let request = || Message::TransferRequest { from: self.own.clone(), clocks: clocks.clone() };
        out.extend(best.into_iter().map(|(node, _)| Output::Send(node.clone(), request())));
        self.asked = asked.or(self.asked.take());
    }

    /// Sends a node what it lacks.
    fn answer(&self, to: Node, clocks: &Clocks, out: &mut Vec<Output<E>>) {
        let mut parts = Vec::new();
        for (node, &since) in clocks.iter().filter(|&(node, _)| *node != to) {
            self.state.extract(node, since, &mut parts);
        }
        if !parts.is_empty() {
            out.push(Output::Send(to, Message::Transfer { parts }));
        }
    }

    /// Sees who was silent for too long.
    fn judge(&mut self, out: &mut Vec<Output<E>>) {
        let mut changes = Changes::default();
        let mut gone = Vec::new();
        for peer in self.peers.values_mut() {
            let silence = self.lived - peer.heard;
            if silence > self.options.permdown_period {
                gone.push(peer.node.name.clone());
            } else if silence > self.options.down_period {
                peer.down(&mut self.state, &mut changes, out);
            }
        }
        for name in gone {
            self.forget(&name, &mut changes, out);
        }
        report(changes, out);
    }

    /// Forgets a node.
    fn forget(&mut self, name: &str, changes: &mut Changes<E>, out: &mut Vec<Output<E>>) {
        if let Some(mut peer) = self.peers.remove(name) {
            peer.down(&mut self.state, changes, out);
            self.state.forget(&peer.node, changes);
            self.asked.take_if(|asked| *asked == peer.node);
            out.push(Output::PermanentlyDown(peer.node));
        }
    }
}

impl Peer {
    /// It is down from now on.
    fn down<E: Element>(&mut self, state: &mut State<E>, changes: &mut Changes<E>, out: &mut Vec<Output<E>>) {
        if std::mem::replace(&mut self.status, Status::Down) == Status::Up {
            state.hide(&self.node, changes);
            out.push(Output::Down(self.node.clone()));
        }
    }
}

/// Whether who has seen `more` has seen all of `less`.
fn covers(more: &Clocks, less: &Clocks) -> bool {
    less.iter().all(|(node, clock)| more.get(node).is_some_and(|seen| seen >= clock))
}

fn report<E>(changes: Changes<E>, out: &mut Vec<Output<E>>) {
    if !changes.is_empty() {
        out.push(Output::Changed(changes));
    }
}
