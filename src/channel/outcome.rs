//! What callbacks answer, and what is told of that.

use super::serializer::EncodeError;
use crate::engine::outcome::TaskError;
use crate::message::body::Message;
use crate::message::payload::Payload;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;

/// What becomes of a connection.
#[derive(Debug)]
#[non_exhaustive]
pub enum Connect<A> {
    /// It is accepted, with this known of it.
    Accept(A),
    /// It is refused, with status 403 (Forbidden).
    Refuse,
    /// It is refused with this status and this body.
    RefuseWith(u16, String),
}

/// What comes of a join.
pub type JoinResult<C> = Result<Joined<C>, Refusal>;

/// A channel that was joined, and what the client is told.
#[derive(Debug)]
pub struct Joined<C> {
    pub(crate) channel: C,
    pub(crate) reply: Payload,
}

impl<C> Joined<C> {
    /// With a reply to the client.
    pub fn with_reply(channel: C, reply: impl Into<Payload>) -> Self {
        Joined { channel, reply: reply.into() }
    }
}

impl<C> From<C> for Joined<C> {
    fn from(channel: C) -> Self {
        Joined { channel, reply: empty() }
    }
}

/// A join that is refused, and what the client is told.
#[derive(Debug)]
pub struct Refusal(pub(crate) Payload);

impl Refusal {
    /// Told as it is.
    pub fn new(payload: impl Into<Payload>) -> Self {
        Refusal(payload.into())
    }

    /// Told as `{"reason": reason}`.
    pub fn reason(reason: impl fmt::Display) -> Self {
        Refusal(serde_json::json!({ "reason": reason.to_string() }).into())
    }
}

/// `{}`.
pub(crate) fn empty() -> Payload {
    Payload::Json(bytes::Bytes::from_static(b"{}"))
}

/// What `handle_in` comes to: a reply or none, and whether the channel goes on.
#[derive(Debug)]
#[must_use]
pub struct Answer {
    pub(crate) reply: Option<(Cow<'static, str>, Payload)>,
    pub(crate) flow: Flow,
}

impl Answer {
    /// No reply.
    pub fn none() -> Self {
        Answer { reply: None, flow: Flow::Continue }
    }

    /// A reply of status `ok`.
    pub fn ok(payload: impl Into<Payload>) -> Self {
        Answer::status("ok", payload)
    }

    /// A reply of status `error`.
    pub fn error(payload: impl Into<Payload>) -> Self {
        Answer::status("error", payload)
    }

    /// A reply of status `error` that says why: `{"reason": reason}`.
    pub fn reason(reason: impl fmt::Display) -> Self {
        Answer::error(serde_json::json!({ "reason": reason.to_string() }))
    }

    /// A reply of any status.
    pub fn status(status: impl Into<Cow<'static, str>>, payload: impl Into<Payload>) -> Self {
        Answer { reply: Some((status.into(), payload.into())), flow: Flow::Continue }
    }

    /// And the channel stops.
    pub fn stop(self, reason: Stop) -> Self {
        Answer { flow: Flow::Stop(reason), ..self }
    }
}

/// What came of something, as a reply: `ok` and `{}`, or the error as [`Answer::reason`] tells it.
///
/// ```
/// # use fanfare::channel::{Answer, ChannelSocket};
/// # use fanfare::Payload;
/// # fn handle_in(payload: &Payload, socket: &mut ChannelSocket<'_, ()>) -> Answer {
/// socket.broadcast("new_msg", payload.clone()).into()
/// # }
/// ```
impl<T, E: fmt::Display> From<Result<T, E>> for Answer {
    fn from(result: Result<T, E>) -> Self {
        match result {
            Ok(_) => Answer { reply: Some(("ok".into(), empty())), flow: Flow::Continue },
            Err(error) => Answer::reason(error),
        }
    }
}

/// Whether a channel goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// It stops.
    Stop(Stop),
}

/// Why a channel stops itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stop {
    /// It is done: the client gets `phx_close`, and does not join again by itself.
    Normal,
    /// Something is wrong: the client gets `phx_error`, and joins again.
    Failed(String),
}

/// Why a channel has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Terminated {
    /// The client left.
    Left,
    /// The connection ended.
    Closed,
    /// It stopped itself.
    Stopped(Stop),
    /// A callback panicked; this is what it said.
    Crashed(String),
    /// More came for it than it could take: over [`Limits::channel_jobs_max`](super::Limits) waited.
    Overloaded,
}

/// What `handle_info` is told.
#[non_exhaustive]
pub enum Info {
    /// A message of a topic that the channel subscribed to, or a raw broadcast (not one of the endpoint's) on its own.
    Message(Message),
    /// What was sent to the channel by a [`ChannelSender`](super::ChannelSender).
    Sent(Box<dyn Any + Send>),
}

impl fmt::Debug for Info {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Info::Message(message) => f.debug_tuple("Message").field(message).finish(),
            Info::Sent(_) => f.write_str("Sent(..)"),
        }
    }
}

/// Why something could not be pushed.
#[derive(Debug)]
#[non_exhaustive]
pub enum PushError {
    /// It can't be encoded for this client.
    Encode(EncodeError),
    /// The engine is shut down.
    Closed,
    /// From a channel that runs inline: its worker has no room for more of it now.
    Full,
}

impl fmt::Display for PushError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PushError::Encode(error) => error.fmt(f),
            PushError::Closed => f.write_str("the engine is shut down"),
            PushError::Full => f.write_str("the worker has no room for more now"),
        }
    }
}

impl std::error::Error for PushError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            PushError::Encode(error) => Some(error),
            _ => None,
        }
    }
}

impl From<PostError> for PushError {
    fn from(error: PostError) -> Self {
        match error {
            PostError::Closed => PushError::Closed,
            PostError::Full => PushError::Full,
        }
    }
}

/// Why a connection could not be told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PostError {
    /// The engine is shut down.
    Closed,
    /// On a worker's thread: there is no room for it.
    Full,
}

impl From<TaskError> for PostError {
    fn from(error: TaskError) -> Self {
        match error {
            TaskError::Closed => PostError::Closed,
            TaskError::Full => PostError::Full,
        }
    }
}
