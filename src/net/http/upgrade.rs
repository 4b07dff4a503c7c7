//! The opening handshake of a WebSocket (RFC 6455, section 4.2).

use super::Request;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest, Sha1};
use std::fmt;

/// What RFC 6455 adds to a client's key.
const GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request does not open a WebSocket. It is answered with 400 and, for all but [`Method`](UpgradeError::Method),
/// with what `Display` gives as the body, as Phoenix does.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpgradeError {
    /// Another method than GET; the body is empty.
    Method,
    /// HTTP/1.0, which has no upgrade.
    Version,
    /// A header without which there is no handshake.
    Absent(&'static str),
    /// A header whose list lacks a word.
    Lacks {
        /// The header.
        header: &'static str,
        /// The word.
        word: &'static str,
        /// The values that it has.
        got: Vec<String>,
    },
    /// A header with another value, or several.
    Differs {
        /// The header.
        header: &'static str,
        /// What it must be.
        expected: &'static str,
        /// The values that it has.
        got: Vec<String>,
    },
    /// A `sec-websocket-key` that is not 16 bytes in base64.
    Key,
}

impl UpgradeError {
    /// The status to answer with: 400.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }

    /// The text to answer with. It has no content type.
    #[must_use]
    pub fn body(&self) -> String {
        if *self == UpgradeError::Method { String::new() } else { self.to_string() }
    }
}

impl fmt::Display for UpgradeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UpgradeError::Method => f.write_str("the method must be GET"),
            UpgradeError::Version => f.write_str("HTTP version HTTP/1.0 unsupported"),
            UpgradeError::Absent(header) => write!(f, "'{header}' header is absent"),
            UpgradeError::Lacks { header, word, got } => {
                write!(f, "'{header}' header must contain '{word}', got {got:?}")
            }
            UpgradeError::Differs { header, expected, got } => {
                write!(f, "'{header}' header must equal '{expected}', got {got:?}")
            }
            UpgradeError::Key => f.write_str("'sec-websocket-key' header must be 16 bytes in base64"),
        }
    }
}

impl std::error::Error for UpgradeError {}

/// Checks that `request` opens a WebSocket, and gives the value of `sec-websocket-accept` for
/// [`switching_protocols`](super::switching_protocols).
///
/// # Errors
///
/// The first thing that is not as RFC 6455 wants it.
pub fn upgrade(request: &Request<'_>) -> Result<String, UpgradeError> {
    if request.method != "GET" {
        return Err(UpgradeError::Method);
    }
    if request.minor_version == 0 {
        return Err(UpgradeError::Version);
    }
    contains(request, "connection", "upgrade")?;
    contains(request, "upgrade", "websocket")?;
    let mut keys = request.headers("sec-websocket-key");
    let key = keys.next().ok_or(UpgradeError::Absent("sec-websocket-key"))?;
    let versions = values(request, "sec-websocket-version");
    if versions != ["13"] {
        let header = "sec-websocket-version";
        return Err(UpgradeError::Differs { header, expected: "13", got: versions });
    }
    let is_key = STANDARD.decode(key).is_ok_and(|bytes| bytes.len() == 16);
    if !is_key || keys.next().is_some() {
        return Err(UpgradeError::Key);
    }
    Ok(accept_key(key))
}

fn contains(request: &Request<'_>, header: &'static str, word: &'static str) -> Result<(), UpgradeError> {
    let has = request.list(header).any(|entry| entry.eq_ignore_ascii_case(word.as_bytes()));
    if has { Ok(()) } else { Err(UpgradeError::Lacks { header, word, got: values(request, header) }) }
}

fn values(request: &Request<'_>, header: &str) -> Vec<String> {
    request.headers(header).map(|value| String::from_utf8_lossy(value).into_owned()).collect()
}

/// The value of `sec-websocket-accept` for the client's `key`.
#[must_use]
pub fn accept_key(key: &[u8]) -> String {
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    STANDARD.encode(digest)
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, Parsed, parse};
    use super::*;

    const HEADERS: [(&str, &str); 5] = [
        ("host", "server.example.com"),
        ("connection", "keep-alive, Upgrade"),
        ("upgrade", "WebSocket"),
        ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ("sec-websocket-version", "13"),
    ];

    /// The handshake of the RFC's example with the header `name` as `values`.
    fn with(line: &str, name: &str, values: &[&str]) -> Result<String, UpgradeError> {
        let mut text = format!("{line}\r\n");
        for (header, value) in HEADERS.iter().filter(|(header, _)| *header != name) {
            text += &format!("{header}: {value}\r\n");
        }
        for value in values {
            text += &format!("{name}: {value}\r\n");
        }
        text += "\r\n";
        let Ok(Parsed::Request(request)) = parse(text.as_bytes(), &HeadLimits::default()) else { panic!("{text}") };
        upgrade(&request)
    }

    fn refusal(name: &str, values: &[&str]) -> String {
        with("GET / HTTP/1.1", name, values).unwrap_err().body()
    }

    #[test]
    fn the_rfcs_example_is_accepted() {
        assert_eq!(with("GET /chat HTTP/1.1", "x", &[]).unwrap(), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn a_handshake_is_a_get_of_http_1_1() {
        for method in ["POST", "HEAD", "get", "OPTIONS"] {
            let error = with(&format!("{method} / HTTP/1.1"), "x", &[]).unwrap_err();
            assert_eq!((error.status(), error.body()), (400, String::new()));
        }
        assert_eq!(with("GET / HTTP/1.0", "x", &[]), Err(UpgradeError::Version));
    }

    #[test]
    fn connection_must_contain_upgrade() {
        assert_eq!(refusal("connection", &["close"]), r#"'connection' header must contain 'upgrade', got ["close"]"#);
        assert_eq!(refusal("connection", &[]), "'connection' header must contain 'upgrade', got []");
        assert!(with("GET / HTTP/1.1", "connection", &["close", "x,upgrade"]).is_ok());
        assert!(with("GET / HTTP/1.1", "connection", &["upgraded"]).is_err());
    }

    #[test]
    fn upgrade_must_contain_websocket() {
        assert_eq!(refusal("upgrade", &["h2c", "x"]), r#"'upgrade' header must contain 'websocket', got ["h2c", "x"]"#);
    }

    #[test]
    fn the_version_must_be_13() {
        let expected = r#"'sec-websocket-version' header must equal '13', got ["12"]"#;
        assert_eq!(refusal("sec-websocket-version", &["12"]), expected);
        assert!(with("GET / HTTP/1.1", "sec-websocket-version", &[]).is_err());
        assert!(with("GET / HTTP/1.1", "sec-websocket-version", &["13", "13"]).is_err());
    }

    #[test]
    fn the_key_is_16_bytes_in_base64() {
        assert_eq!(refusal("sec-websocket-key", &[]), "'sec-websocket-key' header is absent");
        for key in ["", "dGhlIHNhbXBsZSBub25j", "dGhlIHNhbXBsZSBub25jZQ", "!!!!"] {
            assert_eq!(with("GET / HTTP/1.1", "sec-websocket-key", &[key]), Err(UpgradeError::Key), "{key}");
        }
    }
}
