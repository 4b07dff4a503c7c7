//! A schedule: nodes, the network, and what befalls them.

use super::network::{Flight, Network, Weather, hits};
use super::plan::{Plan, STEPS_A_TICK};
use super::*;
use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

/// An element is a number that is never used again, and behind it the place of its node.
const PLACES: u64 = 10;

/// A node that lives.
#[derive(Debug)]
struct Life {
    host: Host,
    /// What its clock shows at step zero.
    epoch: Duration,
    /// At which steps it ticks.
    phase: u64,
    inbox: VecDeque<Flight>,
    paused_until: u64,
    /// It ticks, and reads nothing, before this step.
    busy_until: u64,
    /// Of those that it hears and does not show: when the first heartbeat was sent that it has heard of them.
    coming: BTreeMap<Node, u64>,
}

/// What is counted.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Change,
    Lost,
    Doubled,
    Crash,
    Restart,
    Pause,
    Goodbye,
    Split,
    Down,
    Transfer,
    Return,
}

const KINDS: [&str; 11] = [
    "changes",
    "messages lost",
    "doubled",
    "crashes",
    "restarts",
    "pauses",
    "goodbyes",
    "splits",
    "downs",
    "transfers",
    "returns",
];

/// How often each kind of thing has happened in a schedule, or in many.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Sums([u64; KINDS.len()]);

/// See the module's text.
#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    plan: Plan,
    weather: Weather,
    network: Network,
    lives: Vec<Option<Life>>,
    now: u64,
    next_vsn: u64,
    next_element: u64,
    /// When those that have left did.
    left: BTreeMap<u64, u64>,
    /// All is healed: nothing may change any more.
    is_quiet: bool,
    /// Requests and answers.
    sent_to_one: usize,
    sums: Sums,
    is_traced: bool,
}

impl World {
    pub(crate) fn new(seed: u64, is_traced: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let plan = Plan::draw(&mut rng);
        let weather = Weather { delay_max: plan.delay_max, loss: plan.loss, double: plan.double };
        let lives = (0..plan.nodes).map(|_| None).collect();
        let world = World {
            rng,
            plan,
            weather,
            network: Network::default(),
            lives,
            now: 0,
            next_vsn: 1,
            next_element: 1,
            left: BTreeMap::new(),
            is_quiet: false,
            sent_to_one: 0,
            sums: Sums::default(),
            is_traced,
        };
        world.trace(|| format!("{:?}", world.plan));
        world
    }

    /// Runs all of it.
    pub(crate) fn run(mut self) -> Result<Sums, String> {
        for at in 0..self.plan.nodes {
            self.begin(at);
        }
        for _ in 0..self.plan.steps {
            self.trouble()?;
            self.step()?;
        }
        self.trace(|| "all heals".to_owned());
        self.network.heal();
        self.weather = Weather { delay_max: 1, loss: 0, double: 0 };
        (self.plan.overload, self.plan.change) = (0, 0);
        for life in self.lives.iter_mut().flatten() {
            (life.paused_until, life.busy_until) = (0, 0);
        }
        for _ in 0..self.plan.steps_to_heal() {
            self.step()?;
        }
        self.trace(|| "all is to be well".to_owned());
        self.compare()?;
        self.is_quiet = true;
        self.sent_to_one = 0;
        for _ in 0..self.plan.steps_of_quiet() {
            self.step()?;
        }
        self.compare()?;
        if self.sent_to_one > 0 {
            return Err(format!("{} messages to single nodes when there was nothing to ask for", self.sent_to_one));
        }
        self.sums.count(Kind::Lost, self.network.lost);
        self.sums.count(Kind::Doubled, self.network.doubled);
        Ok(self.sums)
    }

    /// Whether each shows what the others have.
    fn compare(&self) -> Result<(), String> {
        for life in self.lives.iter().flatten() {
            let others = self.lives.iter().flatten().filter(|other| other.host.node != life.host.node);
            let truth: BTreeSet<u64> = others.flat_map(|other| &other.host.own).copied().collect();
            if life.host.visible != truth {
                return Err(format!("{:?} shows {:?}, not {truth:?}", life.host.node, life.host.visible));
            }
        }
        Ok(())
    }

    fn begin(&mut self, at: usize) {
        let node = node(&format!("n{at}"), self.next_vsn);
        self.next_vsn += 1;
        let epoch = Duration::from_millis(self.rng.u64(0..1_000_000));
        let now = epoch + Duration::from_millis(self.now);
        let host = Host::new(node, self.plan.options.clone(), now);
        let phase = self.rng.u64(0..STEPS_A_TICK);
        self.trace(|| format!("{:?} begins", host.node));
        let (inbox, coming) = (VecDeque::new(), BTreeMap::new());
        self.lives[at] = Some(Life { host, epoch, phase, inbox, paused_until: 0, busy_until: 0, coming });
    }

