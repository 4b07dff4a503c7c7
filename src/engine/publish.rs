//! How a broadcast goes out.
//!
//! Up to three ways, by who calls and what is there: nobody subscribed, nothing is made or counted; a small topic of
//! mailboxes whose workers idle, the caller delivers in place under the workers' batons, if that costs it less than
//! waking them would; otherwise an entry goes into the inbox of each worker that has members.

use super::error::{BroadcastError, Rejected};
use super::outcome::{Outcome, TaskError};
use super::worker::core::{NS_PER_DELIVERY, SLICE, Small};
use super::worker::item::{Broadcast, Item};
use super::worker::places::SubscriberId;
use super::worker::shared::{Worker, WorkerCounters};
use super::worker::task::Task;
use super::worker::walk::Afterwards;
use super::{Engine, outbox};
use crate::cluster::link::{Link, RECORD_BYTES_MAX, To, partition_of};
use crate::message::attachment::Attachment;
use crate::message::body::{Bias, Message};
use crate::message::dispatch::Dispatcher;
use crate::message::payload::{Event, Payload};
use crate::message::slab::Content;
use crate::protocol::gate;
use crate::protocol::remote::{self, Taken, bits};
use crate::protocol::sleep::fence_before_notify;
use crate::sync::{Arc, Ordering, thread_hint};
use crate::topic::table::TopicEntry;

/// A broadcast that is being decided. Built up and sent in one expression.
pub(crate) struct Publish<'a> {
    engine: &'a Arc<Engine>,
    topic: Name<'a>,
    from: Option<SubscriberId>,
    dispatcher: Option<Arc<dyn Dispatcher>>,
    attachment: Option<&'a dyn Fn() -> Attachment>,
    wait: bool,
    everywhere: bool,
}

#[derive(Clone, Copy)]
enum Name<'a> {
    Str(&'a str),
    Entry(&'a Arc<TopicEntry>),
}

impl Engine {
    /// What a broadcast comes to when its topic has no members.
    #[inline]
    pub(crate) fn to_nobody(&self) -> Result<Outcome, BroadcastError> {
        let closed = self.gate.phase() != gate::OPEN && !outbox::on_worker();
        if closed { Err(BroadcastError::Closed) } else { Ok(Outcome::NoSubscribers) }
    }

    /// To this node's subscribers, until told otherwise.
    pub(crate) fn publish<'a>(self: &'a Arc<Self>, topic: &'a str) -> Publish<'a> {
        Publish::new(self, Name::Str(topic))
    }

    pub(crate) fn publish_to<'a>(self: &'a Arc<Self>, topic: &'a Arc<TopicEntry>) -> Publish<'a> {
        Publish::new(self, Name::Entry(topic))
    }
}

impl<'a> Publish<'a> {
    fn new(engine: &'a Arc<Engine>, topic: Name<'a>) -> Self {
        let (from, dispatcher, attachment) = (None, None, None);
        Publish { engine, topic, from, dispatcher, attachment, wait: true, everywhere: false }
    }

    /// To other nodes, too.
    pub(crate) fn everywhere(mut self) -> Self {
        self.everywhere = true;
        self
    }

    pub(crate) fn from(mut self, from: SubscriberId) -> Self {
        self.from = Some(from);
        self
    }

    pub(crate) fn dispatcher(mut self, dispatcher: Arc<dyn Dispatcher>) -> Self {
        self.dispatcher = Some(dispatcher);
        self
    }

    /// Attaches what is to be kept with the message. It is made only if there is somebody to get it.
    pub(crate) fn attach(mut self, attachment: &'a dyn Fn() -> Attachment) -> Self {
        self.attachment = Some(attachment);
        self
    }

    pub(crate) fn no_wait(mut self) -> Self {
        self.wait = false;
        self
    }

    #[inline]
    pub(crate) fn send(self, event: Event, payload: Payload) -> Result<Outcome, BroadcastError> {
        match &self.engine.link {
            Some(link) if self.everywhere => self.send_everywhere(link, event, payload),
            _ => self.send_here(event, payload),
        }
    }

    /// To this node's subscribers first, whatever the cluster's state. What can't be encoded goes to nobody.
    #[cold]
    fn send_everywhere(self, link: &Link, event: Event, payload: Payload) -> Result<Outcome, BroadcastError> {
        let topic = self.topic;
        let name = match topic {
            Name::Str(name) => name,
            Name::Entry(entry) => entry.name(),
        };
        let bytes = wire_bytes(name, &event, &payload)?;
        let for_clients = self.attachment.is_some();
        self.send_here(event.clone(), payload.clone())?;
        Ok(link.broadcast(To::Partition(partition_of(name)), name, &event, bytes, for_clients))
    }

    #[inline]
    fn send_here(self, event: Event, payload: Payload) -> Result<Outcome, BroadcastError> {
        let engine = self.engine;
        let (topic, targets) = match self.topic {
            Name::Entry(entry) => {
                let targets = entry.lifecycle.workers();
                if targets == 0 { (None, 0) } else { (Some(entry.clone()), targets) }
            }
            Name::Str(name) => {
                engine.config.check_topic(name)?;
                let found = engine.topics.look_up(name, |entry| {
                    let entry = entry?;
                    // Before the entry is touched further: a topic without members costs no more than the look.
                    let targets = entry.lifecycle.workers();
                    if targets == 0 { None } else { Some((entry.clone(), targets)) }
                });
                match found {
                    Some((entry, targets)) => (Some(entry), targets),
                    None => (None, 0),
                }
            }
        };
        let Some(topic) = topic else { return engine.to_nobody() };
        self.send_to(topic, targets, event, payload)
    }

    fn send_to(
        self,
        topic: Arc<TopicEntry>,
        targets: u64,
        event: Event,
        payload: Payload,
    ) -> Result<Outcome, BroadcastError> {
        let engine = self.engine;
        let members = topic.lifecycle.subscriptions();
        let weight = engine.config.weight_of(members / u64::from(targets.count_ones()));
        let attachment = self.attachment.map(|make| make());
        let content = Content { topic, event, payload, dispatcher: self.dispatcher, attachment };
        if outbox::on_worker() {
            return send_from_worker(engine, targets, weight, content, self.from);
        }
        if content.dispatcher.is_none() && is_cheap_in_place(engine, targets, members) {
            return send_in_place(engine, targets, members, weight, content, self.from, self.wait);
        }
        send_by_inbox(engine, targets, weight, content, self.from, self.wait)
    }
}

/// What of a payload goes to other nodes, and whether it is binary; if the message can go there at all.
pub(crate) fn wire_bytes<'a>(
    topic: &str,
    event: &str,
    payload: &'a Payload,
) -> Result<(&'a [u8], bool), BroadcastError> {
    let (bytes, is_binary) = match payload {
        Payload::Binary(bytes) => (&**bytes, true),
        other => (other.json().map_err(BroadcastError::Encode)?, false),
    };
    let length = topic.len() + event.len() + bytes.len();
    if length > RECORD_BYTES_MAX {
        return Err(BroadcastError::TooLong { bytes: length, max: RECORD_BYTES_MAX });
    }
    Ok((bytes, is_binary))
}

