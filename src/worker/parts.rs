//! The parts that a worker and its callers share: inbox items, log entries, places, counters.

use super::barrier::Barrier;
use super::core::Core;
use super::inbox::Inbox;
use super::lane;
use super::members::{Metadata, Place};
use super::task::Task;
use crate::CloseReason;
use crate::message::Bias;
use crate::subscriber::handler::NewHandler;
use crate::subscriber::ready::Group;
use crate::subscriber::ring::Line;
use crate::sync::{Arc, AtomicU32, AtomicU64, CachePadded, Mutex, Ordering, StableVec, prefetch};
use crate::topic::Entry;
use std::any::TypeId;
use std::collections::HashMap;
use std::task::Waker;

/// A lane of this engine.
pub type Lane = lane::Lane<Item, Op, Places, Core>;

/// Who is subscribed, as it is known outside: a place of one worker, for one of its tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SubscriberId {
    pub(crate) place: Place,
    pub(crate) generation: u32,
    pub(crate) worker: u16,
}

/// A broadcast on its way to one worker.
#[derive(Debug)]
pub struct Broadcast {
    /// The message, with this worker's bias.
    pub message: Bias,
    /// How far the log must be applied before the walk.
    pub position: u64,
    /// Whose subscriptions are skipped, if they are on this worker.
    pub from: Option<(Place, u32)>,
    /// What it counts for in the inbox.
    pub weight: u32,
}

/// What an inbox carries.
pub enum Item {
    /// A broadcast.
    Broadcast(Broadcast),
    /// Reached when everything before it has been delivered, and the log has been applied so far.
    Barrier { barrier: Arc<Barrier>, position: u64 },
    /// Run when everything before it has been delivered, and the log has been applied so far.
    Task { task: Task, position: u64 },
}

impl std::fmt::Debug for Item {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Item::Broadcast(_) => "Broadcast",
            Item::Barrier { .. } => "Barrier",
            Item::Task { .. } => "Task",
        })
    }
}

/// With its sequence number it fills a slot of the inbox, which is one line.
#[cfg(not(fanfare_loom))]
const _: () = assert!(size_of::<Item>() <= 56);

/// What a log carries.
pub enum Op {
    /// A subscription begins. It is counted in the topic already.
    /// The topic comes along if its bit was not set: then it has no list.
    Subscribe { topic: u32, entry: Option<Arc<Entry>>, place: Place, metadata: Option<Metadata> },
    /// All subscriptions of a subscriber to a topic end.
    Unsubscribe { topic: u32, place: Place },
    /// A mailbox is closed: its subscriptions end, and its reader is told. Its place is still its own.
    End { place: Place, reason: CloseReason },
    /// The subscriber is gone, and its place is free once its subscriptions have ended.
    Remove { place: Place, generation: u32 },
    /// A handler comes to its worker.
    Handler { place: Place, handler: Box<dyn NewHandler> },
    /// The slots of a mailbox that is larger than its line.
    Wide { index: u32, slots: Arc<[AtomicU32]> },
    /// A group of a mailbox set is no longer named by any mailbox.
    DropGroup(Arc<Group>),
}

impl Op {
    /// The subscriber that it is about, if it changes who is subscribed.
    pub fn place(&self) -> Option<Place> {
        match self {
            Op::Subscribe { place, .. }
            | Op::Unsubscribe { place, .. }
            | Op::End { place, .. }
            | Op::Remove { place, .. } => Some(*place),
            Op::Handler { .. } | Op::Wide { .. } | Op::DropGroup(_) => None,
        }
    }
}

/// Places of subscribers, beside the log.
#[derive(Debug, Default)]
pub struct Places {
    kinds: Vec<Kind>,
    handlers: HashMap<TypeId, u16, crate::hash::Std>,
    /// The worker is ending: no one subscribes any more.
    pub closed: bool,
    /// The worker has ended: it looks at nothing any more.
    pub ended: bool,
}

