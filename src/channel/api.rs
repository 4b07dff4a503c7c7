//! What users write and call: the traits of sockets and channels, and the handles that callbacks get.

use super::actor::{Actor, Job};
use super::endpoint::Endpoint;
use super::outcome::{Answer, Connect, Flow, Info, JoinResult, PushError, Terminated};
use super::serializer::Reply;
use super::{ConnectInfo, Params, Scalar};
use crate::engine::error::{BroadcastError, SubscribeError};
use crate::engine::outcome::Outcome;
use crate::message::body::Message;
use crate::message::payload::{Event, Payload};
use crate::sync::Arc;
use std::any::Any;

/// A kind of socket: who may connect, and who that is. One value serves all connections of a mount.
pub trait Socket: Send + Sync + 'static {
    /// What is known of a connection, for its channels to see.
    type Assigns: Send + Sync + 'static;

    /// Decides about a connection. It runs on the pool of callbacks, before the connection is upgraded.
    fn connect(&self, params: &Params, info: &ConnectInfo) -> Connect<Self::Assigns>;

    /// The topic by which all connections of a user are reached, such as `users_socket:42`:
    /// [`Endpoint::disconnect`] on it closes them. `None` by default: this connection has no such topic.
    fn id(&self, assigns: &Self::Assigns) -> Option<String> {
        let _ = assigns;
        None
    }
}

/// A channel: what happens on one topic of one connection. The value is the channel's state.
///
/// Callbacks of one channel run one at a time and in order, by default on a pool of threads where they may block; those
/// of different channels run beside each other. A panic in one ends that channel alone: the client gets `phx_error` and
/// joins again.
///
/// What a client sees keeps the order of the calls: a broadcast comes before a push or reply that was made after it,
/// pushes and replies come in their order, and so do the broadcasts on one topic. The reply to a join comes first, and
/// then every broadcast on the topic since; behind the close comes nothing but what [`terminate`](Self::terminate)
/// pushes. Only this is not promised: that a push comes before a broadcast on a topic made after it. It waits for walks
/// of large topics that were under way, other topics do not.
pub trait Channel: Sized + Send + 'static {
    /// What the socket's `connect` found out: [`Socket::Assigns`].
    type Assigns: Send + Sync + 'static;

    /// Whether callbacks run on the connection's worker, which saves two changes of threads. They must then not block:
    /// everything else on that worker waits for them.
    const INLINE: bool = false;

    /// Events that are broadcast on the topic and go to [`handle_out`](Self::handle_out) in place of the client.
    const INTERCEPT: &'static [&'static str] = &[];

    /// A client wants to join. `Ok` with the channel's state (and, if need be, what the client is told), or a refusal.
    ///
    /// Nothing can be pushed yet; [`Joining::sender`] sends the channel a message that it finds right after it has
    /// joined.
    ///
    /// # Errors
    ///
    /// [`Refusal`](super::Refusal): the client's join is refused with that payload, and it may try again.
    fn join(topic: &str, payload: &Payload, socket: &mut Joining<'_, Self::Assigns>) -> JoinResult<Self>;

    /// The client has pushed `event`. Does nothing by default.
    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, Self::Assigns>) -> Answer {
        let _ = (event, payload, socket);
        Answer::none()
    }

    /// An event of [`INTERCEPT`](Self::INTERCEPT) was broadcast on the topic. Pushes it to the client by default.
    fn handle_out(&mut self, message: &Message, socket: &mut ChannelSocket<'_, Self::Assigns>) -> Flow {
        // An error means that the client does not get it, as when a broadcast can't be encoded.
        let _ = socket.push(message.event(), message.payload().clone());
        Flow::Continue
    }

    /// Something else came: see [`Info`]. Does nothing by default.
    fn handle_info(&mut self, info: Info, socket: &mut ChannelSocket<'_, Self::Assigns>) -> Flow {
        let _ = (info, socket);
        Flow::Continue
    }

    /// The channel has ended, for this reason. Not called after a duplicate join, and not if the join failed.
    fn terminate(&mut self, reason: &Terminated, socket: &mut ChannelSocket<'_, Self::Assigns>) {
        let _ = (reason, socket);
    }
}

/// A channel that is being joined.
#[derive(Debug)]
pub struct Joining<'a, A> {
    actor: &'a Arc<Actor>,
    assigns: &'a A,
}

impl<'a, A: 'static> Joining<'a, A> {
    pub(crate) fn new(actor: &'a Arc<Actor>, assigns: &'a A) -> Self {
        Joining { actor, assigns }
    }

    /// What the socket's `connect` found out.
    pub fn assigns(&self) -> &A {
        self.assigns
    }

    /// What the route carries, if it is an `R`.
    pub fn route_assigns<R: Any>(&self) -> Option<&R> {
        self.actor.route.assigns.as_deref()?.downcast_ref()
    }

    /// The endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.actor.endpoint.clone()
    }

    /// Sends the channel messages. What is sent now comes right after the join.
    pub fn sender(&self) -> ChannelSender {
        ChannelSender(self.actor.clone())
    }
}

