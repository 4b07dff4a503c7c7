//! The gossip: who is up when, what is told to whom, and what passing time does.

use super::host::{Event, Host, Sent};
use super::*;
use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

/// Heartbeats each three seconds, down after five, forgotten after twenty.
fn options() -> Options {
    Options {
        broadcast_period: Duration::from_secs(1),
        max_silent_periods: 2,
        clock_sample_periods: 1,
        down_period: Duration::from_secs(5),
        permdown_period: Duration::from_secs(20),
        leaves_max: 3,
    }
}

/// Heartbeats each minute.
fn slow() -> Options {
    let (down_period, permdown_period) = (Duration::from_secs(100), Duration::from_secs(200));
    Options { max_silent_periods: 60, down_period, permdown_period, ..options() }
}

/// Nodes on a network that loses nothing but what is cut.
struct Cluster {
    hosts: Vec<Host>,
    now: Duration,
    /// Whom nobody hears, and who hears nobody; by (from, to).
    cut: BTreeSet<(usize, usize)>,
    /// What each has reported since it was last looked at.
    events: Vec<Vec<Event>>,
    requests: Vec<(Node, Node)>,
}

impl Cluster {
    fn new(names: &[&str]) -> Self {
        Cluster::with(&options(), names)
    }

    fn with(options: &Options, names: &[&str]) -> Self {
        let now = Duration::from_secs(1000);
        let hosts: Vec<Host> = names.iter().map(|name| Host::new(node(name, 1), options.clone(), now)).collect();
        let events = hosts.iter().map(|_| Vec::new()).collect();
        Cluster { hosts, now, cut: BTreeSet::new(), events, requests: Vec::new() }
    }

    /// A tick of each, one after the other.
    fn rounds(&mut self, count: usize) {
        for _ in 0..count {
            self.now += Duration::from_secs(1);
            for at in 0..self.hosts.len() {
                let (sent, events) = self.hosts[at].tick(self.now, true).unwrap();
                self.events[at].extend(events);
                self.send(at, sent);
            }
        }
    }

    fn send(&mut self, from: usize, sent: Vec<Sent>) {
        let mut queue: VecDeque<(usize, Sent)> = sent.into_iter().map(|sent| (from, sent)).collect();
        while let Some((from, (to, message))) = queue.pop_front() {
            if let (Message::TransferRequest { from, .. }, Some(to)) = (&message, &to) {
                self.requests.push((from.clone(), to.clone()));
            }
            for at in 0..self.hosts.len() {
                let is_for_it = to.as_ref().map_or(at != from, |to| *to == self.hosts[at].node);
                if is_for_it && !self.cut.contains(&(from, at)) {
                    let (sent, events) = self.hosts[at].receive(self.now, message.clone()).unwrap();
                    self.events[at].extend(events);
                    queue.extend(sent.into_iter().map(|sent| (at, sent)));
                }
            }
        }
    }

    fn split(&mut self, one: usize, other: usize) {
        self.cut.extend([(one, other), (other, one)]);
    }

    fn events(&mut self, at: usize) -> Vec<Event> {
        std::mem::take(&mut self.events[at])
    }

    fn visible(&self, at: usize) -> Vec<u64> {
        self.hosts[at].visible.iter().copied().collect()
    }
}

fn changed(joined: &[u64], left: &[u64]) -> Event {
    Event::Changed(Changes { joined: joined.to_vec(), left: left.to_vec() })
}

fn beat(from: Node, beat: u64, clocks: &[(Node, u64)]) -> Message<u64> {
    Message::Heartbeat { from, beat, clocks: clocks.iter().cloned().collect(), delta: None }
}

/// What a host tells at its next tick, if anything.
fn told(sent: &[Sent]) -> Option<(&Clocks, &Option<Part<u64>>)> {
    sent.iter().find_map(|(_, message)| match message {
        Message::Heartbeat { clocks, delta, .. } => Some((clocks, delta)),
        _ => None,
    })
}

fn is_transfer(sent: &Sent) -> Option<&[Part<u64>]> {
    match &sent.1 {
        Message::Transfer { parts } => Some(parts),
        _ => None,
    }
}

