//! What the CRDT and its gossip promise.

mod gossip;
mod host;
mod oracle;
mod simulation;
mod state;

use super::*;
use crate::presence::rooms::meta::Fields;

/// An element that is its own name.
impl Element for u64 {
    type Id = u64;

    fn id(&self) -> u64 {
        *self
    }
}

fn node(name: &str, vsn: u64) -> Node {
    Node { name: name.into(), vsn }
}

/// Adds all that `from` knows of `nodes` to `to`; the changes.
fn pull(to: &mut State<u64>, from: &State<u64>, nodes: &[Node]) -> Changes<u64> {
    let (mut parts, mut changes) = (Vec::new(), Changes::default());
    nodes.iter().for_each(|node| from.extract(node, 0, &mut parts));
    parts.iter().for_each(|part| to.merge(part, &mut changes));
    changes
}

#[test]
fn a_presence_is_shared_and_never_copied() {
    let meta = Fields::of(&serde_json::json!({}), 100).unwrap().with("alice", PhxRef::unique(), None);
    let tracked = Tracked { topic: "room:lobby".into(), meta };
    let mut ours = State::new(node("a", 1), 10);
    ours.apply([tracked.clone()], []);
    let (mut parts, mut changes) = (Vec::new(), Changes::default());
    ours.extract(&node("a", 1), 0, &mut parts);
    let mut theirs = State::new(node("b", 1), 10);
    theirs.add(node("a", 1));
    theirs.show(&node("a", 1), &mut changes);
    theirs.merge(&parts[0], &mut changes);
    let seen = theirs.visible().next().unwrap();
    assert_eq!((seen, changes.joined.as_slice()), (&tracked, std::slice::from_ref(&tracked)));
    assert!(std::ptr::eq(&*seen.topic, &*tracked.topic) && std::ptr::eq(seen.meta.key(), tracked.meta.key()));
    // By its ref it leaves.
    ours.apply([], [tracked.id()]);
    parts.clear();
    ours.extract(&node("a", 1), 1, &mut parts);
    theirs.merge(&parts[0], &mut changes);
    assert_eq!((theirs.visible().count(), changes.left), (0, vec![tracked]));
}
