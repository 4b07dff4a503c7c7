//! The head of a request (RFC 9112), by `httparse`, with limits and the checks that it leaves to its user.

use super::HeadError;

/// How long the head of a request may be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeadLimits {
    /// The request line and all headers together; 16 KiB by default.
    pub head_bytes_max: usize,
    /// How many headers; 100 by default.
    pub headers_max: usize,
}

impl Default for HeadLimits {
    fn default() -> Self {
        HeadLimits { head_bytes_max: 16 << 10, headers_max: 100 }
    }
}

/// What the bytes so far amount to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed<'b> {
    /// The head goes on.
    Partial,
    /// The head is whole.
    Request(Request<'b>),
}

/// The head of a request, borrowed from the bytes that it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request<'b> {
    /// The method, as it was written.
    pub method: &'b str,
    /// The path, still percent-encoded; `*` for a request about the server.
    pub path: &'b str,
    /// What follows the first `?`, still encoded.
    pub query: Option<&'b str>,
    /// The host and port that the request is for, as it was written: from the target if that is a whole address,
    /// otherwise from the header `host`. HTTP/1.0 may have none.
    pub authority: Option<&'b str>,
    /// 1 for HTTP/1.1, 0 for HTTP/1.0.
    pub minor_version: u8,
    /// The headers, in their order, names as written.
    pub headers: Vec<(&'b str, &'b [u8])>,
    /// How long the head is: the body begins there.
    pub head_bytes: usize,
}

/// How the body of a request is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// It has this many bytes, often none.
    Length(u64),
    /// It comes in chunks.
    Chunked,
}

/// Reads the head that `bytes` begin with. They are looked at from the start with each call.
///
/// # Errors
///
/// See [`HeadError`], and [the module](super) for what is refused.
pub fn parse<'b>(bytes: &'b [u8], limits: &HeadLimits) -> Result<Parsed<'b>, HeadError> {
    let too_long = HeadError::TooLong { max: limits.head_bytes_max };
    let seen = &bytes[..bytes.len().min(limits.head_bytes_max)];
    let mut headers = vec![httparse::EMPTY_HEADER; limits.headers_max];
    let mut parsed = httparse::Request::new(&mut headers);
    let head_bytes = match parsed.parse(seen) {
        Ok(httparse::Status::Complete(head_bytes)) => head_bytes,
        Ok(httparse::Status::Partial) if bytes.len() >= limits.head_bytes_max => return Err(too_long),
        Ok(httparse::Status::Partial) => return Ok(Parsed::Partial),
        Err(error) => return Err(refusal(error, limits)),
    };
    let missing = HeadError::Malformed("request line");
    let (method, target) = (parsed.method.ok_or(missing)?, parsed.path.ok_or(missing)?);
    let minor_version = parsed.version.ok_or(missing)?;
    let headers: Vec<_> = parsed.headers.iter().map(|header| (header.name, header.value)).collect();
    let (authority, path, query) = split_target(target)?;
    let mut request = Request { method, path, query, authority, minor_version, headers, head_bytes };
    let host = request.host()?;
    request.authority = authority.or(host);
    Ok(Parsed::Request(request))
}

fn refusal(error: httparse::Error, limits: &HeadLimits) -> HeadError {
    match error {
        httparse::Error::HeaderName => HeadError::Malformed("header's name"),
        httparse::Error::HeaderValue => HeadError::Malformed("header's value"),
        httparse::Error::NewLine => HeadError::Malformed("line's end"),
        httparse::Error::TooManyHeaders => HeadError::TooManyHeaders { max: limits.headers_max },
        httparse::Error::Version => HeadError::Version,
        _ => HeadError::Malformed("request line"),
    }
}

/// The authority, path and query of a request's target (RFC 9112, section 3.2).
type Target<'b> = (Option<&'b str>, &'b str, Option<&'b str>);

fn split_target(target: &str) -> Result<Target<'_>, HeadError> {
    let (authority, rest) = if target.starts_with('/') || target == "*" {
        (None, target)
    } else {
        let (scheme, rest) = target.split_once("://").ok_or(HeadError::Target)?;
        if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
            return Err(HeadError::Target);
        }
        let (authority, rest) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.is_empty() {
            return Err(HeadError::Target);
        }
        (Some(authority), rest)
    };
    // No client sends a fragment; one that does means what stands before it.
    let rest = rest.split('#').next().unwrap_or_default();
    let (path, query) = rest.split_once('?').map_or((rest, None), |(path, query)| (path, Some(query)));
    Ok((authority, if path.is_empty() { "/" } else { path }, query))
}

