//! What binds an engine to its cluster: packets out, packets in.
//!
//! # Out
//!
//! A publisher appends a record to its topic's partition, under the lock of a [`Queue`] and for as long as that takes
//! to copy, and wakes the sending thread if that sleeps. The thread takes all that has gathered in all partitions and
//! makes packets of it: one broadcast alone leaves at once, and under load a packet has what has come while the last
//! ones were sent.
//!
//! - I1. Records of one partition leave in the order in which they were appended, and so do a publisher's. Packets of a
//!   partition are numbered from 1 without holes; one that the cluster refuses has used up its number, so others see
//!   the gap.
//! - I2. No wake-up is lost, and what was taken leaves before the end ([`Queue`]).
//! - I3. What waits is bounded: a record that finds too many bytes waiting is not taken, and its publisher is told.
//! - I4. A partition that has fallen silent sends one more packet, an empty one, within two [`ANNOUNCE_PERIOD`]s: the
//!   loss of its last packet is seen, too.
//!
//! # In
//!
//! What comes is put into another queue, and taken from there by the delivering thread alone: it may wait for a
//! worker's inbox, which whoever calls [`Receiver`] must not.
//!
//! - I5. Of each sender's life and partition packets are taken in the order of their numbers, each once. One with a
//!   lower number than expected is dropped, one with a higher number shows a gap. The first one that is heard begins.

use super::wire::{self, Body, HEAD_BYTES, Packet, Record, Sender, WireError};
use super::{Cluster, Health, PARTITIONS, Receiver, StartError, Taken};
use crate::engine::Engine;
use crate::engine::outcome::Outcome;
use crate::message::attachment::ForClients;
use crate::message::payload::Payload;
use crate::protocol::queue::{Queue, Refused};
use crate::sync::{Arc, AtomicBool, AtomicU32, AtomicU64, Mutex, OnceLock, Ordering, Parker, Text, Weak, thread};
use crate::topic::spread;
use bytes::Bytes;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

/// The topic, of this node alone, on which it is told what becomes of its cluster: `lost` with a [`Loss`], `health`
/// with a [`Health`], `unreadable` with a [`WireError`]; and of other nodes `node_up`, `node_down`, `node_forgotten`,
/// `name_taken` and, once for each of their partitions, `newer` (some of what it sends is passed over here) with their
/// name, an `Arc<str>`. All of these are typed payloads.
pub const TOPIC: &str = "fanfare:cluster";

/// How often partitions are looked at that have fallen silent (I4).
const ANNOUNCE_PERIOD: Duration = Duration::from_secs(1);
/// Bytes that may wait to be made packets of (I3).
const WAITING_BYTES_MAX: usize = 16 << 20;
/// Bytes that may wait to be delivered.
const COME_BYTES_MAX: usize = 64 << 20;
/// The longest record.
pub(crate) const RECORD_BYTES_MAX: usize = 64 << 20;
/// A sender's partition that was not heard for so long is forgotten.
const SENDER_KEPT: Duration = Duration::from_secs(3600);
/// How long what was broadcast may take to leave when the engine ends.
const FAREWELL: Duration = Duration::from_secs(2);

/// What did not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// Who had sent it.
    pub node: Text,
    /// By which partition; `None` if it was for this node alone.
    pub partition: Option<u16>,
    /// How many packets, each of one or more messages.
    pub packets: u64,
}

/// What has gone between this node and the others.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterStats {
    /// How the cluster is.
    pub health: Health,
    /// Packets that the cluster has taken.
    pub packets_sent: u64,
    /// Packets that it has not.
    pub packets_refused: u64,
    /// The bytes of those that it has.
    pub bytes_sent: u64,
    /// The bytes of all that has come.
    pub bytes_received: u64,
    /// Packets of others that have come and were good.
    pub packets_received: u64,
    /// Packets of others that have not come, as far as gaps tell.
    pub packets_lost: u64,
    /// Packets that came twice, or behind later ones, and were dropped.
    pub packets_late: u64,
    /// Packets that could not be read; those of a version of the format that is not for this node are among them.
    pub packets_unreadable: u64,
    /// Of packets that could be read, what was passed over, since it is of a later version of the format.
    pub records_unknown: u64,
    /// Packets that were dropped here, since too much waited to be delivered.
    pub packets_overflowed: u64,
    /// Broadcasts of others that were delivered here.
    pub broadcasts_received: u64,
    /// Another node that lives has this one's name, and is older: this one should go.
    pub is_name_taken: bool,
}

