//! Which pages may connect. A browser names the page's origin in the header `origin`, and lets any page open a
//! WebSocket to any server: it is the server that has to refuse (cross-site WebSocket hijacking).
//!
//! The rules are those of Phoenix's `check_origin`. A request without the header passes: no browser sends one. Hosts
//! are compared without regard to case.

use super::http::Request;
use crate::sync::Arc;
use std::fmt;

/// Which origins are allowed.
#[derive(Clone)]
#[non_exhaustive]
pub enum CheckOrigin {
    /// All of them.
    Off,
    /// Those whose host is this, the public host of the server, whatever their scheme and port. Phoenix's `true`.
    Host(String),
    /// Those that match one of these; see [`CheckOrigin::list`].
    List(Vec<OriginPattern>),
    /// That of the request itself: the same scheme, and the host and port of its header `host`. Phoenix's `:conn`.
    Conn,
    /// Those that this says yes to. It is asked about origins without a host too.
    Callback(Arc<dyn Fn(&Origin) -> bool + Send + Sync>),
}

impl CheckOrigin {
    /// Allows the origins that match one of `patterns`; see [`OriginPattern::parse`].
    ///
    /// # Errors
    ///
    /// The first that is no pattern.
    pub fn list<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, OriginPatternError> {
        let patterns = patterns.into_iter().map(|pattern| OriginPattern::parse(pattern.as_ref()));
        patterns.collect::<Result<_, _>>().map(CheckOrigin::List)
    }

    /// Allows the origins that `allows` says yes to.
    pub fn callback(allows: impl Fn(&Origin) -> bool + Send + Sync + 'static) -> Self {
        CheckOrigin::Callback(Arc::new(allows))
    }

    /// Whether `request`, which came over `scheme` (`http` or `https`), may connect.
    #[must_use]
    pub fn allows(&self, request: &Request<'_>, scheme: &str) -> bool {
        let Some(origin) = request.headers("origin").next() else { return true };
        let origin = Origin::parse(&String::from_utf8_lossy(origin));
        match self {
            CheckOrigin::Off => true,
            CheckOrigin::Host(host) => origin.host.as_ref().is_some_and(|given| given.eq_ignore_ascii_case(host)),
            CheckOrigin::List(patterns) => patterns.iter().any(|pattern| pattern.matches(&origin)),
            CheckOrigin::Conn => {
                let own = Origin::parse(&format!("{scheme}://{}", request.authority.unwrap_or_default()));
                origin.host.is_some() && origin == own
            }
            CheckOrigin::Callback(allows) => allows(&origin),
        }
    }
}

impl fmt::Debug for CheckOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            CheckOrigin::Off => f.write_str("Off"),
            CheckOrigin::Host(host) => f.debug_tuple("Host").field(host).finish(),
            CheckOrigin::List(patterns) => f.debug_tuple("List").field(patterns).finish(),
            CheckOrigin::Conn => f.write_str("Conn"),
            CheckOrigin::Callback(_) => f.write_str("Callback(..)"),
        }
    }
}

/// An origin, taken apart. Scheme and host are in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Origin {
    /// Such as `https`.
    pub scheme: Option<String>,
    /// None for `null`, `file://` and the like, and for what is no origin.
    pub host: Option<String>,
    /// The port, or else that of the scheme, if it has one.
    pub port: Option<u16>,
}

impl Origin {
    /// Takes `text` apart. What follows the port, if only a `/`, does not matter.
    #[must_use]
    pub fn parse(text: &str) -> Origin {
        let Some((scheme, rest)) = text.split_once("//") else { return Origin::default() };
        if !scheme.is_empty() && !is_scheme(scheme) {
            return Origin::default();
        }
        let scheme = scheme.strip_suffix(':').map(str::to_ascii_lowercase);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let Some((host, port)) = split_authority(authority) else { return Origin { scheme, ..Origin::default() } };
        let port = match port {
            "" => scheme.as_deref().and_then(default_port),
            // Of digits, so that only a port that is none fails: then this is no origin.
            digits => match digits.parse() {
                Ok(port) => Some(port),
                Err(_) => return Origin { scheme, ..Origin::default() },
            },
        };
        Origin { scheme, host: Some(host.to_ascii_lowercase()), port }
    }
}

/// Host and port; the port is empty or digits. An IPv6 address loses its brackets. Nothing if it is no authority; one
/// with a user in it is none, since a browser never names one.
pub(crate) fn split_authority(authority: &str) -> Option<(&str, &str)> {
    if let Some(rest) = authority.strip_prefix('[') {
        let (host, port) = rest.split_once(']')?;
        let is_address = host.bytes().all(|byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        let port = if port.is_empty() { port } else { port.strip_prefix(':')? };
        return (is_address && !host.is_empty() && is_number(port)).then_some((host, port));
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, ""));
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || matches!(byte, b'-' | b'.' | b'_');
    (!host.is_empty() && host.bytes().all(is_name) && is_number(port)).then_some((host, port))
}

