//! What a worker alone changes: its members, and the walks over them.
//!
//! Everything here happens under the worker's baton. A broadcast is popped from the inbox, the control log is applied
//! exactly as far as the broadcast's position, and the members of its topic are walked. A long walk is cut into slices:
//!
//! - I1. A topic with a suspended walk is *busy*. Broadcasts and changes of a busy topic wait, in order, in the
//!   topic's own queue until the walk ends, so lists never change under a walk, and each broadcast meets exactly the
//!   members that it should. Other topics go on.
//! - I2. A subscriber that leaves does so behind everything that waits in busy topics: its leaving joins the queue of
//!   each, and only when it has passed the last one is its reader told, or its place recycled. So it gets what was
//!   published before it left and nothing else, and a walk needs no check whether a place still has the tenant it had.
//! - I3. Within a slice no entry of the log is applied, so pointers read from mailbox lines in a slice stay good until
//!   its end (`ready`, I4).
//! - I4. What waits in queues of busy topics is bounded: with as many broadcasts there as an inbox has entries,
//!   nothing is popped.

use super::barrier::Barrier;
use super::handlers::{Handlers, NewHandler};
use super::item::{Broadcast, Item, Op};
use super::members::{Members, Place};
use super::shared::{Worker, WorkerCounters};
use super::task::{self, Task};
use super::walk::{Afterwards, Deliver, Tally, Walker, Wide, ask_for_lines, hand_over};
use crate::engine::Engine;
use crate::engine::contract::CloseReason;
use crate::hash::Fast;
use crate::message::body::Bias;
use crate::protocol::control_log::ControlLogReader;
use crate::protocol::notify::Notify;
use crate::sync::Arc;
use crate::topic::table::TopicEntry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

/// Deliveries in a slice: about 10 us of walking.
pub(crate) const SLICE: usize = 4096;
/// Entries popped before a suspended walk gets its turn.
const BATCH: usize = 64;
/// Topics that lost their last member before their bits are cleared, while the worker is busy.
const EMPTIED_MAX: usize = 1024;
/// So many subscriptions are more than a cache holds.
const LARGE: u64 = 1 << 14;
/// Entries of the log between two steps of asking for memory.
const AHEAD: usize = 4;
/// Log entries that a publisher applies for a worker when it delivers in place.
const IN_PLACE_LOG_MAX: u64 = 64;
/// What a delivery in place costs the publisher, about, in nanoseconds: a line, most likely of another processor.
pub(crate) const NS_PER_DELIVERY: u64 = 8;
/// So few members are delivered to in place without a look at the clock.
const FEW: usize = 32;
/// A publisher may deliver in place for one part in so many of its time.
const IN_PLACE_SHARE: u64 = 4;

/// A worker's own state. See the module's text.
#[derive(Debug)]
pub(crate) struct Core {
    control_log: ControlLogReader<Op>,
    members: Members,
    /// The slabs of handlers, by kind; that of mailboxes is empty.
    handlers: Vec<Option<Box<dyn Handlers>>>,
    /// The slots of mailboxes larger than their line, by place.
    wide: Wide,
    walker: Walker,
    /// Suspended walks, each of another topic.
    walks: VecDeque<Walk>,
    busy: HashMap<u32, VecDeque<Deferred>, Fast>,
    parked: usize,
    /// When a publisher last delivered in place, to more than a few.
    in_place_at: Option<Instant>,
    /// The generation of the last tenant that was removed, by kind and place.
    removed: Vec<Vec<u32>>,
    /// What the log says of the slabs of handlers, in order: left to the worker's own thread, since it runs code of
    /// users.
    postponed: Vec<Postponed>,
    /// Places to give back.
    free: Vec<Place>,
    /// Subscriptions of those who left, by topic, which the topics have yet to be told of. Empty between applications
    /// of the log, and before a broadcast is walked.
    gone: Vec<(Arc<TopicEntry>, u64)>,
    /// The same for the limit of each subscriber that is still there.
    ended: Vec<(Place, u64)>,
    /// Topics that lost their last member here and still show our bit.
    emptied: Vec<Arc<TopicEntry>>,
    emptied_max: usize,
    /// Entries whose work is finished, not yet counted as completed.
    pub completed: u32,
}

