//! The demo's socket and channels.

use fanfare::Payload;
use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, JoinResult, Joining, Params, Refusal, Socket,
};
use serde_json::json;

/// Anyone may connect, and be whom they say in `user_id`: this is a demo.
pub(super) struct Users;

/// Who is connected, if it has said so.
pub(super) struct User {
    id: Option<String>,
}

impl Socket for Users {
    type Assigns = User;

    fn connect(&self, params: &Params, _: &ConnectInfo) -> Connect<User> {
        let id = params.get("user_id").and_then(serde_json::Value::as_str);
        Connect::Accept(User { id: id.filter(|id| !id.is_empty()).map(str::to_owned) })
    }

    fn id(&self, user: &User) -> Option<String> {
        user.id.as_ref().map(|id| format!("users_socket:{id}"))
    }
}

/// `room:*`: a chat.
pub(super) struct Room;

/// What the route of the rooms knows.
pub(super) struct RoomOptions {
    /// Whether clients may have what only tests want.
    pub(super) tests: bool,
}

impl Channel for Room {
    type Assigns = User;

    fn join(_: &str, _: &Payload, _: &mut Joining<'_, User>) -> JoinResult<Self> {
        Ok(Room.into())
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, User>) -> Answer {
        let tests = socket.route_assigns::<RoomOptions>().is_some_and(|options| options.tests);
        let reply = match event {
            "new_msg" => Payload::from(json!({})),
            "binary" if tests => payload.clone(),
            "crash" if tests => panic!("the client asked for it"),
            _ => return Answer::error(json!({ "reason": "unknown event" })),
        };
        match socket.broadcast(event.to_owned(), payload.clone()) {
            Ok(_) => Answer::ok(reply),
            Err(error) => Answer::error(json!({ "reason": error.to_string() })),
        }
    }
}

/// `bench:*`: broadcasts, and nothing else.
pub(super) struct Bench;

impl Channel for Bench {
    type Assigns = User;

    const INLINE: bool = true;

    fn join(_: &str, _: &Payload, _: &mut Joining<'_, User>) -> JoinResult<Self> {
        Ok(Bench.into())
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, User>) -> Answer {
        if event == "new_msg" {
            // A worker whose outbox is full refuses more: a load test sees that by what is missing.
            let _ = socket.broadcast("new_msg", payload.clone());
        }
        Answer::none()
    }
}

/// `users_socket:ID`: what concerns one user, told to each of the user's connections.
pub(super) struct UserChannel;

impl Channel for UserChannel {
    type Assigns = User;

    const INLINE: bool = true;

    fn join(topic: &str, _: &Payload, socket: &mut Joining<'_, User>) -> JoinResult<Self> {
        let id = topic.strip_prefix("users_socket:");
        if id.is_some() && id == socket.assigns().id.as_deref() {
            Ok(UserChannel.into())
        } else {
            Err(Refusal::reason("unauthorized"))
        }
    }
}
