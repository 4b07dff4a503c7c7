//! Target `http`: any bytes as a request, and all that is done with one before an application sees it.
//!
//! Beside not panicking: more bytes change nothing about a request that was whole, fewer are never another request, and
//! no response can be split.

use fanfare::net::http::{
    HeadLimits, Parsed, Request, Response, parse, percent_decode, segments, switching_protocols, upgrade,
};
use fanfare::net::params::{self, ParamLimits};
use fanfare::net::{CheckOrigin, Origin, OriginPattern, Subprotocols, connect_info};
use std::net::SocketAddr;

/// See the module's text.
pub fn http(bytes: &[u8]) {
    let limits = HeadLimits::default();
    match parse(bytes, &limits) {
        Ok(Parsed::Request(request)) => {
            assert!(request.head_bytes <= bytes.len());
            let head = &bytes[..request.head_bytes];
            assert_eq!(parse(head, &limits), Ok(Parsed::Request(request.clone())), "what follows does not matter");
            for end in [head.len() - 1, head.len() / 2] {
                assert!(!matches!(parse(&head[..end], &limits), Ok(Parsed::Request(_))), "the head ended before");
            }
            use_request(&request);
        }
        Ok(Parsed::Partial) => assert!(bytes.len() < limits.head_bytes_max),
        Err(error) => {
            assert!((400..600).contains(&error.status()));
            let more = [bytes, b" more\r\n\r\n"].concat();
            assert!(parse(&more, &limits).is_err(), "what is wrong stays wrong: {error}");
        }
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        use_text(text);
    }
}

fn use_request(request: &Request<'_>) {
    let _ = (request.body(), request.keep_alive());
    use_text(request.path);
    use_text(request.query.unwrap_or_default());
    if let Ok(accept) = upgrade(request) {
        assert_eq!(accept.len(), 28);
    }
    let patterns = CheckOrigin::list(["//*.example.com", "https://a.b"]).expect("patterns");
    for check in [CheckOrigin::Off, CheckOrigin::Host("a".into()), patterns, CheckOrigin::Conn] {
        let _ = check.allows(request, "http");
    }
    let peer = SocketAddr::from(([127, 0, 0, 1], 1));
    let own = Subprotocols::supported(["a"]).with_auth_token();
    if let Ok(negotiated) = own.negotiate(request) {
        let info = connect_info(request, "http", Some(peer), negotiated);
        let shown = info.sec_websocket_headers.iter().filter(|(name, _)| name == "sec-websocket-protocol");
        let mut entries = shown.flat_map(|(_, value)| value.split(',')).map(str::trim);
        let is_hidden = !entries.any(|entry| entry.starts_with("base64url.bearer.phx."));
        assert!(info.auth_token.is_none() || is_hidden, "a token that was taken is shown nowhere else");
    }
    let echoed = request.headers.first().map_or("", |(_, value)| std::str::from_utf8(value).unwrap_or_default());
    let response = Response::new(200).header("x-echo", echoed).body("body").encode(request);
    one_head(&response);
    one_head(&switching_protocols("accept", Some(echoed)));
}

/// Panics if `response` has more lines than it should.
fn one_head(response: &[u8]) {
    let text = String::from_utf8_lossy(response);
    let (head, body) = text.split_once("\r\n\r\n").expect("a head has an end");
    assert!(matches!(body, "body" | ""), "{text:?}");
    assert!(head.matches(['\r', '\n']).count() % 2 == 0 && head.matches("\r\n").count() <= 5, "{text:?}");
}

fn use_text(text: &str) {
    if let Ok(segments) = segments(text) {
        assert!(!segments.iter().any(|segment| segment == ".." || segment.contains('/') || segment.is_empty()));
    }
    let _ = percent_decode(text, true);
    let mut limits = ParamLimits::default();
    (limits.pairs_max, limits.depth_max) = (50, 8);
    if let Ok(params) = params::parse(text, &limits) {
        assert!(params.len() <= 50);
        assert!(params.values().all(|value| depth(value) < 8));
    }
    if let Ok(pattern) = OriginPattern::parse(text) {
        assert!(!pattern.matches(&Origin::parse("null")));
    }
}

fn depth(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(values) => 1 + values.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
