//! `fanfare serve`: the demo page, its channels, and what operates them.

mod channels;
mod web;

use crate::cli::ServeOptions;
use channels::{Bench, Room, RoomOptions, UserChannel, Users};
use fanfare::channel::{Endpoint, Limits, PatternError, Router};
use fanfare::cluster::{self, Nats};
use fanfare::net::server::{Echo, Options, Server};
use fanfare::presence::Presence;
use fanfare::{Context, Handler, HandlerSubscriber, Message, PubSub, SubscribeError, Wait};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// How long clients may take to go when the server stops.
const DRAIN: Duration = Duration::from_secs(30);

/// Serves until it is told to stop.
pub(crate) fn run(options: &ServeOptions) -> Result<(), String> {
    // Before anything is announced: a signal from then on stops it in order.
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| format!("signals can't be caught: {error}"))?;
    raise_descriptors();
    let mut builder = PubSub::builder().wait(Wait::Poll);
    if let Some(workers) = options.workers {
        builder = builder.workers(workers.into());
    }
    if let Some(node) = &options.node {
        builder = builder.node(node);
    }
    if let Some(cluster) = cluster(options)? {
        builder = builder.cluster(cluster);
    }
    let pubsub = builder.build().map_err(|error| error.to_string())?;
    let watching = watch_cluster(&pubsub).map_err(|error| error.to_string())?;
    let presence =
        Presence::builder().diff_period(options.diff_period).start(&pubsub).map_err(|error| error.to_string())?;
    let endpoint = endpoint(&pubsub, &presence, options).map_err(|error| error.to_string())?;
    let web = web::Web::new(endpoint.clone(), presence.clone(), options)?;
    let mut server = Server::builder(endpoint)
        .options(server_options(options)?)
        .route(move |request, body| web.answer(request, body));
    if options.echo {
        server = server.raw("/echo", Echo::default);
    }
    let server = server.listen(options.listen).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!("{} is taken: another program listens there", options.listen),
        io::ErrorKind::PermissionDenied => format!("{}: this user may not listen there", options.listen),
        _ => format!("{}: {error}", options.listen),
    })?;
    // Whoever waits for this line has gone if it can't be written.
    let _ = writeln!(io::stdout(), "listening on http://{}", server.address());
    let _ = io::stdout().flush();
    let signal = signals.forever().next();
    eprintln!("fanfare: stopping{}", if signal == Some(SIGTERM) { "" } else { " (again to stop at once)" });
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            std::process::exit(1);
        }
    });
    let left = server.drain(Instant::now() + DRAIN);
    if left > 0 {
        eprintln!("fanfare: {left} connections had to be cut off");
    }
    // What is said last goes to other nodes before the engine ends.
    presence.shutdown();
    drop(watching);
    pubsub.shutdown(Duration::from_secs(1)).map_err(|error| error.to_string())?;
    Ok(())
}

fn cluster(options: &ServeOptions) -> Result<Option<Nats>, String> {
    let Some(servers) = &options.cluster else { return Ok(None) };
    let mut servers = servers.split(',').map(str::trim);
    let mut nats = Nats::builder(servers.next().unwrap_or_default()).prefix(&options.cluster_prefix);
    nats = servers.fold(nats, |nats, server| nats.url(server));
    if let Some(node) = &options.node {
        nats = nats.name(node);
    }
    if let (Some(user), Some(password)) = (&options.cluster_user, &options.cluster_password) {
        nats = nats.user_and_password(user, password);
    }
    if let Some(file) = &options.cluster_credentials {
        nats = nats.credentials_file(file);
    }
    if let Some(file) = &options.cluster_ca {
        nats = nats.ca_file(file).require_tls(true);
    }
    nats.build().map(Some).map_err(|error| error.to_string())
}

/// Says what becomes of the cluster, and ends the program if an older node has its name.
fn watch_cluster(pubsub: &PubSub) -> Result<HandlerSubscriber, SubscribeError> {
    struct Watch;
    impl Handler for Watch {
        fn on_message(&mut self, message: &Message, _: &mut Context<'_>) {
            let what = message.payload().json().map(String::from_utf8_lossy).unwrap_or_default();
            eprintln!("fanfare: cluster: {} {what}", message.event());
            if message.event() == "name_taken" {
                eprintln!("fanfare: another node has this name and was there first");
                std::process::exit(1);
            }
        }
    }
    let watch = pubsub.subscriber().handler(Watch)?;
    watch.subscribe(cluster::TOPIC)?;
    Ok(watch)
}

/// As many descriptors as this user may have: each connection takes one, and the usual limit is 1,024.
fn raise_descriptors() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        // With fewer it serves fewer.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    }
}

fn endpoint(pubsub: &PubSub, presence: &Presence, options: &ServeOptions) -> Result<Endpoint, PatternError> {
    let rooms = RoomOptions { tests: options.admin, presence: presence.clone() };
    let router = Router::new()
        .channel_with::<Room, _>("room:*", rooms)?
        .channel::<Bench>("bench:*")?
        .channel::<UserChannel>("users_socket:*")?;
    let mut limits = Limits::default();
    limits.channels_per_socket_max = options.channels_max.into();
    Ok(Endpoint::builder(pubsub.clone()).socket("/socket", Users, router).limits(limits).build())
}

fn server_options(options: &ServeOptions) -> Result<Options, String> {
    let mut to = Options::default();
    if !options.origin.is_empty() {
        to.check_origin = fanfare::net::CheckOrigin::list(&options.origin).map_err(|error| error.to_string())?;
    }
    to.idle_timeout = options.idle_timeout;
    to.outbound_bytes_max = options.outbound_max;
    to.websocket.message_bytes_max = options.message_max;
    to.websocket.frame_bytes_max = options.message_max;
    Ok(to)
}