    /// What goes wrong before a step.
    fn trouble(&mut self) -> Result<(), String> {
        if hits(&mut self.rng, self.plan.split) {
            self.network.split(self.plan.nodes, &mut self.rng);
            self.sums.count(Kind::Split, 1);
            self.trace(|| format!("{:?}", self.network));
        }
        if hits(&mut self.rng, self.plan.heal) {
            self.network.heal();
            // Some see that their link is back, or that something was lost.
            for life in self.lives.iter_mut().flatten() {
                if self.rng.bool() {
                    life.host.replica.missed();
                }
            }
        }
        for at in 0..self.plan.nodes {
            let Some(life) = &mut self.lives[at] else {
                if hits(&mut self.rng, self.plan.restart) {
                    self.sums.count(Kind::Restart, 1);
                    self.begin(at);
                }
                continue;
            };
            // One that is stopped has read what came before, so it may take itself for drained when it wakes.
            let may_pause = life.inbox.is_empty() && (at == 0 || !self.plan.is_calm);
            if may_pause && hits(&mut self.rng, self.plan.pause) {
                life.paused_until = self.now + self.rng.u64(1..150);
                self.sums.count(Kind::Pause, 1);
                self.trace(|| format!("n{at} is stopped"));
            } else if hits(&mut self.rng, self.plan.crash) {
                self.lives[at] = None;
                self.sums.count(Kind::Crash, 1);
                self.trace(|| format!("n{at} crashes"));
            } else if hits(&mut self.rng, self.plan.leave) {
                let mut out = Vec::new();
                self.lives[at].take().expect("it lives").host.replica.leave(&mut out);
                let [Output::SendAll(goodbye)] = &out[..] else { return Err(format!("a goodbye is {out:?}")) };
                self.sums.count(Kind::Goodbye, 1);
                self.trace(|| format!("n{at} leaves"));
                self.send(at, vec![(None, goodbye.clone())]);
            }
        }
        Ok(())
    }

    /// A millisecond.
    fn step(&mut self) -> Result<(), String> {
        for flight in self.network.arrivals(self.now, &mut self.rng) {
            if let Some(life) = &mut self.lives[flight.to]
                && flight.only.as_ref().is_none_or(|only| *only == life.host.node)
            {
                life.inbox.push_back(flight);
            }
        }
        for at in 0..self.plan.nodes {
            let busy_for = if hits(&mut self.rng, self.plan.overload) { self.rng.u64(1..80) } else { 0 };
            let wakes_early = self.rng.bool();
            let changes = hits(&mut self.rng, self.plan.change);
            let now = self.now;
            let Some(life) = self.lives[at].as_mut().filter(|life| life.paused_until <= now) else { continue };
            // Who was stopped may run before the messages that have come meanwhile get to it.
            if wakes_early && life.paused_until == now && now > 0 {
                self.tick(at, true)?;
            }
            let life = self.lives[at].as_mut().expect("it lives");
            life.busy_until = life.busy_until.max(if busy_for > 0 { now + busy_for } else { 0 });
            let inbox = if life.busy_until > now { VecDeque::new() } else { std::mem::take(&mut life.inbox) };
            for flight in inbox {
                self.receive(at, flight)?;
            }
            if changes {
                self.change(at);
            }
            let life = self.lives[at].as_mut().expect("it lives");
            if self.now % STEPS_A_TICK == life.phase {
                let drained = life.inbox.is_empty();
                self.tick(at, drained)?;
            }
        }
        self.now += 1;
        Ok(())
    }

    fn tick(&mut self, at: usize, drained: bool) -> Result<(), String> {
        let life = self.lives[at].as_mut().expect("it lives");
        let time = life.epoch + Duration::from_millis(self.now);
        let (sent, events) = life.host.tick(time, drained)?;
        self.note(at, &events)?;
        self.send(at, sent);
        Ok(())
    }

    /// Some come, some go, some are updated.
    fn change(&mut self, at: usize) {
        let life = self.lives[at].as_mut().expect("it lives");
        let own: Vec<u64> = life.host.own.iter().copied().collect();
        let count = self.rng.usize(0..3);
        let leaves = self.rng.choose_multiple(own, count);
        let count = self.rng.u64(0..3);
        let joins: Vec<u64> = (0..count).map(|n| (self.next_element + n) * PLACES + at as u64).collect();
        self.next_element += count;
        self.left.extend(leaves.iter().map(|&left| (left, self.now)));
        self.sums.count(Kind::Change, (joins.len() + leaves.len()) as u64);
        life.host.apply(&joins, &leaves);
        self.trace(|| format!("n{at}: {joins:?} join, {leaves:?} leave"));
    }