/// A walk, and how far it is.
#[derive(Debug)]
struct Walk {
    broadcast: Broadcast,
    list: Option<u32>,
    position: usize,
    delivered: u64,
}

/// A broadcast that its publisher would deliver itself, as it concerns one worker.
pub(crate) struct Small {
    /// How far the log may be applied.
    pub position: u64,
    /// The number of its topic.
    pub topic: u32,
    /// To how many members at most.
    pub members_max: usize,
    /// Whether a publisher that sends many in a row is to leave them to the worker.
    pub spare_publisher: bool,
}

/// A change of a slab of handlers.
#[derive(Debug)]
enum Postponed {
    Put(Place, Box<dyn NewHandler>),
    Remove(Place),
}

/// What waits in a busy topic.
#[derive(Debug)]
enum Deferred {
    Broadcast(Broadcast),
    Op(Op),
    /// Shared by the queues of all topics that were busy; whoever has it last ends it (I2).
    Leave(Arc<Leaving>),
    Barrier(Arc<Barrier>),
    Task(Arc<task::WaitingTask>),
}

/// A subscriber whose subscriptions end.
#[derive(Debug)]
enum Leaving {
    /// A mailbox that was closed, and is still its reader's.
    Closed { place: Place, reason: CloseReason },
    /// A subscriber that is gone.
    Gone { place: Place, generation: u32 },
}

/// Notes subscriptions of a topic that have ended: whoever leaves one topic after another costs it one change of its
/// counts.
fn note_gone(gone: &mut Vec<(Arc<TopicEntry>, u64)>, topic: &Arc<TopicEntry>, count: u64) {
    match gone.last_mut() {
        Some((last, ended)) if Arc::ptr_eq(last, topic) => *ended += count,
        _ => gone.push((topic.clone(), count)),
    }
}

impl Core {
    /// A core without members.
    pub(crate) fn new() -> Self {
        Core {
            control_log: ControlLogReader::new(),
            members: Members::new(),
            handlers: vec![None],
            wide: Wide::default(),
            walker: Walker::default(),
            walks: VecDeque::new(),
            busy: HashMap::default(),
            parked: 0,
            in_place_at: None,
            removed: Vec::new(),
            postponed: Vec::new(),
            free: Vec::new(),
            gone: Vec::new(),
            ended: Vec::new(),
            emptied: Vec::new(),
            emptied_max: EMPTIED_MAX,
            completed: 0,
        }
    }

    /// Exchanges what is left to do without the baton for an empty `afterwards`.
    #[inline]
    pub(crate) fn hand_over(&mut self, afterwards: &mut Afterwards) {
        self.walker.hand_over(afterwards);
        hand_over(&mut self.members.removed_metadata, &mut afterwards.metadata);
    }

    /// Does a bounded piece of work. Returns whether there was any.
    pub(crate) fn run(&mut self, engine: &Arc<Engine>, me: &Worker) -> bool {
        let mut worked = false;
        let mut budget = SLICE;
        for _ in 0..BATCH {
            if self.parked >= engine.config.inbox_entries_max || budget == 0 {
                break;
            }
            // SAFETY: we are under the baton, so calls follow one another.
            let Some(item) = (unsafe { me.remote.inbox.pop() }) else { break };
            worked = true;
            match item {
                Item::Broadcast(broadcast) => self.begin(engine, me, broadcast, &mut budget),
                Item::Barrier { barrier, position } => {
                    self.apply_to(engine, me, position);
                    self.change_slabs();
                    self.hide_emptied(me);
                    // Whoever waited for it looks into sets of mailboxes too.
                    self.walker.finish_slice();
                    self.pass(barrier);
                }
                Item::Task { task, position } => {
                    self.apply_to(engine, me, position);
                    self.change_slabs();
                    self.run_task(me, task);
                }
            }
        }
        if let Some(walk) = self.walks.pop_front() {
            worked = true;
            self.resume(engine, me, walk);
        }
        self.walker.finish_slice();
        if !worked {
            worked = self.catch_up(engine, me);
        }
        if self.emptied.len() >= self.emptied_max {
            self.hide_emptied(me);
        }
        worked
    }