/// What a callback may do: its channel, its client, its topic.
#[derive(Debug)]
pub struct ChannelSocket<'a, A> {
    pub(crate) actor: &'a Arc<Actor>,
    assigns: &'a A,
    /// The ref of the push in hand.
    reference: Option<&'a Scalar>,
}

impl<'a, A: 'static> ChannelSocket<'a, A> {
    pub(crate) fn new(actor: &'a Arc<Actor>, assigns: &'a A, reference: Option<&'a Scalar>) -> Self {
        ChannelSocket { actor, assigns, reference }
    }

    /// The channel's topic.
    pub fn topic(&self) -> &str {
        &self.actor.topic
    }

    /// What the socket's `connect` found out.
    pub fn assigns(&self) -> &A {
        self.assigns
    }

    /// What the route carries, if it is an `R`.
    pub fn route_assigns<R: Any>(&self) -> Option<&R> {
        self.actor.route.assigns.as_deref()?.downcast_ref()
    }

    /// The endpoint.
    pub fn endpoint(&self) -> Endpoint {
        self.actor.endpoint.clone()
    }

    /// Pushes an event to this client alone.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn push(&mut self, event: &str, payload: impl Into<Payload>) -> Result<(), PushError> {
        self.actor.push(event, &payload.into())
    }

    /// Broadcasts to everybody on the channel's topic, this client included.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`](crate::PubSub::broadcast).
    pub fn broadcast(
        &mut self,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        self.actor.endpoint.broadcast(&self.actor.topic, event, payload)
    }

    /// Broadcasts to everybody else on the channel's topic.
    ///
    /// # Errors
    ///
    /// As [`PubSub::broadcast`](crate::PubSub::broadcast).
    pub fn broadcast_from(
        &mut self,
        event: impl Into<Event>,
        payload: impl Into<Payload>,
    ) -> Result<Outcome, BroadcastError> {
        let endpoint = &self.actor.endpoint;
        match self.actor.subscriber_id() {
            Some(id) => endpoint.broadcast_from(id, &self.actor.topic, event, payload),
            None => endpoint.broadcast(&self.actor.topic, event, payload),
        }
    }

    /// A handle with which the push in hand can be replied to later, and from any thread. `None` where no push is in
    /// hand that the client wants a reply to.
    pub fn socket_ref(&self) -> Option<SocketRef> {
        let reference = self.reference.filter(|reference| !reference.is_null())?.clone();
        Some(SocketRef { actor: self.actor.clone(), reference })
    }

    /// Sends this channel messages, from anywhere.
    pub fn sender(&self) -> ChannelSender {
        ChannelSender(self.actor.clone())
    }

    /// Subscribes the channel to another topic: its messages come to `handle_info`. Subscribing twice to one topic does
    /// nothing the second time. The subscription ends with the channel.
    ///
    /// # Errors
    ///
    /// As [`Control::subscribe`](crate::Control::subscribe); of a channel that has ended, as in `terminate`,
    /// [`SubscribeError::SubscriberClosed`].
    pub fn subscribe(&mut self, topic: &str) -> Result<(), SubscribeError> {
        self.actor.subscribe(topic)
    }

    /// Ends that.
    ///
    /// # Errors
    ///
    /// As [`Control::unsubscribe`](crate::Control::unsubscribe).
    pub fn unsubscribe(&mut self, topic: &str) -> Result<(), SubscribeError> {
        self.actor.unsubscribe(topic)
    }
}

/// A push that is to be replied to later. It may be replied to any number of times, or never.
#[derive(Debug, Clone)]
pub struct SocketRef {
    actor: Arc<Actor>,
    reference: Scalar,
}

impl SocketRef {
    /// Replies, with any status; `ok` and `error` are those that clients listen for.
    ///
    /// # Errors
    ///
    /// [`PushError`].
    pub fn reply(&self, status: &str, payload: impl Into<Payload>) -> Result<(), PushError> {
        self.actor.reply(&self.reference, status, &payload.into())
    }
}

/// Sends messages to a channel: they come to [`Channel::handle_info`].
#[derive(Debug, Clone)]
pub struct ChannelSender(Arc<Actor>);

impl ChannelSender {
    /// Sends a message. `false`: the channel has ended, or what ends it waits for its turn already.
    pub fn send<T: Any + Send>(&self, message: T) -> bool {
        Actor::post(&self.0, Job::Info(Info::Sent(Box::new(message))))
    }
}

impl Actor {
    pub(crate) fn reply(
        self: &Arc<Self>,
        reference: &Scalar,
        status: &str,
        response: &Payload,
    ) -> Result<(), PushError> {
        let topic = Scalar::from(&*self.topic);
        let reply = Reply { join_ref: &self.join_ref, reference, topic: &topic, status, response };
        let frame = self.serializer.reply(&reply).map_err(PushError::Encode)?;
        Ok(self.send(frame)?)
    }

    fn push(self: &Arc<Self>, event: &str, payload: &Payload) -> Result<(), PushError> {
        let frame = self.serializer.push(&self.join_ref, &self.topic, event, payload).map_err(PushError::Encode)?;
        Ok(self.send(frame)?)
    }
}
