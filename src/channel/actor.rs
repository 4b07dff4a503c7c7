//! A channel as an actor: its callbacks run one at a time, in the order in which they were asked for.
//!
//! Whatever happens to a channel is a [`Job`] in its queue. A job that comes to an idle channel schedules it on the
//! pool of threads; an inline channel runs at once if the caller is its worker and in no other callback, and by a task
//! there otherwise.
//!
//! - I1. At most one thread runs a channel's jobs: the one that set `scheduled`, until it finds the queue empty and
//!   clears it under the same lock. Once the channel has ended it stays set: that thread drops the channel's state.
//! - I2. After the join the channel is paused until its connection has made it known: what it does in its next callback
//!   comes behind the reply to the join, and its broadcasts reach its own client. The end of the connection ends the
//!   pause too.
//! - I3. What it sends to its client goes through the inbox of the connection's worker, so it keeps its order with what
//!   the channel has broadcast before.
//! - I4. A channel that is killed runs nothing more, and nothing that it sends from then on reaches its client.
//! - I5. Behind what ends a channel nothing is taken: a leave is not lost to an overload that comes after it.
//! - I6. Values of users are never dropped under the lock of the queue, and a panic of theirs stays with them. The
//!   channel's state goes when it has ended, whoever still holds a handle of it.

use super::address::Address;
use super::endpoint::Endpoint;
use super::guarded::{self, Guarded, discard};
use super::outcome::{Info, PostError, Stop, Terminated, empty};
use super::router::Route;
use super::serializer::{Reply, Serializer};
use super::{Frame, Scalar};
use crate::engine::error::SubscribeError;
use crate::engine::worker::places::SubscriberId;
use crate::message::body::Message;
use crate::message::payload::Payload;
use crate::presence::Owner;
use crate::subscriber::handler::{Context, Handler, HandlerSubscriber};
use crate::sync::{Arc, AtomicBool, Mutex, OnceLock, Ordering, Weak};
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Jobs that a channel runs before others on the pool get their turn.
const TURN: usize = 32;

/// Something that happens to a channel.
#[derive(Debug)]
pub(crate) enum Job {
    Join(Payload),
    In { event: Box<str>, payload: Payload, reference: Scalar },
    Out(Message),
    Info(Info),
    Leave { reference: Scalar, join_ref: Scalar },
    Close,
    Overloaded,
}

/// A channel. See the module's text.
pub(crate) struct Actor {
    pub(crate) topic: Arc<str>,
    pub(crate) join_ref: Scalar,
    /// Its connection has had the topic before (`connection`, I3).
    pub(crate) again: bool,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) endpoint: Endpoint,
    pub(crate) route: Arc<Route>,
    address: Address,
    assigns: Guarded<Arc<dyn Any + Send + Sync>>,
    queue: Mutex<JobQueue>,
    body: Mutex<Box<dyn Body>>,
    killed: AtomicBool,
    /// Its connection has forgotten it (`connection`, I2). Written and read on the connection's worker alone.
    detached: AtomicBool,
    /// Who it is among the topic's subscribers, once it has joined.
    subscription: OnceLock<SubscriberId>,
    /// Other topics that it subscribed to.
    extra: Mutex<HashMap<Box<str>, HandlerSubscriber, crate::hash::Std>>,
    /// Its presences. They go when it has ended, after its last words.
    pub(crate) owner: Owner,
}

#[derive(Debug)]
struct JobQueue {
    jobs: VecDeque<Job>,
    /// See I1.
    scheduled: bool,
    /// See I2.
    paused: bool,
    /// What ends it is among the jobs (I5).
    closing: bool,
    /// It has ended: nothing more is taken.
    ended: bool,
}

impl fmt::Debug for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// The user's part of a channel, whatever its type.
pub(crate) trait Body: Send {
    /// Runs one job that is not a close.
    fn run(&mut self, job: Job, actor: &Arc<Actor>, assigns: &(dyn Any + Send + Sync)) -> Done;
    /// Tells it why it has ended.
    fn terminate(&mut self, reason: &Terminated, actor: &Arc<Actor>, assigns: &(dyn Any + Send + Sync));
    /// Drops the channel's state.
    fn clear(&mut self);
}

