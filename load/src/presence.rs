//! `presence`: many clients join one room within a second, and then half of them go at once.
//!
//! Each is a user of its own and keeps the view that phoenix.js' `Presence` would ([`View`]). The storm is over when
//! every view is complete; then all must be the same.

use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::fault::{Fault, system};
use crate::measure::median;
use crate::options::{list, positive};
use crate::process::{Server, cpu_of};
use crate::run::{DESCRIPTORS_SPARE, raise_descriptors};
use crate::view::{ROOM_JOINED, View, join};
use crate::wire::{self, Incoming, Wire, Wrong};

/// Connections that are on their way to be upgraded at one time: fewer than a listener lets wait.
const OPENING_MAX: usize = 512;
/// What `presence` is to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Options {
    server: Option<PathBuf>,
    clients: usize,
    /// How long they take to join.
    within: Duration,
    workers: u16,
    /// The server's `--diff-period`, in milliseconds.
    periods: Vec<u64>,
    repeat: usize,
    /// How long views may take until they are complete.
    deadline: Duration,
}

impl Options {
    /// The arguments after `presence`. The error is a sentence for the user.
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, String> {
        let second = Duration::from_secs(1);
        let mut options = Self {
            server: None,
            clients: 2_000,
            within: second,
            workers: 2,
            periods: vec![100],
            repeat: 5,
            deadline: second * 30,
        };
        if arguments.iter().any(|argument| argument == "--quick") {
            options = Self { clients: 200, within: second / 4, repeat: 1, ..options };
        }
        let mut arguments = arguments.iter().filter(|argument| *argument != "--quick");
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("`{name}` has no value, or is no option"))?;
            let wrong = || format!("`{name}` can't be `{value}`");
            match name.as_str() {
                "--server" => options.server = Some(PathBuf::from(value)),
                "--clients" => options.clients = positive(value).filter(|count| *count > 1).ok_or_else(wrong)?,
                "--workers" => options.workers = positive(value).ok_or_else(wrong)?,
                "--diff-periods" => options.periods = list(value, positive).ok_or_else(wrong)?,
                "--deadline" => {
                    let seconds: u16 = positive(value).ok_or_else(wrong)?;
                    options.deadline = second * seconds.into();
                }
                "--repeat" => options.repeat = positive(value).ok_or_else(wrong)?,
                _ => return Err(format!("no option `{name}`")),
            }
        }
        Ok(options)
    }
}

/// What came out of one storm.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    /// Processor time of the server, from the first join until every view is complete.
    cpu_s: f64,
    client_cpu_s: f64,
    /// From the last join until every view is complete.
    complete_ms: f64,
    /// Diffs that a client got until then.
    diffs: f64,
    diffs_max: f64,
    /// All that clients got until then, replies to their joins apart.
    messages: f64,
    megabytes: f64,
    /// From when half of them had gone until the others see it.
    gone_ms: f64,
    gone_cpu_s: f64,
}

/// Measures, and prints the table.
pub(crate) fn run(options: &Options) -> Result<(), Fault> {
    let server = options.server.as_ref().ok_or_else(|| Fault::Server("`--server` is missing".to_owned()))?;
    raise_descriptors(options.clients as u64 + DESCRIPTORS_SPARE)?;
    let mut all = vec![Vec::new(); options.periods.len()];
    for turn in 0..options.repeat {
        for (period, all) in options.periods.iter().zip(&mut all) {
            eprintln!("diffs each {period} ms, turn {} of {}", turn + 1, options.repeat);
            let mut command = Command::new(server);
            command.args(["serve", "--listen", "127.0.0.1:0", "--idle-timeout", "3600"]);
            command.args(["--workers", &options.workers.to_string()]);
            command.args(["--diff-period", &(*period as f64 / 1e3).to_string()]);
            all.push(storm(&Server::start(&mut command)?, options)?);
        }
    }
    let Options { clients, within, workers, .. } = options;
    println!("\n{clients} clients join a room within {} s, {workers} workers", within.as_secs_f64());
    for cells in HEAD {
        row(cells.map(str::to_owned));
    }
    for (period, all) in options.periods.iter().zip(&all) {
        let of = |figure: fn(&Figures) -> f64| median(all.iter().map(figure).collect());
        row([
            format!("{period} ms"),
            format!("{:.2} s", of(|figures| figures.cpu_s)),
            format!("{:.2} s", of(|figures| figures.client_cpu_s)),
            format!("{:.0} ms", of(|figures| figures.complete_ms)),
            format!("{:.1} / {:.0}", of(|figures| figures.diffs), of(|figures| figures.diffs_max)),
            format!("{:.0}, {:.0} MB", of(|figures| figures.messages), of(|figures| figures.megabytes)),
            format!("{:.0} ms, {:.2} s", of(|figures| figures.gone_ms), of(|figures| figures.gone_cpu_s)),
        ]);
    }
    println!("every view was complete, and all were the same");
    Ok(())
}