#[test]
fn each_shows_what_the_others_have() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hosts[0].apply(&[1, 2], &[]);
    cluster.hosts[1].apply(&[3], &[]);
    cluster.rounds(2);
    assert_eq!([0, 1, 2].map(|at| cluster.visible(at)), [vec![3], vec![1, 2], vec![1, 2, 3]]);
    cluster.hosts[0].apply(&[4], &[1]);
    cluster.events(2);
    cluster.rounds(1);
    assert_eq!([1, 2].map(|at| cluster.visible(at)), [vec![2, 4], vec![2, 3, 4]]);
    assert_eq!(cluster.events(2), [changed(&[4], &[1])]);
}

#[test]
fn an_idle_node_beats_each_third_tick_and_greets_who_is_new() {
    let mut host = Host::new(node("a", 1), options(), Duration::ZERO);
    let ticks = |host: &mut Host, seconds: std::ops::Range<u64>| {
        let tick = |second| told(&host.tick(Duration::from_secs(second), true).unwrap().0).is_some();
        seconds.map(tick).collect::<Vec<bool>>()
    };
    assert_eq!(ticks(&mut host, 1..8), [true, false, false, true, false, false, true]);
    host.receive(Duration::from_secs(7), beat(node("b", 1), 1, &[])).unwrap();
    host.receive(Duration::from_secs(7), beat(node("b", 1), 2, &[])).unwrap();
    assert_eq!(ticks(&mut host, 8..11), [true, false, false]);
}

#[test]
fn who_knows_that_it_missed_something_has_it_after_two_ticks_and_not_with_the_next_heartbeat() {
    for knows in [true, false] {
        let mut cluster = Cluster::with(&slow(), &["a", "b", "c"]);
        cluster.hosts[0].apply(&[1], &[]);
        cluster.rounds(4);
        cluster.split(0, 1);
        cluster.split(1, 2);
        cluster.hosts[0].apply(&[2], &[1]);
        cluster.hosts[2].apply(&[3], &[]);
        cluster.rounds(3);
        cluster.cut.clear();
        if knows {
            cluster.hosts[1].replica.missed();
        }
        cluster.rounds(3);
        assert_eq!(cluster.visible(1), if knows { vec![2, 3] } else { vec![1] });
    }
}

#[test]
fn who_was_stopped_says_at_once_that_it_lives() {
    let mut host = Host::new(node("a", 1), slow(), Duration::ZERO);
    let mut tells = |second| told(&host.tick(Duration::from_secs(second), true).unwrap().0).is_some();
    assert_eq!([1, 2, 3, 30, 31].map(&mut tells), [true, false, false, true, false]);
}

#[test]
fn a_gap_is_seen_and_filled_by_no_more_than_it_is() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hosts[0].apply(&[1, 2, 3, 4], &[]);
    cluster.rounds(3);
    cluster.cut.insert((0, 1));
    cluster.hosts[0].apply(&[5], &[1]);
    cluster.rounds(1);
    cluster.cut.clear();
    // What comes after the gap is shown at once.
    cluster.hosts[0].apply(&[6], &[]);
    cluster.now += Duration::from_secs(1);
    let (sent, _) = cluster.hosts[0].tick(cluster.now, true).unwrap();
    cluster.send(0, sent);
    assert_eq!(cluster.visible(1), [1, 2, 3, 4, 6]);
    let (sent, _) = cluster.hosts[1].tick(cluster.now, true).unwrap();
    let (to, request) = sent.into_iter().find(|(to, _)| to.is_some()).unwrap();
    assert_eq!(to, Some(node("a", 1)));
    let (sent, _) = cluster.hosts[0].receive(cluster.now, request.clone()).unwrap();
    let [part] = is_transfer(&sent[0]).unwrap() else { panic!("one node's") };
    assert_eq!((part.from, part.to, part.is_whole), (4, 7, false));
    cluster.events(1);
    cluster.send(0, sent);
    assert_eq!(cluster.events(1), [changed(&[5], &[1])]);
    // More leaves than are logged: the answer to the same is all.
    cluster.hosts[0].apply(&[7, 8, 9, 10], &[2, 3, 4]);
    let (sent, _) = cluster.hosts[0].receive(cluster.now, request).unwrap();
    let [part] = is_transfer(&sent[0]).unwrap() else { panic!("one node's") };
    assert_eq!((part.from, part.is_whole), (0, true));
    cluster.send(0, sent);
    assert_eq!(cluster.visible(1), [5, 6, 7, 8, 9, 10]);
}

