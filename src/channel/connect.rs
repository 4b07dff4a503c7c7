//! What is known of a client that connects.
//!
//! Not all of its request: a page of any origin can make a browser connect with the user's cookies, so cookies and all
//! other headers with which a browser vouches for the user are left out.

use std::fmt;
use std::net::SocketAddr;

/// The parameters of a connection: those of its query, nested as `a[b]=c` says.
pub type Params = serde_json::Map<String, serde_json::Value>;

/// A header: its name in lower case, and its value.
type Header = (String, String);

/// What a request tells about itself, to decide whether to connect. Bytes that are no UTF-8 are replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConnectInfo {
    /// Where the connection comes from: the client, or the proxy before this server.
    pub peer: Option<SocketAddr>,
    /// The address that was asked for.
    pub uri: Uri,
    /// The first `user-agent`.
    pub user_agent: Option<String>,
    /// All headers that begin with `x-`.
    pub x_headers: Vec<Header>,
    /// `traceparent` and `tracestate`.
    pub trace_context_headers: Vec<Header>,
    /// All headers that begin with `sec-websocket-`, without the token among the subprotocols.
    pub sec_websocket_headers: Vec<Header>,
    /// The token that the client sent, if tokens are taken.
    pub auth_token: Option<AuthToken>,
}

/// The address that a request asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Uri {
    /// `http` or `https`, by the listener.
    pub scheme: String,
    /// The host that was asked for; empty if the request names none.
    pub host: String,
    /// The port that was asked for, or that of the scheme.
    pub port: Option<u16>,
    /// The path, as it was written.
    pub path: String,
    /// The query, as it was written.
    pub query: Option<String>,
}

/// A token by which a client says who it is. `Debug` does not show it, so that it is in no log.
#[derive(Clone, PartialEq, Eq)]
pub struct AuthToken(Vec<u8>);

impl AuthToken {
    /// The token of these bytes, such as those of the header `x-phoenix-authtoken`.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        AuthToken(bytes.into())
    }

    /// Its bytes. The `phoenix` client takes only characters up to U+00FF, and sends each as one byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The token, if it is UTF-8.
    #[must_use]
    pub fn as_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }
}

impl fmt::Debug for AuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthToken(..)")
    }
}
