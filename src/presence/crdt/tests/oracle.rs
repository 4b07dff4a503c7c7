//! The state against `crdts::Orswot`, on what both can do: adding and removing what is one's own, and merging.

use super::*;
use crdts::{CmRDT, CvRDT, Orswot};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone)]
enum Step {
    /// Adding what is there already is an update with us.
    Add(usize, u64),
    Remove(usize, u64),
    /// From the first to the second: all, or what it lacks.
    Sync(usize, usize, bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_usize..3, 0_u64..4).prop_map(|(node, slot)| Step::Add(node, slot)),
        2 => (0_usize..3, 0_u64..4).prop_map(|(node, slot)| Step::Remove(node, slot)),
        3 => (0_usize..3, 0_usize..3, any::<bool>()).prop_map(|(from, to, all)| Step::Sync(from, to, all)),
    ]
}

/// An element is a number that is never used again, and behind it a slot of a node.
const SLOTS: u64 = 16;

struct Actor {
    state: State<u64>,
    own: BTreeMap<u64, u64>,
    oracle: Orswot<u64, usize>,
}

impl Actor {
    fn slots(&self) -> BTreeSet<u64> {
        self.state.visible().chain(self.own.values()).map(|element| element % SLOTS).collect()
    }
}

proptest! {
    #[test]
    fn it_does_what_another_implementation_does(steps in prop::collection::vec(step(), 0..80)) {
        let nodes = ["a", "b", "c"].map(|name| node(name, 1));
        let mut actors = nodes.clone().map(|own| {
            let mut state = State::new(own.clone(), 3);
            for other in nodes.iter().filter(|&other| *other != own) {
                state.add(other.clone());
                state.show(other, &mut Changes::default());
            }
            Actor { state, own: BTreeMap::new(), oracle: Orswot::new() }
        });
        for (number, step) in (1..).zip(&steps) {
            match *step {
                Step::Add(at, slot) => {
                    let (actor, slot) = (&mut actors[at], at as u64 * 4 + slot);
                    let element = number * SLOTS + slot;
                    actor.state.apply([element], actor.own.insert(slot, element));
                    let add = actor.oracle.add(slot, actor.oracle.read_ctx().derive_add_ctx(at));
                    actor.oracle.apply(add);
                }
                Step::Remove(at, slot) => {
                    let (actor, slot) = (&mut actors[at], at as u64 * 4 + slot);
                    actor.state.apply([], actor.own.remove(&slot));
                    let remove = actor.oracle.rm(slot, actor.oracle.contains(&slot).derive_rm_ctx());
                    actor.oracle.apply(remove);
                }
                Step::Sync(from, to, all) => {
                    let mut parts = Vec::new();
                    for node in &nodes {
                        let since = if all { 0 } else { actors[to].state.clock(node).unwrap() };
                        actors[from].state.extract(node, since, &mut parts);
                    }
                    let oracle = actors[from].oracle.clone();
                    parts.iter().for_each(|part| actors[to].state.merge(part, &mut Changes::default()));
                    actors[to].oracle.merge(oracle);
                }
            }
            for actor in &actors {
                prop_assert_eq!(actor.slots(), actor.oracle.read().val.into_iter().collect::<BTreeSet<_>>());
            }
        }
    }
}