    /// Applies the whole log, for want of anything else to do. Returns whether there was anything.
    fn catch_up(&mut self, engine: &Arc<Engine>, me: &Worker) -> bool {
        // Not ahead of a broadcast that is on its way with an earlier position (`remote`, I2).
        let position = me.remote.position_if_drained();
        let worked = position.is_some_and(|position| self.apply_to(engine, me, position));
        self.change_slabs();
        if !self.emptied.is_empty() {
            self.hide_emptied(me);
        }
        self.give_back(me);
        worked
    }

    /// The position up to which the control log has been applied.
    pub(crate) fn applied(&self) -> u64 {
        self.control_log.applied()
    }

    fn begin(&mut self, engine: &Arc<Engine>, me: &Worker, broadcast: Broadcast, budget: &mut usize) {
        self.apply_to(engine, me, broadcast.position);
        if !self.busy.is_empty()
            && let Some(queue) = self.busy.get_mut(&broadcast.message.topic_number())
        {
            self.parked += 1;
            queue.push_back(Deferred::Broadcast(broadcast));
            return;
        }
        self.change_slabs();
        let mut walk = self.start(broadcast);
        if self.advance(engine, me, &mut walk, budget) {
            self.finish(me, walk);
        } else {
            self.busy.insert(walk.broadcast.message.topic_number(), VecDeque::new());
            self.walks.push_back(walk);
        }
        self.close_overflowed(engine, me);
    }

    /// Ends the subscriptions of mailboxes that a walk has closed, now that no list is being read.
    fn close_overflowed(&mut self, engine: &Arc<Engine>, me: &Worker) {
        if self.walker.overflowed.is_empty() {
            return;
        }
        while let Some(index) = self.walker.overflowed.pop() {
            let place = Place { kind: 0, index };
            self.leave(engine, me, Leaving::Closed { place, reason: CloseReason::Overflow });
        }
        self.tell_ended(engine, me);
    }

    fn start(&self, broadcast: Broadcast) -> Walk {
        let mut broadcast = broadcast;
        // A sender that has gone skips nobody, though its place may have another tenant by now.
        broadcast.from = broadcast.from.filter(|&(place, generation)| !self.is_removed(place, generation));
        let list = self.members.first(broadcast.message.topic_number());
        Walk { broadcast, list, position: 0, delivered: 0 }
    }

    /// Walks on until the end or until the budget is used up. Returns whether it came to the end.
    fn advance(&mut self, engine: &Arc<Engine>, me: &Worker, walk: &mut Walk, budget: &mut usize) -> bool {
        let mut deliver = Deliver {
            engine,
            me,
            wide: &self.wide,
            walker: &mut self.walker,
            message: &walk.broadcast.message,
            from: walk.broadcast.from.map(|(place, _)| place),
        };
        let mut tally = Tally::default();
        while let Some(number) = walk.list {
            let list = self.members.list(number);
            while walk.position < list.len() {
                if *budget == 0 {
                    break;
                }
                let run = list.run(walk.position);
                let run = &run[..run.len().min(*budget)];
                *budget -= run.len();
                tally += deliver.run(list, walk.position, run, &mut self.handlers);
                walk.position += run.len();
            }
            if walk.position < list.len() {
                break;
            }
            walk.list = self.members.next(number);
            walk.position = 0;
        }
        walk.delivered += tally.references;
        WorkerCounters::add(&me.counters.delivered, tally.delivered);
        WorkerCounters::add(&me.counters.dropped, tally.dropped);
        walk.list.is_none()
    }

