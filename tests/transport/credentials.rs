//! A node shows NATS a JWT that an account has signed, and proves that it has the key. The server trusts an operator,
//! whose signature is on the account.

#[path = "../common/accounts.rs"]
mod accounts;

use super::{assert_joined, at, scratch};
use crate::nats::server::Server;
use crate::{Recorder, start};
use fanfare::cluster::{Cluster, StartError};
use nkeys::KeyPair;
use std::path::PathBuf;
use std::sync::Arc;

/// A file with a user's JWT by an account, and with a seed.
fn file(account: &KeyPair, user: &KeyPair, seed: &KeyPair) -> PathBuf {
    let file = scratch("user", "creds");
    std::fs::write(&file, accounts::credentials(account, user, seed)).unwrap();
    file
}

#[test]
fn who_has_credentials_of_the_account_is_let_in_and_others_are_told() {
    let _watchdog = crate::common::watch();
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let configuration = accounts::configuration(&operator, &account);
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
}
