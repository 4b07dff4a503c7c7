//! The command line: what may be asked, and what of it makes sense together.

use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Most subscribers: what one worker can number, less some room.
const SUBSCRIBERS_MAX: u64 = 60_000_000;

/// A fan-out engine for latency-sensitive servers.
#[derive(Debug, Parser)]
#[command(name = "fanfare", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serves the demo page and its channels, to the `phoenix` client and to any that speaks its protocol [default]
    Serve(Box<ServeOptions>),
    /// Puts a load on an engine in this process and tells how fast it was
    Bench(BenchOptions),
}

/// Serves the demo page and its channels.
///
/// `/` is a chat page; `/socket/websocket` is the socket of the `phoenix` client, with the channels `room:*` (a chat),
/// `bench:*` (broadcasts for load tests) and `users_socket:ID` (one user's); `/health` answers. It stops in order on
/// SIGTERM and SIGINT: clients are told to connect again (code 1012), in batches.
#[derive(Debug, Clone, Args)]
pub(crate) struct ServeOptions {
    /// Where to listen; with port 0 the system chooses one
    #[arg(long, env = "FANFARE_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:4000")]
    pub(crate) listen: SocketAddr,

    /// Worker threads [default: one per processor]
    #[arg(long, env = "FANFARE_WORKERS", value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: Option<u16>,

    /// Origins whose pages may connect, such as `https://example.com` or `//*.example.com`; several by commas or by
    /// repeating it [default: all]
    #[arg(long, env = "FANFARE_ORIGIN", value_name = "ORIGIN", value_delimiter = ',')]
    pub(crate) origin: Vec<String>,

    /// A folder whose files are served below `/assets/`; with `phoenix.mjs` in it the page uses that client
    #[arg(long, env = "FANFARE_ASSETS", value_name = "DIR")]
    pub(crate) assets: Option<PathBuf>,

    /// Channels that one connection may have joined
    #[arg(long, env = "FANFARE_CHANNELS_MAX", value_name = "N", default_value_t = 100,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) channels_max: u16,

    /// How long a connection may send nothing
    #[arg(long, env = "FANFARE_IDLE_TIMEOUT", value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    pub(crate) idle_timeout: Duration,

    /// Size of a client's message
    #[arg(long, env = "FANFARE_MESSAGE_MAX", value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) message_max: usize,

    /// Bytes that may wait to be written to one connection; a client for which more would wait is closed, with code
    /// 1013
    #[arg(long, env = "FANFARE_OUTBOUND_MAX", value_name = "BYTES", default_value_t = 1 << 20)]
    pub(crate) outbound_max: usize,

    /// How long changes of who is in a room are gathered before its members are told; the first one after a quiet time
    /// is told at once
    #[arg(long, env = "FANFARE_DIFF_PERIOD", value_name = "SECONDS", default_value = "0.1", value_parser = seconds)]
    pub(crate) diff_period: Duration,

    /// The NATS servers through which this node reaches others, such as `nats://127.0.0.1:4222`; several by commas
    #[arg(long, env = "FANFARE_CLUSTER", value_name = "URL", requires = "node")]
    pub(crate) cluster: Option<String>,

    /// This node's name, which no other node of the cluster may have
    #[arg(long, env = "FANFARE_NODE", value_name = "NAME")]
    pub(crate) node: Option<String>,

    /// What the cluster's subjects begin with: nodes with different ones do not see each other
    #[arg(long, env = "FANFARE_CLUSTER_PREFIX", value_name = "PREFIX", default_value = "fanfare")]
    pub(crate) cluster_prefix: String,

    /// Who this is to NATS; the password comes by the variable FANFARE_CLUSTER_PASSWORD
    #[arg(long, env = "FANFARE_CLUSTER_USER", value_name = "NAME", requires = "cluster_password")]
    pub(crate) cluster_user: Option<String>,

    #[arg(long, env = "FANFARE_CLUSTER_PASSWORD", hide = true, hide_env_values = true)]
    pub(crate) cluster_password: Option<String>,

    /// A file with a user's JWT and seed, as the tools of NATS write it
    #[arg(long, env = "FANFARE_CLUSTER_CREDENTIALS", value_name = "FILE", conflicts_with = "cluster_user")]
    pub(crate) cluster_credentials: Option<PathBuf>,

    /// A file with certificates (PEM) that are trusted in place of the system's; NATS is then reached by TLS alone
    #[arg(long, env = "FANFARE_CLUSTER_CA", value_name = "FILE")]
    pub(crate) cluster_ca: Option<PathBuf>,

