//! Presence over a cluster: the thread that gossips.
//!
//! It owns the [`Replica`]. Three things come to it, by one [`Queue`] and in order: what other nodes tell, which of
//! this node's presences have come and gone (an epoch's net changes, from the sealer), and the end. What the replica
//! reports of other nodes it does in the rooms: so they are in diffs, lists and states as this node's own are.
//!
//! - I1. A presence of this node goes to the replica when its epoch is sealed, one of another node never does: its meta
//!   says so.
//! - I2. The table of remote presences is this thread's alone; so is their coming and going in the rooms.
//! - I3. A peer is judged only when everything has been taken that had come before: to the cluster's queue, which the
//!   link says, and to this one.
//! - I4. What is long goes to its node in parcels ([`parcel`]); while one comes, nobody is asked for another.

mod codec;
mod parcel;

use self::codec::Told;
use self::parcel::{IncomingParcel, OutgoingParcel, PIECE_BYTES, Piece};
use super::BuildError;
use super::crdt::{Changes, Message, Node, Options, Output, Replica, Tracked};
use super::rooms::meta::{Meta, PhxRef};
use super::rooms::room::{Room, hash_of};
use super::rooms::table::Table;
use crate::cluster::link::{Link, To};
use crate::cluster::wire::WireError;
use crate::protocol::queue::Queue;
use crate::sync::{Arc, Mutex, Parker, Text, thread};
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Gossip for all goes by this partition.
const PARTITION: u16 = 0;
/// Bytes of gossip that may wait.
const WAITING_BYTES_MAX: usize = 64 << 20;

/// What comes to the thread.
#[derive(Debug)]
enum Input {
    /// From another node.
    Gossip(Bytes),
    /// Of this one.
    Own { topic: Text, joins: Vec<Meta>, leaves: Vec<PhxRef> },
}

/// The handle of the thread. See the module's text.
#[derive(Debug)]
pub(crate) struct Replication {
    inbox: Arc<Queue<VecDeque<Input>>>,
    link: Arc<Link>,
    thread: Mutex<Option<thread::JoinHandle<()>>>,
}

/// How a presence is replicated.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gossiping {
    pub(crate) options: Options,
    /// Whether others are told when it ends in order.
    pub(crate) goodbye: bool,
}

impl Replication {
    /// Starts the thread for a presence of a node.
    pub(crate) fn start(
        link: &Arc<Link>,
        node: &str,
        table: Arc<Table>,
        gossiping: &Gossiping,
    ) -> Result<Self, BuildError> {
        let begin = Instant::now();
        // Later lives have greater numbers, if the clock is not set back between them.
        let vsn = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_micros() as u64);
        let replica = Replica::new(node.into(), vsn, gossiping.options.clone(), Duration::ZERO);
        let inbox = Arc::new(Queue::new(WAITING_BYTES_MAX, VecDeque::new()));
        let gossiper = Gossiper {
            replica: replica.map_err(BuildError::Gossip)?,
            sending: OutgoingParcel::default(),
            coming: IncomingParcel::default(),
            link_was: link.ready_and_lost(),
            inbox: inbox.clone(),
            link: link.clone(),
            table,
            remote: HashMap::default(),
            begin,
            period: gossiping.options.broadcast_period,
            goodbye: gossiping.goodbye,
            out: Vec::new(),
        };
        let to = inbox.clone();
        let taken = link.set_gossip(Box::new(move |bytes| {
            // What is refused is asked for again.
            let _ = to.put(bytes.len(), |inbox| inbox.push_back(Input::Gossip(bytes)));
        }));
        if !taken {
            return Err(BuildError::Replicated);
        }
        let spawned = thread::Builder::new().name("fanfare-gossip".to_owned()).spawn(move || gossiper.run());
        let thread = spawned.map_err(|error| {
            link.clear_gossip();
            BuildError::Spawn(error)
        })?;
        Ok(Replication { inbox, link: link.clone(), thread: Mutex::new(Some(thread)) })
    }

    /// For the sealer: an epoch's changes. Those of other nodes are left out (I1).
    pub(crate) fn sealed(&self, topic: &str, joins: &[Meta], leaves: &[Meta]) {
        let joins: Vec<Meta> = joins.iter().filter(|meta| !meta.is_remote()).cloned().collect();
        let leaves: Vec<PhxRef> = leaves.iter().filter(|meta| !meta.is_remote()).map(Meta::phx_ref).collect();
        if !(joins.is_empty() && leaves.is_empty()) {
            // It is refused only behind the end, and the sealer ends it after its last.
            let _ = self.inbox.put(0, |inbox| inbox.push_back(Input::Own { topic: topic.into(), joins, leaves }));
        }
    }

    /// Ends it, after what has come.
    pub(crate) fn stop(&self) {
        self.link.clear_gossip();
        self.inbox.close();
        if let Some(thread) = self.thread.lock().take() {
            // A panic there is a bug, told by the hook.
            let _ = thread.join();
        }
    }
}

/// The thread.
struct Gossiper {
    replica: Replica<Tracked>,
    sending: OutgoingParcel,
    coming: IncomingParcel,
    /// Whether the cluster was ready, and how many packets had been lost, at the last tick.
    link_was: (bool, u64),
    inbox: Arc<Queue<VecDeque<Input>>>,
    link: Arc<Link>,
    table: Arc<Table>,
    /// Where presences of other nodes are (I2).
    remote: HashMap<PhxRef, (Arc<Room>, u32), crate::hash::Quality>,
    begin: Instant,
    period: Duration,
    goodbye: bool,
    out: Vec<Output<Tracked>>,
}