#[derive(Debug, Default)]
struct LinkCounters {
    sent: AtomicU64,
    bytes_sent: AtomicU64,
    bytes_received: AtomicU64,
    refused: AtomicU64,
    received: AtomicU64,
    lost: AtomicU64,
    late: AtomicU64,
    unreadable: AtomicU64,
    unknown: AtomicU64,
    overflowed: AtomicU64,
    broadcasts: AtomicU64,
}

fn count(counter: &AtomicU64, by: u64) {
    // Relaxed: it says nothing of anything else.
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Takes gossip of other nodes.
pub(crate) type Gossip = Box<dyn Fn(Bytes) + Send + Sync>;

/// See the module's text.
pub(crate) struct Link {
    cluster: std::sync::Arc<dyn Cluster>,
    node: Box<str>,
    boot: u64,
    out: Queue<Out>,
    /// What has come, and by which partition.
    come: Queue<VecDeque<(Option<u16>, Bytes)>>,
    /// A number for it: publishers look at it.
    health: AtomicU32,
    counters: LinkCounters,
    /// Who takes gossip of presences.
    gossip: Mutex<Option<Arc<Gossip>>>,
    engine: OnceLock<Weak<Engine>>,
    is_name_taken: AtomicBool,
    out_thread: Mutex<Option<thread::JoinHandle<()>>>,
    in_thread: Mutex<Option<thread::JoinHandle<()>>>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("cluster", &self.cluster).field("node", &self.node).finish_non_exhaustive()
    }
}

/// To whom.
#[derive(Debug, Clone, Copy)]
pub(crate) enum To<'a> {
    Partition(u16),
    Node(&'a str),
}

/// What is to be sent.
struct Out {
    partitions: Vec<PacketBatch>,
    nodes: HashMap<Text, PacketBatch>,
}

/// Records that wait, and where each ends.
#[derive(Default)]
struct PacketBatch {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

/// The partition of a topic: the same on every node.
pub(crate) fn partition_of(topic: &str) -> u16 {
    (spread(topic) % u64::from(PARTITIONS)) as u16
}

impl Link {
    pub(crate) fn new(cluster: std::sync::Arc<dyn Cluster>, node: &str) -> Arc<Self> {
        // Random, and not only that: two nodes that start at one moment must differ, and so must two lives of one.
        let boot = RandomState::new().hash_one((node, std::process::id(), std::time::SystemTime::now()));
        let partitions = (0..PARTITIONS).map(|_| PacketBatch::default()).collect();
        Arc::new(Link {
            cluster,
            node: node.into(),
            boot,
            out: Queue::new(WAITING_BYTES_MAX, Out { partitions, nodes: HashMap::new() }),
            come: Queue::new(COME_BYTES_MAX, VecDeque::new()),
            health: AtomicU32::new(STARTING),
            counters: LinkCounters::default(),
            gossip: Mutex::new(None),
            engine: OnceLock::new(),
            is_name_taken: AtomicBool::new(false),
            out_thread: Mutex::new(None),
            in_thread: Mutex::new(None),
        })
    }

