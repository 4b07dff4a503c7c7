//! A broadcast is encoded once for each version, whoever receives it.

use super::{Kit, text};
use crate::common::watch;
use fanfare::PubSub;
use fanfare::channel::test::Client;
use serde_json::{Value, json};

#[test]
fn a_broadcast_to_ten_thousand_clients_of_two_versions_is_encoded_twice() {
    let _watchdog = watch();
    const CLIENTS: usize = 10_000;
    for workers in [1, 2] {
        let kit = Kit::with(PubSub::builder().workers(workers).build().unwrap(), true, |_| {});
        let connect = |number: usize| {
            let vsn = if number.is_multiple_of(2) { "1.0.0" } else { "2.0.0" };
            let mut client = Client::connect(&kit.endpoint, "/socket", json!({ "vsn": vsn })).unwrap();
            if vsn == "1.0.0" {
                client.send_text(&json!({ "topic": "room:1", "event": "phx_join", "payload": {}, "ref": "1" }));
            } else {
                client.join("room:1", json!({}));
            }
            client
        };
        let mut clients: Vec<Client> = (0..CLIENTS).map(connect).collect();
        for client in &mut clients {
            let reply = text(client);
            let payload = reply.get("payload").or_else(|| reply.get(4)).unwrap();
            assert_eq!(payload["status"], "ok");
        }
        for n in 1..=3 {
            kit.endpoint.broadcast("room:1", "event", json!({ "n": n })).unwrap();
            for (number, client) in clients.iter_mut().enumerate() {
                let expected = if number.is_multiple_of(2) {
                    json!({ "topic": "room:1", "event": "event", "payload": { "n": n }, "ref": null })
                } else {
                    json!([null, null, "room:1", "event", { "n": n }])
                };
                assert_eq!(text(client), expected);
            }
            assert_eq!(kit.endpoint.encoded(), 2 * n);
        }
        kit.endpoint.broadcast("room:2", "event", Value::Null).unwrap();
        assert_eq!((kit.endpoint.encoded(), kit.endpoint.unencodable()), (6, 0), "for nobody, nothing is encoded");
    }
}

#[test]
fn an_event_that_all_intercept_is_not_encoded() {
    let _watchdog = watch();
    for inline in [false, true] {
        let kit = Kit::new(2, inline);
        let mut clients = [kit.joined("room:1"), kit.joined("room:1")];
        kit.endpoint.broadcast("room:1", "secret", json!({})).unwrap();
        clients.iter_mut().for_each(|client| client.assert_push("room:1", "secret", json!({ "out": {} })));
        assert_eq!(kit.endpoint.encoded(), 0);
    }
}

#[test]
fn a_broadcast_that_has_no_frame_in_any_version_reaches_no_client() {
    let _watchdog = watch();
    let kit = Kit::new(1, false);
    let mut client = kit.joined("room:1");
    // A push and a broadcast have objects.
    kit.endpoint.broadcast("room:1", "event", json!([1])).unwrap();
    client.assert_nothing();
    assert_eq!((kit.endpoint.encoded(), kit.endpoint.unencodable()), (0, 1));
}