#[test]
fn ghosts_while_down_third_parties_are_believed_and_nothing_is_reported() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hosts[0].apply(&[1, 2], &[]);
    cluster.rounds(3);
    cluster.split(0, 1);
    cluster.events(1);
    cluster.rounds(6);
    assert_eq!(cluster.events(1), [Event::Down(node("a", 1)), changed(&[], &[1, 2])]);
    cluster.hosts[0].apply(&[3], &[1]);
    cluster.rounds(3);
    let mut parts = Vec::new();
    cluster.hosts[2].replica.state().extract(&node("a", 1), 0, &mut parts);
    let transfer = Message::Transfer { parts };
    assert_eq!(cluster.hosts[1].receive(cluster.now, transfer).unwrap(), (vec![], vec![]));
    assert_eq!(cluster.hosts[1].replica.state().clock(&node("a", 1)), Some(4));
    // All that its heartbeat tells was seen: it is shown at once, as it is.
    let back = beat(node("a", 1), 1000, &[(node("a", 1), 4)]);
    let (_, events) = cluster.hosts[1].receive(cluster.now, back).unwrap();
    assert_eq!(events, [Event::Up(node("a", 1)), changed(&[2, 3], &[])]);
}

#[test]
fn ghosts_who_returns_is_shown_once_we_have_seen_what_it_announces() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hosts[0].apply(&[1, 2], &[]);
    cluster.rounds(3);
    cluster.split(0, 1);
    cluster.rounds(6);
    cluster.hosts[0].apply(&[3], &[1]);
    cluster.rounds(1);
    cluster.cut.clear();
    cluster.events(1);
    // What it does meanwhile is not enough either.
    cluster.hosts[0].apply(&[4], &[]);
    cluster.now += Duration::from_secs(1);
    let (sent, _) = cluster.hosts[0].tick(cluster.now, true).unwrap();
    cluster.send(0, sent);
    assert_eq!((cluster.events(1), cluster.visible(1)), (vec![], vec![]));
    cluster.rounds(2);
    assert_eq!(cluster.events(1), [Event::Up(node("a", 1)), changed(&[2, 3, 4], &[])]);
}

#[test]
fn status_is_forgotten_wholly() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hosts[0].apply(&[1], &[]);
    cluster.rounds(5);
    for other in [1, 2] {
        cluster.split(0, other);
    }
    cluster.events(1);
    cluster.rounds(30);
    let (down, gone) = (Event::Down(node("a", 1)), Event::PermanentlyDown(node("a", 1)));
    assert_eq!(cluster.events(1), [down, changed(&[], &[1]), gone]);
    let all = format!("{:?}", cluster.hosts[1].replica);
    assert!(!all.contains("a#1") && all.contains("c#1"), "{all}");
}

#[test]
fn clocks_leave_out_who_is_down() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.rounds(3);
    cluster.split(0, 1);
    cluster.rounds(6);
    cluster.hosts[1].apply(&[1], &[]);
    let (sent, _) = cluster.hosts[1].tick(cluster.now + Duration::from_secs(1), true).unwrap();
    let (clocks, _) = told(&sent).unwrap();
    assert_eq!(clocks.keys().collect::<Vec<_>>(), [&node("b", 1), &node("c", 1)]);
}

#[test]
fn a_stopped_node_does_not_take_the_others_for_dead() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hosts[0].apply(&[1], &[]);
    // Until it has just been heard.
    cluster.rounds(4);
    // An hour later, with nothing in its queue.
    let later = cluster.now + Duration::from_secs(3600);
    assert_eq!(cluster.hosts[1].tick(later, true).unwrap().1, []);
    // From here on it runs, and its own time counts.
    let silence = (1..10).map(|second| cluster.hosts[1].tick(later + Duration::from_secs(second), true).unwrap().1);
    let silent: Vec<Vec<Event>> = silence.collect();
    let down = silent.iter().position(|events| events.contains(&Event::Down(node("a", 1))));
    assert!(down.is_some_and(|ticks| ticks >= 2), "{silent:?}");
}