    /// Starts its threads and the cluster, for an engine.
    pub(crate) fn start(self: &Arc<Self>, engine: &Arc<Engine>) -> Result<(), StartError> {
        let _ = self.engine.set(Arc::downgrade(engine));
        let start = || -> std::io::Result<()> {
            let spawn =
                |name: &str, run: Box<dyn FnOnce() + Send>| thread::Builder::new().name(name.to_owned()).spawn(run);
            let delivering = InThread { link: self.clone(), heard: HashMap::new(), swept: Instant::now() };
            *self.in_thread.lock() = Some(spawn("fanfare-in", Box::new(move || delivering.run()))?);
            let sending = OutThread { link: self.clone(), numbers: [0; PARTITIONS as usize], nodes: HashMap::new() };
            *self.out_thread.lock() = Some(spawn("fanfare-out", Box::new(move || sending.run()))?);
            Ok(())
        };
        let started = start().map_err(StartError::Spawn);
        let started = started.and_then(|()| {
            let receiver = Door { link: Arc::downgrade(self) };
            self.cluster.start(&self.node, std::sync::Arc::new(receiver))
        });
        if started.is_err() {
            // It may be another engine's.
            self.end(|| {});
        } else {
            let now = number_of(&self.cluster.health());
            // Unless it has been told meanwhile, which is newer.
            let _ = self.health.compare_exchange(STARTING, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        started
    }

    /// Sends what has been taken, and ends. Not for the link's own threads.
    pub(crate) fn stop(&self) {
        self.end(|| {
            self.cluster.flush(Instant::now() + FAREWELL);
            self.cluster.stop();
        });
    }

    /// Ends the threads; `stop` comes between the last packet out and the last in.
    fn end(&self, stop: impl FnOnce()) {
        if !self.out.close() {
            return;
        }
        join(&self.out_thread);
        stop();
        self.health.store(STOPPED, Ordering::Relaxed);
        self.come.close();
        join(&self.in_thread);
    }

    pub(crate) fn stats(&self) -> ClusterStats {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        ClusterStats {
            health: self.cluster.health(),
            packets_sent: of(&self.counters.sent),
            packets_refused: of(&self.counters.refused),
            bytes_sent: of(&self.counters.bytes_sent),
            bytes_received: of(&self.counters.bytes_received),
            packets_received: of(&self.counters.received),
            packets_lost: of(&self.counters.lost),
            packets_late: of(&self.counters.late),
            packets_unreadable: of(&self.counters.unreadable),
            records_unknown: of(&self.counters.unknown),
            packets_overflowed: of(&self.counters.overflowed),
            broadcasts_received: of(&self.counters.broadcasts),
            is_name_taken: self.is_name_taken.load(Ordering::Relaxed),
        }
    }

    /// Sends a broadcast to other nodes.
    pub(crate) fn broadcast(
        &self,
        to: To<'_>,
        topic: &str,
        event: &str,
        payload: (&[u8], bool),
        for_clients: bool,
    ) -> Outcome {
        let bytes = topic.len() + event.len() + payload.0.len();
        self.append(to, bytes, |to| wire::broadcast(to, topic, event, payload, for_clients))
    }

    /// Sends gossip to other nodes. It is not kept while the cluster is away: when that is back it would tell of times
    /// that are over, and what is missing is asked for.
    pub(crate) fn gossip(&self, to: To<'_>, bytes: &[u8]) -> Outcome {
        if self.health.load(Ordering::Relaxed) != READY {
            return Outcome::ClusterDown;
        }
        self.append(to, bytes.len(), |to| wire::gossip(to, bytes))
    }

    /// Who takes gossip of other nodes. `false`: somebody does already.
    pub(crate) fn set_gossip(&self, gossip: Gossip) -> bool {
        let mut known = self.gossip.lock();
        let is_free = known.is_none();
        if is_free {
            *known = Some(Arc::new(gossip));
        }
        is_free
    }

    pub(crate) fn clear_gossip(&self) {
        *self.gossip.lock() = None;
    }

    /// Whether something has come that was not taken yet.
    pub(crate) fn is_behind(&self) -> bool {
        !self.come.is_idle()
    }

    /// Whether the cluster is ready, and how many packets of others have been lost.
    pub(crate) fn ready_and_lost(&self) -> (bool, u64) {
        let is_ready = self.health.load(Ordering::Relaxed) == READY;
        (is_ready, self.counters.lost.load(Ordering::Relaxed) + self.counters.overflowed.load(Ordering::Relaxed))
    }

    /// Something has come that can't be read.
    pub(crate) fn unreadable(&self, error: WireError) {
        count(&self.counters.unreadable, 1);
        self.tell("unreadable", typed(error));
    }

    /// Gossip has come that is of a later version.
    pub(crate) fn unknown(&self) {
        count(&self.counters.unknown, 1);
    }

    /// Another node, which is older, has this one's name.
    pub(crate) fn name_taken(&self, name: &str) {
        self.is_name_taken.store(true, Ordering::Relaxed);
        self.tell("name_taken", typed(Text::from(name)));
    }

    /// Tells this node of another one.
    pub(crate) fn tell_node(&self, event: &'static str, node: &str) {
        self.tell(event, typed(Text::from(node)));
    }

    fn tell(&self, event: &'static str, payload: Payload) {
        if let Some(engine) = self.engine.get().and_then(Weak::upgrade) {
            // Those who do not read have no room: they are not waited for.
            let _ = engine.publish(TOPIC).no_wait().send(event.into(), payload);
        }
    }

    fn append(&self, to: To<'_>, bytes: usize, record: impl FnOnce(&mut Vec<u8>)) -> Outcome {
        let taking = match self.health.load(Ordering::Relaxed) {
            READY => Outcome::Sent,
            CONNECTING | STARTING => Outcome::Buffered,
            _ => return Outcome::ClusterDown,
        };
        let put = self.out.put(bytes, |out| {
            let batch = match to {
                To::Partition(partition) => &mut out.partitions[usize::from(partition)],
                To::Node(node) => match out.nodes.get_mut(node) {
                    Some(batch) => batch,
                    None => out.nodes.entry(node.into()).or_default(),
                },
            };
            record(&mut batch.bytes);
            batch.ends.push(batch.bytes.len());
        });
        put.map_or(Outcome::ClusterDown, |()| taking)
    }
}

fn join(thread: &Mutex<Option<thread::JoinHandle<()>>>) {
    let thread = thread.lock().take();
    // A panic there is a bug, told by the hook.
    let _ = thread.map(thread::JoinHandle::join);
}

/// Nobody has said anything yet.
const STARTING: u32 = 3;
const READY: u32 = 0;
const CONNECTING: u32 = 1;
const STOPPED: u32 = 2;

fn number_of(health: &Health) -> u32 {
    match health {
        Health::Ready => READY,
        Health::Connecting { .. } => CONNECTING,
        Health::Stopped => STOPPED,
    }
}

/// The sending thread.
struct OutThread {
    link: Arc<Link>,
    /// Of the last packet of each partition.
    numbers: [u64; PARTITIONS as usize],
    nodes: HashMap<Text, u64>,
}

impl OutThread {
    fn run(mut self) {
        let parker = Parker::new();
        // Partitions that have sent in this period, and in the one before.
        let (mut active, mut before) = (0_u64, 0_u64);
        let mut period_end: Option<Instant> = None;
        loop {
            let taken = self.link.out.take(&parker, period_end, PacketRound::of);
            for (partition, batch) in taken.what.partitions {
                active |= 1 << partition;
                self.send(To::Partition(partition), &batch);
            }
            for (node, batch) in taken.what.nodes {
                self.send(To::Node(&node), &batch);
            }
            if taken.is_last {
                return;
            }
            let now = Instant::now();
            if period_end.is_some_and(|end| now >= end) {
                // I4: these were active, and have sent nothing for a period.
                for partition in (0..PARTITIONS).filter(|partition| before & !active & 1 << partition != 0) {
                    self.packet(To::Partition(partition), |sender, number| wire::packet(sender, number, &[]));
                }
                before = std::mem::take(&mut active);
                period_end = None;
            }
            if period_end.is_none() && (active | before) != 0 {
                period_end = Some(now + ANNOUNCE_PERIOD);
            }
        }
    }

    /// Makes packets of records, as few as may be.
    fn send(&mut self, to: To<'_>, batch: &PacketBatch) {
        let node_bytes = self.link.node.len();
        let room = self.link.cluster.payload_bytes_max().saturating_sub(HEAD_BYTES + node_bytes).max(1);
        let (mut begin, mut end) = (0, 0);
        for &next in &batch.ends {
            if next - begin > room && end > begin {
                let records = &batch.bytes[begin..end];
                self.packet(to, |sender, number| wire::packet(sender, number, records));
                begin = end;
            }
            if next - begin > room {
                let pieces = batch.bytes[begin..next].chunks(room);
                let count = pieces.len() as u32;
                for (index, bytes) in (0..).zip(pieces) {
                    self.packet(to, |sender, number| wire::piece(sender, number, (index, count), bytes));
                }
                begin = next;
            }
            end = next;
        }
        if end > begin {
            let records = &batch.bytes[begin..end];
            self.packet(to, |sender, number| wire::packet(sender, number, records));
        }
    }

    fn packet(&mut self, to: To<'_>, make: impl FnOnce(Sender<'_>, u64) -> Bytes) {
        let number = match to {
            To::Partition(partition) => &mut self.numbers[usize::from(partition)],
            To::Node(node) => match self.nodes.get_mut(node) {
                Some(number) => number,
                None => self.nodes.entry(node.into()).or_insert(0),
            },
        };
        *number += 1;
        let link = &*self.link;
        let packet = make(Sender { boot: link.boot, node: &link.node }, *number);
        let bytes = packet.len() as u64;
        let taken = match to {
            To::Partition(partition) => link.cluster.publish(partition, packet),
            To::Node(node) => link.cluster.send(node, packet),
        };
        if matches!(taken, Taken::Down | Taken::TooLong) {
            return count(&link.counters.refused, 1);
        }
        count(&link.counters.sent, 1);
        count(&link.counters.bytes_sent, bytes);
    }
}

/// What is sent at one time: partitions that have something, and nodes.
struct PacketRound {
    partitions: Vec<(u16, PacketBatch)>,
    nodes: HashMap<Text, PacketBatch>,
}

impl PacketRound {
    fn of(out: &mut Out) -> Self {
        let partitions = (0..).zip(&mut out.partitions).filter(|(_, batch)| !batch.ends.is_empty());
        let partitions = partitions.map(|(partition, batch)| (partition, std::mem::take(batch))).collect();
        PacketRound { partitions, nodes: std::mem::take(&mut out.nodes) }
    }
}

/// What the cluster calls. It keeps neither the engine nor the link alive. What the cluster knows to be lost is seen by
/// its number, when the next one of its partition comes.
struct Door {
    link: Weak<Link>,
}

impl Receiver for Door {
    fn receive(&self, partition: Option<u16>, payload: Bytes) {
        let Some(link) = self.link.upgrade() else { return };
        count(&link.counters.bytes_received, payload.len() as u64);
        if link.come.put(payload.len(), |come| come.push_back((partition, payload))) == Err(Refused::Full) {
            count(&link.counters.overflowed, 1);
        }
    }

