//! Why a request is refused, and the status that says so.

use std::fmt;

/// Why the head of a request is refused. The connection cannot be used any further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeadError {
    /// The head is longer than [`HeadLimits::head_bytes_max`](super::HeadLimits::head_bytes_max).
    TooLong {
        /// The limit.
        max: usize,
    },
    /// There are more headers than [`HeadLimits::headers_max`](super::HeadLimits::headers_max).
    TooManyHeaders {
        /// The limit.
        max: usize,
    },
    /// This is no HTTP/1: what was expected where something else stood.
    Malformed(&'static str),
    /// A version of HTTP other than 1.0 and 1.1.
    Version,
    /// A target that is neither a path, nor an address of `http` or `https`, nor `*`.
    Target,
    /// HTTP/1.1 without `host`, or with more than one.
    Host,
    /// A `content-length` that is no number, or several that differ, or one beside a `transfer-encoding`.
    ContentLength,
    /// A `transfer-encoding` other than `chunked`.
    TransferEncoding,
}

impl HeadError {
    /// The status to answer with.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            HeadError::TooLong { .. } | HeadError::TooManyHeaders { .. } => 431,
            HeadError::Version => 505,
            HeadError::TransferEncoding => 501,
            _ => 400,
        }
    }
}

impl fmt::Display for HeadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HeadError::TooLong { max } => write!(f, "the head of a request is over the limit of {max} bytes"),
            HeadError::TooManyHeaders { max } => write!(f, "a request has more than {max} headers"),
            HeadError::Malformed(part) => write!(f, "a request with a malformed {part}"),
            HeadError::Version => f.write_str("a request of another version than HTTP/1.0 and HTTP/1.1"),
            HeadError::Target => f.write_str("a request for what is no path"),
            HeadError::Host => f.write_str("a request without exactly one host"),
            HeadError::ContentLength => f.write_str("a request whose length is not clear"),
            HeadError::TransferEncoding => f.write_str("a request with an unknown transfer coding"),
        }
    }
}

impl std::error::Error for HeadError {}

/// Why percent-encoded text, or a path, is refused. The status is 400.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PathError {
    /// A `%` without two hexadecimal digits.
    Percent,
    /// What it stands for is no UTF-8.
    Utf8,
    /// A segment that could lead out of a folder: `.`, `..`, or one with a slash, a backslash or a NUL in it.
    Traversal,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PathError::Percent => "a percent sign without two hexadecimal digits",
            PathError::Utf8 => "percent-encoded text that is no UTF-8",
            PathError::Traversal => "a path that could lead out of its folder",
        })
    }
}

impl std::error::Error for PathError {}