fn is_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The port of a scheme that has one.
pub(crate) fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

/// A pattern of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OriginPattern {
    /// What must be equal; what is missing may be anything.
    origin: Origin,
    /// Whether subdomains of the host match too.
    subdomains: bool,
}

/// Why a text is no pattern of origins.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum OriginPatternError {
    /// It has no host: `//example.com` has one, `example.com` has none.
    Host(String),
    /// A `*` that is not all that stands before the first dot of the host, as in `*.example.com`.
    Wildcard(String),
}

impl fmt::Display for OriginPatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OriginPatternError::Host(text) => {
                write!(f, "{text:?} is no pattern of origins: it has no host, as //example.com has")
            }
            OriginPatternError::Wildcard(text) => {
                write!(f, "{text:?} is no pattern of origins: a * may only stand as in //*.example.com")
            }
        }
    }
}

impl std::error::Error for OriginPatternError {}

impl OriginPattern {
    /// Parses a pattern: an origin of which scheme and port may be left out, and whose host may begin with `*.`.
    ///
    /// - `//example.com` matches the host with any scheme and port; `//example.com:81` with port 81.
    /// - `http://example.com` matches that scheme and its own port, 80.
    /// - `//*.example.com` matches `example.com` and its subdomains, however deep.
    ///
    /// # Errors
    ///
    /// See [`OriginPatternError`].
    pub fn parse(text: &str) -> Result<OriginPattern, OriginPatternError> {
        let (plain, subdomains) = match text.split_once("//*.") {
            Some((scheme, host)) => (format!("{scheme}//{host}"), true),
            None => (text.to_owned(), false),
        };
        if plain.contains('*') {
            return Err(OriginPatternError::Wildcard(text.to_owned()));
        }
        let origin = Origin::parse(&plain);
        if origin.host.is_none() {
            return Err(OriginPatternError::Host(text.to_owned()));
        }
        Ok(OriginPattern { origin, subdomains })
    }

    /// Whether `origin` matches. One without a host matches nothing.
    #[must_use]
    pub fn matches(&self, origin: &Origin) -> bool {
        let (Some(host), Some(own)) = (&origin.host, &self.origin.host) else { return false };
        let is_below = || host.strip_suffix(own.as_str()).is_some_and(|prefix| prefix.ends_with('.'));
        (host == own || self.subdomains && is_below())
            && (self.origin.scheme.is_none() || self.origin.scheme == origin.scheme)
            && (self.origin.port.is_none() || self.origin.port == origin.port)
    }
}

/// Whether `text` is a scheme with its colon.
fn is_scheme(text: &str) -> bool {
    let name = text.strip_suffix(':').unwrap_or_default();
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    name.starts_with(|first: char| first.is_ascii_alphabetic()) && name.bytes().all(is_legal)
}

#[cfg(test)]
mod tests {
    use super::super::http::{HeadLimits, Parsed, parse};
    use super::*;

    /// Whether `check` allows a request to `host` over http with `origin`.
    fn allows_at(check: &CheckOrigin, origin: Option<&str>, host: &str) -> bool {
        let origin = origin.map_or(String::new(), |origin| format!("Origin: {origin}\r\n"));
        let text = format!("GET / HTTP/1.1\r\nhost: {host}\r\n{origin}\r\n");
        let Ok(Parsed::Request(request)) = parse(text.as_bytes(), &HeadLimits::default()) else { panic!("{text}") };
        check.allows(&request, "http")
    }

    fn allows(check: &CheckOrigin, origin: &str) -> bool {
        allows_at(check, Some(origin), "own.example")
    }

    fn list(pattern: &str) -> CheckOrigin {
        CheckOrigin::list([pattern]).unwrap()
    }

    fn all_kinds() -> [CheckOrigin; 4] {
        [CheckOrigin::Host("example.com".into()), list("//example.com"), CheckOrigin::Conn, CheckOrigin::Off]
    }

    const HOSTLESS: [&str; 9] = [
        "null",
        "file://",
        "",
        "http//example.com",
        "example.com",
        "http://",
        "http://a@example.com",
        "http://example.com:x",
        "a b//c d",
    ];

    #[test]
    fn a_request_without_an_origin_is_allowed() {
        let never = CheckOrigin::callback(|_| false);
        for check in all_kinds().iter().chain([&never]) {
            assert!(allows_at(check, None, "own.example"));
        }
    }

    #[test]
    fn off_allows_everything() {
        for origin in HOSTLESS.iter().chain(&["http://evil.example"]) {
            assert!(allows(&CheckOrigin::Off, origin));
        }
    }