    fn health(&self, health: Health) {
        let Some(link) = self.link.upgrade() else { return };
        link.health.store(number_of(&health), Ordering::Relaxed);
        link.tell("health", typed(health));
    }
}

fn typed<T: Send + Sync + fmt::Debug + 'static>(value: T) -> Payload {
    Payload::encoded_by(value, |value| {
        let text = serde_json::Value::String(format!("{value:?}"));
        Ok(Bytes::from(text.to_string()))
    })
}

/// The delivering thread.
struct InThread {
    link: Arc<Link>,
    heard: HashMap<(u64, Option<u16>), Heard>,
    swept: Instant,
}

/// What is known of one partition of one sender.
struct Heard {
    node: Text,
    /// The number of the next packet.
    expected: u64,
    /// Of a record in pieces: those that have come, and how many are to come.
    pieces: Vec<u8>,
    next_piece: u32,
    /// Whether it was told that it is of a later version.
    is_newer: bool,
    at: Instant,
}

impl InThread {
    fn run(mut self) {
        let parker = Parker::new();
        loop {
            let come = self.link.come.take(&parker, None, std::mem::take);
            for (partition, payload) in come.what {
                if let Err(error) = self.take(partition, &payload) {
                    self.link.unreadable(error);
                }
            }
            if come.is_last {
                return;
            }
        }
    }

