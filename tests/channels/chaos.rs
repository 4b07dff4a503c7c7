//! Clients that do whatever comes to them, many at once: each join has one reply and one end, and broadcasts come only
//! in between.

use super::{Kit, text};
use crate::common::{Random, watch};
use fanfare::channel::test::Client;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::thread;

const TOPICS: [&str; 3] = ["room:1", "room:2", "exact"];
const CLIENTS: u64 = 12;
const STEPS: u64 = 400;

/// What a client has asked for, on all topics.
#[derive(Default)]
struct Asked {
    joins: HashSet<String>,
}

fn step(client: &mut Client, random: &mut Random, asked: &mut Asked) {
    let topic = TOPICS[random.below(TOPICS.len() as u64) as usize];
    let event = match random.below(12) {
        0..=2 => {
            asked.joins.insert(client.join(topic, json!({})));
            return;
        }
        3 => return drop(client.leave(topic)),
        4 => "panic",
        5 => "stop",
        6 => "fail",
        7 => "broadcast_secret",
        8 | 9 => "broadcast",
        10 => "broadcast_from",
        _ => "echo",
    };
    client.push(topic, event, json!({}));
}

/// What is known of a topic from the frames so far.
#[derive(Default)]
struct Seen {
    joined: Option<String>,
    /// Joins whose place another has taken, and that have yet to be closed.
    replaced: HashSet<String>,
}

impl Seen {
    fn frame(&mut self, frame: &Value, asked: &mut Asked) {
        let [join_ref, reference] = [&frame[0], &frame[1]].map(|value| value.as_str().map(str::to_owned));
        match (frame[3].as_str().unwrap(), join_ref) {
            ("phx_reply", Some(join_ref)) if Some(&join_ref) == reference.as_ref() => {
                assert_eq!(frame[4]["status"], "ok");
                assert!(asked.joins.remove(&join_ref), "one reply for each join: {frame}");
                self.replaced.extend(self.joined.replace(join_ref));
            }
            ("phx_close" | "phx_error", Some(join_ref)) => {
                if self.joined.as_ref() == Some(&join_ref) {
                    self.joined = None;
                } else {
                    assert!(self.replaced.remove(&join_ref), "one end for each join: {frame}");
                    assert_eq!(frame[3], "phx_close");
                }
            }
            ("shout", None) => assert!(self.joined.is_some(), "a broadcast only while joined: {frame}"),
            _ => {}
        }
    }
}

fn live(kit: &Kit, seed: u64) {
    let (mut client, mut random, mut asked) = (kit.client(), Random(seed), Asked::default());
    for _ in 0..STEPS {
        step(&mut client, &mut random, &mut asked);
    }
    client.settle();
    TOPICS.iter().for_each(|topic| drop(client.leave(topic)));
    client.settle();
    client.send_text(&json!([null, "end", "phoenix", "heartbeat", {}]));
    let mut seen: HashMap<String, Seen> = HashMap::new();
    loop {
        let frame = text(&mut client);
        if frame[1] == "end" {
            break;
        }
        seen.entry(frame[2].as_str().unwrap().to_owned()).or_default().frame(&frame, &mut asked);
    }
    assert!(asked.joins.is_empty(), "without a reply: {:?}", asked.joins);
    for (topic, seen) in seen {
        assert!(seen.joined.is_none() && seen.replaced.is_empty(), "{topic} without an end: {:?}", seen.joined);
    }
}

#[test]
fn whatever_clients_do_each_join_has_one_reply_and_one_end() {
    let _watchdog = watch();
    for inline in [false, true] {
        let kit = Kit::new(2, inline);
        let (endpoint, log) = (kit.endpoint.clone(), kit.log.clone());
        thread::scope(|scope| {
            for seed in 0..CLIENTS {
                let kit = Kit { endpoint: endpoint.clone(), log: log.clone(), refs: std::sync::mpsc::channel().1 };
                scope.spawn(move || live(&kit, seed));
            }
        });
    }
}