/// Subscribers of one kind.
#[derive(Debug, Default)]
struct Kind {
    tenants: Vec<Tenant>,
    free: Vec<u32>,
}

/// Who lives at a place. The generation is odd while somebody does.
#[derive(Debug, Clone, Copy)]
struct Tenant {
    generation: u32,
    subscriptions: u32,
    /// Why the tenant, or the last one, was closed.
    reason: Option<CloseReason>,
    /// Somebody waits for its end: the worker must not sleep over it.
    is_watched: bool,
}

impl Places {
    /// Gives a place of `kind` to a new subscriber: its number and generation.
    pub fn take(&mut self, kind: u16) -> (u32, u32) {
        while self.kinds.len() <= kind as usize {
            self.kinds.push(Kind::default());
        }
        let kind = &mut self.kinds[kind as usize];
        let index = kind.free.pop().unwrap_or_else(|| {
            kind.tenants.push(Tenant { generation: 0, subscriptions: 0, reason: None, is_watched: false });
            kind.tenants.len() as u32 - 1
        });
        let tenant = &mut kind.tenants[index as usize];
        tenant.generation = tenant.generation.wrapping_add(1);
        tenant.subscriptions = 0;
        tenant.reason = None;
        tenant.is_watched = false;
        debug_assert!(tenant.generation % 2 == 1);
        (index, tenant.generation)
    }

    /// The number of the kind of a handler type.
    pub fn handler_kind(&mut self, type_id: TypeId) -> Option<u16> {
        let next = u16::try_from(self.handlers.len() + 1).ok()?;
        Some(*self.handlers.entry(type_id).or_insert(next))
    }

    fn tenant(&mut self, place: Place) -> &mut Tenant {
        &mut self.kinds[place.kind as usize].tenants[place.index as usize]
    }

    /// Counts a subscription, unless there are `max`.
    pub fn add_subscription(&mut self, place: Place, max: u32) -> bool {
        let tenant = self.tenant(place);
        let below = tenant.subscriptions < max;
        tenant.subscriptions += u32::from(below);
        below
    }

    /// Asks for what is known of a subscriber.
    pub fn prefetch(&self, place: Place) {
        prefetch(&self.kinds[place.kind as usize].tenants[place.index as usize]);
    }

    /// Counts subscriptions that ended.
    pub fn drop_subscriptions(&mut self, place: Place, count: u64) {
        let tenant = self.tenant(place);
        tenant.subscriptions = tenant.subscriptions.saturating_sub(count as u32);
    }

    /// The subscriber is closed, but keeps its place. `false` if it was before.
    pub fn close(&mut self, place: Place, generation: u32, reason: CloseReason) -> bool {
        let open = self.close_reason(place, generation).is_none();
        if open {
            self.tenant(place).reason = Some(reason);
        }
        open
    }

    /// The subscriber is gone. `false` if it was before.
    pub fn leave(&mut self, place: Place, generation: u32, reason: CloseReason) -> bool {
        let tenant = self.tenant(place);
        let lives = tenant.generation == generation;
        if lives {
            tenant.generation = tenant.generation.wrapping_add(1);
            tenant.reason.get_or_insert(reason);
        }
        lives
    }

    /// Somebody waits for the tenant's end.
    pub fn watch(&mut self, place: Place) {
        self.tenant(place).is_watched = true;
    }

    /// Whether somebody waits for the end of the tenant, or of the last one.
    pub fn is_watched(&mut self, place: Place) -> bool {
        self.tenant(place).is_watched
    }

    /// Why a subscriber is closed, or `None` if it is not. Once its place has another tenant, that is forgotten.
    pub fn close_reason(&mut self, place: Place, generation: u32) -> Option<CloseReason> {
        let tenant = self.tenant(place);
        match tenant.generation.wrapping_sub(generation) {
            0 | 1 => tenant.reason,
            _ => Some(CloseReason::Dropped),
        }
    }

    /// The generation of who lives at a place.
    pub fn generation(&mut self, place: Place) -> u32 {
        self.tenant(place).generation
    }