/// What a job came to.
pub(crate) enum Done {
    Continue,
    Joined(Payload),
    Refused(Payload),
    Stop(Stop),
}

/// What a channel is made of.
pub(crate) struct NewActor {
    pub(crate) topic: Arc<str>,
    pub(crate) join_ref: Scalar,
    pub(crate) again: bool,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) endpoint: Endpoint,
    pub(crate) route: Arc<Route>,
    pub(crate) address: Address,
    pub(crate) assigns: Guarded<Arc<dyn Any + Send + Sync>>,
}

thread_local! {
    /// On a worker: it is in the callbacks of an inline channel. Others that these reach run after, not within: a chain
    /// of them needs no more stack than one.
    static IN_CALLBACK: std::cell::Cell<bool> = const { std::cell::Cell::new(false) };
}

/// The turn of an inline channel, on its way to its worker. If it does not come there, for want of room or since the
/// engine has ended, it goes by a thread of the pool, which can wait.
struct Turn(Option<Arc<Actor>>);

impl Turn {
    fn take(mut self) {
        if let Some(actor) = self.0.take() {
            Actor::run_here(&actor);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let Some(actor) = self.0.take() else { return };
        let pool = actor.endpoint.pool().clone();
        pool.spawn(Box::new(move || {
            if actor.address.is_open() {
                Actor::schedule_later(&actor);
            } else {
                Actor::run(&actor);
            }
        }));
    }
}

impl JobQueue {
    fn is_paused(&self) -> bool {
        self.paused && !self.closing
    }

    /// Whether the caller must schedule it.
    fn schedule(&mut self) -> bool {
        let schedule = !self.scheduled && !self.is_paused();
        self.scheduled |= schedule;
        schedule
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        std::mem::take(&mut self.queue.get_mut().jobs).into_iter().for_each(discard);
    }
}

impl Actor {
    pub(crate) fn new(new: NewActor) -> Arc<Self> {
        let NewActor { topic, join_ref, again, serializer, endpoint, route, address, assigns } = new;
        let queue = JobQueue { jobs: VecDeque::new(), scheduled: false, paused: false, closing: false, ended: false };
        let body = Mutex::new((route.body)());
        Arc::new(Actor {
            topic,
            join_ref,
            again,
            serializer,
            endpoint,
            route,
            address,
            assigns,
            queue: Mutex::new(queue),
            body,
            killed: AtomicBool::new(false),
            detached: AtomicBool::new(false),
            subscription: OnceLock::new(),
            extra: Mutex::default(),
            owner: Owner::new(),
        })
    }

    /// Asks for a job. `false`: the channel has ended, or is about to.
    pub(crate) fn post(this: &Arc<Self>, job: Job) -> bool {
        let is_close = matches!(job, Job::Close);
        let mut dropped = VecDeque::new();
        let schedule = {
            let mut queue = this.queue.lock();
            if queue.ended || queue.closing && !is_close {
                return false;
            }
            let bounded = matches!(job, Job::In { .. } | Job::Out(_) | Job::Info(_));
            if bounded && queue.jobs.len() >= this.endpoint.limits().channel_jobs_max {
                // What waits is dropped: it ends with the channel.
                dropped = std::mem::take(&mut queue.jobs);
                dropped.push_back(job);
                queue.jobs.push_back(Job::Overloaded);
                queue.closing = true;
            } else {
                queue.closing |= is_close || matches!(job, Job::Leave { .. });
                queue.jobs.push_back(job);
            }
            queue.schedule()
        };
        dropped.into_iter().for_each(discard);
        if schedule {
            Actor::schedule(this);
        }
        true
    }

    /// Lets it go on after its join (I2).
    pub(crate) fn resume(this: &Arc<Self>, subscription: SubscriberId) {
        let _ = this.subscription.set(subscription);
        let schedule = {
            let mut queue = this.queue.lock();
            queue.paused = false;
            !queue.jobs.is_empty() && queue.schedule()
        };
        if schedule {
            Actor::schedule(this);
        }
    }