    fn receive(&mut self, at: usize, flight: Flight) -> Result<(), String> {
        let life = self.lives[at].as_mut().expect("it lives");
        self.sums.count(Kind::Transfer, u64::from(matches!(flight.message, Message::Transfer { .. })));
        let unseen = match &flight.message {
            Message::Heartbeat { from, .. } if !life.host.is_up(from) => Some(from.clone()),
            _ => None,
        };
        let time = life.epoch + Duration::from_millis(self.now);
        let message = self.is_traced.then(|| flight.message.clone());
        let of_life = match &flight.message {
            Message::Heartbeat { from, .. } | Message::Leave { from } => Some(from.clone()),
            _ => None,
        };
        let (sent, events) = life.host.receive(time, flight.message)?;
        // It may have been ignored: a later life is known.
        if let Some(from) = unseen.filter(|from| life.host.replica.state().clock(from).is_some()) {
            life.coming.entry(from).or_insert(flight.sent);
        }
        if let Some(message) = message {
            self.trace(|| format!("n{at} gets {message:?}, sent at {}", flight.sent));
        }
        let forgets_later = |event: &&Event| match (event, &of_life) {
            (Event::PermanentlyDown(node), Some(from)) => node.name == from.name && node.vsn > from.vsn,
            _ => false,
        };
        if let Some(event) = events.iter().find(forgets_later) {
            return Err(format!("n{at} reports {event:?} by what an earlier life has said"));
        }
        self.note(at, &events)?;
        self.send(at, sent);
        Ok(())
    }

    /// Judges what a node reports.
    fn note(&mut self, at: usize, events: &[Event]) -> Result<(), String> {
        events.iter().for_each(|event| self.trace(|| format!("n{at} reports {event:?}")));
        let life = self.lives[at].as_mut().expect("it lives");
        // Those who have come in this moment, by their place, and when what we heard of them was sent.
        let mut heard = BTreeMap::new();
        for event in events {
            let is_good = match event {
                Event::Up(node) => {
                    heard.extend(life.coming.remove(node).map(|sent| (place_of(node), sent)));
                    !self.is_quiet
                }
                Event::Down(node) => {
                    self.sums.count(Kind::Down, 1);
                    life.coming.remove(node);
                    !self.is_quiet && (!self.plan.is_calm || *node.name == *"n0")
                }
                Event::PermanentlyDown(node) => {
                    life.coming.remove(node);
                    true
                }
                Event::NameTaken(_) => false,
                Event::Changed(changes) => {
                    let had_left = |element: &&u64| {
                        let heard = heard.get(&((*element % PLACES) as usize));
                        self.left.get(element).zip(heard).is_some_and(|(left, heard)| left < heard)
                    };
                    if let Some(ghost) = changes.joined.iter().find(had_left) {
                        return Err(format!("n{at} is shown the ghost {ghost}"));
                    }
                    self.sums.count(Kind::Return, heard.len() as u64);
                    !self.is_quiet
                }
            };
            if !is_good {
                return Err(format!("n{at} reports {event:?}"));
            }
        }
        Ok(())
    }

    fn send(&mut self, from: usize, sent: Vec<Sent>) {
        self.sent_to_one += sent.iter().filter(|(to, _)| to.is_some()).count();
        for sent in sent {
            // A subject has its readers, with the sender perhaps among them; one node has its own subject.
            let to: Vec<usize> = match &sent.0 {
                None => (0..self.plan.nodes).collect(),
                Some(node) => vec![place_of(node)],
            };
            for to in to {
                self.network.send((from, to), &sent, self.now, self.weather, &mut self.rng);
            }
        }
    }

    fn trace(&self, line: impl FnOnce() -> String) {
        if self.is_traced {
            println!("{:>5} {}", self.now, line());
        }
    }
}

fn place_of(node: &Node) -> usize {
    node.name[1..].parse().expect("a name is a letter and a place")
}

impl Sums {
    fn count(&mut self, kind: Kind, more: u64) {
        self.0[kind as usize] += more;
    }

    pub(crate) fn add(&mut self, other: &Sums) {
        self.0.iter_mut().zip(other.0).for_each(|(sum, more)| *sum += more);
    }

    /// Whether each kind of trouble has come more than now and then.
    pub(crate) fn is_thorough(&self) -> bool {
        self.0.iter().all(|&count| count >= 50)
    }
}

impl fmt::Display for Sums {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> = KINDS.iter().zip(self.0).map(|(name, count)| format!("{count} {name}")).collect();
        f.write_str(&all.join(", "))
    }
}