    /// Places that nobody refers to any more.
    pub fn recycle(&mut self, places: impl IntoIterator<Item = Place>) {
        for place in places {
            self.kinds[place.kind as usize].free.push(place.index);
        }
    }

    /// How many places of mailboxes there are, free ones included.
    pub fn mailboxes(&self) -> u32 {
        self.kinds.first().map_or(0, |kind| kind.tenants.len() as u32)
    }
}

/// What of a mailbox is not looked at for each delivery.
#[derive(Debug, Default)]
pub struct Cold {
    /// The reader's waker, while it waits.
    pub waker: Mutex<Option<Waker>>,
    /// Messages refused by a full mailbox. Written by the worker, read by the reader.
    pub refused: AtomicU64,
}

/// Counters, each written by whoever holds the baton and read by anyone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Deliveries: messages put into mailboxes, calls of handlers.
    pub delivered: AtomicU64,
    /// Messages that mailboxes evicted or refused.
    pub dropped: AtomicU64,
    /// Handlers that panicked.
    pub panics: AtomicU64,
    /// Broadcasts delivered in place by their publisher.
    pub in_place: AtomicU64,
    /// Subscriptions applied.
    pub subscriptions: AtomicU64,
}

impl Counters {
    /// Adds to a counter that only the caller writes.
    pub fn add(counter: &AtomicU64, count: u64) {
        // Relaxed: the baton orders the writers; readers want a recent value.
        counter.store(counter.load(Ordering::Relaxed) + count, Ordering::Relaxed);
    }
}

/// Everything shared of one worker.
#[derive(Debug)]
pub struct Worker {
    /// Its number.
    pub index: usize,
    /// The way to it.
    pub lane: Lane,
    /// Its mailboxes.
    pub lines: StableVec<Line>,
    /// What goes with them.
    pub cold: StableVec<Cold>,
    /// Its counters.
    pub counters: CachePadded<Counters>,
    /// Wakes of the worker by others.
    pub wakes: AtomicU64,
}

/// Deliveries that count as one unit of an inbox's weight, so that small topics weigh nothing and are bounded by
/// entries.
const WEIGHT_UNIT: u64 = 64;

/// What so many deliveries weigh in an inbox.
pub fn weight_of(deliveries: u64) -> u32 {
    u32::try_from(deliveries / WEIGHT_UNIT).unwrap_or(u32::MAX).min(1 << 29)
}

/// Most mailboxes of one worker.
pub const MAILBOXES_MAX: usize = 1 << 26;

impl Worker {
    /// A worker that nobody has reached yet.
    pub fn new(index: usize, entries_max: usize, weight_max: u32) -> Self {
        Worker {
            index,
            lane: Lane::new(Inbox::new(entries_max, weight_max), Places::default(), Core::new()),
            lines: StableVec::new(MAILBOXES_MAX),
            cold: StableVec::new(MAILBOXES_MAX),
            counters: CachePadded::new(Counters::default()),
            wakes: AtomicU64::new(0),
        }
    }

    /// A mailbox's line, known to exist.
    #[inline(always)]
    pub fn line(&self, index: u32) -> &Line {
        self.lines.get(index).expect("a place that was taken has a line")
    }

    /// What goes with a mailbox's line, known to exist.
    pub fn cold(&self, index: u32) -> &Cold {
        self.cold.get(index).expect("a place that was taken has its cold part")
    }

    /// Wakes the worker if it sleeps. After a fence.
    pub fn wake_if_asleep(&self) {
        if self.lane.wake_if_asleep() {
            self.wakes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl std::fmt::Debug for Op {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Op::Subscribe { .. } => "Subscribe",
            Op::Unsubscribe { .. } => "Unsubscribe",
            Op::End { .. } => "End",
            Op::Remove { .. } => "Remove",
            Op::Handler { .. } => "Handler",
            Op::Wide { .. } => "Wide",
            Op::DropGroup(_) => "DropGroup",
        })
    }
}