    /// Mounts a WebSocket at `/echo` that sends everything back, for tests of the protocol
    #[arg(long, env = "FANFARE_ECHO")]
    pub(crate) echo: bool,

    /// Lets tests act from outside: POST to /admin/broadcast, /admin/disconnect and /admin/presence
    #[arg(long, hide = true)]
    pub(crate) admin: bool,
}

/// Puts a load on an engine in this process and tells how fast it was.
///
/// It makes the subscribers, then broadcasts in three ways: one at a time, each after the last has been delivered and
/// read; right behind another; and as many as the engine takes. Each figure is measured, none is worked out from
/// another.
#[derive(Debug, Clone, Args)]
pub(crate) struct BenchOptions {
    /// How many subscribers to make
    #[arg(long, env = "FANFARE_BENCH_SUBSCRIBERS", value_name = "N", default_value_t = 1_000_000,
          value_parser = clap::value_parser!(u64).range(1..=SUBSCRIBERS_MAX))]
    pub(crate) subscribers: u64,

    /// Worker threads [default: one per processor]
    #[arg(long, env = "FANFARE_BENCH_WORKERS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(crate) workers: Option<u16>,

    /// Topics, over which the subscribers are spread evenly
    #[arg(long, env = "FANFARE_BENCH_TOPICS", value_name = "N", default_value_t = 1,
          value_parser = clap::value_parser!(u64).range(1..=SUBSCRIBERS_MAX))]
    pub(crate) topics: u64,

    /// Size of each message's payload
    #[arg(long, env = "FANFARE_BENCH_PAYLOAD", value_name = "BYTES", default_value_t = 64,
          value_parser = clap::value_parser!(u32).range(0..=64 << 20))]
    pub(crate) payload: u32,

    /// What a subscriber is: a mailbox, where a delivery is the message in its ring; or a handler, where it is the
    /// callback having run on its worker
    #[arg(long, env = "FANFARE_BENCH_KIND", value_enum, default_value_t = Kind::Mailbox)]
    pub(crate) kind: Kind,

    /// Threads that read the mailboxes, each its share [default: 2, or 0 for handlers]. They empty every mailbox
    /// before the next single broadcast, and keep at most 4 messages behind under full load, so nothing is dropped.
    /// With 0 nobody reads: mailboxes are full and each delivery drops the oldest message, which the report then says
    #[arg(long, env = "FANFARE_BENCH_READERS", value_name = "N",
          value_parser = clap::value_parser!(u16).range(0..=256))]
    pub(crate) readers: Option<u16>,

    /// Mailboxes that are never read, of all: theirs overflow, the others must not notice
    #[arg(long, env = "FANFARE_BENCH_SLOW_READERS", value_name = "N", default_value_t = 0)]
    pub(crate) slow_readers: u64,

    /// How long to broadcast
    #[arg(long, env = "FANFARE_BENCH_DURATION", value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    pub(crate) duration: Duration,

    /// Pin each worker to a processor
    #[arg(long, env = "FANFARE_BENCH_PIN")]
    pub(crate) pin: bool,

    /// What idle workers do: sleep at once, or look for work for a millisecond and then sleep
    #[arg(long, env = "FANFARE_BENCH_IDLE", value_enum, default_value_t = Idle::Park)]
    pub(crate) idle: Idle,

    /// Print one JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Mailbox,
    Handler,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Idle {
    Park,
    Spin,
}

/// A load that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) subscribers: usize,
    pub(crate) workers: usize,
    pub(crate) topics: usize,
    pub(crate) payload: usize,
    pub(crate) kind: Kind,
    pub(crate) readers: usize,
    pub(crate) slow_readers: usize,
    pub(crate) duration: Duration,
    pub(crate) pin: bool,
    pub(crate) idle: Idle,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| format!("`{text}` is not a number of seconds"))?;
    if (0.01..=3600.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("it must be from 0.01 to 3600 seconds".to_owned())
    }
}

impl ServeOptions {
    /// What `fanfare serve` without flags means, the environment included.
    pub(crate) fn defaults() -> Box<Self> {
        let Some(Command::Serve(options)) = Cli::parse_from(["fanfare", "serve"]).command else {
            unreachable!("these arguments name the subcommand")
        };
        options
    }
}