    /// Gives a suspended walk its slice; at its end, works through what has waited for it.
    fn resume(&mut self, engine: &Arc<Engine>, me: &Worker, mut walk: Walk) {
        let mut budget = SLICE;
        self.change_slabs();
        if !self.advance(engine, me, &mut walk, &mut budget) {
            self.walks.push_back(walk);
            return self.close_overflowed(engine, me);
        }
        // Log entries are applied next: I3.
        self.walker.finish_slice();
        let topic = walk.broadcast.message.topic_number();
        self.finish(me, walk);
        let mut queue = self.busy.remove(&topic).expect("I1: a topic with a suspended walk is busy");
        self.close_overflowed(engine, me);
        while let Some(deferred) = queue.pop_front() {
            match deferred {
                Deferred::Op(op) => self.apply(engine, me, op),
                Deferred::Leave(leaving) => {
                    self.remove_from(topic, leaving.place());
                    if let Some(leaving) = Arc::into_inner(leaving) {
                        self.left(me, leaving);
                    }
                }
                Deferred::Barrier(barrier) => {
                    // Whoever waited for it looks at the counts.
                    self.tell_ended(engine, me);
                    barrier.reach();
                }
                Deferred::Task(waiting) => {
                    if let Some(task) = task::WaitingTask::last(waiting) {
                        task::run(task, &me.counters);
                        self.completed += 1;
                    }
                }
                Deferred::Broadcast(broadcast) => {
                    self.parked -= 1;
                    self.walks.push_back(self.start(broadcast));
                    self.busy.insert(topic, queue);
                    break;
                }
            }
        }
        self.tell_ended(engine, me);
    }

    fn count_subscriptions(&self, me: &Worker) {
        // Relaxed: the baton orders the writers; readers want a recent value.
        me.counters.subscriptions.store(self.members.subscriptions(), crate::sync::Ordering::Relaxed);
    }

    fn finish(&mut self, me: &Worker, walk: Walk) {
        me.remote.inbox.release(walk.broadcast.weight);
        self.settle(walk);
        self.completed += 1;
    }

    /// Gives back what a walk did not use of its worker's bias.
    fn settle(&mut self, walk: Walk) {
        self.walker.give_back(walk.broadcast.message.settle(walk.delivered));
    }

    /// Passes a barrier: reached now, or when what waits in busy topics before it is through.
    fn pass(&mut self, barrier: Arc<Barrier>) {
        self.completed += 1;
        barrier.add(self.busy.len() as u32);
        for queue in self.busy.values_mut() {
            queue.push_back(Deferred::Barrier(barrier.clone()));
        }
        barrier.reach();
    }

    /// Runs a task: now, or when what waits in busy topics before it is through.
    fn run_task(&mut self, me: &Worker, task: Task) {
        if self.busy.is_empty() {
            task::run(task, &me.counters);
            self.completed += 1;
            return;
        }
        let waiting = task::WaitingTask::new(task);
        for queue in self.busy.values_mut() {
            queue.push_back(Deferred::Task(waiting.clone()));
        }
    }

    /// Applies the log up to `position`. Returns whether there was anything to apply.
    fn apply_to(&mut self, engine: &Arc<Engine>, me: &Worker, position: u64) -> bool {
        if self.control_log.applied() >= position {
            return false;
        }
        self.walker.finish_slice();
        let is_large = self.members.subscriptions() > LARGE;
        while let Some(op) = self.control_log.next(&me.remote.control_log, position) {
            if is_large {
                self.ask_ahead();
            }
            self.apply(engine, me, op);
        }
        self.tell_ended(engine, me);
        true
    }

    /// Asks for the memory of entries that come later, step by step, since each step's line says where the next one is.
    fn ask_ahead(&self) {
        let place = |ahead: usize| self.control_log.ahead(ahead).and_then(Op::place);
        place(3 * AHEAD).into_iter().for_each(|place| self.members.prefetch_chain(place));
        place(2 * AHEAD).into_iter().for_each(|place| self.members.prefetch_record(place));
        place(AHEAD).into_iter().for_each(|place| self.members.prefetch_member(place));
    }