/// An inbox entry for one worker.
fn entry_for(worker: &Worker, message: Bias, from: Option<SubscriberId>, weight: u32) -> Item {
    let from = from.filter(|from| usize::from(from.worker) == worker.index).map(|from| (from.place, from.generation));
    // After the topic's bits were read: everyone whose bit was seen is in the log by now.
    Item::Broadcast(Broadcast { message, position: worker.remote.control_log.position(), from, weight })
}

fn send_by_inbox(
    engine: &Arc<Engine>,
    targets: u64,
    weight: u32,
    content: Content,
    from: Option<SubscriberId>,
    wait: bool,
) -> Result<Outcome, BroadcastError> {
    let mut content = Some(content);
    let make = || {
        let content = content.take().expect("made once");
        let mut biases = Message::for_workers(content, targets.count_ones());
        move |worker: usize| entry_for(&engine.workers[worker], biases.take(), from, weight)
    };
    let remote = |worker: usize| &engine.workers[worker].remote;
    match remote::publish(&engine.gate, thread_hint::number(), remote, targets, weight, wait, make) {
        Ok(woken) => {
            for worker in bits(woken) {
                engine.workers[worker].wakes.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Outcome::Sent)
        }
        Err(remote::Refused::Closed) => Err(BroadcastError::Closed),
        Err(remote::Refused::Full) => Err(BroadcastError::Full(Rejected::new(content.expect("not made")))),
    }
}

/// What handing a broadcast to a worker that is awake costs, about, in nanoseconds.
const NS_TO_AWAKE: u64 = 100;
/// A publisher delivers to no more members than a worker would in a slice.
pub(crate) const IN_PLACE_MEMBERS_MAX: u64 = SLICE as u64;

/// Whether it is worth trying to deliver to so many members in place: all their workers seem to idle, and it costs the
/// publisher no more than handing the broadcast to them would.
#[inline]
fn is_cheap_in_place(engine: &Engine, targets: u64, members: u64) -> bool {
    if members > engine.config.in_place.unwrap_or(IN_PLACE_MEMBERS_MAX) {
        return false;
    }
    let mut saved = 0;
    for remote in bits(targets).map(|worker| &engine.workers[worker].remote) {
        if !remote.looks_idle() {
            return false;
        }
        saved += if remote.sleep.is_sleeping() { u64::from(remote.wake_cost.nanoseconds()) } else { NS_TO_AWAKE };
    }
    engine.config.in_place.is_some() || members * NS_PER_DELIVERY <= saved
}

