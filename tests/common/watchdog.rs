//! A watchdog: a test that hangs ends its process, and says which it is.

use std::io::Write;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

/// How long a test may take before it counts as hung.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends the process if a test hangs. Keep it for the length of the test.
pub(crate) struct Watchdog {
    _end: Sender<()>,
}

/// Starts the watchdog of a test.
pub(crate) fn watch() -> Watchdog {
    let (end, ended) = channel::<()>();
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    std::thread::spawn(move || {
        if ended.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            // Not by a macro: those are captured, and lost with the process.
            let _ = writeln!(std::io::stderr(), "\n{name} hangs: it has taken more than {PATIENCE:?}");
            std::process::abort();
        }
    });
    Watchdog { _end: end }
}
