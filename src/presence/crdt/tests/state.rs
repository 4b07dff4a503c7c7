//! The state: its laws, and what it costs to tell.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// What the nodes `a` and `b` do, and which parts are cut of it.
#[derive(Debug, Clone)]
enum Step {
    Join(usize),
    Leave(usize, usize),
    Update(usize, usize),
    /// Cuts what came since the last cut, and since an earlier one.
    Cut(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<usize>;
    prop_oneof![
        2 => (0_usize..2).prop_map(Step::Join),
        2 => (0_usize..2, index()).prop_map(|(node, index)| Step::Leave(node, index)),
        1 => (0_usize..2, index()).prop_map(|(node, index)| Step::Update(node, index)),
        3 => (0_usize..2, index()).prop_map(|(node, index)| Step::Cut(node, index)),
    ]
}

fn nodes() -> [Node; 2] {
    [node("a", 1), node("b", 1)]
}

/// Owners that have done something, and parts that together tell all of it.
struct History {
    owners: [State<u64>; 2],
    owned: [BTreeSet<u64>; 2],
    parts: Vec<Part<u64>>,
}

fn history(steps: &[Step], leaves_max: usize) -> History {
    let owners = nodes().map(|node| State::new(node, leaves_max));
    let mut history = History { owners, owned: Default::default(), parts: Vec::new() };
    let mut cuts = [vec![0], vec![0]];
    let mut next = 0;
    let last = [0, 1].map(|node| Step::Cut(node, 0));
    for step in steps.iter().chain(&last) {
        let History { owners, owned, parts } = &mut history;
        let pick = |owned: &mut BTreeSet<u64>, index: &usize| {
            let left = (!owned.is_empty()).then(|| *owned.iter().nth(index % owned.len()).unwrap());
            left.inspect(|left| assert!(owned.remove(left)))
        };
        next += 1;
        match step {
            Step::Join(node) => {
                owners[*node].apply([next], []);
                owned[*node].insert(next);
            }
            Step::Leave(node, index) => owners[*node].apply([], pick(&mut owned[*node], index)),
            Step::Update(node, index) => {
                if let Some(left) = pick(&mut owned[*node], index) {
                    owners[*node].apply([next], [left]);
                    owned[*node].insert(next);
                }
            }
            Step::Cut(node, index) => {
                let (cuts, owner) = (&mut cuts[*node], &owners[*node]);
                for since in [*cuts.last().unwrap(), cuts[index % cuts.len()]] {
                    owner.extract(&nodes()[*node], since, parts);
                }
                cuts.push(owner.clock(&nodes()[*node]).unwrap());
            }
        }
    }
    history
}

/// Somebody who knows both and sees them.
fn observer(leaves_max: usize) -> State<u64> {
    let mut state = State::new(node("observer", 1), leaves_max);
    for node in nodes() {
        state.add(node.clone());
        state.show(&node, &mut Changes::default());
    }
    state
}

/// Merges parts, and sees that what is reported is what is shown, each element at most once.
fn merge_all<'a>(state: &mut State<u64>, parts: impl IntoIterator<Item = &'a Part<u64>>) {
    let mut shown: BTreeSet<u64> = state.visible().copied().collect();
    let mut gone = BTreeSet::new();
    for part in parts {
        assert!(part.is_sound(), "{part:?}");
        let mut changes = Changes::default();
        state.merge(part, &mut changes);
        for joined in changes.joined {
            assert!(shown.insert(joined) && !gone.contains(&joined), "{joined} joined twice");
        }
        for left in changes.left {
            assert!(shown.remove(&left) && gone.insert(left), "{left} left twice");
        }
        assert_eq!(shown, state.visible().copied().collect());
    }
}

fn joined(one: &State<u64>, other: &State<u64>) -> State<u64> {
    let mut both = observer(10);
    pull(&mut both, one, &nodes());
    pull(&mut both, other, &nodes());
    both
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 0..60)
}

fn leaves_max() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(2), Just(1000)]
}

proptest! {
    #[test]
    fn merge_is_commutative_associative_and_idempotent(
        steps in steps(),
        leaves_max in leaves_max(),
        chosen in prop::array::uniform3(prop::collection::vec(any::<prop::sample::Index>(), 0..12)),
    ) {
        let history = history(&steps, leaves_max);
        let [a, b, c] = chosen.map(|chosen| {
            let mut state = observer(leaves_max);
            if !history.parts.is_empty() {
                merge_all(&mut state, chosen.iter().map(|index| index.get(&history.parts)));
            }
            state
        });
        prop_assert_eq!(joined(&a, &b).knowledge(), joined(&b, &a).knowledge());
        let (left, right) = (joined(&joined(&a, &b), &c), joined(&a, &joined(&b, &c)));
        prop_assert_eq!(left.knowledge(), right.knowledge());
        let mut twice = joined(&a, &a);
        prop_assert_eq!(twice.knowledge(), a.knowledge());
        prop_assert!(pull(&mut twice, &a, &nodes()).is_empty());
    }

    #[test]
    fn deltas_in_any_grouping_and_order_are_the_full_state(
        steps in steps(),
        leaves_max in leaves_max(),
        ours_max in leaves_max(),
        (seed, doubled) in (any::<u64>(), 1_usize..3),
    ) {
        let history = history(&steps, leaves_max);
        let mut state = observer(ours_max);
        let mut parts: Vec<_> = (0..doubled).flat_map(|_| &history.parts).collect();
        fastrand::Rng::with_seed(seed).shuffle(&mut parts);
        merge_all(&mut state, parts);
        let truth: BTreeSet<u64> = history.owned.iter().flatten().copied().collect();
        prop_assert_eq!(state.visible().copied().collect::<BTreeSet<_>>(), truth);
        let mut whole = observer(0);
        for (owner, node) in history.owners.iter().zip(nodes()) {
            pull(&mut whole, owner, &[node]);
        }
        prop_assert_eq!(state.knowledge(), whole.knowledge());
    }

    /// Third parties serve it as the owner would.
    #[test]
    fn whoever_has_seen_some_gets_the_rest_from_anybody(
        steps in steps(),
        (leaves_max, third_max) in (leaves_max(), leaves_max()),
        chosen in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let history = history(&steps, leaves_max);
        let (mut third, mut lagging) = (observer(third_max), observer(third_max));
        merge_all(&mut third, &history.parts);
        if !history.parts.is_empty() {
            merge_all(&mut lagging, chosen.iter().map(|index| index.get(&history.parts)));
        }
        let mut parts = Vec::new();
        nodes().iter().for_each(|node| third.extract(node, lagging.clock(node).unwrap(), &mut parts));
        merge_all(&mut lagging, &parts);
        prop_assert_eq!(lagging.knowledge(), third.knowledge());
    }
}

