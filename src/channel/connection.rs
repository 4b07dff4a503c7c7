//! The state of a connection: what each frame of its client means, and what its channels tell the client.
//!
//! Sans I/O: frames come in by [`Connection::frame`], and go out through a [`Transport`]. It runs on its worker's
//! thread alone, as do the deliveries to its channels; so the order of what it sends is that of its calls. In
//! particular: a join is told and subscribed to in one call, before the client can see the reply. What was broadcast
//! before the subscription does not come; what is broadcast after it comes behind the reply.
//!
//! - I1. A channel is in the table from its join until its end is told, or its place taken.
//! - I2. From then on nothing of its topic comes by it, though its subscription ends only behind what was published
//!   before: a close is the last of the channel but for what `terminate` pushes, and the reply to a new join the first.
//!
//! - I3. A client that leaves a topic and joins it again may have sent the join while the earlier channel still told it
//!   of the topic. So the later one knows that it is not the topic's first ([`Actor::again`]).
//!
//! The rules are those of Phoenix's socket, with one difference: while a join is decided, only what the client sends on
//! that topic waits. Heartbeats and other channels go on.

use super::actor::{Actor, Command, Job, JoinOutcome, NewActor};
use super::address::Address;
use super::endpoint::Endpoint;
use super::fastlane::{Fastlane, IdSubscription};
use super::guarded::{self, Guarded};
use super::mount::Mount;
use super::outcome::empty;
use super::serializer::{EncodeError, Incoming, Reply, Serializer};
use super::transport::{Out, Transport};
use super::{Close, Frame, Scalar};
use crate::hash::Fast;
use crate::message::payload::Payload;
use crate::subscriber::handler::HandlerSubscriber;
use crate::sync::Arc;
use bytes::Bytes;
use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::hash::BuildHasher;

/// A connection. See the module's text.
pub(crate) struct Connection {
    address: Address,
    transport: Box<dyn Transport>,
    endpoint: Endpoint,
    mount: Arc<Mount>,
    serializer: Arc<dyn Serializer>,
    slot: usize,
    assigns: Guarded<Arc<dyn Any + Send + Sync>>,
    channels: HashMap<Arc<str>, ChannelEntry, Fast>,
    /// Hashes of the topics whose channels have ended here, the latest at the end (I3).
    ended: VecDeque<u64>,
    _id: Option<HandlerSubscriber>,
    closed: bool,
}

/// Ended channels that a connection remembers. A client that joins a topic again at once has not left so many since.
const ENDED_MAX: usize = 16;

struct ChannelEntry {
    actor: Arc<Actor>,
    status: Status,
}

enum Status {
    Joining(Box<JoiningChannel>),
    Joined {
        /// Its subscription: it lasts as long as this.
        _subscription: HandlerSubscriber,
    },
}

#[derive(Default)]
struct JoiningChannel {
    reference: Scalar,
    /// What the client has sent on the topic meanwhile.
    held: VecDeque<Incoming>,
    /// The join of the channel that this one takes the place of.
    old: Option<Scalar>,
    /// What that one had still to say.
    leftovers: Vec<Frame>,
}

/// What a connection is made of.
pub(crate) struct NewConnection {
    pub(crate) address: Address,
    pub(crate) transport: Box<dyn Transport>,
    pub(crate) endpoint: Endpoint,
    pub(crate) mount: Arc<Mount>,
    pub(crate) serializer: Arc<dyn Serializer>,
    pub(crate) slot: usize,
    pub(crate) assigns: Guarded<Arc<dyn Any + Send + Sync>>,
    pub(crate) id: Option<String>,
}