    fn apply(&mut self, engine: &Arc<Engine>, me: &Worker, op: Op) {
        match op {
            Op::Subscribe { topic, entry, place, metadata } => {
                if let Some(queue) = self.busy.get_mut(&topic) {
                    queue.push_back(Deferred::Op(Op::Subscribe { topic, entry, place, metadata }));
                } else {
                    self.members.subscribe(topic, entry, place, metadata);
                }
            }
            Op::Unsubscribe { topic, place } => {
                if let Some(queue) = self.busy.get_mut(&topic) {
                    queue.push_back(Deferred::Op(Op::Unsubscribe { topic, place }));
                    return;
                }
                let removed = self.remove_from(topic, place);
                if self.gone.len() >= BATCH {
                    self.count_gone(engine);
                }
                if removed > 0 {
                    self.ended.push((place, removed));
                }
                if self.ended.len() >= BATCH {
                    self.give_back(me);
                }
            }
            Op::End { place, reason } => self.leave(engine, me, Leaving::Closed { place, reason }),
            Op::Remove { place, generation } => self.leave(engine, me, Leaving::Gone { place, generation }),
            Op::Handler { place, handler } => self.postponed.push(Postponed::Put(place, handler)),
            Op::Wide { index, slots } => {
                self.wide.insert(index, slots);
            }
            Op::DropGroup(group) => drop(group),
        }
    }

    /// Ends the subscriptions of a place to a topic. Returns how many there were.
    fn remove_from(&mut self, topic: u32, place: Place) -> u64 {
        let removed = self.members.unsubscribe(topic, place);
        if removed > 0
            && let Some(entry) = self.members.entry(topic)
        {
            note_gone(&mut self.gone, entry, removed);
        }
        removed
    }

    /// Ends the subscriptions of one who leaves: now, but for those to busy topics, which end in the order of their
    /// queues, where there may be subscriptions of it that have yet to begin (I2).
    fn leave(&mut self, engine: &Arc<Engine>, me: &Worker, leaving: Leaving) {
        let (busy, gone) = (&self.busy, &mut self.gone);
        self.members.remove_all(leaving.place(), |topic| busy.contains_key(&topic), |topic| note_gone(gone, topic, 1));
        if self.gone.len() >= BATCH {
            self.count_gone(engine);
        }
        if self.busy.is_empty() {
            return self.left(me, leaving);
        }
        let leaving = Arc::new(leaving);
        for queue in self.busy.values_mut() {
            queue.push_back(Deferred::Leave(leaving.clone()));
        }
    }

    /// Tells the topics of the subscriptions that have ended since this was last called: those who leave one topic
    /// after another cost it one change of its counts, not one each.
    fn count_gone(&mut self, engine: &Arc<Engine>) {
        while let Some((topic, count)) = self.gone.pop() {
            if topic.lifecycle.drop_subscriptions(count) {
                engine.topics.remove(&topic);
            }
            let noted = self.emptied.last().is_some_and(|last| Arc::ptr_eq(last, &topic));
            if !noted && self.members.len(topic.number()) == 0 {
                self.emptied.push(topic);
            }
        }
    }

    /// All subscriptions of one who leaves have ended: tells its reader, or gives back what it left and frees its
    /// place (I2).
    fn left(&mut self, me: &Worker, leaving: Leaving) {
        let (place, generation) = match leaving {
            Leaving::Closed { place, reason } => return self.end_line(me, place.index, reason),
            Leaving::Gone { place, generation } => (place, generation),
        };
        self.mark_removed(place, generation);
        if place.kind == 0 {
            let wide = self.wide.remove(&place.index);
            self.walker.drain(me.line(place.index), wide.as_deref());
        } else {
            self.postponed.push(Postponed::Remove(place));
        }
        self.free.push(place);
        if self.free.len() >= BATCH {
            self.give_back(me);
        }
    }

    /// Changes the slabs of handlers as the log has said. On the worker's thread only.
    fn change_slabs(&mut self) {
        for postponed in self.postponed.drain(..) {
            match postponed {
                Postponed::Put(place, handler) => {
                    let kind = place.kind as usize;
                    if self.handlers.len() <= kind {
                        self.handlers.resize_with(kind + 1, || None);
                    }
                    let slab = self.handlers[kind].get_or_insert_with(|| handler.slab());
                    handler.put(&mut **slab, place.index);
                }
                Postponed::Remove(place) => {
                    if let Some(slab) = self.handlers.get_mut(place.kind as usize).and_then(Option::as_mut) {
                        slab.remove(place.index, CloseReason::Dropped);
                    }
                }
            }
        }
        // A burst of a million handlers should not hold its memory for ever.
        self.postponed.shrink_to(EMPTIED_MAX);
    }

