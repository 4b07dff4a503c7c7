//! What is told: diffs, states, and what callers see of a room.

use super::rooms::entries::{PresenceEntry, Snapshot};
use super::{Meta, Metas};
use crate::message::payload::Payload;
use bytes::Bytes;
use serde_json::{Map, Value};
use std::collections::HashMap;

/// A key and some of its metas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// One of those that have the key, for its key.
    named: Meta,
    metas: Metas,
    /// The JSON of what was fetched, without its braces.
    extra: Option<Box<str>>,
}

impl Present {
    /// The key.
    pub fn key(&self) -> &str {
        self.named.key()
    }

    /// The metas, in no particular order. In a diff there is at least one; none means that the key has gone.
    pub fn metas(&self) -> &[Meta] {
        &self.metas
    }
}

impl From<(Meta, Metas)> for Present {
    fn from((named, metas): (Meta, Metas)) -> Self {
        Present { named, metas, extra: None }
    }
}

/// Groups by key, in the order in which keys first come.
fn grouped<'a>(metas: impl Iterator<Item = &'a Meta>) -> Vec<Present> {
    let mut all: Vec<Present> = Vec::with_capacity(metas.size_hint().0);
    let mut places = HashMap::<&str, usize, crate::hash::Quality>::default();
    for meta in metas {
        let place = *places.entry(meta.key()).or_insert(all.len());
        match all.get_mut(place) {
            Some(present) => present.metas.push(meta.clone()),
            None => all.push(Present { named: meta.clone(), metas: meta.clone().into(), extra: None }),
        }
    }
    all
}

/// A change of who is present on a topic: the payload of `presence_diff`.
///
/// As JSON it is `{"joins": {KEY: {"metas": [META, ..]}, ..}, "leaves": {..}}`. An update is a join of the new meta and
/// a leave of the old one; joins are applied first, so the key never vanishes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    joins: Vec<Present>,
    leaves: Vec<Present>,
}

impl Diff {
    /// Those that have come.
    pub fn joins(&self) -> &[Present] {
        &self.joins
    }

    /// Those that have gone.
    pub fn leaves(&self) -> &[Present] {
        &self.leaves
    }

    pub(crate) fn of(joins: &[Meta], leaves: &[Meta]) -> Self {
        Diff { joins: grouped(joins.iter()), leaves: grouped(leaves.iter()) }
    }

    /// The parts of one as a whole.
    pub(crate) fn joined(parts: Vec<Diff>) -> Self {
        parts
            .into_iter()
            .reduce(|mut whole, mut part| {
                whole.joins.append(&mut part.joins);
                whole.leaves.append(&mut part.leaves);
                whole
            })
            .unwrap_or_default()
    }

    pub(crate) fn sides_mut(&mut self) -> [&mut Vec<Present>; 2] {
        [&mut self.joins, &mut self.leaves]
    }

    /// As the payload of a message: a typed value in process, JSON on the wire.
    pub(crate) fn into_payload(self) -> Payload {
        Payload::encoded_by(self, |diff| Ok(diff.json()))
    }

    fn json(&self) -> Bytes {
        let metas = self.joins.iter().chain(&self.leaves).flat_map(|present| &present.metas);
        let size: usize = metas.map(|meta| meta.json().len() + 32).sum();
        let mut json = Vec::with_capacity(size + 64);
        json.extend_from_slice(b"{\"joins\":");
        write_all(&mut json, &self.joins);
        json.extend_from_slice(b",\"leaves\":");
        write_all(&mut json, &self.leaves);
        json.push(b'}');
        json.into()
    }
}

fn write_all(json: &mut Vec<u8>, all: &[Present]) {
    json.push(b'{');
    for (place, present) in all.iter().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write(json, present.key(), present.metas.iter(), present.extra.as_deref());
    }
    json.push(b'}');
}

fn write<'a>(json: &mut Vec<u8>, key: &str, metas: impl Iterator<Item = &'a Meta>, extra: Option<&str>) {
    write_key(json, key);
    json.extend_from_slice(b":{\"metas\":[");
    for (place, meta) in metas.enumerate() {
        if place > 0 {
            json.push(b',');
        }
        json.extend_from_slice(meta.json().as_bytes());
    }
    json.push(b']');
    if let Some(extra) = extra {
        json.push(b',');
        json.extend_from_slice(extra.as_bytes());
    }
    json.push(b'}');
}