fn cut(state: &State<u64>, since: u64) -> Part<u64> {
    let mut parts = Vec::new();
    state.extract(&node("a", 1), since, &mut parts);
    assert_eq!(parts.len(), 1);
    parts.remove(0)
}

#[test]
fn an_update_is_a_leave_and_a_join_in_one_delta() {
    let mut owner = State::new(node("a", 1), 10);
    let mut other = observer(10);
    owner.apply([1, 2], []);
    merge_all(&mut other, [&cut(&owner, 0)]);
    owner.apply([3], [1]);
    let delta = cut(&owner, 2);
    assert_eq!((delta.joins.as_slice(), delta.leaves.as_slice()), (&[(4, 3)][..], &[(3, 1)][..]));
    let mut changes = Changes::default();
    other.merge(&delta, &mut changes);
    assert_eq!(changes, Changes { joined: vec![3], left: vec![1] });
}

#[test]
fn a_leave_that_comes_before_its_join_kills_it() {
    let mut owner = State::new(node("a", 1), 10);
    owner.apply([1, 2], []);
    let joins = cut(&owner, 0);
    owner.apply([], [2]);
    let mut other = observer(10);
    merge_all(&mut other, [&cut(&owner, 2), &joins]);
    assert_eq!(other.visible().collect::<Vec<_>>(), [&1]);
}

#[test]
fn what_is_told_is_what_is_missing_while_its_leaves_are_logged() {
    let mut owner = State::new(node("a", 1), 10);
    owner.apply(0..100, []);
    for n in 0..5 {
        owner.apply([100 + n], [n]);
    }
    let delta = cut(&owner, 104);
    assert_eq!((delta.from, delta.joins.len(), delta.leaves.len(), delta.is_whole), (104, 3, 3, false));
    // More leaves than are kept: who lags far gets all, who lags little still gets little.
    owner.apply([], 5..20);
    let clock = owner.clock(&node("a", 1)).unwrap();
    let whole = cut(&owner, 104);
    assert_eq!((whole.joins.len(), whole.leaves.len(), whole.is_whole), (85, 0, true));
    let delta = cut(&owner, clock - 10);
    assert_eq!((delta.joins.len(), delta.leaves.len(), delta.is_whole), (0, 10, false));
    // More leaves than there are elements: all is less.
    owner.apply([], 20..103);
    assert!(cut(&owner, owner.clock(&node("a", 1)).unwrap() - 10).is_whole);
}

#[test]
fn of_nodes_that_are_not_known_and_of_ourselves_nothing_is_taken_in() {
    let mut owner = State::new(node("a", 1), 10);
    owner.apply([1], []);
    let part = cut(&owner, 0);
    let mut stranger = State::new(node("observer", 1), 10);
    merge_all(&mut stranger, [&part]);
    assert_eq!(stranger.clock(&node("a", 1)), None);
    let forged = Part { to: 9, joins: vec![], is_whole: true, ..part };
    owner.merge(&forged, &mut Changes::default());
    assert_eq!((owner.clock(&node("a", 1)), cut(&owner, 0).joins.len()), (Some(1), 1));
}

#[test]
fn whose_node_is_hidden_is_not_reported_and_reported_when_it_is_shown() {
    let mut owner = State::new(node("a", 1), 10);
    owner.apply([1, 2], []);
    let mut other = observer(10);
    merge_all(&mut other, [&cut(&owner, 0)]);
    let mut changes = Changes::default();
    other.hide(&node("a", 1), &mut changes);
    other.hide(&node("a", 1), &mut changes);
    assert_eq!(std::mem::take(&mut changes), Changes { joined: vec![], left: vec![1, 2] });
    owner.apply([3], [1]);
    other.merge(&cut(&owner, 2), &mut changes);
    assert!(changes.is_empty() && other.visible().next().is_none());
    other.show(&node("a", 1), &mut changes);
    other.show(&node("a", 1), &mut changes);
    assert_eq!(std::mem::take(&mut changes), Changes { joined: vec![2, 3], left: vec![] });
    other.forget(&node("a", 1), &mut changes);
    assert_eq!(changes, Changes { joined: vec![], left: vec![2, 3] });
    assert_eq!((other.clock(&node("a", 1)), other.knowledge().len()), (None, 2));
}