    fn take(&mut self, partition: Option<u16>, payload: &Bytes) -> Result<(), WireError> {
        let Packet { sender, number, body } = wire::parse(payload)?;
        if sender.boot == self.link.boot {
            return Ok(());
        }
        let now = Instant::now();
        let heard = self.heard.entry((sender.boot, partition)).or_insert_with(|| Heard {
            node: sender.node.into(),
            expected: number,
            pieces: Vec::new(),
            next_piece: 0,
            is_newer: false,
            at: now,
        });
        heard.at = now;
        if number < heard.expected {
            count(&self.link.counters.late, 1);
            return Ok(());
        }
        count(&self.link.counters.received, 1);
        let lost = number - heard.expected;
        heard.expected = number.wrapping_add(1);
        let mut loss = None;
        if lost > 0 {
            heard.forget_pieces();
            loss = Some(Loss { node: heard.node.clone(), partition, packets: lost });
        }
        let records = match body {
            Body::Records(records) => Some(records),
            Body::Piece { index, count, bytes } => heard.piece((index, count), &bytes),
        };
        if let Some(loss) = loss {
            count(&self.link.counters.lost, loss.packets);
            self.link.tell("lost", typed(loss));
        }
        if let Some(records) = records
            && self.deliver(&records)? > 0
        {
            self.note_newer((sender.boot, partition));
        }
        self.sweep(now);
        Ok(())
    }

