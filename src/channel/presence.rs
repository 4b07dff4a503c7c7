//! Presence in channels: each channel is an owner, on its topic, and its client is told the state.
//!
//! The state is a push, so each client gets a frame of its own, with its own `join_ref`; what is in it was encoded once
//! for all who wait. The frame is made on the connection's worker, not on the presence's thread.
//!
//! phoenix.js holds the diffs that come between its join and the state, and applies them after the state. A client
//! that leaves a topic and joins it again at once, as a page does that is built anew, also holds those that the
//! *earlier* channel still sends it. But between that one's end and the new subscription there is a gap: who is in a
//! held diff and goes in the gap would stay in the client's view for ever. So a channel that is not its connection's
//! first on the topic sends the state twice: the second comes behind what the client held, and puts it right.

use super::api::ChannelSocket;
use super::outcome::empty;
use crate::message::payload::Payload;
use crate::presence::{Aligned, Place, Presence, Scope};
use bytes::Bytes;

const STATE: &str = "presence_state";
const DIFF: &str = "presence_diff";
const TRUNCATED: &str = "presence_truncated";

/// The channel, on its topic.
impl<'a, A> From<&'a ChannelSocket<'_, A>> for Place<'a> {
    fn from(socket: &'a ChannelSocket<'_, A>) -> Self {
        Place::from((&socket.actor.owner, &*socket.actor.topic))
    }
}

/// As that of a shared reference.
impl<'a, A> From<&'a mut ChannelSocket<'_, A>> for Place<'a> {
    fn from(socket: &'a mut ChannelSocket<'_, A>) -> Self {
        Place::from(&*socket)
    }
}

impl Presence {
    /// Pushes `presence_state` to the channel's client: who is present on its topic at the end of an epoch. All later
    /// diffs come behind it; phoenix.js holds those that come before it, and applies them after. Call it once the
    /// channel has joined, in `handle_info`, say. A client that has had the topic before on the same connection gets
    /// the state twice, lest diffs of its earlier channel leave ghosts.
    ///
    /// Of more metas than [`state_metas_max`](crate::presence::Builder::state_metas_max) the client gets the first
    /// page, and then `presence_truncated`: `{"keys": KEYS, "metas": METAS, "next": CURSOR}`. To read on, it sends the
    /// cursor to the channel, in an event of its own, which calls [`push_more`](Self::push_more).
    pub fn push_state<A>(&self, socket: &ChannelSocket<'_, A>) {
        self.push(socket, Scope::Full);
    }

    /// As [`push_state`](Self::push_state), for a client that need not know who is there: an empty `presence_state`,
    /// and `presence_truncated` with the counts, without a cursor. The diffs come nevertheless.
    pub fn push_count<A>(&self, socket: &ChannelSocket<'_, A>) {
        self.push(socket, Scope::Count);
    }

    /// Pushes the page behind a cursor that the client was told: as a `presence_diff` of joins, which phoenix.js adds
    /// to what it has, and then `presence_truncated` again, with a cursor if there is more. Metas that have moved
    /// meanwhile may come twice, which changes nothing.
    pub fn push_more<A>(&self, socket: &ChannelSocket<'_, A>, cursor: u32) {
        self.push(socket, Scope::From(cursor.into()));
    }

    fn push<A>(&self, socket: &ChannelSocket<'_, A>, scope: Scope) {
        let actor = socket.actor.clone();
        // A topic that a channel has joined is within the limits.
        let _ = self.with_state(&actor.topic.clone(), scope, move |state| {
            // An error means that there is no engine any more, and nobody to be told.
            let _ = actor.push_later(pushes(state, scope, actor.again));
        });
    }
}

fn pushes(state: &Aligned, scope: Scope, again: bool) -> Vec<(&'static str, Payload)> {
    let mut pushes = Vec::with_capacity(3);
    let json = state.json().cloned();
    match (json, scope) {
        (Some(json), Scope::From(_)) => {
            let joins = [&b"{\"joins\":"[..], &json, b",\"leaves\":{}}"].concat();
            pushes.push((DIFF, Payload::Json(joins.into())));
        }
        (json, _) => {
            let state = json.map_or_else(empty, Payload::Json);
            if again {
                pushes.push((STATE, state.clone()));
            }
            pushes.push((STATE, state));
        }
    }
    if state.next().is_some() || scope != Scope::Full {
        let next = state.next().map_or_else(|| "null".to_owned(), |next| u32::from(next).to_string());
        let json = format!(r#"{{"keys":{},"metas":{},"next":{next}}}"#, state.keys(), state.metas());
        pushes.push((TRUNCATED, Payload::Json(Bytes::from(json))));
    }
    pushes
}
