//! Somebody who applies states and diffs as `phoenix.js` does, by keys and refs, from their JSON.

use fanfare::presence::Presence;
use fanfare::{Message, Subscriber};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// The refs of each key.
pub(crate) type Refs = BTreeMap<String, BTreeSet<String>>;

/// See the module's text.
#[derive(Default)]
pub(crate) struct View {
    pub state: Refs,
    /// Every diff so far.
    pub diffs: Vec<Value>,
    /// It has seen every diff since the beginning: none may tell what it knows already, or what it never knew.
    pub strict: bool,
    /// The state was applied.
    pub seeded: bool,
    held: Vec<Value>,
}

pub(crate) fn refs_of(entry: &Value) -> Vec<String> {
    let metas = entry["metas"].as_array().unwrap();
    assert!(!metas.is_empty(), "an entry has metas");
    metas.iter().map(|meta| meta["phx_ref"].as_str().unwrap().to_owned()).collect()
}

/// What the server says that is so.
pub(crate) fn live(presence: &Presence, topic: &str) -> Refs {
    let list = presence.list(topic);
    let refs: Refs = list
        .iter()
        .map(|(key, metas)| (key.to_owned(), metas.map(|meta| meta.phx_ref().to_string()).collect()))
        .collect();
    assert_eq!((list.len(), list.metas()), (presence.count(topic), presence.count_metas(topic)));
    assert_eq!((refs.len(), refs.values().map(BTreeSet::len).sum()), (list.len(), list.metas()));
    refs
}

impl View {
    /// One that is there from the beginning, when nobody was present.
    pub(crate) fn strict() -> View {
        View { strict: true, seeded: true, ..View::default() }
    }

    /// One that waits for a state.
    pub(crate) fn waiting() -> View {
        View::default()
    }

    /// Reads what is in the mailbox.
    pub(crate) fn read(&mut self, subscriber: &mut Subscriber) {
        while let Ok(message) = subscriber.try_recv() {
            self.message(&message);
        }
    }

    pub(crate) fn message(&mut self, message: &Message) {
        assert_eq!(message.event(), "presence_diff");
        let diff: Value = serde_json::from_slice(message.json().unwrap()).unwrap();
        self.diffs.push(diff.clone());
        if self.seeded { self.apply(&diff) } else { self.held.push(diff) }
    }

    /// Takes a state, and then the diffs that came before it.
    pub(crate) fn seed(&mut self, state: &[u8]) {
        let state: Value = serde_json::from_slice(state).unwrap();
        let entries = state.as_object().unwrap();
        self.state = entries.iter().map(|(key, entry)| (key.clone(), refs_of(entry).into_iter().collect())).collect();
        self.seeded = true;
        for diff in std::mem::take(&mut self.held) {
            self.apply(&diff);
        }
    }

    pub(crate) fn apply(&mut self, diff: &Value) {
        let (joins, leaves) = (diff["joins"].as_object().unwrap(), diff["leaves"].as_object().unwrap());
        assert!(!(joins.is_empty() && leaves.is_empty()), "a diff says something");
        for (key, entry) in joins {
            for meta in refs_of(entry) {
                let is_new = self.state.entry(key.clone()).or_default().insert(meta);
                assert!(is_new || !self.strict, "told twice: {diff}");
            }
        }
        for (key, entry) in leaves {
            let Some(metas) = self.state.get_mut(key) else {
                assert!(!self.strict, "nobody was there: {diff}");
                continue;
            };
            for meta in refs_of(entry) {
                assert!(metas.remove(&meta) || !self.strict, "it was not there: {diff}");
            }
            if metas.is_empty() {
                self.state.remove(key);
            }
        }
    }
}