impl<'b> Request<'b> {
    /// The values of all headers called `name`, whatever the case, in their order.
    pub fn headers<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        let of_name = move |(given, _): &&(&str, &[u8])| given.eq_ignore_ascii_case(name);
        self.headers.iter().filter(of_name).map(|(_, value)| *value)
    }

    /// The value of the first header called `name`, if it is UTF-8.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'b str> {
        self.headers(name).next().and_then(|value| std::str::from_utf8(value).ok())
    }

    /// The entries of all headers called `name`, whose values are lists with commas, without the white space around.
    pub fn list<'s>(&'s self, name: &'s str) -> impl Iterator<Item = &'b [u8]> + 's {
        let entries = self.headers(name).flat_map(|value| value.split(|&byte| byte == b','));
        entries.map(<[u8]>::trim_ascii).filter(|entry| !entry.is_empty())
    }

    /// How the body is framed.
    ///
    /// # Errors
    ///
    /// [`HeadError::ContentLength`] and [`HeadError::TransferEncoding`]: where the body ends is not clear, so that the
    /// connection must be closed.
    pub fn body(&self) -> Result<Body, HeadError> {
        let mut lengths = self.headers("content-length");
        let length = lengths.next();
        if lengths.any(|other| Some(other) != length) {
            return Err(HeadError::ContentLength);
        }
        let mut codings = self.list("transfer-encoding");
        if self.headers("transfer-encoding").next().is_some() {
            if length.is_some() {
                return Err(HeadError::ContentLength);
            }
            let is_chunked = codings.next().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
            let is_alone = codings.next().is_none() && self.minor_version == 1;
            return if is_chunked && is_alone { Ok(Body::Chunked) } else { Err(HeadError::TransferEncoding) };
        }
        let Some(length) = length else { return Ok(Body::Length(0)) };
        // `parse` alone would take a sign.
        if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
            return Err(HeadError::ContentLength);
        }
        let digits = std::str::from_utf8(length).map_err(|_| HeadError::ContentLength)?;
        digits.parse().map(Body::Length).map_err(|_| HeadError::ContentLength)
    }

    /// Whether the connection stays open after the response, as far as the client is concerned.
    #[must_use]
    pub fn keep_alive(&self) -> bool {
        let says = |word: &[u8]| self.list("connection").any(|entry| entry.eq_ignore_ascii_case(word));
        if self.minor_version == 0 { says(b"keep-alive") && !says(b"close") } else { !says(b"close") }
    }

    /// The header `host`, of which HTTP/1.1 has exactly one.
    fn host(&self) -> Result<Option<&'b str>, HeadError> {
        let mut hosts = self.headers("host");
        let host = hosts.next();
        if hosts.next().is_some() || host.is_none() && self.minor_version == 1 {
            return Err(HeadError::Host);
        }
        host.map(|host| std::str::from_utf8(host).map_err(|_| HeadError::Host)).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Result<Request<'_>, HeadError> {
        match parse(text.as_bytes(), &HeadLimits::default())? {
            Parsed::Request(request) => Ok(request),
            Parsed::Partial => panic!("{text:?} is whole"),
        }
    }

    fn with(headers: &str) -> String {
        format!("POST / HTTP/1.1\r\nhost: h\r\n{headers}\r\n")
    }

    #[test]
    fn a_request_is_whole_at_its_empty_line() {
        let text = "GET /a?b=c?d HTTP/1.1\r\nHost: h:81\r\nX-A:  1 \r\nx-a: 2, ,3\r\n\r\nbody";
        let end = text.len() - "body".len();
        for length in 0..end {
            assert_eq!(parse(&text.as_bytes()[..length], &HeadLimits::default()), Ok(Parsed::Partial));
        }
        let request = head(text).unwrap();
        assert_eq!((request.method, request.path, request.query), ("GET", "/a", Some("b=c?d")));
        assert_eq!((request.authority, request.minor_version), (Some("h:81"), 1));
        assert_eq!(request.head_bytes, end);
        assert_eq!(request.header("x-A"), Some("1"));
        assert_eq!(request.list("x-a").collect::<Vec<_>>(), [b"1", b"2", b"3"]);
    }

    #[test]
    fn a_head_over_the_limits_is_refused() {
        let limits = HeadLimits { head_bytes_max: 40, headers_max: 2 };
        let fits = b"GET / HTTP/1.1\r\nhost: h\r\na: 01234567\r\n\r\n";
        assert_eq!(fits.len(), 40);
        assert!(matches!(parse(fits, &limits), Ok(Parsed::Request(_))));
        let long = b"GET / HTTP/1.1\r\nhost: h\r\na: 012345678\r\n\r\n";
        assert_eq!(parse(&long[..39], &limits), Ok(Parsed::Partial));
        for end in 40..=long.len() {
            assert_eq!(parse(&long[..end], &limits), Err(HeadError::TooLong { max: 40 }));
        }
        let many = b"GET / HTTP/1.1\r\nhost: h\r\na: 1\r\nb: 1\r\n\r\n";
        assert_eq!(parse(many, &limits), Err(HeadError::TooManyHeaders { max: 2 }));
        assert_eq!(HeadError::TooLong { max: 40 }.status(), 431);
    }

    #[test]
    fn what_is_no_http_is_refused() {
        let status = |text: &str| head(text).map(|_| ()).map_err(|error| error.status());
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), Err(505));
        assert_eq!(status("G(T / HTTP/1.1\r\nhost: h\r\n\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.1\r\nhost : h\r\n\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.1\r\nhost: h\r\n folded\r\n\r\n"), Err(400));
        assert_eq!(status("GET / HTTP/1.1\r\nhost: h\r\na: \0\r\n\r\n"), Err(400));
        assert_eq!(status("\x16\x03\x01\x02"), Err(400));
    }

    #[test]
    fn http_1_1_has_one_host() {
        assert_eq!(head("GET / HTTP/1.1\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(head("GET / HTTP/1.1\r\nhost: a\r\nHost: a\r\n\r\n"), Err(HeadError::Host));
        assert_eq!(head("GET / HTTP/1.0\r\n\r\n").unwrap().authority, None);
    }

    #[test]
    fn a_target_is_a_path_or_an_address() {
        let of = |target: &str| {
            let text = format!("GET {target} HTTP/1.1\r\nhost: h\r\n\r\n");
            head(&text).map(|request| {
                let own = |text: Option<&str>| text.unwrap_or("-").to_owned();
                [own(request.authority), own(Some(request.path)), own(request.query)]
            })
        };
        assert_eq!(of("/a?").unwrap(), ["h", "/a", ""]);
        assert_eq!(of("http://o:1/a?b").unwrap(), ["o:1", "/a", "b"]);
        assert_eq!(of("HTTPS://o?b").unwrap(), ["o", "/", "b"]);
        assert_eq!(of("/a#b?c").unwrap(), ["h", "/a", "-"]);
        assert_eq!(of("*").unwrap(), ["h", "*", "-"]);
        for target in ["a", "ftp://o/", "http:///a", "o:443"] {
            assert_eq!(of(target), Err(HeadError::Target), "{target}");
        }
    }

    #[test]
    fn a_body_has_one_framing() {
        let body = |headers: &str| head(&with(headers)).unwrap().body();
        assert_eq!(body(""), Ok(Body::Length(0)));
        assert_eq!(body("content-length: 12\r\n"), Ok(Body::Length(12)));
        assert_eq!(body("content-length: 12\r\ncontent-length: 12\r\n"), Ok(Body::Length(12)));
        assert_eq!(body("transfer-encoding: Chunked\r\n"), Ok(Body::Chunked));
    }

    #[test]
    fn a_body_without_a_clear_end_is_refused() {
        let body = |headers: &str| head(&with(headers)).unwrap().body();
        for headers in [
            "content-length: 1\r\ncontent-length: 2\r\n",
            "content-length: 1\r\ntransfer-encoding: chunked\r\n",
            "content-length: +1\r\n",
            "content-length: \r\n",
            "content-length: 1, 1\r\n",
            "content-length: 99999999999999999999\r\n",
        ] {
            assert_eq!(body(headers), Err(HeadError::ContentLength), "{headers}");
        }
        for headers in ["transfer-encoding: gzip, chunked\r\n", "transfer-encoding: chunked, x\r\n"] {
            assert_eq!(body(headers), Err(HeadError::TransferEncoding), "{headers}");
        }
        let old = head("POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n").unwrap().body();
        assert_eq!(old, Err(HeadError::TransferEncoding));
    }

    #[test]
    fn a_connection_is_kept_by_version_and_header() {
        assert!(head(&with("")).unwrap().keep_alive());
        assert!(!head(&with("connection: x, Close\r\n")).unwrap().keep_alive());
        assert!(!head("GET / HTTP/1.0\r\n\r\n").unwrap().keep_alive());
        assert!(head("GET / HTTP/1.0\r\nconnection: Keep-Alive\r\n\r\n").unwrap().keep_alive());
    }
}