impl Gossiper {
    fn run(mut self) {
        let parker = Parker::new();
        // Nodes that start together do not tick together.
        let early = self.period.mul_f64(f64::from(PhxRef::unique().as_str().as_bytes()[0] % 8) / 32.0);
        let mut due = self.begin + early;
        loop {
            let inputs = self.inbox.take(&parker, Some(due), std::mem::take);
            for input in inputs.what {
                self.take(input);
            }
            if inputs.is_last {
                self.end();
                return;
            }
            if Instant::now() >= due {
                if self.link_was_away() {
                    self.replica.missed();
                }
                let drained = !self.link.is_behind() && self.inbox.is_empty();
                let now = self.begin.elapsed();
                self.replica.tick(now, drained, &mut self.out);
                self.act();
                due = Instant::now() + self.period;
            }
        }
    }

    /// Whether the cluster is back, or something of others was lost, since this was last asked.
    fn link_was_away(&mut self) -> bool {
        let now = self.link.ready_and_lost();
        let before = std::mem::replace(&mut self.link_was, now);
        now.0 && now != before
    }

    fn take(&mut self, input: Input) {
        match input {
            Input::Gossip(bytes) => {
                if let Err(error) = self.hear(&bytes) {
                    self.link.unreadable(error);
                }
            }
            Input::Own { topic, joins, leaves } => {
                let joins = joins.into_iter().map(|meta| Tracked { topic: topic.clone(), meta });
                self.replica.apply(joins, leaves);
            }
        }
    }

    fn hear(&mut self, gossip: &[u8]) -> Result<(), WireError> {
        let now = Instant::now();
        match codec::decode(gossip)? {
            Some(Told::Message(message)) => self.receive(message),
            Some(Told::Piece(from, piece)) => {
                let took = self.coming.take(now, &from, piece)?;
                if let Some(pieces) = took.taken {
                    let taken = codec::encode_taken(self.replica.node(), piece.parcel, pieces);
                    self.link.gossip(To::Node(&from.name), &taken);
                }
                if let Some(whole) = took.whole {
                    let Some(Told::Message(message)) = codec::decode(&whole)? else { return Err(WireError::Kind) };
                    self.receive(message);
                }
            }
            Some(Told::Taken { by, parcel, pieces }) => {
                let (link, own) = (&self.link, self.replica.node());
                self.sending.taken(now, &by, parcel, pieces, |piece| send_piece(link, own, &by, piece));
            }
            None => self.link.unknown(),
        }
        Ok(())
    }

    fn receive(&mut self, message: Message<Tracked>) {
        self.replica.receive(self.begin.elapsed(), message, &mut self.out);
        self.act();
    }

    /// Sends a node what may be long.
    fn send(&mut self, to: &Node, message: &Message<Tracked>) {
        let bytes = codec::encode(message);
        if bytes.len() <= PIECE_BYTES {
            // What is not taken is missed by others as what is lost: they see it by our clock.
            self.link.gossip(To::Node(&to.name), &bytes);
            return;
        }
        let (link, own) = (&self.link, self.replica.node());
        self.sending.begin(Instant::now(), to, bytes, |piece| send_piece(link, own, to, piece));
    }

    /// What is still ours is told, or that we go.
    fn end(mut self) {
        if self.goodbye {
            self.replica.leave(&mut self.out);
        } else {
            self.replica.tick(self.begin.elapsed(), false, &mut self.out);
        }
        for output in self.out {
            if let Output::SendAll(message) = output {
                tell_all(&self.link, &message);
            }
        }
        // Nobody tells us any more what becomes of those.
        for (room, id) in self.remote.into_values() {
            Room::change(&room, |state| state.leave(id));
        }
    }

    /// Does what the replica wants.
    fn act(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::SendAll(message) => tell_all(&self.link, &message),
                // What is on its way may be what would be asked for.
                Output::Send(_, Message::TransferRequest { .. }) if self.coming.is_busy(Instant::now()) => {}
                Output::Send(node, message) => self.send(&node, &message),
                Output::Changed(changes) => self.change(changes),
                Output::Up(node) => self.link.tell_node("node_up", &node.name),
                Output::Down(node) => self.link.tell_node("node_down", &node.name),
                Output::PermanentlyDown(node) => self.link.tell_node("node_forgotten", &node.name),
                Output::NameTaken(elder) => self.link.name_taken(&elder.name),
            }
        }
    }

    /// Joins first: an update is both, and its key never vanishes.
    fn change(&mut self, changes: Changes<Tracked>) {
        for Tracked { topic, meta } in changes.joined {
            let (hash, phx_ref) = (hash_of(meta.key()), meta.phx_ref());
            let place = self.table.with_live(&topic, |room| {
                let id = Room::change(room, |state| state.join(hash, meta.clone()))?;
                Some((room.clone(), id))
            });
            self.remote.insert(phx_ref, place);
        }
        for Tracked { meta, .. } in changes.left {
            if let Some((room, id)) = self.remote.remove(&meta.phx_ref()) {
                Room::change(&room, |state| state.leave(id));
            }
        }
    }
}

fn tell_all(link: &Link, message: &Message<Tracked>) {
    // As in `send`.
    link.gossip(To::Partition(PARTITION), &codec::encode(message));
}

fn send_piece(link: &Link, own: &Node, to: &Node, piece: Piece<'_>) {
    link.gossip(To::Node(&to.name), &codec::encode_piece(own, piece));
}
