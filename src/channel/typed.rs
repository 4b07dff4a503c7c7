//! The body of a channel, of its own type.

use super::actor::{Actor, Body, Done, Job};
use super::api::{Channel, ChannelSocket, Joining};
use super::guarded::Guarded;
use super::outcome::{Answer, Flow, Joined, Refusal, Stop, Terminated};
use crate::sync::Arc;
use std::any::Any;

/// The body of a channel of one type.
pub(crate) struct Typed<C>(Option<Guarded<C>>);

impl<C> Typed<C> {
    pub(crate) fn new() -> Self {
        Typed(None)
    }
}

impl<C: Channel> Body for Typed<C> {
    fn run(&mut self, job: Job, actor: &Arc<Actor>, assigns: &(dyn Any + Send + Sync)) -> Done {
        let assigns: &C::Assigns = assigns.downcast_ref().expect("a router's channels are of its sockets' assigns");
        if let Job::Join(payload) = &job {
            return match C::join(&actor.topic, payload, &mut Joining::new(actor, assigns)) {
                Ok(Joined { channel, reply }) => {
                    self.0 = Some(Guarded::new(channel));
                    Done::Joined(reply)
                }
                Err(Refusal(payload)) => Done::Refused(payload),
            };
        }
        let Some(channel) = &mut self.0 else { return Done::Continue };
        let flow = match job {
            Job::In { event, payload, reference } => {
                let mut socket = ChannelSocket::new(actor, assigns, Some(&reference));
                let Answer { reply, flow } = channel.handle_in(&event, &payload, &mut socket);
                if let Some((status, response)) = reply
                    && !reference.is_null()
                    && let Err(error) = actor.reply(&reference, &status, &response)
                {
                    // As an exception in the callback would.
                    return Done::Stop(Stop::Failed(error.to_string()));
                }
                flow
            }
            Job::Out(message) => channel.handle_out(&message, &mut ChannelSocket::new(actor, assigns, None)),
            Job::Info(info) => channel.handle_info(info, &mut ChannelSocket::new(actor, assigns, None)),
            Job::Join(_) | Job::Leave { .. } | Job::Close | Job::Overloaded => Flow::Continue,
        };
        match flow {
            Flow::Continue => Done::Continue,
            Flow::Stop(stop) => Done::Stop(stop),
        }
    }

    fn terminate(&mut self, reason: &Terminated, actor: &Arc<Actor>, assigns: &(dyn Any + Send + Sync)) {
        if let (Some(channel), Some(assigns)) = (&mut self.0, assigns.downcast_ref()) {
            channel.terminate(reason, &mut ChannelSocket::new(actor, assigns, None));
        }
    }

    fn clear(&mut self) {
        self.0 = None;
    }
}
