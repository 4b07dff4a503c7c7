//! A chat room: who joins `room:*` says things to everybody in it. The lines up to `main` are all that a server needs.

use fanfare::channel::test::Client;
use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, JoinResult, Joining, Params, Refusal, Router,
    Socket,
};
use fanfare::{Payload, PubSub};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct NewMessage {
    body: String,
}

struct Room;

impl Channel for Room {
    type Assigns = String;

    fn join(topic: &str, _: &Payload, socket: &mut Joining<'_, String>) -> JoinResult<Self> {
        if topic == "room:vip" && socket.assigns() != "alice" {
            return Err(Refusal::reason("unauthorized"));
        }
        Ok(Room.into())
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, String>) -> Answer {
        match (event, payload.parse::<NewMessage>()) {
            ("new_msg", Ok(NewMessage { body })) => {
                let said = json!({ "from": socket.assigns(), "body": body });
                socket.broadcast("new_msg", said).into()
            }
            ("new_msg", Err(error)) => Answer::reason(error),
            _ => Answer::none(),
        }
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
    let router = Router::new().channel::<Room>("room:*")?;
    let endpoint = Endpoint::builder(PubSub::new()?).socket("/socket", User, router).build();

    // Two clients in this process, in place of browsers.
    let mut alice = Client::connect(&endpoint, "/socket", json!({ "name": "alice" }))?;
    let mut bob = Client::connect(&endpoint, "/socket", json!({ "name": "bob" }))?;
    alice.join_ok("room:lobby", json!({}));
    bob.join_ok("room:lobby", json!({}));
    let reference = alice.push("room:lobby", "new_msg", json!({ "body": "hello" }));
    println!("alice sees {:?}", alice.next_event());
    println!("bob sees {:?}", bob.next_event());
    alice.assert_reply(&reference, "ok", json!({}));

    let refused = bob.join("room:vip", json!({}));
    bob.assert_reply(&refused, "error", json!({ "reason": "unauthorized" }));
    Ok(())
}