    /// Gives back what subscribers have left: subscriptions, and then, since another may come to have them, places.
    fn give_back(&mut self, me: &Worker) {
        if self.ended.is_empty() && self.free.is_empty() {
            return;
        }
        let mut guard = me.remote.control_log.lock();
        let places = guard.state();
        self.ended.iter().for_each(|(place, _)| places.prefetch(*place));
        self.ended.drain(..).for_each(|(place, count)| places.drop_subscriptions(place, count));
        places.recycle(self.free.drain(..));
    }

    /// Tells topics and subscribers of the subscriptions that have ended.
    fn tell_ended(&mut self, engine: &Arc<Engine>, me: &Worker) {
        self.count_gone(engine);
        if !self.ended.is_empty() {
            self.give_back(me);
        }
        self.count_subscriptions(me);
    }

    fn is_removed(&self, place: Place, generation: u32) -> bool {
        let removed = self.removed.get(place.kind as usize).and_then(|kind| kind.get(place.index as usize));
        // Generations are compared as wrapping numbers: a place has few of them alive.
        removed.is_some_and(|&removed| removed.wrapping_sub(generation) as i32 >= 0)
    }

    fn mark_removed(&mut self, place: Place, generation: u32) {
        let kind = place.kind as usize;
        if self.removed.len() <= kind {
            self.removed.resize_with(kind + 1, Vec::new);
        }
        let removed = &mut self.removed[kind];
        if removed.len() <= place.index as usize {
            removed.resize(place.index as usize + 1, 0);
        }
        removed[place.index as usize] = generation;
    }

    /// Clears our bit in topics without members here, and drops their lists, under the lock of the log
    /// (`topic_lifecycle`, I3). Those that a waiting entry subscribes to keep both.
    fn hide_emptied(&mut self, me: &Worker) {
        let guard = me.remote.control_log.lock();
        let subscribed = |op: &Op| match op {
            Op::Subscribe { topic, .. } => Some(*topic),
            _ => None,
        };
        let deferred = self.busy.values().flatten().filter_map(|deferred| match deferred {
            Deferred::Op(op) => Some(op),
            _ => None,
        });
        let waiting = self.control_log.waiting().chain(guard.pending()).chain(deferred);
        let waiting: HashSet<u32, Fast> = waiting.filter_map(subscribed).collect();
        let (members, busy) = (&mut self.members, &self.busy);
        self.emptied.retain(|topic| {
            let number = topic.number();
            // A suspended walk has a list, be it empty.
            let wanted = waiting.contains(&number) || busy.contains_key(&number);
            if !wanted && members.len(number) == 0 {
                topic.lifecycle.hide(me.index);
                members.drop_lists(number);
            }
            wanted
        });
        drop(guard);
        // What a waiting entry wants is looked at again when that is applied; then it has members, or is emptied anew.
        self.emptied_max = EMPTIED_MAX.max(2 * self.emptied.len());
    }

    /// Whether a broadcast may be delivered on the thread of its publisher: it is cheap, and nothing is before it.
    /// Applies the log.
    pub(crate) fn takes_in_place(&mut self, engine: &Arc<Engine>, me: &Worker, small: &Small) -> bool {
        if !self.walks.is_empty() || small.position.saturating_sub(self.control_log.applied()) > IN_PLACE_LOG_MAX {
            return false;
        }
        self.apply_to(engine, me, small.position);
        let len = self.members.len(small.topic);
        if len > small.members_max || len > 0 && !self.members.only_mailboxes(small.topic) {
            return false;
        }
        if small.spare_publisher && len > FEW && self.is_in_a_row(len) {
            return false;
        }
        if let Some(list) = self.members.first(small.topic) {
            // Meanwhile the message is made.
            ask_for_lines(me, self.members.list(list).run(0));
        }
        true
    }

