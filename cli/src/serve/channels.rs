//! The demo's socket and channels.

use fanfare::Payload;
use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Flow, Info, JoinResult, Joining, Params, Refusal, Socket,
};
use fanfare::presence::{Presence, UpdateError};
use serde_json::{Map, Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

/// Anyone may connect, and be whom they say in `user_id`: this is a demo.
pub(crate) struct Users;

/// Who is connected, if it has said so.
pub(crate) struct User {
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

/// `room:*`: a chat, and who is in it.
pub(crate) struct Room {
    presence: Presence,
    /// Who this is, in the room's presence.
    key: String,
    /// What the client says of itself: see [`said`].
    said: Map<String, Value>,
}

/// What the route of the rooms knows.
pub(crate) struct RoomOptions {
    /// Whether clients may have what only tests want.
    pub(crate) tests: bool,
    pub(crate) presence: Presence,
}

/// Sent by a channel to itself: it has joined.
struct Joined;

/// What a client may say of itself, for others to see: its `name`, and its `status`.
fn said(payload: &Payload) -> Map<String, Value> {
    const TEXT_MAX: usize = 80;
    let mut said: Map<String, Value> = payload.parse().unwrap_or_default();
    said.retain(|what, text| {
        matches!(&**what, "name" | "status") && text.as_str().is_some_and(|text| text.len() <= TEXT_MAX)
    });
    said
}

/// What a client says of itself when it joins, or what its socket knows, or something that nobody else has.
fn key_of(payload: &Payload, user: &User) -> String {
    let said = payload.parse::<Map<String, Value>>().ok().and_then(|map| match map.get("user") {
        Some(Value::String(user)) => Some(user.clone()),
        Some(Value::Number(user)) => Some(user.to_string()),
        _ => None,
    });
    let known = said.or_else(|| user.id.clone()).filter(|key| !key.is_empty());
    known.unwrap_or_else(|| fanfare::presence::PhxRef::unique().to_string())
}

impl Channel for Room {
    type Assigns = User;

    fn join(_: &str, payload: &Payload, socket: &mut Joining<'_, User>) -> JoinResult<Self> {
        let options = socket.route_assigns::<RoomOptions>().ok_or_else(|| Refusal::reason("no such room"))?;
        socket.sender().send(Joined);
        let (presence, key) = (options.presence.clone(), key_of(payload, socket.assigns()));
        Ok(Room { presence, key, said: said(payload) }.into())
    }

    fn handle_info(&mut self, info: Info, socket: &mut ChannelSocket<'_, User>) -> Flow {
        if let Info::Sent(message) = info
            && message.is::<Joined>()
        {
            let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
            let mut meta = std::mem::take(&mut self.said);
            meta.insert("online_at".to_owned(), seconds.into());
            meta.entry("status").or_insert_with(|| "online".into());
            if let Err(error) = self.presence.track(&*socket, &self.key, meta) {
                // Such as a name that is too long. The chat goes on without it.
                let _ = socket.push("presence_error", json!({ "reason": error.to_string() }));
            }
            self.presence.push_state(socket);
        }
        Flow::Continue
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, User>) -> Answer {
        let tests = socket.route_assigns::<RoomOptions>().is_some_and(|options| options.tests);
        let reply = match event {
            "status" => return self.set_status(payload, socket).into(),
            "presence_more" => {
                let more = payload.parse::<Map<String, Value>>().ok();
                let next = more.and_then(|map| u32::try_from(map.get("next")?.as_u64()?).ok());
                return next.map(|next| self.presence.push_more(socket, next)).ok_or("`next` is missing").into();
            }
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

impl Room {
    /// The client says how it is: `{"status": TEXT}`, and with `name`, what it is called now.
    fn set_status(&self, payload: &Payload, socket: &ChannelSocket<'_, User>) -> Result<(), String> {
        let said = said(payload);
        if said.is_empty() {
            return Err("`status` must be a short text".to_owned());
        }
        let change = |old: &fanfare::presence::Meta| {
            // What we have tracked is an object.
            let mut meta: Map<String, Value> = old.parse().unwrap_or_default();
            meta.extend(said.clone());
            meta
        };
        let updated = self.presence.update_with(socket, &self.key, change);
        updated.map(|_| ()).map_err(|error: UpdateError| error.to_string())
    }
}

/// `bench:*`: broadcasts, and nothing else.
pub(crate) struct Bench;

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
pub(crate) struct UserChannel;

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