    /// Returns how many were passed over.
    fn deliver(&self, records: &Bytes) -> Result<u64, WireError> {
        let Some(engine) = self.link.engine.get().and_then(Weak::upgrade) else { return Ok(0) };
        let mut unknown = 0;
        for record in wire::records(records) {
            match record? {
                Record::Broadcast { topic, event, payload, for_clients } => {
                    let clients = || -> Arc<dyn std::any::Any + Send + Sync> { Arc::new(ForClients::default()) };
                    let publish = engine.publish(topic);
                    let publish = if for_clients { publish.attach(&clients) } else { publish };
                    count(&self.link.counters.broadcasts, 1);
                    // A topic whose name is too long for this node has no subscribers here.
                    let _ = publish.send(event.to_owned().into(), payload);
                }
                Record::Gossip(bytes) => {
                    let gossip = self.link.gossip.lock().clone();
                    if let Some(gossip) = gossip {
                        gossip(bytes);
                    }
                }
                Record::Unknown => unknown += 1,
            }
        }
        count(&self.link.counters.unknown, unknown);
        Ok(unknown)
    }

    /// Tells, once, of a partition whose sender is of a later version.
    fn note_newer(&mut self, of: (u64, Option<u16>)) {
        if let Some(heard) = self.heard.get_mut(&of)
            && !std::mem::replace(&mut heard.is_newer, true)
        {
            self.link.tell("newer", typed(heard.node.clone()));
        }
    }

    /// Forgets who was not heard for long.
    fn sweep(&mut self, now: Instant) {
        if now.duration_since(self.swept) > SENDER_KEPT {
            self.swept = now;
            self.heard.retain(|_, heard| now.duration_since(heard.at) <= SENDER_KEPT);
        }
    }
}

impl Heard {
    fn forget_pieces(&mut self) {
        (self.pieces, self.next_piece) = (Vec::new(), 0);
    }

    /// Takes a piece, and gives the whole with the last one.
    fn piece(&mut self, (index, count): (u32, u32), bytes: &Bytes) -> Option<Bytes> {
        if index == 0 {
            self.forget_pieces();
        }
        let is_next = index == self.next_piece && self.pieces.len() + bytes.len() <= RECORD_BYTES_MAX + 64;
        if !is_next {
            // Its beginning was lost, or it is too long for anything that is sent.
            self.forget_pieces();
            return None;
        }
        self.pieces.extend_from_slice(bytes);
        self.next_piece += 1;
        if self.next_piece < count {
            return None;
        }
        self.next_piece = 0;
        Some(std::mem::take(&mut self.pieces).into())
    }
}