    /// Ends it without a word (I4).
    pub(crate) fn kill(this: &Arc<Self>) {
        // Relaxed: whoever must see it is on the connection's worker, as the caller is, or runs a callback meanwhile.
        this.killed.store(true, Ordering::Relaxed);
        this.owner.end();
        if this.end() {
            // Nobody runs it: somebody must drop its state.
            Actor::schedule(this);
        }
    }

    /// Nothing more is taken; what waits, and what it subscribed to, goes. `true`: the caller must schedule it.
    fn end(&self) -> bool {
        let (jobs, schedule) = {
            let mut queue = self.queue.lock();
            queue.ended = true;
            (std::mem::take(&mut queue.jobs), !std::mem::replace(&mut queue.scheduled, true))
        };
        jobs.into_iter().for_each(discard);
        let extra = std::mem::take(&mut *self.extra.lock());
        drop(extra);
        schedule
    }

    /// Its connection forgets it.
    pub(crate) fn detach(&self) {
        // Relaxed: one thread.
        self.detached.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_detached(&self) -> bool {
        self.detached.load(Ordering::Relaxed)
    }

    pub(crate) fn is_killed(&self) -> bool {
        self.killed.load(Ordering::Relaxed)
    }

    fn schedule(this: &Arc<Self>) {
        if this.route.inline && this.address.is_here() && !IN_CALLBACK.get() {
            Actor::run_here(this);
        } else {
            Actor::schedule_later(this);
        }
    }

    fn schedule_later(this: &Arc<Self>) {
        let actor = this.clone();
        if this.route.inline {
            let turn = Turn(Some(actor));
            // If it is refused the turn knows what to do.
            let _ = this.address.run(move || turn.take());
        } else {
            this.endpoint.pool().spawn(Box::new(move || Actor::run(&actor)));
        }
    }

    /// Runs an inline channel on its worker.
    fn run_here(this: &Arc<Self>) {
        IN_CALLBACK.set(true);
        Actor::run(this);
        IN_CALLBACK.set(false);
    }

    fn run(this: &Arc<Self>) {
        for _ in 0..TURN {
            let Some(job) = this.next_job() else { return };
            this.run_one(job);
        }
        Actor::schedule_later(this);
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        if queue.ended {
            drop(queue);
            self.body.lock().clear();
            return None;
        }
        let job = if queue.is_paused() { None } else { queue.jobs.pop_front() };
        queue.scheduled = job.is_some();
        job
    }

    fn run_one(self: &Arc<Self>, job: Job) {
        let mut body = self.body.lock();
        let is_join = matches!(job, Job::Join(_));
        let reason = match job {
            Job::Leave { reference, join_ref } => {
                // In this order: the reply, the close, what the channel says at its end. Without the engine there is
                // nobody to tell.
                let reply = Reply {
                    join_ref: &join_ref,
                    reference: &reference,
                    topic: &Scalar::from(&*self.topic),
                    status: "ok",
                    response: &empty(),
                };
                if let Ok(frame) = guarded::encode(|| self.serializer.reply(&reply)) {
                    let _ = self.send(frame);
                }
                Terminated::Left
            }
            Job::Close => Terminated::Closed,
            Job::Overloaded => Terminated::Overloaded,
            job => match catch_unwind(AssertUnwindSafe(|| body.run(job, self, &**self.assigns))) {
                Ok(Done::Continue) => return,
                Ok(Done::Joined(reply)) => {
                    self.queue.lock().paused = true;
                    return self.tell(Command::Joined { actor: self.clone(), outcome: JoinOutcome::Ok(reply) });
                }
                Ok(Done::Refused(reply)) => {
                    self.end();
                    return self.tell(Command::Joined { actor: self.clone(), outcome: JoinOutcome::Refused(reply) });
                }
                Ok(Done::Stop(stop)) => Terminated::Stopped(stop),
                Err(_) if is_join => {
                    self.end();
                    return self.tell(Command::Joined { actor: self.clone(), outcome: JoinOutcome::Crashed });
                }
                Err(panic) => Terminated::Crashed(text_of(&*panic)),
            },
        };
        self.finish(&mut **body, &reason);
    }

    /// The channel ends: a graceful end is told before its last words, a crash after them.
    fn finish(self: &Arc<Self>, body: &mut dyn Body, reason: &Terminated) {
        self.end();
        if !self.is_killed() {
            self.say_goodbye(body, reason);
        }
        self.owner.end();
    }

    fn say_goodbye(self: &Arc<Self>, body: &mut dyn Body, reason: &Terminated) {
        let graceful = matches!(reason, Terminated::Left | Terminated::Stopped(Stop::Normal));
        let last_words = |body: &mut dyn Body| {
            // A panic in there changes nothing any more.
            let _ = catch_unwind(AssertUnwindSafe(|| body.terminate(reason, self, &**self.assigns)));
        };
        match reason {
            Terminated::Closed => last_words(body),
            _ if graceful => {
                self.tell(Command::Ended { actor: self.clone(), graceful: true });
                last_words(body);
            }
            _ => {
                last_words(body);
                self.tell(Command::Ended { actor: self.clone(), graceful: false });
            }
        }
    }

    fn tell(&self, command: Command) {
        // Without the engine there is no connection to be told. A worker that has no room for it is one whose inline
        // channel has filled its outbox: the connection goes, rather than be left without an answer.
        if self.address.post(command) == Err(PostError::Full) {
            self.address.give_up();
        }
    }

    /// Sends a frame to the client, behind what was broadcast before (I3).
    pub(crate) fn send(self: &Arc<Self>, frame: Frame) -> Result<(), PostError> {
        if self.is_killed() {
            return Ok(());
        }
        self.address.send(self, frame)
    }

    /// Pushes to the client, encoded on its worker, behind what was broadcast before (I3).
    pub(crate) fn push_later(self: &Arc<Self>, pushes: Vec<(&'static str, Payload)>) -> Result<(), PostError> {
        if self.is_killed() { Ok(()) } else { self.address.push(self, pushes) }
    }

    /// Who it is among its topic's subscribers, once it has joined.
    pub(crate) fn subscriber_id(&self) -> Option<SubscriberId> {
        self.subscription.get().copied()
    }

    pub(crate) fn subscribe(self: &Arc<Self>, topic: &str) -> Result<(), SubscribeError> {
        let mut extra = self.extra.lock();
        // Under the lock of those: either the end finds this one there, or it is seen here.
        if self.queue.lock().ended {
            return Err(SubscribeError::SubscriberClosed);
        }
        if extra.contains_key(topic) {
            return Ok(());
        }
        let subscription = InfoSubscription { actor: Arc::downgrade(self) };
        let subscriber = self.endpoint.pubsub().subscriber().worker(self.address.worker()).handler(subscription)?;
        subscriber.subscribe(topic)?;
        extra.insert(topic.into(), subscriber);
        Ok(())
    }

    pub(crate) fn unsubscribe(&self, topic: &str) -> Result<(), SubscribeError> {
        let subscriber = self.extra.lock().remove(topic);
        match subscriber {
            Some(subscriber) => subscriber.unsubscribe(topic),
            None => Ok(()),
        }
    }
}

fn text_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic without words".to_owned())
}

/// What the callbacks of channels tell their connection.
#[derive(Debug)]
pub(crate) enum Command {
    /// A join is decided.
    Joined { actor: Arc<Actor>, outcome: JoinOutcome },
    /// A channel has ended.
    Ended { actor: Arc<Actor>, graceful: bool },
}

#[derive(Debug)]
pub(crate) enum JoinOutcome {
    Ok(Payload),
    Refused(Payload),
    Crashed,
}

/// A channel among the subscribers of another topic.
pub(crate) struct InfoSubscription {
    pub(crate) actor: Weak<Actor>,
}

impl Handler for InfoSubscription {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        if let Some(actor) = self.actor.upgrade() {
            Actor::post(&actor, Job::Info(Info::Message(message.clone())));
        }
    }
}
