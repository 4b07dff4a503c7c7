//! Percent-encoding (RFC 3986, section 2.1), and the segments of a path.

use super::PathError;
use std::borrow::Cow;

/// What `text` stands for; a `+` stands for itself unless `plus_is_space`, as in a query.
///
/// # Errors
///
/// A `%` without two hexadecimal digits; bytes that are no UTF-8.
pub fn percent_decode(text: &str, plus_is_space: bool) -> Result<Cow<'_, str>, PathError> {
    if !text.bytes().any(|byte| byte == b'%' || plus_is_space && byte == b'+') {
        return Ok(Cow::Borrowed(text));
    }
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        match byte {
            b'%' => {
                let (digits, after) = rest.split_first_chunk::<2>().ok_or(PathError::Percent)?;
                rest = after;
                decoded.push(hexadecimal(digits[0])? << 4 | hexadecimal(digits[1])?);
            }
            b'+' if plus_is_space => decoded.push(b' '),
            byte => decoded.push(byte),
        }
    }
    String::from_utf8(decoded).map(Cow::Owned).map_err(|_| PathError::Utf8)
}

fn hexadecimal(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::Percent),
    }
}

/// The segments of `path`, decoded, without the empty ones: `/a//b%20c/` has `a` and `b c`. Each is fit to be the name
/// of a file: joined to a folder they do not lead out of it.
///
/// # Errors
///
/// What [`percent_decode`] refuses, and a segment that is `.` or `..`, or has a slash, a backslash or a NUL in it.
pub fn segments(path: &str) -> Result<Vec<Cow<'_, str>>, PathError> {
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    segments
        .map(|segment| {
            let segment = percent_decode(segment, false)?;
            let leads_out = segment == "." || segment == ".." || segment.contains(['/', '\\', '\0']);
            if leads_out { Err(PathError::Traversal) } else { Ok(segment) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percent_sign_stands_for_a_byte() {
        assert_eq!(percent_decode("a%20b%C3%a9", false), Ok("a bé".into()));
        assert_eq!(percent_decode("a+b%2B", false), Ok("a+b+".into()));
        assert_eq!(percent_decode("a+b%2B", true), Ok("a b+".into()));
        assert!(matches!(percent_decode("plain", true), Ok(Cow::Borrowed("plain"))));
    }

    #[test]
    fn what_stands_for_nothing_is_refused() {
        for text in ["%", "%4", "%4g", "%g4", "%%41", "a%"] {
            assert_eq!(percent_decode(text, false), Err(PathError::Percent), "{text}");
        }
        for text in ["%ff", "%c3", "%ed%a0%80"] {
            assert_eq!(percent_decode(text, false), Err(PathError::Utf8), "{text}");
        }
    }

    #[test]
    fn a_path_has_segments() {
        assert_eq!(segments("/").unwrap(), [""; 0]);
        assert_eq!(segments("/a//b%20c/").unwrap(), ["a", "b c"]);
        assert_eq!(segments("/..a/b..").unwrap(), ["..a", "b.."]);
    }

    #[test]
    fn no_segment_leads_out_of_a_folder() {
        for path in ["/..", "/a/../b", "/%2e%2E", "/.", "/a%2fb", "/a%5cb", "/a\\b", "/a%00"] {
            assert_eq!(segments(path), Err(PathError::Traversal), "{path}");
        }
    }
}