fn write_key(json: &mut Vec<u8>, key: &str) {
    if key.bytes().any(|byte| byte < b' ' || byte == b'"' || byte == b'\\') {
        serde_json::to_writer(json, key).expect("a string has JSON, and memory takes it");
    } else {
        json.push(b'"');
        json.extend_from_slice(key.as_bytes());
        json.push(b'"');
    }
}

/// Presences that a `fetch` may add to: those of a diff, or of a state.
#[derive(Debug)]
pub struct Batch {
    pub(crate) all: Vec<Fetched>,
}

/// A key of a [`Batch`].
#[derive(Debug)]
pub struct Fetched {
    present: Present,
    /// What is to be told beside the metas. A field `metas` is ignored.
    pub extra: Map<String, Value>,
}

impl Batch {
    /// Of each key of some sides of a diff, once.
    pub(crate) fn of<'a>(all: impl Iterator<Item = &'a Present>) -> Self {
        let mut places = HashMap::<&str, usize, crate::hash::Quality>::default();
        let mut batch: Vec<Fetched> = Vec::new();
        for present in all {
            let place = *places.entry(present.key()).or_insert(batch.len());
            match batch.get_mut(place) {
                Some(fetched) => present.metas.iter().for_each(|meta| fetched.present.metas.push(meta.clone())),
                None => batch.push(Fetched { present: present.clone(), extra: Map::new() }),
            }
        }
        Batch { all: batch }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.all.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// The keys.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|fetched| fetched.present.key())
    }

    /// The keys, their metas, and what is to be told beside them.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Fetched> {
        self.all.iter_mut()
    }

    /// Each key, and what was fetched for it.
    pub(crate) fn into_parts(self) -> Vec<(Present, Map<String, Value>)> {
        self.all.into_iter().map(|Fetched { present, extra }| (present, extra)).collect()
    }

    /// Puts what was fetched beside the metas.
    pub(crate) fn apply<'a>(self, all: impl Iterator<Item = &'a mut Present>) {
        let mut extras = HashMap::<String, Box<str>, crate::hash::Quality>::default();
        for Fetched { present, mut extra } in self.all {
            extra.remove("metas");
            if let Ok(json) = serde_json::to_string(&extra)
                && !extra.is_empty()
            {
                extras.insert(present.key().to_owned(), json[1..json.len() - 1].into());
            }
        }
        all.for_each(|present| present.extra = extras.get(present.key()).cloned());
    }
}

impl Fetched {
    /// The key.
    pub fn key(&self) -> &str {
        self.present.key()
    }

    /// The metas, of both sides of a diff.
    pub fn metas(&self) -> &[Meta] {
        &self.present.metas
    }
}

/// Who is present on a topic, as of one moment.
///
/// It shares the room's memory and copies nothing: a change to the room copies the 256 presences around it, once. So
/// keep it no longer than need be.
#[derive(Debug, Clone, Default)]
pub struct Presences {
    pub(crate) snapshot: Snapshot,
    pub(crate) keys: usize,
}

impl Presences {
    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys
    }

    /// Whether nobody is there.
    pub fn is_empty(&self) -> bool {
        self.keys == 0
    }

    /// How many metas there are.
    pub fn metas(&self) -> usize {
        self.snapshot.len()
    }

    /// The keys, in no particular order.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.snapshot.heads().map(|entry| entry.meta.key())
    }

    /// Each key with its metas, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &Meta> + Clone)> {
        self.snapshot.heads().map(|head| (head.meta.key(), self.snapshot.chain(head).map(|entry| &entry.meta)))
    }

    /// As JSON: `{KEY: {"metas": [META, ..]}, ..}`.
    pub fn json(&self) -> Bytes {
        state_json(&self.snapshot)
    }
}

/// All of a state, as JSON.
pub(crate) fn state_json(snapshot: &Snapshot) -> Bytes {
    let size: usize = snapshot.iter().map(|entry| entry.meta.json().len() + entry.meta.key().len() + 16).sum();
    let mut json = Vec::with_capacity(size + 2);
    json.push(b'{');
    for (place, head) in snapshot.heads().enumerate() {
        if place > 0 {
            json.push(b',');
        }
        write(&mut json, head.meta.key(), snapshot.chain(head).map(|entry| &entry.meta), None);
    }
    json.push(b'}');
    json.into()
}

/// Some presences, grouped by key.
pub(crate) fn present<'a>(entries: impl Iterator<Item = &'a PresenceEntry>) -> Vec<Present> {
    grouped(entries.map(|entry| &entry.meta))
}

/// Presences as JSON.
pub(crate) fn present_json(all: &[Present]) -> Bytes {
    let mut json = Vec::new();
    write_all(&mut json, all);
    json.into()
}