#[test]
fn a_node_that_lags_behind_its_queue_judges_nobody() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.rounds(3);
    let mut second = |host: &mut Host, drained| {
        cluster.now += Duration::from_secs(1);
        host.tick(cluster.now, drained).unwrap().1
    };
    let host = &mut cluster.hosts[1];
    for _ in 0..100 {
        assert_eq!(second(host, false), []);
    }
    // There was a heartbeat in it.
    host.receive(Duration::ZERO, beat(node("a", 1), 1000, &[])).unwrap();
    assert_eq!(second(host, true), []);
    for _ in 0..100 {
        assert_eq!(second(host, false), []);
    }
    assert_eq!(second(host, true)[0], Event::Down(node("a", 1)));
}

#[test]
fn time_that_goes_backwards_stands_still() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.rounds(3);
    for _ in 0..100 {
        for back in [0, 2, 1] {
            let now = cluster.now - Duration::from_secs(back);
            assert_eq!(cluster.hosts[1].tick(now, true).unwrap().1, []);
        }
    }
}

#[test]
fn a_late_heartbeat_is_no_sign_of_life() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.rounds(3);
    let mut events = Vec::new();
    for _ in 0..10 {
        cluster.now += Duration::from_secs(1);
        events.extend(cluster.hosts[1].receive(cluster.now, beat(node("a", 1), 1, &[])).unwrap().1);
        events.extend(cluster.hosts[1].tick(cluster.now, true).unwrap().1);
    }
    assert_eq!(events, [Event::Down(node("a", 1))]);
}

#[test]
fn a_later_life_takes_the_place_of_an_earlier_and_an_earlier_is_ignored() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hosts[0].apply(&[1], &[]);
    cluster.rounds(3);
    cluster.events(1);
    let old = std::mem::replace(&mut cluster.hosts[0], Host::new(node("a", 2), options(), cluster.now));
    cluster.hosts[0].apply(&[2], &[]);
    cluster.rounds(1);
    let (down, gone) = (Event::Down(node("a", 1)), Event::PermanentlyDown(node("a", 1)));
    assert_eq!(cluster.events(1), [down, gone, Event::Up(node("a", 2)), changed(&[2], &[1])]);
    let mut old = old;
    old.apply(&[3], &[]);
    let (sent, _) = old.tick(cluster.now + Duration::from_secs(1), true).unwrap();
    for (_, message) in sent {
        assert_eq!(cluster.hosts[1].receive(cluster.now, message).unwrap().1, []);
    }
    assert_eq!(cluster.visible(1), [2]);
}

#[test]
fn the_younger_of_two_of_one_name_is_told_and_an_earlier_life_is_no_elder() {
    let mut elder = Host::new(node("a", 1), options(), Duration::ZERO);
    let mut younger = Host::new(node("a", 2), options(), Duration::ZERO);
    let first = |host: &mut Host| host.tick(Duration::from_secs(1), true).unwrap().0.remove(0).1;
    let (of_elder, of_younger) = (first(&mut elder), first(&mut younger));
    // The elder may be dead, and this its last word.
    assert_eq!(younger.receive(Duration::from_secs(1), of_elder).unwrap(), (vec![], vec![]));
    let (sent, events) = elder.receive(Duration::from_secs(1), of_younger.clone()).unwrap();
    assert_eq!((sent.len(), events), (1, vec![]));
    // Who hears itself need not answer.
    assert_eq!(younger.receive(Duration::from_secs(1), of_younger).unwrap(), (vec![], vec![]));
    let (_, taken) = &sent[0];
    let events = younger.receive(Duration::from_secs(1), taken.clone()).unwrap().1;
    assert_eq!(events, [Event::NameTaken(node("a", 1))]);
    assert_eq!(younger.receive(Duration::from_secs(1), taken.clone()).unwrap().1, []);
    let mut third = Host::new(node("a", 3), options(), Duration::ZERO);
    assert_eq!(third.receive(Duration::from_secs(1), taken.clone()).unwrap().1, []);
}

