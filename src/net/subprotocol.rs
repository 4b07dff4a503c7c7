//! The choice of a subprotocol (RFC 6455, section 4.2.2), and the token that the `phoenix` client sends in place of
//! one.
//!
//! A browser lets no page set headers of a WebSocket's request, but for the list of subprotocols. So the client with an
//! `authToken` offers two: `phoenix`, and `base64url.bearer.phx.` with the token in base64. The server takes the token
//! out and chooses `phoenix`. Despite its name it is of the standard alphabet, without padding; both alphabets are
//! taken.

use super::http::Request;
use crate::channel::AuthToken;
use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::engine::{DecodePaddingMode, GeneralPurposeConfig};
use std::fmt;

/// What stands before a token.
const BEARER: &str = "base64url.bearer.phx.";

/// What the client with a token offers beside it, and expects to be chosen.
const PHOENIX: &str = "phoenix";

const BASE64: GeneralPurpose = {
    let config: GeneralPurposeConfig = NO_PAD.with_decode_padding_mode(DecodePaddingMode::Indifferent);
    GeneralPurpose::new(&STANDARD, config)
};

/// What a server does with offered subprotocols. By default it ignores them and chooses none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Subprotocols {
    /// In the order of preference; `None` to ignore what is offered.
    supported: Option<Vec<String>>,
    auth_token: bool,
}

/// The outcome of a negotiation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Negotiated<'s> {
    /// What to answer in `sec-websocket-protocol`, if anything.
    pub subprotocol: Option<&'s str>,
    /// The token that was offered, if tokens are taken.
    pub auth_token: Option<AuthToken>,
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SubprotocolError {
    /// The client offers subprotocols, none of which is supported.
    NoneInCommon,
    /// A token that is no base64.
    Token,
}

impl SubprotocolError {
    /// The status to answer with, and an empty body: 403 when nothing is in common, and 400 for a token, for which
    /// Phoenix fails with 500.
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            SubprotocolError::NoneInCommon => 403,
            SubprotocolError::Token => 400,
        }
    }
}

impl fmt::Display for SubprotocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SubprotocolError::NoneInCommon => "no subprotocol in common",
            SubprotocolError::Token => "a token that is no base64",
        })
    }
}

impl std::error::Error for SubprotocolError {}

impl Subprotocols {
    /// Ignores what is offered.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Supports these, in the order of preference.
    #[must_use]
    pub fn supported<S: Into<String>>(subprotocols: impl IntoIterator<Item = S>) -> Self {
        Subprotocols { supported: Some(subprotocols.into_iter().map(Into::into).collect()), auth_token: false }
    }

    /// Takes tokens, and supports `phoenix` before all else.
    #[must_use]
    pub fn with_auth_token(mut self) -> Self {
        if !self.auth_token {
            self.supported.get_or_insert_default().insert(0, PHOENIX.to_owned());
        }
        self.auth_token = true;
        self
    }

    /// Chooses the first of the supported subprotocols that `request` offers, and takes the token out, if tokens are
    /// taken and there is exactly one.
    ///
    /// # Errors
    ///
    /// See [`SubprotocolError`]. A request that offers nothing is never refused.
    pub fn negotiate(&self, request: &Request<'_>) -> Result<Negotiated<'_>, SubprotocolError> {
        let Some(supported) = &self.supported else { return Ok(Negotiated::default()) };
        let mut offered: Vec<&[u8]> = request.list("sec-websocket-protocol").collect();
        let auth_token = if self.auth_token { take_token(&mut offered)? } else { None };
        let subprotocol = supported.iter().find(|own| offered.contains(&own.as_bytes()));
        if subprotocol.is_none() && !offered.is_empty() {
            return Err(SubprotocolError::NoneInCommon);
        }
        Ok(Negotiated { subprotocol: subprotocol.map(String::as_str), auth_token })
    }
}

/// Whether a subprotocol is a token in disguise.
pub(crate) fn is_bearer(offered: &[u8]) -> bool {
    offered.starts_with(BEARER.as_bytes())
}

/// Takes the token out of `offered`, if there is exactly one.
fn take_token(offered: &mut Vec<&[u8]>) -> Result<Option<AuthToken>, SubprotocolError> {
    let mut bearers = offered.iter().filter(|offered| is_bearer(offered));
    let (Some(bearer), None) = (bearers.next(), bearers.next()) else { return Ok(None) };
    let encoded: Vec<u8> = bearer[BEARER.len()..]
        .iter()
        .map(|byte| match byte {
            b'-' => b'+',
            b'_' => b'/',
            byte => *byte,
        })
        .collect();
    let token = BASE64.decode(encoded).map_err(|_| SubprotocolError::Token)?;
    offered.retain(|offered| !is_bearer(offered));
    Ok(Some(AuthToken::new(token)))
}

#[cfg(test)]
mod tests {
    use super::super::http::{HeadLimits, Parsed, parse};
    use super::*;