    /// Whether a publisher that delivers to so many in place, and to others a moment ago, would spend much of its time
    /// on that. Then it is cheaper for it to wake the worker once and let that do the rest. Notes this delivery.
    fn is_in_a_row(&mut self, len: usize) -> bool {
        let now = Instant::now();
        let pause = self.in_place_at.replace(now).map_or(Duration::MAX, |at| now - at);
        pause < Duration::from_nanos(IN_PLACE_SHARE * len as u64 * NS_PER_DELIVERY)
    }

    /// Delivers a broadcast on the thread of its publisher, after [`takes_in_place`](Self::takes_in_place) under the
    /// same baton.
    pub(crate) fn deliver_in_place(
        &mut self,
        engine: &Arc<Engine>,
        me: &Worker,
        position: u64,
        message: Bias,
        from: Option<(Place, u32)>,
    ) {
        let mut walk = self.start(Broadcast { message, position, from, weight: 0 });
        let mut budget = usize::MAX;
        let ended = self.advance(engine, me, &mut walk, &mut budget);
        debug_assert!(ended, "there was no bound");
        self.walker.finish_slice();
        self.settle(walk);
        self.close_overflowed(engine, me);
    }

    /// The worker ends: gives back all that is left, and ends every subscriber. Returns the broadcasts that were left.
    pub(crate) fn end(&mut self, engine: &Arc<Engine>, me: &Worker) -> u64 {
        // Before the inbox is drained: see `PubSub::flush`.
        let mailboxes = {
            let mut guard = me.remote.control_log.lock();
            guard.state().closed = true;
            guard.state().mailboxes()
        };
        let mut left = 0;
        while let Some(walk) = self.walks.pop_front() {
            self.settle(walk);
            left += 1;
        }
        for deferred in std::mem::take(&mut self.busy).into_values().flatten() {
            match deferred {
                Deferred::Broadcast(broadcast) => {
                    self.walker.give_back(broadcast.message.settle(0));
                    left += 1;
                }
                Deferred::Barrier(barrier) => barrier.abandon(),
                Deferred::Task(waiting) => drop(waiting),
                Deferred::Op(op) => self.apply(engine, me, op),
                Deferred::Leave(leaving) => {
                    if let Some(leaving) = Arc::into_inner(leaving) {
                        self.left(me, leaving);
                    }
                }
            }
        }
        left += self.drop_inbox(me);
        // What was asked for and not applied: handlers that have yet to come must be told of the end too.
        self.apply_to(engine, me, me.remote.control_log.position());
        for index in 0..mailboxes {
            self.end_line(me, index, CloseReason::Shutdown);
        }
        self.walker.finish_slice();
        self.change_slabs();
        for slab in self.handlers.iter_mut().flatten() {
            slab.end(CloseReason::Shutdown);
        }
        self.members.give_metadata();
        me.remote.control_log.lock().state().ended = true;
        left
    }

    /// For a worker that ends: empties its inbox. Returns how many broadcasts were in it.
    pub(crate) fn drop_inbox(&mut self, me: &Worker) -> u64 {
        let mut left = 0;
        // SAFETY: we are under the baton, so calls follow one another.
        while let Some(item) = unsafe { me.remote.inbox.pop() } {
            match item {
                Item::Broadcast(broadcast) => {
                    self.walker.give_back(broadcast.message.settle(0));
                    left += 1;
                }
                Item::Barrier { barrier, .. } => barrier.abandon(),
                Item::Task { task, .. } => drop(task),
            }
        }
        left
    }

    /// Tells the reader of a mailbox that it has ended.
    fn end_line(&mut self, me: &Worker, index: u32, reason: CloseReason) {
        let line = me.line(index);
        let notify = Notify { flags: &line.flags, waker: &me.cold(index).waker };
        self.walker.wakers.extend(notify.end(reason as u32));
        self.walker.mark_ended(line);
    }
}

impl Leaving {
    fn place(&self) -> Place {
        match *self {
            Leaving::Closed { place, .. } | Leaving::Gone { place, .. } => place,
        }
    }
}
