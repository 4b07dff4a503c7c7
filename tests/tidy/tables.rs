//! The tables of the rules about the library as a whole: what a move of files changes.

/// The layers of the library, from bottom to top: folders and files of `src/`. A file names items of its own layer and
/// of those before it. `src/lib.rs` stands above all.
pub(crate) const LAYERS: &[&str] = &[
    "sync",
    "protocol",
    "hash",
    "names",
    "pool",
    "topic",
    "message",
    "cluster",
    "engine",
    "pubsub",
    "subscriber",
    "presence",
    "channel",
    "net",
];

/// Files that name items of a layer above their own, as (file, layer). Entries may only go.
pub(crate) const MAY_REACH_UP: &[(&str, &str)] =
    &[("src/cluster/link.rs", "engine"), ("src/pubsub/mod.rs", "subscriber")];

/// Files that import each other in a circle. A circle may only lose files.
pub(crate) const CYCLES: &[&[&str]] = &[
    &[
        "src/channel/actor.rs",
        "src/channel/address.rs",
        "src/channel/api.rs",
        "src/channel/connection.rs",
        "src/channel/encode.rs",
        "src/channel/endpoint.rs",
        "src/channel/fastlane.rs",
        "src/channel/mount.rs",
        "src/channel/registry.rs",
        "src/channel/router.rs",
        "src/channel/transport.rs",
        "src/channel/typed.rs",
    ],
    &["src/channel/serializer/error.rs", "src/channel/serializer/mod.rs"],
    &[
        "src/cluster/link.rs",
        "src/engine/config.rs",
        "src/engine/mod.rs",
        "src/engine/outbox.rs",
        "src/engine/run.rs",
        "src/engine/shutdown.rs",
        "src/engine/stepped.rs",
        "src/engine/worker/core.rs",
        "src/engine/worker/handlers.rs",
        "src/engine/worker/item.rs",
        "src/engine/worker/shared.rs",
        "src/engine/worker/task.rs",
        "src/engine/worker/walk.rs",
    ],
    &["src/cluster/nats/driver.rs", "src/cluster/nats/mod.rs", "src/cluster/nats/settings.rs"],
    &["src/message/body.rs", "src/message/dispatch.rs", "src/message/references.rs", "src/message/slab.rs"],
    &["src/net/server/messages.rs", "src/net/server/mod.rs", "src/net/server/reactor.rs"],
    &[
        "src/net/websocket/close.rs",
        "src/net/websocket/encode.rs",
        "src/net/websocket/error.rs",
        "src/net/websocket/header.rs",
        "src/net/websocket/mod.rs",
    ],
    &["src/net/websocket/decoder.rs", "src/net/websocket/partial.rs"],
    &[
        "src/presence/api.rs",
        "src/presence/builder.rs",
        "src/presence/error.rs",
        "src/presence/replication/mod.rs",
        "src/presence/sealer.rs",
        "src/presence/shared.rs",
    ],
    &["src/presence/rooms/room.rs", "src/presence/rooms/signal.rs"],
    &[
        "src/pubsub/builder.rs",
        "src/pubsub/mod.rs",
        "src/subscriber/builder.rs",
        "src/subscriber/conflate.rs",
        "src/subscriber/handler.rs",
        "src/subscriber/reader.rs",
    ],
];

/// Modules with `pub` items that only the models and fuzzers reach, by way of `internals` in `src/lib.rs`: their `mod`
/// lines are exempt from `unreachable_pub`.
pub(crate) const REACHED_BY_MODELS: &[&str] = &[
    "presence::rooms::entries",
    "presence::rooms::meta",
    "presence::rooms::owner",
    "presence::rooms::room",
    "presence::rooms::signal",
    "protocol",
    "sync",
];

/// Folders of the repository: a word in backticks that begins with one of them and `/` is a path.
pub(crate) const TOP_FOLDERS: &[&str] = &[
    "src",
    "docs",
    "tests",
    "benches",
    "fuzz",
    "loom-tests",
    "load",
    "perf",
    "xtask",
    "cli",
    "examples",
    "conformance",
];

/// What a published package leaves out.
pub(crate) const NOT_PUBLISHED: &[&str] = &[".ci", "cli", "xtask", "fuzz", "load", "loom-tests", "perf", "conformance"];

/// Folders that commands make, and files of others: a path with one of these in it need not be there.
pub(crate) const ELSEWHERE: &[&str] = &["target", "corpus", "artifacts", "coverage", "node_modules", "phoenix.mjs"];
