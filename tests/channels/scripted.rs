//! Channels that do what a test's script says, each callback of it.

use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, EndpointBuilder, Flow, Info, JoinResult, Joined,
    Joining, Limits, Params, Refusal, Router, Socket, Terminated,
};
use fanfare::{Message, Payload, PubSub};
use std::any::Any;
use std::sync::Arc;

/// What a channel is made of and does. By default it joins, and does nothing.
pub(crate) trait Script: Send + Sync {
    /// `Ok` with the channel's state and the reply.
    fn join(&self, _: &str, _: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        Ok((Box::new(()), Payload::json_bytes("{}")))
    }

    fn handle_in(&self, _: &str, _: &Payload, _: &mut ChannelSocket<'_, Shared>) -> Answer {
        Answer::none()
    }

    fn handle_out(&self, _: &Message, _: &mut ChannelSocket<'_, Shared>) -> Flow {
        Flow::Continue
    }

    fn handle_info(&self, _: Info, _: &mut ChannelSocket<'_, Shared>) -> Flow {
        Flow::Continue
    }

    fn terminate(&self, _: &Terminated, _: &mut ChannelSocket<'_, Shared>) {}
}

pub(crate) type Shared = Arc<dyn Script>;
pub(crate) type State = Box<dyn Any + Send>;

struct Scripted<const INLINE: bool>(#[expect(dead_code, reason = "held, to be dropped")] State);

impl<const INLINE: bool> Channel for Scripted<INLINE> {
    type Assigns = Shared;
    const INLINE: bool = INLINE;
    const INTERCEPT: &'static [&'static str] = &["out"];

    fn join(topic: &str, _: &Payload, socket: &mut Joining<'_, Shared>) -> JoinResult<Self> {
        let script = socket.assigns().clone();
        script.join(topic, socket).map(|(state, reply)| Joined::with_reply(Scripted(state), reply))
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, Shared>) -> Answer {
        socket.assigns().clone().handle_in(event, payload, socket)
    }

    fn handle_out(&mut self, message: &Message, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        socket.assigns().clone().handle_out(message, socket)
    }

    fn handle_info(&mut self, info: Info, socket: &mut ChannelSocket<'_, Shared>) -> Flow {
        socket.assigns().clone().handle_info(info, socket)
    }

    fn terminate(&mut self, reason: &Terminated, socket: &mut ChannelSocket<'_, Shared>) {
        socket.assigns().clone().terminate(reason, socket);
    }
}

struct Stage(Shared);

impl Socket for Stage {
    type Assigns = Shared;
    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<Shared> {
        Connect::Accept(self.0.clone())
    }
}

/// Adds a socket at `/socket` whose channels, on whatever topic, follow the script.
pub(crate) fn mount(builder: EndpointBuilder, inline: bool, script: Shared) -> EndpointBuilder {
    let router = Router::new();
    let router = if inline { router.channel::<Scripted<true>>("*") } else { router.channel::<Scripted<false>>("*") };
    builder.socket("/socket", Stage(script), router.unwrap())
}

pub(crate) fn endpoint(pubsub: PubSub, inline: bool, limits: Limits, script: impl Script + 'static) -> Endpoint {
    mount(Endpoint::builder(pubsub).limits(limits), inline, Arc::new(script)).build()
}

pub(crate) fn connect(endpoint: &Endpoint) -> fanfare::channel::test::Client {
    fanfare::channel::test::Client::connect(endpoint, "/socket", serde_json::json!({})).unwrap()
}
