//! Responses, each with a length, so that a connection can be kept.
//!
//! A header's value may come from a request. So CR, LF and NUL in a value become spaces, as RFC 9110, section 5.5,
//! allows: nobody can split a response in two.

use super::Request;
use bytes::{BufMut, Bytes, BytesMut};

/// A response: its status, headers and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Response {
    /// A response without a body.
    #[must_use]
    pub fn new(status: u16) -> Self {
        Response { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// With a header more. `content-length` and `connection` are none of the caller's.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// With a body of no type.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = body.into();
        self
    }

    /// With a body of the type `content_type`, such as `application/json; charset=utf-8`.
    #[must_use]
    pub fn typed_body(self, content_type: &str, body: impl Into<Bytes>) -> Self {
        self.header("content-type", content_type).body(body)
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The bytes that answer `request`: without the body, though with its length, when the method is HEAD; and with
    /// `connection: close` when the client does not keep the connection.
    #[must_use]
    pub fn encode(&self, request: &Request<'_>) -> Bytes {
        self.write(request.keep_alive(), request.minor_version == 0, request.method == "HEAD")
    }

    /// The same, with `connection: close` whatever the client wants: when the server means to close, or has no request
    /// since what came was none.
    #[must_use]
    pub fn encode_closing(&self, request: Option<&Request<'_>>) -> Bytes {
        self.write(false, false, request.is_some_and(|request| request.method == "HEAD"))
    }

    fn write(&self, keep: bool, is_old: bool, without_body: bool) -> Bytes {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum();
        let mut bytes = BytesMut::with_capacity(128 + headers + self.body.len());
        put_status(&mut bytes, self.status);
        for (name, value) in &self.headers {
            put_header(&mut bytes, name, value);
        }
        if !keep {
            put_header(&mut bytes, "connection", "close");
        } else if is_old {
            put_header(&mut bytes, "connection", "keep-alive");
        }
        // RFC 9110, section 8.6: these have neither a body nor a length.
        let is_bare = matches!(self.status, 100..=199 | 204 | 304);
        if !is_bare {
            put_header(&mut bytes, "content-length", &self.body.len().to_string());
        }
        bytes.put_slice(b"\r\n");
        if !is_bare && !without_body {
            bytes.put_slice(&self.body);
        }
        bytes.freeze()
    }
}

/// The response that opens a WebSocket: `accept` is what [`upgrade`](super::upgrade()) gave.
#[must_use]
pub fn switching_protocols(accept: &str, subprotocol: Option<&str>) -> Bytes {
    let mut bytes = BytesMut::with_capacity(192);
    put_status(&mut bytes, 101);
    put_header(&mut bytes, "upgrade", "websocket");
    put_header(&mut bytes, "connection", "Upgrade");
    put_header(&mut bytes, "sec-websocket-accept", accept);
    if let Some(subprotocol) = subprotocol {
        put_header(&mut bytes, "sec-websocket-protocol", subprotocol);
    }
    bytes.put_slice(b"\r\n");
    bytes.freeze()
}

fn put_status(bytes: &mut BytesMut, status: u16) {
    bytes.put_slice(format!("HTTP/1.1 {status} {}\r\n", reason(status)).as_bytes());
}

fn put_header(bytes: &mut BytesMut, name: &str, value: &str) {
    bytes.put_slice(name.as_bytes());
    bytes.put_slice(b": ");
    bytes.extend(value.bytes().map(|byte| if matches!(byte, b'\r' | b'\n' | 0) { b' ' } else { byte }));
    bytes.put_slice(b"\r\n");
}

/// What RFC 9110 calls a status; empty for one that it does not have.
#[must_use]
pub fn reason(status: u16) -> &'static str {
    match status {
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::super::{HeadLimits, Parsed, parse};
    use super::*;

    fn answer(response: &Response, request: &str) -> String {
        let Ok(Parsed::Request(request)) = parse(request.as_bytes(), &HeadLimits::default()) else { panic!() };
        String::from_utf8(response.encode(&request).to_vec()).unwrap()
    }

    const GET: &str = "GET / HTTP/1.1\r\nhost: h\r\n\r\n";

    #[test]
    fn a_response_has_a_length_and_keeps_the_connection() {
        let response = Response::new(200).header("x-a", "1").typed_body("text/plain", "hi");
        let expected = "HTTP/1.1 200 OK\r\nx-a: 1\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n\r\nhi";
        assert_eq!(answer(&response, GET), expected);
        assert_eq!(answer(&Response::new(403), GET), "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn a_connection_that_is_not_kept_is_told_so() {
        let closing = "HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let request = "GET / HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n";
        assert_eq!(answer(&Response::new(400), request), closing);
        assert_eq!(answer(&Response::new(400), "GET / HTTP/1.0\r\n\r\n"), closing);
        assert_eq!(Response::new(400).encode_closing(None), closing);
        let old = "GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n";
        assert!(answer(&Response::new(400), old).contains("\r\nconnection: keep-alive\r\n"));
    }

    #[test]
    fn head_has_the_length_but_no_body() {
        let head = answer(&Response::new(200).body("hi"), "HEAD / HTTP/1.1\r\nhost: h\r\n\r\n");
        assert_eq!(head, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    }

    #[test]
    fn a_status_without_a_body_has_no_length() {
        assert_eq!(answer(&Response::new(204).body("hi"), GET), "HTTP/1.1 204 No Content\r\n\r\n");
    }

    #[test]
    fn a_value_cannot_split_a_response() {
        let response = Response::new(200).header("x-a", "1\r\nx-b: 2\0");
        assert_eq!(answer(&response, GET), "HTTP/1.1 200 OK\r\nx-a: 1  x-b: 2 \r\ncontent-length: 0\r\n\r\n");
    }

    #[test]
    fn an_upgrade_names_the_subprotocol_if_there_is_one() {
        let with = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
                    sec-websocket-accept: k\r\nsec-websocket-protocol: phoenix\r\n\r\n";
        assert_eq!(switching_protocols("k", Some("phoenix")), with);
        assert_eq!(switching_protocols("k", None), with.replace("sec-websocket-protocol: phoenix\r\n", ""));
    }
}
