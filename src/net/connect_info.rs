//! What an application may see of the request that opens a connection.
//!
//! Not all of it: a page of any origin can make a browser connect with the user's cookies, so that cookies and all
//! other headers with which a browser vouches for the user are left out.

use super::Negotiated;
use super::http::Request;
use super::origin::{default_port, split_authority};
use super::subprotocol::is_bearer;
use crate::channel::{ConnectInfo, Uri};
use std::net::SocketAddr;

/// A header: its name in lower case, and its value.
type Header = (String, String);

/// What `request` tells, which came over `scheme` from `peer`, and what was negotiated with it.
#[must_use]
pub fn connect_info(
    request: &Request<'_>,
    scheme: &str,
    peer: Option<SocketAddr>,
    negotiated: Negotiated<'_>,
) -> ConnectInfo {
    let starting = |prefix: &str| headers(request, |name| name.starts_with(prefix));
    let mut sec_websocket_headers = starting("sec-websocket-");
    if negotiated.auth_token.is_some() {
        without_token(&mut sec_websocket_headers);
    }
    ConnectInfo {
        peer,
        uri: uri(request, scheme),
        user_agent: request.headers("user-agent").next().map(text),
        x_headers: starting("x-"),
        trace_context_headers: headers(request, |name| matches!(name, "traceparent" | "tracestate")),
        sec_websocket_headers,
        auth_token: negotiated.auth_token,
    }
}

fn uri(request: &Request<'_>, scheme: &str) -> Uri {
    let (host, port) = request.authority.and_then(split_authority).unwrap_or_default();
    Uri {
        scheme: scheme.to_owned(),
        host: host.to_owned(),
        port: port.parse().ok().or_else(|| default_port(scheme)),
        path: request.path.to_owned(),
        query: request.query.map(str::to_owned),
    }
}

fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value).into_owned()
}

fn headers(request: &Request<'_>, is_wanted: impl Fn(&str) -> bool) -> Vec<Header> {
    let headers = request.headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), *value));
    headers.filter(|(name, _)| is_wanted(name)).map(|(name, value)| (name, text(value))).collect()
}

/// Takes the token out of the lists of subprotocols.
fn without_token(headers: &mut Vec<Header>) {
    for (_, value) in headers.iter_mut().filter(|(name, _)| name == "sec-websocket-protocol") {
        let entries = value.split(',').map(str::trim);
        let others: Vec<&str> = entries.filter(|entry| !is_bearer(entry.as_bytes())).collect();
        *value = others.join(", ");
    }
    headers.retain(|(name, value)| name != "sec-websocket-protocol" || !value.is_empty());
}

#[cfg(test)]
mod tests {
    use super::super::Subprotocols;
    use super::super::http::{HeadLimits, Parsed, parse};
    use super::*;

    fn info(headers: &[&str], own: &Subprotocols) -> ConnectInfo {
        let text = format!("GET /socket/websocket?a=%20 HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n"));
        let Ok(Parsed::Request(request)) = parse(text.as_bytes(), &HeadLimits::default()) else { panic!("{text}") };
        let peer = SocketAddr::from(([127, 0, 0, 1], 5000));
        connect_info(&request, "http", Some(peer), own.negotiate(&request).unwrap())
    }

    fn header(name: &str, value: &str) -> Header {
        (name.to_owned(), value.to_owned())
    }

    #[test]
    fn only_harmless_headers_are_shown() {
        let headers = [
            "Host: a.example:4000",
            "Cookie: secret=1",
            "Authorization: secret",
            "User-Agent: curl",
            "X-Forwarded-For: 1.2.3.4",
            "x-a: 1",
            "x-a: 2",
            "TraceParent: t",
            "tracestate: s",
            "traceother: secret",
            "Sec-WebSocket-Version: 13",
            "sec-fetch-mode: secret",
        ];
        let info = info(&headers, &Subprotocols::none());
        assert_eq!(info.peer.map(|peer| peer.port()), Some(5000));
        assert_eq!(info.user_agent.as_deref(), Some("curl"));
        assert_eq!(info.x_headers, [header("x-forwarded-for", "1.2.3.4"), header("x-a", "1"), header("x-a", "2")]);
        assert_eq!(info.trace_context_headers, [header("traceparent", "t"), header("tracestate", "s")]);
        assert_eq!(info.sec_websocket_headers, [header("sec-websocket-version", "13")]);
        assert_eq!(info.auth_token, None);
        assert!(!format!("{info:?}").contains("secret"));
    }

    #[test]
    fn the_uri_is_what_was_asked_for() {
        let uri = |host| info(&[host], &Subprotocols::none()).uri;
        let full = uri("Host: a.example:4000");
        assert_eq!((full.scheme.as_str(), full.host.as_str(), full.port), ("http", "a.example", Some(4000)));
        assert_eq!((full.path.as_str(), full.query.as_deref()), ("/socket/websocket", Some("a=%20")));
        assert_eq!(uri("host: a.example").port, Some(80));
        assert_eq!(uri("host: [::1]:81").host, "::1");
    }

    #[test]
    fn a_token_is_shown_apart_from_the_headers() {
        let headers = ["host: h", "sec-websocket-protocol: phoenix, base64url.bearer.phx.YQ"];
        let taken = info(&headers, &Subprotocols::none().with_auth_token());
        assert_eq!(taken.auth_token.unwrap().as_bytes(), b"a");
        assert_eq!(taken.sec_websocket_headers, [header("sec-websocket-protocol", "phoenix")]);
        let alone = ["host: h", "sec-websocket-protocol: base64url.bearer.phx.YQ"];
        assert_eq!(info(&alone, &Subprotocols::none().with_auth_token()).sec_websocket_headers, []);
    }
}