#[test]
fn who_says_goodbye_is_forgotten_at_once() {
    let mut cluster = Cluster::new(&["a", "b"]);
    cluster.hosts[0].apply(&[1], &[]);
    cluster.rounds(3);
    cluster.events(1);
    let mut out = Vec::new();
    cluster.hosts.remove(0).replica.leave(&mut out);
    let [Output::SendAll(goodbye)] = &out[..] else { panic!("{out:?}") };
    let (_, events) = cluster.hosts[0].receive(cluster.now, goodbye.clone()).unwrap();
    let (down, gone) = (Event::Down(node("a", 1)), Event::PermanentlyDown(node("a", 1)));
    assert_eq!(events, [down, gone, changed(&[], &[1])]);
    // That of an earlier life changes nothing.
    cluster.hosts[0].receive(cluster.now, beat(node("a", 2), 1, &[])).unwrap();
    assert_eq!(cluster.hosts[0].receive(cluster.now, goodbye.clone()).unwrap().1, []);
    assert!(cluster.hosts[0].is_up(&node("a", 2)));
}

/// Whom a node asks when it has heard `heard`, at one tick after the other.
fn asked(heard: &[(&str, &[(&str, u64)])], ticks: u64) -> Vec<Vec<String>> {
    let mut host = Host::new(node("me", 1), options(), Duration::ZERO);
    for (from, clocks) in heard {
        let clocks: Vec<(Node, u64)> = clocks.iter().map(|&(name, clock)| (node(name, 1), clock)).collect();
        host.receive(Duration::ZERO, beat(node(from, 1), 1, &clocks)).unwrap();
    }
    let mut whom = |tick| -> Vec<String> {
        let (sent, _) = host.tick(Duration::from_secs(tick), true).unwrap();
        sent.iter().filter_map(|(to, _)| Some(to.as_ref()?.name.to_string())).collect()
    };
    (1..=ticks).map(&mut whom).collect()
}

#[test]
fn only_those_are_asked_who_have_seen_most() {
    // Of what b has seen, c has seen more.
    assert_eq!(asked(&[("a", &[("a", 3)]), ("b", &[("a", 2)]), ("c", &[("a", 3), ("b", 0)])], 1), [["a"]]);
    // Neither has seen all.
    assert_eq!(asked(&[("a", &[("a", 3), ("b", 1)]), ("b", &[("a", 2), ("b", 2)])], 1), [["a", "b"]]);
    // What somebody has seen of one whom we never heard does not count.
    assert_eq!(asked(&[("a", &[("a", 0), ("x", 9)])], 1), [[""; 0]]);
    // Of those who have seen the same, one after the other: one of them may not hear us.
    let same: &[(&str, u64)] = &[("a", 3)];
    let heard = [("a", same), ("b", same), ("c", same)];
    assert_eq!(asked(&heard, 4), [["a"], ["b"], ["c"], ["a"]]);
}

#[test]
fn when_all_is_seen_nobody_is_asked() {
    let mut cluster = Cluster::new(&["a", "b", "c"]);
    cluster.hosts[0].apply(&[1], &[]);
    cluster.rounds(4);
    cluster.requests.clear();
    cluster.rounds(20);
    assert_eq!(cluster.requests, []);
}

#[test]
fn what_contradicts_itself_is_refused() {
    let mut host = Host::new(node("b", 1), options(), Duration::ZERO);
    let (a, heard) = (node("a", 1), [(node("a", 1), 0)]);
    host.receive(Duration::ZERO, beat(a.clone(), 1, &heard)).unwrap();
    let part = Part { node: a, from: u64::MAX, to: 0, joins: vec![(1, 1)], leaves: vec![], is_whole: true };
    let (_, events) = host.receive(Duration::ZERO, Message::Transfer { parts: vec![part] }).unwrap();
    assert_eq!(events, []);
}

#[test]
fn options_that_do_not_go_together_make_no_replica() {
    let options = Options { clock_sample_periods: 0, ..options() };
    let replica = Replica::<u64>::new("a".into(), 1, options, Duration::ZERO);
    assert_eq!(replica.err(), Some(OptionsError::NoClockSamplePeriods));
}
