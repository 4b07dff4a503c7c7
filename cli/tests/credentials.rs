//! The program shows NATS the credentials that its flag names.

#[path = "../../tests/common/accounts.rs"]
mod accounts;
#[path = "../../tests/common/nats.rs"]
mod nats;
mod serving;
#[path = "../../tests/common/watchdog.rs"]
mod watchdog;

use bytes::Bytes;
use fanfare::cluster::{Cluster, Nats, Receiver};
use nkeys::KeyPair;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

/// A node that passes on what it hears.
struct Ear(Sender<Bytes>);

impl Receiver for Ear {
    fn receive(&self, _: Option<u16>, payload: Bytes) {
        // The test may have heard enough.
        let _ = self.0.send(payload);
    }
}

#[test]
fn it_is_let_in_by_its_credentials_and_heard() {
    let _watch = watchdog::watch();
    let (operator, account) = (KeyPair::new_operator(), KeyPair::new_account());
    let server = nats::Server::start(&accounts::configuration(&operator, &account));
    let [ours, its] = std::array::from_fn(|_| {
        let (user, file) = (KeyPair::new_user(), nats::scratch("user", "creds"));
        std::fs::write(&file, accounts::credentials(&account, &user, &user)).unwrap();
        file
    });
    let url = server.address().to_string();
    let node = Nats::builder(&url).credentials_file(ours).build().unwrap();
    let (heard, payloads) = channel();
    node.start("a", Arc::new(Ear(heard))).unwrap();
    let flags = ["--cluster", &url, "--node", "the-program", "--cluster-credentials", its.to_str().unwrap()];
    let _program = serving::Serving::start(&flags);
    assert!(payloads.iter().any(|payload| payload.windows(11).any(|part| part == b"the-program")));
}