    #[test]
    fn host_compares_the_host_and_ignores_scheme_and_port() {
        let check = CheckOrigin::Host("example.com".into());
        for origin in ["http://example.com", "https://example.com:8443", "HTTP://EXAMPLE.com", "x-app://example.com"] {
            assert!(allows(&check, origin), "{origin}");
        }
        for origin in ["http://www.example.com", "http://example.com.evil.example", "http://own.example"] {
            assert!(!allows(&check, origin), "{origin}");
        }
    }

    #[test]
    fn parts_that_an_entry_lacks_are_wildcards() {
        for origin in ["http://example.com", "https://example.com:8080", "x-app://example.com"] {
            assert!(allows(&list("//example.com"), origin), "{origin}");
        }
    }

    #[test]
    fn a_scheme_pins_its_default_port() {
        let check = list("http://scheme.com");
        assert!(allows(&check, "http://scheme.com") && allows(&check, "http://scheme.com:80"));
        assert!(!allows(&check, "http://scheme.com:8080") && !allows(&check, "https://scheme.com"));
        assert!(allows(&list("https://scheme.com:8443"), "https://scheme.com:8443"));
        assert!(!allows(&list("https://scheme.com:8443"), "https://scheme.com"));
    }

    #[test]
    fn a_port_is_pinned() {
        let check = list("//port.com:81");
        assert!(allows(&check, "http://port.com:81") && allows(&check, "https://port.com:81"));
        assert!(!allows(&check, "http://port.com") && !allows(&check, "http://port.com:82"));
    }

    #[test]
    fn a_wildcard_matches_the_host_itself_and_any_subdomain() {
        let check = list("//*.ex.com");
        for origin in ["http://ex.com", "http://org1.ex.com", "https://a.b.ex.com:8080"] {
            assert!(allows(&check, origin), "{origin}");
        }
        for origin in ["http://prefix-ex.com", "http://ex.com.evil", "http://com"] {
            assert!(!allows(&check, origin), "{origin}");
        }
        assert!(!allows(&list("//ex.com"), "http://org1.ex.com"), "without a wildcard");
    }

    #[test]
    fn a_scheme_with_a_wildcard_pins_the_port_too() {
        let check = list("http://*.ex.com");
        assert!(allows(&check, "http://org1.ex.com") && allows(&check, "http://ex.com"));
        assert!(!allows(&check, "http://org1.ex.com:8080") && !allows(&check, "https://org1.ex.com"));
    }

    #[test]
    fn any_entry_of_a_list_allows() {
        let check = CheckOrigin::list(["//a.com", "//b.com"]).unwrap();
        assert!(allows(&check, "http://a.com") && allows(&check, "http://b.com") && !allows(&check, "http://c.com"));
    }

    #[test]
    fn conn_compares_all_with_the_request() {
        let conn = |origin, host| allows_at(&CheckOrigin::Conn, Some(origin), host);
        assert!(conn("http://a.com", "a.com") && conn("http://a.com", "A.com:80"));
        assert!(conn("http://a.com:4000", "a.com:4000") && conn("http://[::1]:4000", "[::1]:4000"));
        assert!(!conn("https://a.com", "a.com"), "scheme");
        assert!(!conn("http://a.com:81", "a.com") && !conn("http://a.com", "a.com:81"), "port");
        assert!(!conn("http://b.com", "a.com"), "host");
    }

    #[test]
    fn a_callback_decides_and_sees_origins_without_a_host() {
        let check = CheckOrigin::callback(|origin| origin.host.is_none() || origin.port == Some(81));
        assert!(allows(&check, "null") && allows(&check, "http://a.com:81") && !allows(&check, "http://a.com"));
    }

    #[test]
    fn an_origin_without_a_host_is_refused_by_host_list_and_conn() {
        for origin in HOSTLESS {
            for check in &all_kinds()[..3] {
                assert!(!allows_at(check, Some(origin), "example.com"), "{origin}");
            }
        }
    }

    #[test]
    fn a_slash_at_the_end_is_harmless() {
        for check in all_kinds() {
            assert!(allows_at(&check, Some("http://example.com/"), "example.com"), "{check:?}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_told() {
        for text in ["example.com", "", "http://", "//", "http:/a", "//a@b.com", "//a:b", "a b://c.com", "//a:99999"] {
            assert_eq!(OriginPattern::parse(text), Err(OriginPatternError::Host(text.to_owned())), "{text}");
        }
        for text in ["//*", "//a.*.com", "//*a.com", "//*.*.com", "*://a.com"] {
            assert_eq!(OriginPattern::parse(text), Err(OriginPatternError::Wildcard(text.to_owned())), "{text}");
        }
    }
}
