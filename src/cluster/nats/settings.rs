//! What a connection is made with: checked once, when it is built, since each attempt makes its options anew.

use super::NatsError;
use super::subject::{Subjects, is_prefix};
use crate::sync::Arc;
use async_nats::rustls::crypto::ring::default_provider;
use async_nats::rustls::pki_types::CertificateDer;
use async_nats::rustls::pki_types::pem::PemObject;
use async_nats::rustls::{ClientConfig, RootCertStore};
use async_nats::{ConnectOptions, ServerAddr};
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A link that is dead without a word is noticed after three of these.
const PING_INTERVAL: Duration = Duration::from_secs(5);
/// What the connection holds itself, before its socket: few, so that what is buffered is counted where the limit is.
const COMMANDS_MAX: usize = 16;
/// What the connection reads at a time. It reads 128 times at most before the receiving task has its turn.
const READ_BYTES: u16 = 1 << 15;
/// How many of the shortest payloads, with their heads of at least 17 bytes, come in one turn of the connection. So
/// many may wait by default: a slow receiver then holds up the connection, and nothing is lost here.
pub(crate) const RECEIVED_PAYLOADS: usize = 1 << 18;
const _: () = assert!(128 * READ_BYTES as usize / 17 < RECEIVED_PAYLOADS);

/// Who the node is to the server.
#[derive(Clone)]
pub(crate) enum Credentials {
    Nobody,
    User {
        name: String,
        password: String,
    },
    Token(String),
    /// The text of a credentials file.
    File(String),
}

/// What the builder was told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) urls: Vec<String>,
    pub(crate) prefix: String,
    pub(crate) credentials: Credentials,
    pub(crate) credentials_file: Option<PathBuf>,
    pub(crate) require_tls: bool,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) name: Option<String>,
    pub(crate) reconnect_delay_max: Duration,
    pub(crate) received_payloads_max: usize,
}

/// What is known to be in order.
#[derive(Clone)]
pub(crate) struct Checked {
    pub(crate) servers: Vec<ServerAddr>,
    pub(crate) subjects: Subjects,
    pub(crate) reconnect_delay_max: Duration,
    settings: Settings,
    tls: ClientConfig,
}

impl Settings {
    pub(crate) fn check(mut self) -> Result<Checked, NatsError> {
        let servers = self.urls.iter().map(|url| server(url)).collect::<Result<_, _>>()?;
        if !is_prefix(&self.prefix) {
            return Err(NatsError::Prefix(self.prefix));
        }
        if self.received_payloads_max == 0 {
            return Err(NatsError::ReceivedPayloads);
        }
        if let Some(path) = self.credentials_file.take() {
            let text = std::fs::read_to_string(&path);
            // Parsed here for its errors alone.
            let checked = text.and_then(|text| ConnectOptions::new().credentials(&text).map(|_| text));
            self.credentials = Credentials::File(checked.map_err(|error| NatsError::Credentials { path, error })?);
        }
        let tls = tls(self.ca_file.as_deref())?;
        let subjects = Subjects::new(&self.prefix);
        Ok(Checked { servers, subjects, reconnect_delay_max: self.reconnect_delay_max, settings: self, tls })
    }
}

impl Checked {
    /// Options for one connection, without its callbacks.
    pub(crate) fn options(&self) -> ConnectOptions {
        let max = self.reconnect_delay_max;
        let mut options = ConnectOptions::new()
            .no_echo()
            .ping_interval(PING_INTERVAL)
            .client_capacity(COMMANDS_MAX)
            .read_buffer_capacity(READ_BYTES)
            .subscription_capacity(self.settings.received_payloads_max)
            .custom_inbox_prefix(self.subjects.inboxes())
            .require_tls(self.settings.require_tls)
            .tls_client_config(self.tls.clone())
            .reconnect_delay_callback(move |attempt| delay(attempt, max));
        if let Some(name) = &self.settings.name {
            options = options.name(name);
        }
        match &self.settings.credentials {
            Credentials::Nobody => options,
            Credentials::User { name, password } => options.user_and_password(name.clone(), password.clone()),
            Credentials::Token(token) => options.token(token.clone()),
            Credentials::File(text) => options.credentials(text).expect("it was parsed before"),
        }
    }
}

/// How long to wait before the attempt of that number, from 1: not at all, then 10 ms, then twice as long each time.
fn delay(attempt: usize, max: Duration) -> Duration {
    match attempt.checked_sub(2) {
        None => Duration::ZERO,
        Some(doublings) => Duration::from_millis(10 << doublings.min(16)).min(max),
    }
}

fn server(url: &str) -> Result<ServerAddr, NatsError> {
    let refused = |url: &str, why: &str| NatsError::Url { url: url.to_owned(), why: why.to_owned() };
    // What is refused for its secrets is not to be shown with them.
    if url.contains('@') {
        return Err(refused("(not shown)", "credentials are set by methods of their own"));
    }
    let server: ServerAddr = url.parse().map_err(|error: std::io::Error| refused(url, &error.to_string()))?;
    if server.is_websocket() {
        return Err(refused(url, "it is `nats://` or `tls://`"));
    }
    if server.host().is_empty() {
        return Err(refused(url, "it names no host"));
    }
    Ok(server)
}

/// With a provider of cryptography that is named: a process may have several, and then rustls would not choose one.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, NatsError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        let refused = |why: String| NatsError::CaFile { path: path.to_owned(), why };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))? {
            let certificate = certificate.map_err(|error| refused(error.to_string()))?;
            roots.add(certificate).map_err(|error| refused(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(refused("it has no certificate".to_owned()));
        }
    } else {
        // Those that can't be read are not trusted; a server that needs one of them is then refused.
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(default_provider()));
    let builder = builder.with_safe_default_protocol_versions().expect("the provider has them all");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Credentials::Nobody => "Nobody",
            Credentials::User { .. } => "User(..)",
            Credentials::Token(_) => "Token(..)",
            Credentials::File(_) => "File(..)",
        })
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // URLs are shown only once they are known to hold no secret.
        f.debug_struct("Settings").field("prefix", &self.prefix).field("credentials", &self.credentials).finish()
    }
}

impl fmt::Debug for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Checked").field("servers", &self.servers).field("settings", &self.settings).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_fast_first_and_then_at_most_so_far_apart() {
        let max = Duration::from_secs(2);
        let delays: Vec<u128> = (0..7).map(|attempt| delay(attempt, max).as_millis()).collect();
        assert_eq!(delays, [0, 0, 10, 20, 40, 80, 160]);
        for attempt in [10, 100, usize::MAX] {
            assert_eq!(delay(attempt, max), max);
        }
    }

    #[test]
    fn a_refused_address_does_not_show_its_password() {
        let error = server("nats://user:secret@host").unwrap_err();
        assert!(!error.to_string().contains("secret") && !format!("{error:?}").contains("secret"));
    }
}
