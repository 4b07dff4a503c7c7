//! What ends a measurement.

use std::{fmt, io};

/// Why there are no figures.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The system refused something that is named in front of what it said.
    System(&'static str, io::Error),
    /// A connection got what the protocol does not let come.
    Protocol { connection: usize, what: String },
    /// A connection waits for the broadcast `expected`, and nothing comes any more.
    Lost { connection: usize, expected: u64 },
    /// A connection got the broadcast `got` where `expected` had to come: one is lost, twice there or out of order.
    Order { connection: usize, expected: u64, got: u64 },
    /// The server does not run as it should.
    Server(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::System(what, error) => write!(f, "{what}: {error}"),
            Self::Protocol { connection, what } => write!(f, "connection {connection}: {what}"),
            Self::Lost { connection, expected } => write!(f, "LOST: broadcast {expected} at connection {connection}"),
            Self::Order { connection, expected, got } => {
                write!(f, "OUT OF ORDER: connection {connection} got broadcast {got} instead of {expected}")
            }
            Self::Server(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Fault {}

/// For `map_err`: the system refused `what`.
pub(crate) fn system<E: Into<io::Error>>(what: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault::System(what, error.into())
}
