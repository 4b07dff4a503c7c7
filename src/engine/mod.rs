//! The engine: what all handles share, how it starts, publishes, counts and ends.
//!
//! [`publish`] is how a broadcast goes out, [`worker`] where it is delivered, [`run`] a worker's thread, [`shutdown`]
//! the end. [`PubSub`](crate::pubsub::PubSub) is the face of all this.

pub(crate) mod config;
pub(crate) mod contract;
pub(crate) mod ending;
pub(crate) mod error;
pub(crate) mod outbox;
pub(crate) mod outcome;
pub(crate) mod publish;
pub(crate) mod run;
pub(crate) mod shutdown;
pub(crate) mod stats;
#[cfg(fanfare_stepped)]
pub(crate) mod stepped;
pub(crate) mod worker;

use self::config::Config;
use self::ending::Ending;
use self::error::ConfigError;
use self::worker::shared::Worker;
use crate::cluster::link::Link;
use crate::protocol::gate::Gate;
use crate::sync::{Arc, Mutex, Weak, thread};
use crate::topic::table::Table;

/// What all handles of an engine share.
pub(crate) struct Engine {
    pub(crate) config: Config,
    pub(crate) topics: Table,
    pub(crate) workers: Box<[Worker]>,
    pub(crate) gate: Gate,
    pub(crate) ending: Ending,
    /// To other nodes.
    pub(crate) link: Option<Arc<Link>>,
    /// The handle that keeps the engine running, for handlers that ask for it.
    pub(crate) owner: Mutex<Weak<Owner>>,
}

/// Keeps the engine running. Its drop shuts the engine down.
#[derive(Debug)]
pub(crate) struct Owner {
    pub(crate) engine: Arc<Engine>,
    threads: Mutex<Vec<thread::JoinHandle<()>>>,
}

impl Owner {
    /// Starts an engine.
    ///
    /// # Errors
    ///
    /// The system gives no more threads, or the cluster does not start.
    pub(crate) fn start(config: Config) -> Result<Arc<Owner>, ConfigError> {
        let link = config.cluster.clone().map(|cluster| Link::new(cluster, &config.node));
        let (entries, weight) = (config.inbox_entries_max, config.inbox_weight_max);
        let engine = Arc::new(Engine {
            topics: Table::new(),
            workers: (0..config.workers).map(|index| Worker::new(index, entries, weight)).collect(),
            gate: Gate::new(64),
            ending: Ending::new(),
            link,
            owner: Mutex::new(Weak::new()),
            config,
        });
        let mut threads = Vec::new();
        let threaded = if cfg!(fanfare_stepped) { 0 } else { engine.workers.len() };
        for index in 0..threaded {
            match run::spawn(engine.clone(), index) {
                Ok(thread) => threads.push(thread),
                Err(error) => {
                    // Those that run find the gate closed, and end.
                    shutdown::abandon(&engine, threads);
                    return Err(ConfigError::Spawn(error));
                }
            }
        }
        if let Some(Err(error)) = engine.link.as_ref().map(|link| link.start(&engine)) {
            shutdown::abandon(&engine, threads);
            return Err(ConfigError::Cluster(error));
        }
        let owner = Arc::new(Owner { engine: engine.clone(), threads: Mutex::new(threads) });
        *engine.owner.lock() = Arc::downgrade(&owner);
        Ok(owner)
    }
}

/// One short line: every handle holds the engine, and no handle is to print a million mailboxes.
impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("node", &self.config.node)
            .field("workers", &self.workers.len())
            .field("topics", &self.topics.len())
            .finish_non_exhaustive()
    }
}
