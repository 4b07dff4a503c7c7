//! A node shows NATS a JWT that an account has signed, and proves that it has the key: what `nsc` makes for operators,
//! made here by hand. The server trusts an operator, whose signature is on the account.

use super::{assert_joined, at, scratch};
use crate::nats::server::Server;
use crate::{Recorder, start};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fanfare::cluster::{Cluster, StartError};
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

/// What `issuer` says of `subject`, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, claim: Value) -> String {
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let claims = json!({ "iss": issuer.public_key(), "sub": subject.public_key(), "iat": 1, "nats": claim });
    let signed = format!("{}.{}", part(json!({ "typ": "JWT", "alg": "ed25519-nkey" })), part(claims));
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(signed.as_bytes()).unwrap());
    format!("{signed}.{signature}")
}

/// An operator with an account: what a server is told of them.
fn configuration(operator: &KeyPair, account: &KeyPair) -> String {
    let is_operator = jwt(operator, operator, json!({ "type": "operator", "version": 2 }));
    let limits = json!({
        "subs": -1, "data": -1, "payload": -1, "conn": -1, "leaf": -1, "imports": -1, "exports": -1, "wildcards": true,
    });
    let is_account = jwt(operator, account, json!({ "type": "account", "version": 2, "limits": limits }));
    let account = account.public_key();
    format!("operator: {is_operator}\nresolver: MEMORY\nresolver_preload: {{ {account}: {is_account} }}")
}

/// A file with a user's JWT by an account, and with a seed.
fn file(account: &KeyPair, user: &KeyPair, seed: &KeyPair) -> PathBuf {
    let claim = json!({ "type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {} });
    let (jwt, seed) = (jwt(account, user, claim), seed.seed().unwrap());
    let file = scratch("user", "creds");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{seed}\n------END USER NKEY SEED------\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn who_has_credentials_of_the_account_is_let_in_and_others_are_told() {
    let _watchdog = crate::common::watch();
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let configuration = configuration(&operator, &account);
    let mut server = Server::start(&configuration);
    let [one, other] = [KeyPair::new_user(), KeyPair::new_user()];
    let [a, b] = [&one, &other].map(|user| at(&server).credentials_file(file(&account, user, user)).build().unwrap());
    let [of_a, of_b] = [start(&a, "a"), start(&b, "b")];
    assert_joined((&a, &of_a), (&b, &of_b), 0);

    let stranger = KeyPair::new_account();
    for wrong in [file(&stranger, &one, &one), file(&account, &one, &other)] {
        let wrong = at(&server).credentials_file(wrong).build().unwrap();
        let error = wrong.start("c", Arc::<Recorder>::default()).unwrap_err();
        assert!(matches!(error, StartError::Refused(_)), "{error:?}");
    }
    let nobody = at(&server).build().unwrap().start("c", Arc::<Recorder>::default()).unwrap_err();
    assert!(matches!(nobody, StartError::Refused(_)), "{nobody:?}");

    // Each connection has to prove it anew.
    server.kill();
    of_a.wait_until_away();
    of_b.wait_until_away();
    server.restart(&configuration);
    of_a.wait_until_ready();
    of_b.wait_until_ready();
    assert_joined((&a, &of_a), (&b, &of_b), 2);
    program(&server, &file(&account, &other, &other), &of_a);
}

/// The program is let in as well, by its flag: it is heard.
#[cfg(feature = "program")]
fn program(server: &Server, file: &std::path::Path, heard: &Recorder) {
    let url = server.address().to_string();
    let flags = ["--cluster", &url, "--node", "the-program", "--cluster-credentials", file.to_str().unwrap()];
    let _program = crate::serving::Serving::start(&flags);
    let is_of_it = |payload: &[u8]| payload.windows(11).any(|part| part == b"the-program");
    heard.wait(|seen| seen.payloads.iter().any(|(_, payload)| is_of_it(payload)).then_some(()));
}

#[cfg(not(feature = "program"))]
fn program(_: &Server, _: &std::path::Path, _: &Recorder) {}