const HEAD: [[&str; 7]; 2] = [
    ["diffs", "server", "client", "complete after", "diffs each", "messages", "half of them gone:"],
    ["each", "CPU", "CPU", "the last join", "mean / most", "in all", "seen after, CPU"],
];

fn row([period, cpu, client, complete, diffs, messages, gone]: [String; 7]) {
    println!("{period:>8} {cpu:>8} {client:>8} {complete:>15} {diffs:>12} {messages:>15} {gone:>19}");
}

fn storm(server: &Server, options: &Options) -> Result<Figures, Fault> {
    let mut crowd = Crowd::open(server, options)?;
    let (unused, own) = (server.cpu()?, cpu_of(std::process::id())?);
    let last_join = crowd.join(options.within)?;
    crowd.wait_until(options.clients)?;
    let complete = last_join.elapsed();
    let (cpu, client_cpu) = (server.cpu()?, cpu_of(std::process::id())?);
    let views = || crowd.members.iter().flatten().map(|member| &member.view);
    let diffs: usize = views().map(|view| view.diffs).sum();
    let bytes: u64 = views().map(|view| view.bytes).sum();
    let mut figures = Figures {
        cpu_s: cpu.saturating_sub(unused).as_secs_f64(),
        client_cpu_s: client_cpu.saturating_sub(own).as_secs_f64(),
        complete_ms: complete.as_secs_f64() * 1e3,
        diffs: diffs as f64 / options.clients as f64,
        diffs_max: views().map(|view| view.diffs).max().unwrap_or(0) as f64,
        messages: views().map(|view| view.messages).sum::<usize>() as f64,
        megabytes: bytes as f64 / 1e6,
        ..Figures::default()
    };
    crowd.compare()?;
    let left = crowd.halve();
    let gone = Instant::now();
    crowd.wait_until(left)?;
    figures.gone_ms = gone.elapsed().as_secs_f64() * 1e3;
    figures.gone_cpu_s = server.cpu()?.saturating_sub(cpu).as_secs_f64();
    crowd.compare()?;
    Ok(figures)
}

struct Member {
    wire: Wire,
    is_upgraded: bool,
    has_joined: bool,
    view: View,
}

/// The clients, by the number of their user; `None` has gone.
struct Crowd {
    epoll: OwnedFd,
    members: Vec<Option<Member>>,
    events: Vec<Event>,
    buffer: Vec<u8>,
    deadline: Duration,
}

impl Crowd {
    /// Opens the connections, as far as their upgrade.
    fn open(server: &Server, options: &Options) -> Result<Self, Fault> {
        let count = options.clients;
        let mut crowd = Self {
            epoll: epoll::create(CreateFlags::CLOEXEC).map_err(system("epoll"))?,
            members: Vec::with_capacity(count),
            events: Vec::with_capacity(1024),
            buffer: vec![0; 256 << 10],
            deadline: options.deadline,
        };
        let mut upgraded = 0;
        while upgraded < count {
            while crowd.members.len() < count && crowd.members.len() - upgraded < OPENING_MAX {
                let wire = Wire::open(server.address)?;
                let data = EventData::new_u64(crowd.members.len() as u64);
                epoll::add(&crowd.epoll, &wire.stream, data, EventFlags::IN).map_err(system("epoll"))?;
                let view = View::new(count);
                crowd.members.push(Some(Member { wire, is_upgraded: false, has_joined: false, view }));
            }
            let something = crowd.turn(crowd.deadline)?;
            upgraded = crowd.members.iter().flatten().filter(|member| member.is_upgraded).count();
            if !something {
                return Err(Fault::Server(format!("{upgraded} of {count} are upgraded, and nothing comes")));
            }
        }
        Ok(crowd)
    }

