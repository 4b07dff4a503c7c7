//! What `nsc` makes for the operators of NATS, made here by hand: an operator whose signature is on an account, and the
//! account's on its users.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

/// What `issuer` says of `subject`, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claim: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "iss": issuer.public_key(), "sub": subject.public_key(), "iat": 1, "nats": claim });
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// An operator with an account: what a server is told of them.
pub(crate) fn configuration(operator: &KeyPair, account: &KeyPair) -> String {
    let is_operator = jwt(operator, operator, json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true,
    });
    let is_account = jwt(operator, account, json!({ "type": "account", "version": 2, "limits": limits }));
    let account = account.public_key();
    format!("operator: {is_operator}\nresolver: MEMORY\nresolver_preload: {{ {account}: {is_account} }}")
}

/// What is in a credentials file: a user's JWT by an account, and a seed.
pub(crate) fn credentials(account: &KeyPair, user: &KeyPair, seed: &KeyPair) -> String {
    let claim = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
    let (jwt, seed) = (jwt(account, user, claim), seed.seed().unwrap());
    format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    )
}
