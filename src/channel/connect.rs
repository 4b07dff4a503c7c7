//! What is known of a client that connects.

use std::net::SocketAddr;

/// The parameters of a connection: those of its query, nested as `a[b]=c` says.
pub type Params = serde_json::Map<String, serde_json::Value>;

/// What is known of a connection beside its parameters. Headers that are not here are not told: a browser sends a user's
/// cookies from whatever page it shows, so to trust them is how sockets are hijacked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectInfo {
    /// The address of the client, or of what stands in front of it.
    pub peer: Option<SocketAddr>,
    /// Scheme, host and port as the client named them, the path and the query: `http://host:port/path?query`.
    pub uri: String,
    /// The header `user-agent`.
    pub user_agent: Option<String>,
    /// Headers whose names begin with `x-`, as (name in lower case, value), in their order.
    pub x_headers: Vec<(String, String)>,
    /// The headers `traceparent` and `tracestate`.
    pub trace_context_headers: Vec<(String, String)>,
    /// Headers whose names begin with `sec-websocket-`.
    pub sec_websocket_headers: Vec<(String, String)>,
    /// The client's `authToken`, if the mount takes one.
    pub auth_token: Option<String>,
}
