//! Close codes (RFC 6455, section 7.4; the IANA registry has 1012 to 1014), and the payload of a close frame.

use super::{CONTROL_BYTES_MAX, DecodeError};
use std::borrow::Cow;

/// A code that a close frame may carry.
///
/// The `phoenix` client connects again after every code but 1000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CloseCode(u16);

impl CloseCode {
    /// 1000: the purpose is fulfilled. The `phoenix` client does not come back.
    pub const NORMAL: CloseCode = CloseCode(1000);
    /// 1001: the server goes away.
    pub const GOING_AWAY: CloseCode = CloseCode(1001);
    /// 1002: the peer broke the protocol.
    pub const PROTOCOL_ERROR: CloseCode = CloseCode(1002);
    /// 1007: text that is no UTF-8.
    pub const INVALID_PAYLOAD: CloseCode = CloseCode(1007);
    /// 1008: what the peer sent is against a policy.
    pub const POLICY: CloseCode = CloseCode(1008);
    /// 1009: a message over the limit.
    pub const TOO_BIG: CloseCode = CloseCode(1009);
    /// 1011: the server failed.
    pub const INTERNAL_ERROR: CloseCode = CloseCode(1011);
    /// 1012: the server restarts.
    pub const SERVICE_RESTART: CloseCode = CloseCode(1012);
    /// 1013: try again later.
    pub const TRY_AGAIN_LATER: CloseCode = CloseCode(1013);

    /// `code` if a frame may carry it: 1000 to 1003, 1007 to 1014, and those from 3000 to 4999, which libraries and
    /// applications choose.
    #[must_use]
    pub const fn new(code: u16) -> Option<CloseCode> {
        match code {
            1000..=1003 | 1007..=1014 | 3000..=4999 => Some(CloseCode(code)),
            _ => None,
        }
    }

    /// The number.
    #[must_use]
    pub const fn code(self) -> u16 {
        self.0
    }
}

/// What a peer says as it closes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Close<'b> {
    /// Its code, if it gave one.
    pub code: Option<CloseCode>,
    /// Its reason; often empty.
    pub reason: Cow<'b, str>,
}

impl Close<'_> {
    /// Checks the unmasked payload of a close frame.
    pub(crate) fn parse(payload: &[u8]) -> Result<Close<'_>, DecodeError> {
        if payload.is_empty() {
            return Ok(Close { code: None, reason: Cow::Borrowed("") });
        }
        let (code, reason) = payload.split_first_chunk::<2>().ok_or(DecodeError::CloseCode)?;
        let code = CloseCode::new(u16::from_be_bytes(*code)).ok_or(DecodeError::CloseCode)?;
        let reason = std::str::from_utf8(reason).map_err(|_| DecodeError::Utf8)?;
        Ok(Close { code: Some(code), reason: Cow::Borrowed(reason) })
    }

    /// The same, of its own bytes.
    pub(crate) fn into_owned(self) -> Close<'static> {
        Close { code: self.code, reason: Cow::Owned(self.reason.into_owned()) }
    }
}

/// `reason` cut to what fits a close frame beside the code, at the end of a character.
pub(crate) fn fitting(reason: &str) -> &str {
    let max = CONTROL_BYTES_MAX - 2;
    if reason.len() <= max {
        return reason;
    }
    // A character has at most four bytes, so that this looks at four places.
    let end = (0..=max).rev().find(|&at| reason.is_char_boundary(at));
    &reason[..end.unwrap_or(0)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_may_be_sent_or_not() {
        let may = |code: &u16| CloseCode::new(*code).is_some();
        let sendable = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999];
        assert!(sendable.iter().all(may));
        let reserved = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535];
        assert!(!reserved.iter().any(may));
    }

    #[test]
    fn a_close_has_a_code_and_a_reason_or_nothing() {
        assert_eq!(Close::parse(b""), Ok(Close { code: None, reason: "".into() }));
        assert_eq!(Close::parse(b"\x03\xe8"), Ok(Close { code: Some(CloseCode::NORMAL), reason: "".into() }));
        let bye = Close { code: CloseCode::new(4000), reason: "bye".into() };
        assert_eq!(Close::parse(b"\x0f\xa0bye"), Ok(bye));
    }

    #[test]
    fn a_close_of_one_byte_or_with_a_wrong_code_or_reason_is_refused() {
        assert_eq!(Close::parse(b"\x03"), Err(DecodeError::CloseCode));
        assert_eq!(Close::parse(b"\x03\xed"), Err(DecodeError::CloseCode));
        assert_eq!(Close::parse(b"\x03\xe8\xff"), Err(DecodeError::Utf8));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        assert_eq!(fitting("short"), "short");
        assert_eq!(fitting(&"x".repeat(200)).len(), 123);
        assert_eq!(fitting(&"é".repeat(100)).len(), 122);
    }
}
