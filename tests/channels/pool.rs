//! Callbacks that block hold up nobody else.

use super::Log;
use super::scripted::{Script, Shared, State, connect, endpoint};
use crate::common::watch;
use fanfare::channel::{Answer, ChannelSocket, Joining, Limits, Refusal};
use fanfare::{Payload, PubSub};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::{Arc, Condvar, Mutex};

/// Holds whoever comes until it is opened, and counts them.
#[derive(Default)]
struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |(_, open)| !*open).unwrap());
    }

    /// Waits until so many are held.
    fn await_held(&self, count: usize) {
        drop(self.changed.wait_while(self.state.lock().unwrap(), |(held, _)| *held < count).unwrap());
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
}

/// Sleeps in `join` on topics that say so, and in `handle_in` on an event that says so.
struct Sleepy(Arc<Gate>);

impl Script for Sleepy {
    fn join(&self, topic: &str, _: &mut Joining<'_, Shared>) -> Result<(State, Payload), Refusal> {
        if topic.starts_with("sleep:") {
            self.0.pass();
        }
        Ok((Box::new(()), json!({}).into()))
    }

    fn handle_in(&self, event: &str, payload: &Payload, _: &mut ChannelSocket<'_, Shared>) -> Answer {
        if event == "sleep" {
            self.0.pass();
        }
        Answer::ok(payload.clone())
    }
}

#[test]
fn sleepers_in_join_and_in_handle_in_hold_up_no_other_client() {
    let _watchdog = watch();
    const SLEEPERS: usize = 100;
    const OTHERS: usize = 50;
    const MESSAGES: u64 = 1000;
    let gate = Arc::new(Gate::default());
    let pubsub = PubSub::builder().workers(2).build().unwrap();
    let endpoint = endpoint(pubsub, false, Limits::default(), Sleepy(gate.clone()));
    let mut joining: Vec<_> = (0..SLEEPERS).map(|_| connect(&endpoint)).collect();
    let joins: Vec<String> = joining.iter_mut().map(|client| client.join("sleep:t", json!({}))).collect();
    let mut handling: Vec<_> = (0..SLEEPERS).map(|_| connect(&endpoint)).collect();
    handling.iter_mut().for_each(|client| drop(client.join_ok("t", json!({}))));
    let pushes: Vec<String> = handling.iter_mut().map(|client| client.push("t", "sleep", json!({}))).collect();
    gate.await_held(2 * SLEEPERS);

    // The others join, talk and listen while all of these sleep; so do the sleepers themselves, past their channels.
    let mut others: Vec<_> = (0..OTHERS).map(|_| connect(&endpoint)).collect();
    others.iter_mut().for_each(|client| drop(client.join_ok("t", json!({}))));
    for n in 0..MESSAGES {
        endpoint.broadcast("t", "event", json!({ "n": n })).unwrap();
    }
    for client in others.iter_mut().chain(&mut handling) {
        (0..MESSAGES).for_each(|n| client.assert_broadcast("t", "event", json!({ "n": n })));
    }
    for client in &mut others {
        let reference = client.push("t", "echo", json!({ "a": 1 }));
        client.assert_reply(&reference, "ok", json!({ "a": 1 }));
    }
    for client in &mut joining {
        client.send_text(&json!([null, "h", "phoenix", "heartbeat", {}]));
        client.assert_reply("h", "ok", json!({}));
        client.join_ok("other", json!({}));
    }

    gate.open();
    for (client, reference) in joining.iter_mut().zip(&joins).chain(handling.iter_mut().zip(&pushes)) {
        client.assert_reply(reference, "ok", json!({}));
    }
}

/// Notes the threads that its callbacks run on.
struct Threads(Log);

impl Script for Threads {
    fn handle_in(&self, _: &str, _: &Payload, _: &mut ChannelSocket<'_, Shared>) -> Answer {
        self.0.note(std::thread::current().name().unwrap_or_default().to_owned());
        Answer::ok(json!({}))
    }
}

#[test]
fn callbacks_run_on_the_pool_and_inline_ones_on_the_connections_worker() {
    let _watchdog = watch();
    for inline in [false, true] {
        let log = Log::default();
        let pubsub = PubSub::builder().workers(2).build().unwrap();
        let endpoint = endpoint(pubsub, inline, Limits::default(), Threads(log.clone()));
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        for _ in 0..10 {
            let reference = client.push("t", "event", json!({}));
            client.assert_reply(&reference, "ok", json!({}));
        }
        let threads: HashSet<String> = log.take().into_iter().collect();
        let expected = if inline { format!("fanfare-{}", client.worker()) } else { "fanfare-pool".to_owned() };
        assert_eq!(threads, HashSet::from([expected]));
    }
}

#[test]
fn more_callbacks_than_threads_wait_their_turn() {
    let _watchdog = watch();
    let gate = Arc::new(Gate::default());
    let mut limits = Limits::default();
    limits.threads_max = 2;
    let endpoint = endpoint(PubSub::new().unwrap(), false, limits, Sleepy(gate.clone()));
    let mut clients: Vec<_> = (0..4).map(|_| connect(&endpoint)).collect();
    clients.iter_mut().for_each(|client| drop(client.join_ok("t", json!({}))));
    let sleeping: Vec<String> = clients[..2].iter_mut().map(|client| client.push("t", "sleep", json!({}))).collect();
    gate.await_held(2);
    let waiting: Vec<String> = clients[2..].iter_mut().map(|client| client.push("t", "echo", json!({}))).collect();
    endpoint.broadcast("t", "event", json!({})).unwrap();
    clients.iter_mut().for_each(|client| client.assert_broadcast("t", "event", json!({})));
    gate.open();
    for (client, reference) in clients.iter_mut().zip(sleeping.iter().chain(&waiting)) {
        client.assert_reply(reference, "ok", json!({}));
    }
}

#[test]
fn pushes_of_one_client_are_handled_in_order_however_many_there_are() {
    let _watchdog = watch();
    for inline in [false, true] {
        let endpoint = endpoint(PubSub::new().unwrap(), inline, Limits::default(), Sleepy(Arc::default()));
        let mut client = connect(&endpoint);
        client.join_ok("t", json!({}));
        let pushes: Vec<(String, Value)> = (0..1000)
            .map(|n| {
                let payload = json!({ "n": n });
                (client.push("t", "echo", payload.clone()), payload)
            })
            .collect();
        for (reference, payload) in pushes {
            client.assert_reply(&reference, "ok", payload);
        }
    }
}
