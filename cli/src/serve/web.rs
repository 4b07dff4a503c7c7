//! The demo's pages, and what tests need to act from outside.

use crate::cli::ServeOptions;
use fanfare::channel::Endpoint;
use fanfare::cluster::Health;
use fanfare::net::http::{Request, Response, segments};
use fanfare::presence::Presence;
use fanfare::{BroadcastError, Outcome};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const JSON: &str = "application/json; charset=utf-8";

/// Answers plain HTTP.
pub(crate) struct Web {
    endpoint: Endpoint,
    presence: Presence,
    assets: Option<PathBuf>,
    admin: bool,
}

impl Web {
    pub(crate) fn new(endpoint: Endpoint, presence: Presence, options: &ServeOptions) -> Result<Self, String> {
        let find = |path: &PathBuf| {
            let found = path.canonicalize().map_err(|error| format!("{}: {error}", path.display()))?;
            if found.is_dir() { Ok(found) } else { Err(format!("{} is not a folder", path.display())) }
        };
        let assets = options.assets.as_ref().map(find).transpose()?;
        Ok(Web { endpoint, presence, assets, admin: options.admin })
    }

    pub(crate) fn answer(&self, request: &Request<'_>, body: &[u8]) -> Response {
        let reads = matches!(request.method, "GET" | "HEAD");
        match request.path {
            "/" if reads => page(HTML, include_str!("../page/index.html")),
            "/chat.mjs" if reads => page(SCRIPT, include_str!("../page/chat.mjs")),
            "/fanfare.mjs" if reads => page(SCRIPT, include_str!("../page/fanfare.mjs")),
            "/health" if reads => json_of(200, &self.health()),
            "/admin/broadcast" if self.admin && request.method == "POST" => act(body, |what| {
                let (topic, event) = (what["topic"].as_str()?, what["event"].as_str()?);
                Some(self.endpoint.broadcast(topic, event.to_owned(), what["payload"].clone()))
            }),
            "/admin/disconnect" if self.admin && request.method == "POST" => {
                act(body, |what| Some(self.endpoint.disconnect(what["id"].as_str()?)))
            }
            "/admin/presence" if self.admin && request.method == "POST" => {
                let what: Option<Value> = serde_json::from_slice(body).ok();
                match what.as_ref().and_then(|what| what["topic"].as_str()) {
                    Some(topic) => Response::new(200)
                        .header("cache-control", "no-store")
                        .typed_body(JSON, self.presence.list(topic).json().to_vec()),
                    None => json_of(400, &json!({ "error": "`topic` is missing" })),
                }
            }
            path if reads && path.starts_with("/assets/") => self.asset(path),
            _ => Response::new(404),
        }
    }

    /// It serves its own clients whatever becomes of the cluster, so that is told apart.
    fn health(&self) -> Value {
        let pubsub = self.endpoint.pubsub();
        let Some(stats) = pubsub.cluster_stats() else { return json!({ "status": "ok" }) };
        let (health, why) = match &stats.health {
            Health::Ready => ("ready", None),
            Health::Connecting { why } => ("connecting", Some(why)),
            _ => ("stopped", None),
        };
        let cluster = json!({
            "health": health,
            "why": why,
            "packets_sent": stats.packets_sent,
            "packets_refused": stats.packets_refused,
            "packets_received": stats.packets_received,
            "packets_lost": stats.packets_lost,
            "packets_unreadable": stats.packets_unreadable,
            "records_unknown": stats.records_unknown,
        });
        json!({ "status": "ok", "node": pubsub.node(), "cluster": cluster })
    }

    /// A file below the folder of assets. Neither a path nor a link leads out of it.
    fn asset(&self, path: &str) -> Response {
        let Some(folder) = &self.assets else { return Response::new(404) };
        let Ok(segments) = segments(path) else { return Response::new(400) };
        let file = segments.iter().skip(1).fold(folder.clone(), |file, segment| file.join(&**segment));
        let Ok(file) = file.canonicalize() else { return Response::new(404) };
        if !file.starts_with(folder) || !file.is_file() {
            return Response::new(404);
        }
        match fs::read(&file) {
            Ok(bytes) => Response::new(200).header("cache-control", "no-cache").typed_body(type_of(&file), bytes),
            Err(_) => Response::new(404),
        }
    }
}

/// Does what a body of JSON asks for.
fn act(body: &[u8], act: impl FnOnce(&Value) -> Option<Result<Outcome, BroadcastError>>) -> Response {
    let Ok(what) = serde_json::from_slice(body) else { return json_of(400, &json!({ "error": "no JSON" })) };
    match act(&what) {
        Some(Ok(outcome)) => json_of(200, &json!({ "outcome": format!("{outcome:?}") })),
        Some(Err(error)) => json_of(503, &json!({ "error": error.to_string() })),
        None => json_of(400, &json!({ "error": "something is missing" })),
    }
}

fn page(content_type: &str, text: &'static str) -> Response {
    Response::new(200).header("cache-control", "no-cache").typed_body(content_type, text)
}

fn json_of(status: u16, value: &Value) -> Response {
    Response::new(status).header("cache-control", "no-store").typed_body(JSON, value.to_string())
}

fn type_of(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => HTML,
        Some("js" | "mjs") => SCRIPT,
        Some("json" | "map") => JSON,
        Some("css") => "text/css; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some("png") => "image/png",
        Some("txt" | "md") => "text/plain; charset=utf-8",
        Some("wasm") => "application/wasm",
        _ => "application/octet-stream",
    }
}