    /// Lets them join, one after the other, evenly. Returns when the last one did.
    fn join(&mut self, within: Duration) -> Result<Instant, Fault> {
        let begin = Instant::now();
        let count = self.members.len();
        let mut last = begin;
        for user in 0..count {
            let due = begin + within.mul_f64(user as f64 / (count - 1) as f64);
            while let Some(early) = due.checked_duration_since(Instant::now()).filter(|early| !early.is_zero()) {
                self.turn(early)?;
            }
            if let Some(member) = &self.members[user] {
                wire::send(&member.wire.stream, &join(user)).map_err(|wrong| wrong.at(user))?;
            }
            last = Instant::now();
        }
        Ok(last)
    }

    /// Waits until each sees so many.
    fn wait_until(&mut self, count: usize) -> Result<(), Fault> {
        let begin = Instant::now();
        loop {
            let behind =
                self.members.iter().position(|one| one.as_ref().is_some_and(|one| one.view.present() != count));
            let Some(connection) = behind else { return Ok(()) };
            // A turn may bring nothing that counts: the time is that of all turns.
            let left = self.deadline.saturating_sub(begin.elapsed());
            if left.is_zero() || !self.turn(left)? {
                let seen = self.members[connection].as_ref().map_or(0, |member| member.view.present());
                return Err(Fault::Protocol { connection, what: format!("sees {seen} of {count} in the end") });
            }
        }
    }

    /// Makes sure that all see those who are there, by the same refs.
    fn compare(&self) -> Result<(), Fault> {
        let mut members = self.members.iter().enumerate().filter_map(|(at, member)| Some((at, member.as_ref()?)));
        let Some((connection, first)) = members.next() else { return Ok(()) };
        if let Some(user) = first.view.wrong_of(|user| self.members[user].is_some()) {
            return Err(Fault::Protocol { connection, what: format!("is wrong about user{user}") });
        }
        match members.find(|(_, member)| !member.view.sees_as(&first.view)) {
            None => Ok(()),
            Some((connection, _)) => {
                Err(Fault::Protocol { connection, what: "sees other refs than the first".to_owned() })
            }
        }
    }

    /// Lets every other connection end, without a word. Returns how many are left.
    fn halve(&mut self) -> usize {
        self.members.iter_mut().step_by(2).for_each(|member| *member = None);
        self.members.iter().flatten().count()
    }

    /// Waits for something to come, and reads it. Returns whether something came in time.
    fn turn(&mut self, patience: Duration) -> Result<bool, Fault> {
        self.events.clear();
        let patience = Timespec::try_from(patience).expect("some seconds");
        match epoll::wait(&self.epoll, spare_capacity(&mut self.events), Some(&patience)) {
            Ok(0) => return Ok(false),
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(Fault::System("epoll", error.into())),
        }
        for event in &self.events {
            let data = event.data;
            let at = data.u64() as usize;
            if let Some(member) = &mut self.members[at] {
                member.read(&mut self.buffer).map_err(|wrong| wrong.at(at))?;
            }
        }
        Ok(true)
    }
}

impl Member {
    fn read(&mut self, buffer: &mut [u8]) -> Result<(), Wrong> {
        let Self { wire, is_upgraded, has_joined, view } = self;
        wire.read(buffer, |_, incoming| match incoming {
            Incoming::Upgraded => {
                *is_upgraded = true;
                Ok(())
            }
            Incoming::Text(text) if *has_joined => view.text(text),
            Incoming::Text(ROOM_JOINED) => {
                *has_joined = true;
                Ok(())
            }
            Incoming::Text(text) => Err(Wrong::text("no answer to its join", text)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_taken_over() {
        let parse = |line: &str| Options::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        let options =
            parse("--clients 9 --server a/b --quick --workers 3 --diff-periods 25,50 --repeat 2 --deadline 4");
        let options = options.unwrap();
        let expected = Options {
            server: Some("a/b".into()),
            clients: 9,
            within: Duration::from_millis(250),
            workers: 3,
            periods: vec![25, 50],
            repeat: 2,
            deadline: Duration::from_secs(4),
        };
        assert_eq!(options, expected);
        for wrong in ["--clients 1", "--diff-periods 0", "--deadline 0", "--what 1", "--repeat"] {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains(wrong.split(' ').next().unwrap()), "{error}");
        }
    }
}