impl Connection {
    pub(crate) fn new(new: NewConnection) -> Box<Self> {
        let NewConnection { address, transport, endpoint, mount, serializer, slot, assigns, id } = new;
        // Without the subscription it would not be reached when its user is to be disconnected: then it must not be.
        let id_subscription = id.map(|id| {
            let subscription = endpoint
                .pubsub()
                .subscriber()
                .worker(address.worker())
                .handler(IdSubscription { key: address.key() })?;
            subscription.subscribe(&id).map(|()| subscription)
        });
        let mut connection = Connection {
            address,
            transport,
            endpoint,
            mount,
            serializer,
            slot,
            assigns,
            channels: HashMap::default(),
            ended: VecDeque::new(),
            _id: None,
            closed: false,
        };
        match id_subscription {
            Some(Ok(subscription)) => connection._id = Some(subscription),
            Some(Err(_)) => connection.close(Close::Overloaded),
            None => {}
        }
        Box::new(connection)
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.closed
    }

    /// A frame of the client.
    pub(crate) fn frame(&mut self, frame: &Frame) {
        match self.serializer.decode(frame) {
            Ok(incoming) => self.incoming(incoming),
            Err(_) => self.close(Close::Undecodable),
        }
    }

    pub(crate) fn send(&mut self, out: Out<'_>) {
        if !self.closed {
            self.transport.send(out);
        }
    }

    /// Ends the connection and all its channels.
    pub(crate) fn close(&mut self, why: Close) {
        if std::mem::replace(&mut self.closed, true) {
            return;
        }
        for (_, entry) in self.channels.drain() {
            Actor::post(&entry.actor, Job::Close);
        }
        self.transport.close(why);
    }

