//! How broadcasts reach clients: past their channels, encoded once.
//!
//! Each channel that is joined is a [`Fastlane`] handler on the topic, on its connection's worker. It takes the frame
//! that the broadcast carries for its serializer ([`encode`](super::encode)).

use super::actor::{Actor, Job};
use super::encode::{Encoded, Frames};
use super::outcome::Info;
use super::registry;
use super::transport::Out;
use crate::message::body::Message;
use crate::subscriber::handler::{Context, Handler};
use crate::sync::Arc;

/// A joined channel, among the subscribers of its topic.
pub(crate) struct Fastlane {
    pub(crate) key: u64,
    pub(crate) slot: usize,
    pub(crate) actor: Arc<Actor>,
}

impl Handler for Fastlane {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        if self.actor.is_detached() {
            // Its subscription has yet to end, behind what was published before.
            return;
        }
        let endpoint = self.actor.endpoint.inner();
        let Some(frames) = Frames::with(message, endpoint) else {
            // A raw broadcast: for the channel, not for the client.
            Actor::post(&self.actor, Job::Info(Info::Message(message.clone())));
            return;
        };
        let intercepts = self.actor.route.intercepts;
        if !intercepts.is_empty() && intercepts.contains(&message.event()) {
            Actor::post(&self.actor, Job::Out(message.clone()));
            return;
        }
        let send = |encoded: &Encoded| registry::send_here(self.key, Out::Shared(encoded));
        frames.encoded(self.slot, message, endpoint, send);
    }
}

/// A connection among the subscribers of its id: whoever broadcasts `disconnect` there closes it.
pub(crate) struct IdSubscription {
    pub(crate) key: u64,
}

impl Handler for IdSubscription {
    fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
        if message.event() == super::DISCONNECT {
            registry::close_here(self.key, super::Close::Disconnected);
        }
    }
}
