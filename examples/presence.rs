//! Who is online in a room. The lines up to `main` are all that a server needs.

use fanfare::channel::test::Client;
use fanfare::channel::{
    Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, Flow, Info, JoinResult, Joining, Params, Refusal, Router,
    Socket, Stop,
};
use fanfare::presence::Presence;
use fanfare::{Payload, PubSub};
use serde_json::json;

/// Sent by a channel to itself: it has joined.
struct Joined;

struct Room {
    presence: Presence,
}

impl Channel for Room {
    type Assigns = String;

    fn join(_: &str, _: &Payload, socket: &mut Joining<'_, String>) -> JoinResult<Self> {
        let presence = socket.route_assigns::<Presence>().ok_or_else(|| Refusal::reason("no presence"))?;
        socket.sender().send(Joined);
        Ok(Room { presence: presence.clone() }.into())
    }

    fn handle_info(&mut self, _: Info, socket: &mut ChannelSocket<'_, String>) -> Flow {
        let user = socket.assigns().clone();
        if let Err(error) = self.presence.track(&*socket, &user, json!({ "device": "phone" })) {
            return Flow::Stop(Stop::Failed(error.to_string()));
        }
        self.presence.push_state(socket);
        Flow::Continue
    }
}

struct User;

impl Socket for User {
    type Assigns = String;

    fn connect(&self, params: &Params, _: &ConnectInfo) -> Connect<String> {
        match params.get("name").and_then(|name| name.as_str()) {
            Some(name) => Connect::Accept(name.to_owned()),
            None => Connect::Refuse,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let pubsub = PubSub::new()?;
    let presence = Presence::builder().start(&pubsub)?;
    let router = Router::new().channel_with::<Room, _>("room:*", presence.clone())?;
    let endpoint = Endpoint::builder(pubsub).socket("/socket", User, router).build();

    // Two clients in this process, in place of browsers.
    let mut alice = Client::connect(&endpoint, "/socket", json!({ "name": "alice" }))?;
    alice.join_ok("room:lobby", json!({}));
    let mut bob = Client::connect(&endpoint, "/socket", json!({ "name": "bob" }))?;
    bob.join_ok("room:lobby", json!({}));
    bob.settle();
    println!("online: {:?}", presence.list("room:lobby").keys().collect::<Vec<_>>());
    // Both have been told; then one goes. She sees herself come, the state, him come, and him go.
    presence.flush()?;
    drop(bob);
    for _ in 0..4 {
        println!("alice sees {:?}", alice.next_event());
    }
    Ok(())
}