    /// Tells the client of frames that it has missed.
    pub(crate) fn lagged(&mut self, dropped: u64) {
        let payload = Payload::from(serde_json::json!({ "dropped": dropped }));
        if let Ok(frame) = self.serializer.broadcast("phoenix", "lagged", &payload) {
            self.send(Out::Frame(frame));
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        let event = &*incoming.event;
        if self.closed {
            return;
        }
        let topic = incoming.topic.as_str();
        if topic == Some("phoenix") && event == "heartbeat" {
            return self.reply(&Scalar::Null, &incoming.reference, &incoming.topic, "ok", &empty());
        }
        let entry = topic.and_then(|topic| self.channels.get_mut(topic));
        if let Some(ChannelEntry { status: Status::Joining(joining), .. }) = entry {
            if joining.held.len() >= self.endpoint.limits().channel_jobs_max {
                return self.close(Close::Overloaded);
            }
            joining.held.push_back(incoming);
            return;
        }
        match (entry, event) {
            (_, "phx_join") => self.join(incoming),
            (None, "phx_leave") => {
                self.reply(&incoming.join_ref, &incoming.reference, &incoming.topic, "ok", &empty());
            }
            (None, _) => self.unmatched(&incoming),
            (Some(entry), event) => {
                if !incoming.join_ref.is_null() && incoming.join_ref != entry.actor.join_ref {
                    // Of a channel that was: the client has gone on.
                    return;
                }
                let job = if event == "phx_leave" {
                    Job::Leave { reference: incoming.reference, join_ref: incoming.join_ref }
                } else {
                    Job::In { event: incoming.event, payload: incoming.payload, reference: incoming.reference }
                };
                Actor::post(&entry.actor, job);
            }
        }
    }

    fn unmatched(&mut self, incoming: &Incoming) {
        let reason = Payload::Json(Bytes::from_static(br#"{"reason":"unmatched topic"}"#));
        self.reply(&Scalar::Null, &incoming.reference, &incoming.topic, "error", &reason);
    }

    fn join(&mut self, incoming: Incoming) {
        let Some(topic) = incoming.topic.as_str() else { return self.unmatched(&incoming) };
        let route = self.mount.routes.iter().find(|route| route.matches(topic));
        let Some(route) = route.cloned() else { return self.unmatched(&incoming) };
        let old = self.remove(topic).map(|entry| {
            // Its subscription ends here, in front of the new one's.
            entry.actor.detach();
            Actor::kill(&entry.actor);
            entry.actor.join_ref.clone()
        });
        let limits = self.endpoint.limits();
        let refusal = if topic.len() > limits.topic_bytes_max {
            Some(&br#"{"reason":"topic too long"}"#[..])
        } else if self.channels.len() >= limits.channels_per_socket_max {
            Some(&br#"{"reason":"too many channels joined"}"#[..])
        } else {
            None
        };
        if let Some(reason) = refusal {
            let reason = Payload::Json(Bytes::from_static(reason));
            self.reply(&incoming.join_ref, &incoming.reference, &incoming.topic, "error", &reason);
            return self.tell_end(old.as_ref(), topic, true);
        }
        let again = self.ended.contains(&self.channels.hasher().hash_one(topic));
        let topic: Arc<str> = topic.into();
        let actor = Actor::new(NewActor {
            topic: topic.clone(),
            join_ref: incoming.join_ref,
            again,
            serializer: self.serializer.clone(),
            endpoint: self.endpoint.clone(),
            route,
            address: self.address.clone(),
            assigns: self.assigns.clone(),
        });
        let joining =
            JoiningChannel { reference: incoming.reference, held: VecDeque::new(), old, leftovers: Vec::new() };
        self.channels.insert(topic, ChannelEntry { actor: actor.clone(), status: Status::Joining(Box::new(joining)) });
        Actor::post(&actor, Job::Join(incoming.payload));
    }

    /// Takes a channel out of the table, and remembers that there was one.
    fn remove(&mut self, topic: &str) -> Option<ChannelEntry> {
        let entry = self.channels.remove(topic)?;
        let hash = self.channels.hasher().hash_one(topic);
        self.ended.retain(|other| *other != hash);
        if self.ended.len() == ENDED_MAX {
            self.ended.pop_front();
        }
        self.ended.push_back(hash);
        Some(entry)
    }

    /// What a channel tells.
    pub(crate) fn command(&mut self, command: Command) {
        match command {
            Command::Joined { actor, outcome } => self.joined(&actor, outcome),
            Command::Ended { actor, graceful } => {
                let current = self.channels.get(&actor.topic).is_some_and(|entry| Arc::ptr_eq(&entry.actor, &actor));
                if current && !self.closed {
                    actor.detach();
                    self.remove(&actor.topic);
                    self.tell_end(Some(&actor.join_ref), &actor.topic, graceful);
                }
            }
        }
    }

    fn joined(&mut self, actor: &Arc<Actor>, outcome: JoinOutcome) {
        let entry = self.channels.get_mut(&actor.topic).filter(|entry| Arc::ptr_eq(&entry.actor, actor));
        let Some(ChannelEntry { status: Status::Joining(joining), .. }) = entry else {
            // The connection has ended meanwhile; the channel is told so by its queue.
            return;
        };
        let JoiningChannel { reference, held, old, leftovers } = std::mem::take(&mut **joining);
        let topic = Scalar::from(&*actor.topic);
        let subscription = match outcome {
            JoinOutcome::Ok(response) => {
                // The reply is made first: one that can't be encoded is a crash of the join.
                let reply = Reply {
                    join_ref: &actor.join_ref,
                    reference: &reference,
                    topic: &topic,
                    status: "ok",
                    response: &response,
                };
                let frame = guarded::encode(|| self.serializer.reply(&reply)).ok();
                frame.and_then(|frame| Some((frame, self.subscribe(actor)?))).ok_or(None)
            }
            JoinOutcome::Refused(response) => Err(Some(response)),
            JoinOutcome::Crashed => Err(None),
        };
        match subscription {
            Ok((frame, subscription)) => {
                let id = subscription.id();
                if let Some(entry) = self.channels.get_mut(&actor.topic) {
                    entry.status = Status::Joined { _subscription: subscription };
                }
                self.send(Out::Frame(frame));
                self.follow_up(old.as_ref(), leftovers, &actor.topic);
                Actor::resume(actor, id);
            }
            Err(response) => {
                Actor::kill(actor);
                self.channels.remove(&actor.topic);
                let encode = |response: &Payload| {
                    let (join_ref, reference, topic) = (&actor.join_ref, &reference, &topic);
                    guarded::encode(|| {
                        self.serializer.reply(&Reply { join_ref, reference, topic, status: "error", response })
                    })
                };
                let crashed = || encode(&Payload::Json(Bytes::from_static(br#"{"reason":"join crashed"}"#)));
                let frame = response.and_then(|response| encode(&response).ok()).map_or_else(crashed, Ok);
                self.send_or_close(frame);
                self.follow_up(old.as_ref(), leftovers, &actor.topic);
            }
        }
        for incoming in held {
            self.incoming(incoming);
        }
    }

    /// The client's subscription to the channel's topic. `None`: it has too many, or the engine is closed.
    fn subscribe(&self, actor: &Arc<Actor>) -> Option<HandlerSubscriber> {
        let subscription = Fastlane { key: self.address.key(), slot: self.slot, actor: actor.clone() };
        let subscription =
            self.endpoint.pubsub().subscriber().worker(self.address.worker()).handler(subscription).ok()?;
        subscription.subscribe(&actor.topic).ok()?;
        Some(subscription)
    }

    /// What comes behind the reply to a join that takes the place of an older one: what that had still to say, and its
    /// close.
    fn follow_up(&mut self, old: Option<&Scalar>, leftovers: Vec<Frame>, topic: &str) {
        leftovers.into_iter().for_each(|frame| self.send(Out::Frame(frame)));
        self.tell_end(old, topic, true);
    }

    /// Tells the client of a channel's end: `phx_close`, or `phx_error` for a crash.
    fn tell_end(&mut self, join_ref: Option<&Scalar>, topic: &str, graceful: bool) {
        let Some(join_ref) = join_ref else { return };
        let (event, payload) = if graceful {
            ("phx_close", empty())
        } else {
            ("phx_error", Payload::Json(Bytes::from_static(br#"{"reason":"channel_crash"}"#)))
        };
        if let Ok(frame) = self.serializer.control(join_ref, topic, event, &payload) {
            self.send(Out::Frame(frame));
        }
    }

    /// A frame of a channel.
    pub(crate) fn forward(&mut self, actor: &Arc<Actor>, frame: Frame) {
        if !actor.is_killed() {
            return self.send(Out::Frame(frame));
        }
        // Of a channel whose place another takes: behind the reply to that join, or never.
        if let Some(ChannelEntry { status: Status::Joining(joining), .. }) = self.channels.get_mut(&actor.topic)
            && joining.old.is_some()
        {
            joining.leftovers.push(frame);
        }
    }

    /// A push of a channel, which is encoded here. One whose end the client was told pushes nothing more.
    pub(crate) fn push(&mut self, actor: &Actor, event: &str, payload: &Payload) {
        if actor.is_detached() {
            return;
        }
        let frame = guarded::encode(|| self.serializer.push(&actor.join_ref, &actor.topic, event, payload));
        // A serializer that has no way to write JSON: its client learns nothing of it.
        if let Ok(frame) = frame {
            self.send(Out::Frame(frame));
        }
    }

    fn reply(&mut self, join_ref: &Scalar, reference: &Scalar, topic: &Scalar, status: &str, response: &Payload) {
        let reply = Reply { join_ref, reference, topic, status, response };
        self.send_or_close(self.serializer.reply(&reply));
    }

    fn send_or_close(&mut self, frame: Result<Frame, EncodeError>) {
        match frame {
            Ok(frame) => self.send(Out::Frame(frame)),
            // A serializer that can't answer what it has decoded.
            Err(_) => self.close(Close::Undecodable),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close(Close::Gone);
    }
}