/// In place if all workers idle, by their inboxes otherwise.
fn send_in_place(
    engine: &Arc<Engine>,
    targets: u64,
    members: u64,
    weight: u32,
    content: Content,
    from: Option<SubscriberId>,
    wait: bool,
) -> Result<Outcome, BroadcastError> {
    let Some(pass) = engine.gate.enter(thread_hint::number()) else { return Err(BroadcastError::Closed) };
    let Some(mut taken) = remote::take_if_idle(|worker| &engine.workers[worker].remote, targets) else {
        drop(pass);
        return send_by_inbox(engine, targets, weight, content, from, wait);
    };
    let (topic, spare_publisher) = (content.topic.number(), engine.config.in_place.is_none());
    let all = taken.iter_mut().all(|Taken { worker, baton, position }| {
        let small = Small { position: *position, topic, members_max: members as usize, spare_publisher };
        baton.with(|core| core.takes_in_place(engine, &engine.workers[*worker], &small))
    });
    let mut afterwards = Afterwards::take();
    let mut content = Some(content);
    let mut biases = all.then(|| Message::for_workers(content.take().expect("taken once"), targets.count_ones()));
    for Taken { worker, baton, position } in &mut taken {
        let worker = &engine.workers[*worker];
        let from = from.filter(|from| usize::from(from.worker) == worker.index).map(|id| (id.place, id.generation));
        baton.with(|core| {
            if let Some(biases) = &mut biases {
                core.deliver_in_place(engine, worker, *position, biases.take(), from);
            }
            core.hand_over(&mut afterwards);
        });
    }
    if all {
        // Counted once, however many workers there are.
        WorkerCounters::add(&engine.workers[taken[0].worker].counters.in_place, 1);
    }
    drop(taken);
    // The batons have been given back: from here on code of others may run.
    match content {
        None => pass.published(),
        Some(content) => {
            drop(pass);
            afterwards.run_and_keep();
            return send_by_inbox(engine, targets, weight, content, from, wait);
        }
    }
    afterwards.run_and_keep();
    Ok(Outcome::Sent)
}

impl Engine {
    /// Runs `task` on a worker's thread, behind the delivery of everything that this thread has published before.
    ///
    /// # Errors
    ///
    /// [`TaskError`].
    pub(crate) fn run_on(self: &Arc<Self>, worker: usize, task: Task) -> Result<(), TaskError> {
        let make = |task| Item::Task { task, position: self.workers[worker].remote.control_log.position() };
        if outbox::on_worker() {
            let Some(pass) = pass_on_worker(self) else { return Err(TaskError::Closed) };
            if !outbox::has_room(self, 1 << worker, 0) {
                return Err(TaskError::Full);
            }
            outbox::push(self, worker, make(task), 0, pass);
            fence_before_notify();
            self.workers[worker].wake_if_asleep();
            return Ok(());
        }
        let remote = |worker: usize| &self.workers[worker].remote;
        let once = move || {
            let mut task = Some(task);
            move |_| make(task.take().expect("one target"))
        };
        match remote::publish(&self.gate, thread_hint::number(), remote, 1 << worker, 0, true, once) {
            Ok(woken) => {
                self.workers[worker].wakes.fetch_add(u64::from(woken != 0), Ordering::Relaxed);
                Ok(())
            }
            Err(remote::Refused::Closed) => Err(TaskError::Closed),
            Err(remote::Refused::Full) => Err(TaskError::Full),
        }
    }
}

/// What a call on a worker's own thread needs until its last entry is pushed: nothing on the engine's own worker; a
/// pass on a worker of another engine, for which it is a call from outside. `None`: the engine is closed.
#[expect(clippy::option_option, reason = "whether, and then what")]
fn pass_on_worker(engine: &Arc<Engine>) -> Option<Option<Arc<outbox::HeldPass>>> {
    if outbox::worker_of(engine).is_some() {
        return (engine.gate.phase() != gate::CLOSED).then_some(None);
    }
    let hint = thread_hint::number();
    engine.gate.enter(hint)?.keep();
    Some(Some(Arc::new(outbox::HeldPass { engine: engine.clone(), hint })))
}

/// On a worker's own thread, which never waits: by the inboxes, or by the worker's outbox.
fn send_from_worker(
    engine: &Arc<Engine>,
    targets: u64,
    weight: u32,
    content: Content,
    from: Option<SubscriberId>,
) -> Result<Outcome, BroadcastError> {
    let Some(pass) = pass_on_worker(engine) else { return Err(BroadcastError::Closed) };
    if !outbox::has_room(engine, targets, weight) {
        return Err(BroadcastError::Full(Rejected::new(content)));
    }
    let mut biases = Message::for_workers(content, targets.count_ones());
    for worker in bits(targets) {
        let item = entry_for(&engine.workers[worker], biases.take(), from, weight);
        outbox::push(engine, worker, item, weight, pass.clone());
    }
    fence_before_notify();
    for worker in bits(targets) {
        engine.workers[worker].wake_if_asleep();
    }
    Ok(Outcome::Sent)
}