    type Outcome = Result<(Option<String>, Option<String>), SubprotocolError>;

    /// What `own` makes of a request with these headers: the subprotocol and the token.
    fn negotiate(own: &Subprotocols, headers: &[&str]) -> Outcome {
        let mut text = "GET / HTTP/1.1\r\nhost: h\r\n".to_owned();
        for header in headers {
            text += &format!("Sec-WebSocket-Protocol: {header}\r\n");
        }
        text += "\r\n";
        let Ok(Parsed::Request(request)) = parse(text.as_bytes(), &HeadLimits::default()) else { panic!("{text}") };
        let outcome = own.negotiate(&request)?;
        let token = outcome.auth_token.map(|token| token.as_str().unwrap().to_owned());
        Ok((outcome.subprotocol.map(str::to_owned), token))
    }

    fn chosen(subprotocol: &str) -> Outcome {
        Ok((Some(subprotocol.to_owned()), None))
    }

    fn with_token(token: &str) -> Outcome {
        Ok((Some("phoenix".to_owned()), Some(token.to_owned())))
    }

    #[test]
    fn without_a_list_the_header_is_ignored() {
        let own = Subprotocols::none();
        assert_eq!(negotiate(&own, &[]), Ok((None, None)));
        assert_eq!(negotiate(&own, &["phoenix, base64url.bearer.phx.!"]), Ok((None, None)));
    }

    #[test]
    fn the_first_of_the_servers_list_that_is_offered_is_chosen() {
        let own = Subprotocols::supported(["sip", "mqtt"]);
        assert_eq!(negotiate(&own, &["mqtt, sip"]), chosen("sip"));
        assert_eq!(negotiate(&own, &["x", "mqtt"]), chosen("mqtt"));
        assert_eq!(negotiate(&own, &[]), Ok((None, None)));
    }

    #[test]
    fn nothing_in_common_is_403() {
        let own = Subprotocols::supported(["sip"]);
        assert_eq!(negotiate(&own, &["mqtt"]), Err(SubprotocolError::NoneInCommon));
        assert_eq!(negotiate(&own, &["SIP"]), Err(SubprotocolError::NoneInCommon));
        assert_eq!(SubprotocolError::NoneInCommon.status(), 403);
        assert_eq!(negotiate(&Subprotocols::supported([""; 0]), &["a"]), Err(SubprotocolError::NoneInCommon));
    }

    #[test]
    fn a_token_is_taken_out_and_phoenix_chosen() {
        let own = Subprotocols::none().with_auth_token();
        assert_eq!(negotiate(&own, &["phoenix, base64url.bearer.phx.c2VjcmV0"]), with_token("secret"));
        assert_eq!(negotiate(&own, &["phoenix"]), chosen("phoenix"));
        assert_eq!(negotiate(&own, &[]), Ok((None, None)));
        let both = Subprotocols::supported(["x"]).with_auth_token().with_auth_token();
        assert_eq!(negotiate(&both, &["x, phoenix"]), chosen("phoenix"));
        assert_eq!(negotiate(&both, &["x"]), chosen("x"));
        assert_eq!(both.supported.unwrap().len(), 2);
    }

    #[test]
    fn a_token_alone_leaves_nothing_to_choose() {
        let own = Subprotocols::none().with_auth_token();
        assert_eq!(negotiate(&own, &["base64url.bearer.phx.YQ"]), Ok((None, Some("a".to_owned()))));
    }

    #[test]
    fn both_alphabets_are_taken_with_padding_or_without() {
        let own = Subprotocols::none().with_auth_token();
        for encoded in ["w78+w78/", "w78-w78_", "w78-w78/"] {
            assert_eq!(negotiate(&own, &["phoenix", &format!("{BEARER}{encoded}")]), with_token("ÿ>ÿ?"), "{encoded}");
        }
        for encoded in ["YQ", "YQ==", "YQ="] {
            assert_eq!(negotiate(&own, &["phoenix", &format!("{BEARER}{encoded}")]), with_token("a"), "{encoded}");
        }
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        let own = Subprotocols::none().with_auth_token();
        for encoded in ["!", "Y", "Y=Q", "a b"] {
            let outcome = negotiate(&own, &[&format!("phoenix, {BEARER}{encoded}")]);
            assert_eq!(outcome, Err(SubprotocolError::Token), "{encoded}");
        }
        assert_eq!(SubprotocolError::Token.status(), 400);
    }

    #[test]
    fn of_two_tokens_none_is_taken() {
        let own = Subprotocols::none().with_auth_token();
        let two = format!("phoenix, {BEARER}YQ, {BEARER}Yg");
        assert_eq!(negotiate(&own, &[&two]), chosen("phoenix"));
    }

    #[test]
    fn a_token_is_in_no_log() {
        assert_eq!(format!("{:?}", AuthToken::new("secret")), "AuthToken(..)");
    }
}