impl BenchOptions {
    /// Holds the options against each other. The error is a sentence for the user.
    pub(crate) fn check(self) -> Result<Load, String> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from).min(64);
        let readers = match (self.kind, self.readers) {
            (Kind::Mailbox, readers) => readers.unwrap_or(2),
            (Kind::Handler, None | Some(0)) => 0,
            (Kind::Handler, Some(_)) => return Err("--readers: handlers are not read, only mailboxes are".to_owned()),
        };
        if self.topics > self.subscribers {
            return Err(format!("--topics: {} topics for {} subscribers", self.topics, self.subscribers));
        }
        if self.slow_readers > 0 && self.kind == Kind::Handler {
            return Err("--slow-readers: handlers are not read, only mailboxes are".to_owned());
        }
        if self.slow_readers > 0 && readers == 0 {
            return Err("--slow-readers: with --readers 0 nobody reads anyway".to_owned());
        }
        if NonZeroU64::new(self.slow_readers).is_some_and(|slow| slow.get() >= self.subscribers) {
            return Err(format!("--slow-readers: must be fewer than the {} subscribers", self.subscribers));
        }
        let size = |number: u64| usize::try_from(number).map_err(|_| format!("{number} is too many for this machine"));
        Ok(Load {
            subscribers: size(self.subscribers)?,
            workers: self.workers.map_or(processors, usize::from),
            topics: size(self.topics)?,
            payload: size(self.payload.into())?,
            kind: self.kind,
            readers: readers.into(),
            slow_readers: size(self.slow_readers)?,
            duration: self.duration,
            pin: self.pin,
            idle: self.idle,
        })
    }
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Mailbox => "mailbox",
            Kind::Handler => "handler",
        }
    }
}

impl Idle {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Idle::Park => "park",
            Idle::Spin => "spin",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    fn parse(flags: &[&str]) -> Result<BenchOptions, ErrorKind> {
        let line = ["fanfare", "bench"].iter().chain(flags);
        match Cli::try_parse_from(line).map_err(|error| error.kind())?.command {
            Some(Command::Bench(options)) => Ok(options),
            other => panic!("{other:?} from {flags:?}"),
        }
    }

    fn check(flags: &[&str]) -> Result<Load, String> {
        parse(flags).expect("the flags parse").check()
    }

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn defaults_are_a_million_mailboxes_read_by_two() {
        let load = check(&[]).unwrap();
        assert_eq!((load.subscribers, load.topics, load.payload), (1_000_000, 1, 64));
        assert_eq!((load.kind, load.readers, load.slow_readers), (Kind::Mailbox, 2, 0));
        assert_eq!((load.duration, load.pin, load.idle), (Duration::from_secs(5), false, Idle::Park));
        assert!(load.workers >= 1);
    }

    #[test]
    fn flags_are_taken_over() {
        let flags = "--subscribers 5000 --workers 3 --topics 7 --payload 0 --readers 4 --slow-readers 10 \
                     --duration 0.5 --pin --idle spin";
        let load = check(&flags.split_whitespace().collect::<Vec<_>>()).unwrap();
        let expected = Load {
            subscribers: 5_000,
            workers: 3,
            topics: 7,
            payload: 0,
            kind: Kind::Mailbox,
            readers: 4,
            slow_readers: 10,
            duration: Duration::from_millis(500),
            pin: true,
            idle: Idle::Spin,
        };
        assert_eq!(load, expected);
    }

    #[test]
    fn handlers_have_no_readers() {
        assert_eq!(check(&["--kind", "handler"]).unwrap().readers, 0);
        assert!(check(&["--kind", "handler", "--readers", "1"]).unwrap_err().contains("--readers"));
        assert!(check(&["--kind", "handler", "--slow-readers", "1"]).unwrap_err().contains("--slow-readers"));
    }

    #[test]
    fn what_makes_no_sense_together_is_refused() {
        assert!(check(&["--subscribers", "3", "--topics", "4"]).unwrap_err().contains("--topics"));
        assert!(check(&["--subscribers", "3", "--slow-readers", "3"]).unwrap_err().contains("--slow-readers"));
        assert!(check(&["--readers", "0", "--slow-readers", "1"]).unwrap_err().contains("--readers 0"));
    }

    #[test]
    fn values_out_of_range_are_refused() {
        let cases = [
            ["--subscribers", "0"],
            ["--subscribers", "60000001"],
            ["--workers", "0"],
            ["--workers", "65"],
            ["--topics", "0"],
            ["--readers", "257"],
            ["--payload", "100000000"],
            ["--duration", "0"],
            ["--duration", "NaN"],
            ["--duration", "soon"],
        ];
        for flags in cases {
            assert_eq!(parse(&flags).unwrap_err(), ErrorKind::ValueValidation, "{flags:?}");
        }
        for flags in [["--kind", "pigeon"], ["--idle", "nap"]] {
            assert_eq!(parse(&flags).unwrap_err(), ErrorKind::InvalidValue, "{flags:?}");
        }
    }
}
