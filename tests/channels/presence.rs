//! Presence in channels: what clients are told, and that nobody stays who has gone.

use super::{text, value_of};
use crate::common::{Watchdog, watch};
use fanfare::channel::test::{Client, Event};
use fanfare::channel::{
    Answer, Channel, ChannelSocket, Connect, ConnectInfo, Endpoint, Flow, Info, JoinResult, Joining, Params, Router,
    Socket, Stop, Terminated,
};
use fanfare::presence::{Presence, TrackError};
use fanfare::{Message, Payload, PubSub};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const ROOM: &str = "room:1";

struct Anyone;

impl Socket for Anyone {
    type Assigns = ();

    fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
        Connect::Accept(())
    }
}

/// What the routes know.
#[derive(Clone)]
struct Known {
    presence: Presence,
    /// What channels say at their end.
    ends: Sender<String>,
}

/// A channel that is present by the key that its client gives, if any.
struct Here<const INLINE: bool> {
    known: Known,
    key: Option<String>,
    state: String,
}

impl<const INLINE: bool> Channel for Here<INLINE> {
    type Assigns = ();
    const INLINE: bool = INLINE;

    fn join(_: &str, payload: &Payload, socket: &mut Joining<'_, ()>) -> JoinResult<Self> {
        let payload = value_of(payload);
        socket.sender().send(());
        let known = socket.route_assigns::<Known>().unwrap().clone();
        let word = |name: &str| payload.get(name).and_then(Value::as_str).map(str::to_owned);
        Ok(Here { known, key: word("key"), state: word("state").unwrap_or_default() }.into())
    }

    fn handle_info(&mut self, info: Info, socket: &mut ChannelSocket<'_, ()>) -> Flow {
        assert!(matches!(info, Info::Sent(_)), "a diff is for the client: {info:?}");
        let presence = &self.known.presence;
        if let Some(key) = &self.key {
            presence.track(&*socket, key, json!({ "n": 1 })).unwrap();
        }
        match &*self.state {
            "none" => {}
            "count" => presence.push_count(socket),
            _ => presence.push_state(socket),
        }
        Flow::Continue
    }

    fn handle_in(&mut self, event: &str, payload: &Payload, socket: &mut ChannelSocket<'_, ()>) -> Answer {
        let presence = &self.known.presence;
        let key = self.key.as_deref().unwrap_or_default();
        match event {
            "update" => presence.update(socket, key, value_of(payload)).map(|_| ()).into(),
            "again" => match presence.track(&*socket, key, json!({})) {
                Err(TrackError::AlreadyTracked) => Answer::reason("already"),
                other => panic!("{other:?}"),
            },
            "untrack" => Answer::ok(json!({ "was": presence.untrack(socket, key) })),
            "more" => {
                presence.push_more(socket, value_of(payload)["next"].as_u64().unwrap() as u32);
                Answer::none()
            }
            "stop" => Answer::none().stop(Stop::Normal),
            _ => panic!("the client asked for it"),
        }
    }

    fn terminate(&mut self, reason: &Terminated, socket: &mut ChannelSocket<'_, ()>) {
        // Still there, and whatever comes now goes as well.
        let late = self.known.presence.track(&*socket, "late", json!({}));
        let _ = self.known.ends.send(format!("{reason:?} {}", late.is_ok()));
    }
}

struct Kit {
    _watchdog: Watchdog,
    endpoint: Endpoint,
    presence: Presence,
    ends: std::sync::mpsc::Receiver<String>,
}

impl Kit {
    /// Epochs end at the first change, and then when `told` says so.
    fn new(inline: bool, builder: fanfare::presence::Builder) -> Kit {
        let watchdog = watch();
        let pubsub = PubSub::builder().workers(2).build().unwrap();
        let presence = builder.diff_period(Duration::from_secs(3600)).start(&pubsub).unwrap();
        let (sender, ends) = channel();
        let known = Known { presence: presence.clone(), ends: sender };
        let endpoint = endpoint(pubsub, inline, known);
        Kit { _watchdog: watchdog, endpoint, presence, ends }
    }

    fn join(&self, payload: Value) -> View {
        let mut client = Client::connect(&self.endpoint, "/socket", json!({})).unwrap();
        client.join_ok(ROOM, payload);
        View { client, state: None, states: 0, held: Vec::new(), joins: 0, truncated: None, replied: None }
    }

    /// Everything that was done so far has been told to the clients.
    fn told(&self, views: &mut [&mut View]) {
        views.iter().for_each(|view| view.client.settle());
        self.presence.flush().unwrap();
        views.iter_mut().for_each(|view| view.read());
    }

    /// The refs of each key, as the server has them.
    fn list(&self) -> Refs {
        let list = self.presence.list(ROOM);
        let refs = |metas: Vec<String>| metas.into_iter().map(|meta| (meta, ())).collect();
        list.iter()
            .map(|(key, metas)| (key.to_owned(), refs(metas.map(|meta| meta.phx_ref().to_string()).collect())))
            .collect()
    }
}

fn endpoint(pubsub: PubSub, inline: bool, known: Known) -> Endpoint {
    let router = if inline {
        Router::new().channel_with::<Here<true>, _>("room:*", known)
    } else {
        Router::new().channel_with::<Here<false>, _>("room:*", known)
    };
    Endpoint::builder(pubsub).socket("/socket", Anyone, router.unwrap()).build()
}

type Refs = BTreeMap<String, BTreeMap<String, ()>>;

/// A client that applies states and diffs as `phoenix.js` does.
struct View {
    client: Client,
    state: Option<Refs>,
    /// States that came.
    states: usize,
    /// Diffs that came before the state.
    held: Vec<Value>,
    /// Metas that joined, as far as diffs told.
    joins: usize,
    truncated: Option<Value>,
    replied: Option<Value>,
}

impl View {
    /// What the channel replies to a push.
    fn ask(&mut self, event: &str, payload: Value) -> Value {
        self.client.push(ROOM, event, payload);
        self.read();
        self.replied.take().unwrap()
    }

    fn read(&mut self) {
        self.client.settle();
        while let Some(event) = self.client.try_event() {
            match event {
                Event::Text(frame) => self.frame(&frame),
                other => panic!("{other:?}"),
            }
        }
    }

    fn frame(&mut self, frame: &Value) {
        match frame[3].as_str().unwrap() {
            "presence_state" => {
                assert!(frame[0].is_string() && frame[1].is_null(), "a push with the join's ref");
                self.states += 1;
                let mut state = Refs::new();
                apply(&mut state, &json!({ "joins": frame[4], "leaves": {} }));
                self.held.drain(..).for_each(|diff| apply(&mut state, &diff));
                self.state = Some(state);
            }
            "presence_diff" => {
                self.joins += frame[4]["joins"].as_object().unwrap().len();
                match &mut self.state {
                    Some(state) => apply(state, &frame[4]),
                    None => self.held.push(frame[4].clone()),
                }
            }
            "presence_truncated" => self.truncated = Some(frame[4].clone()),
            "phx_reply" => self.replied = Some(frame[4].clone()),
            "phx_close" | "phx_error" => {}
            other => panic!("{other}"),
        }
    }

    #[track_caller]
    fn assert_is(&self, kit: &Kit) {
        assert_eq!(self.state.as_ref(), Some(&kit.list()));
    }
}

fn apply(state: &mut Refs, diff: &Value) {
    let refs = |entry: &Value| -> Vec<String> {
        entry["metas"].as_array().unwrap().iter().map(|meta| meta["phx_ref"].as_str().unwrap().to_owned()).collect()
    };
    for (key, entry) in diff["joins"].as_object().unwrap() {
        let metas = state.entry(key.clone()).or_default();
        metas.extend(refs(entry).into_iter().map(|meta| (meta, ())));
    }
    for (key, entry) in diff["leaves"].as_object().unwrap() {
        let Some(metas) = state.get_mut(key) else { continue };
        refs(entry).iter().for_each(|meta| {
            metas.remove(meta);
        });
        if metas.is_empty() {
            state.remove(key);
        }
    }
}

fn both(test: impl Fn(Kit)) {
    for inline in [false, true] {
        test(Kit::new(inline, Presence::builder()));
    }
}

#[test]
fn clients_see_each_other_come_change_and_go() {
    both(|kit| {
        let mut alice = kit.join(json!({ "key": "alice" }));
        let mut bob = kit.join(json!({ "key": "bob" }));
        let mut tab = kit.join(json!({ "key": "bob" }));
        let mut watcher = kit.join(json!({}));
        kit.told(&mut [&mut alice, &mut bob, &mut tab, &mut watcher]);
        let list = kit.list();
        assert_eq!(
            list.iter().map(|(key, metas)| (&**key, metas.len())).collect::<Vec<_>>(),
            [("alice", 1), ("bob", 2)]
        );
        [&alice, &bob, &tab, &watcher].iter().for_each(|view| view.assert_is(&kit));

        assert_eq!(bob.ask("update", json!({ "n": 2 }))["status"], "ok");
        assert_eq!(tab.ask("untrack", json!({}))["response"], json!({ "was": true }));
        assert_eq!(tab.ask("untrack", json!({}))["response"], json!({ "was": false }));
        kit.told(&mut [&mut alice, &mut bob, &mut tab, &mut watcher]);
        assert_ne!(kit.list(), list);
        [&alice, &bob, &tab, &watcher].iter().for_each(|view| view.assert_is(&kit));
        let metas = kit.presence.get_by_key(ROOM, "bob").unwrap();
        assert_eq!(metas[0].parse::<Value>().unwrap()["n"], 2);
        assert!(list["bob"].contains_key(metas[0].phx_ref_prev().unwrap().as_str()));
    });
}

#[test]
fn a_channel_is_tracked_once_by_each_key() {
    both(|kit| {
        let mut alice = kit.join(json!({ "key": "alice", "state": "none" }));
        kit.told(&mut [&mut alice]);
        assert_eq!(alice.ask("again", json!({}))["response"], json!({ "reason": "already" }));
    });
}

#[test]
fn who_goes_is_gone_however_it_goes() {
    type Ending = fn(View);
    let endings: [(&str, Ending); 5] = [
        ("Left true", |mut view| {
            view.client.leave(ROOM);
            view.client.settle();
        }),
        ("Closed true", |view| drop(view)),
        ("Crashed(\"the client asked for it\") true", |mut view| {
            view.client.push(ROOM, "crash", json!({}));
            view.client.settle();
        }),
        ("Stopped(Normal) true", |mut view| {
            view.client.push(ROOM, "stop", json!({}));
            view.client.settle();
        }),
        ("", |mut view| {
            // Another join takes its place, which is not told to it.
            view.client.join(ROOM, json!({ "state": "none" }));
            view.client.settle();
        }),
    ];
    both(|kit| {
        let mut watcher = kit.join(json!({}));
        for (said, end) in endings {
            let mut alice = kit.join(json!({ "key": "alice" }));
            kit.told(&mut [&mut watcher, &mut alice]);
            assert_eq!(watcher.state.as_ref().map(Refs::len), Some(1), "{said}");
            end(alice);
            if !said.is_empty() {
                assert_eq!(kit.ends.recv().unwrap(), said);
            }
            // The last words come before that of the presence.
            kit.told(&mut [&mut watcher]);
            assert_eq!(kit.presence.count(ROOM), 0, "{said}");
            assert_eq!(watcher.state.as_ref(), Some(&Refs::new()), "{said}");
        }
    });
}

#[test]
fn a_client_that_joins_again_keeps_no_ghost_of_what_its_earlier_channel_told() {
    both(|kit| {
        let mut alice = kit.join(json!({ "key": "alice" }));
        kit.told(&mut [&mut alice]);
        // It makes its page anew: its leave and its join are on their way, and what comes it holds for the new state.
        (alice.state, alice.states) = (None, 0);
        let mut ghost = kit.join(json!({ "key": "ghost" }));
        kit.told(&mut [&mut alice, &mut ghost]);
        assert_eq!(alice.held.len(), 1);
        alice.client.leave(ROOM);
        alice.client.settle();
        drop(ghost);
        kit.told(&mut [&mut alice]);
        alice.client.join(ROOM, json!({ "key": "alice" }));
        kit.told(&mut [&mut alice]);
        assert_eq!(alice.states, 2);
        alice.assert_is(&kit);

        // As does one whose join takes the place of its earlier one.
        alice.states = 0;
        alice.client.join(ROOM, json!({ "key": "alice" }));
        kit.told(&mut [&mut alice]);
        assert_eq!(alice.states, 2);
        let mut other = kit.join(json!({ "key": "other" }));
        kit.told(&mut [&mut alice, &mut other]);
        assert_eq!(other.states, 1);
        [&alice, &other].iter().for_each(|view| view.assert_is(&kit));
    });
}

#[test]
fn a_state_is_encoded_once_for_all_who_wait() {
    both(|kit| {
        let before = kit.presence.stats();
        let mut views: Vec<View> = (0..20).map(|n| kit.join(json!({ "key": format!("user{n}") }))).collect();
        kit.told(&mut views.iter_mut().collect::<Vec<_>>());
        let after = kit.presence.stats();
        // One epoch ends at once with whoever came first, the other when it is told to.
        assert_eq!(after.states - before.states, 20);
        assert!(after.states_encoded - before.states_encoded <= 2 && after.diffs - before.diffs <= 2, "{after:?}");
        views.iter().for_each(|view| view.assert_is(&kit));
    });
}

#[test]
fn a_large_state_comes_in_pages_that_a_client_asks_for() {
    for inline in [false, true] {
        let kit = Kit::new(inline, Presence::builder().state_metas_max(10));
        let mut views: Vec<View> =
            (0..25).map(|n| kit.join(json!({ "key": format!("user{n}"), "state": "none" }))).collect();
        kit.told(&mut views.iter_mut().collect::<Vec<_>>());
        let mut late = kit.join(json!({}));
        kit.told(&mut [&mut late]);
        assert_eq!(late.truncated.take(), Some(json!({ "keys": 25, "metas": 25, "next": 15 })));
        assert_eq!(late.state.as_ref().unwrap().len(), 10);
        for (next, then) in [(15, json!(5)), (5, Value::Null)] {
            late.client.push(ROOM, "more", json!({ "next": next }));
            kit.told(&mut [&mut late]);
            assert_eq!(late.truncated.take(), Some(json!({ "keys": 25, "metas": 25, "next": then })));
        }
        late.assert_is(&kit);
    }
}

#[test]
fn a_client_may_ask_for_the_count_alone() {
    both(|kit| {
        let mut alice = kit.join(json!({ "key": "alice" }));
        kit.told(&mut [&mut alice]);
        let mut view = kit.join(json!({ "state": "count" }));
        kit.told(&mut [&mut view]);
        assert_eq!(view.truncated, Some(json!({ "keys": 1, "metas": 1, "next": null })));
        assert_eq!(view.state, Some(Refs::new()));
    });
}

#[test]
fn the_clients_of_all_endpoints_of_an_engine_get_diffs() {
    let kit = Kit::new(false, Presence::builder());
    let other = {
        let (ends, _) = channel();
        endpoint(kit.endpoint.pubsub().clone(), true, Known { presence: kit.presence.clone(), ends })
    };
    let other = Kit { _watchdog: watch(), endpoint: other, presence: kit.presence.clone(), ends: channel().1 };
    let (mut here, mut there) = (kit.join(json!({ "key": "here" })), other.join(json!({ "key": "there" })));
    kit.told(&mut [&mut here, &mut there]);
    here.assert_is(&kit);
    there.assert_is(&kit);
    assert!(here.joins >= 1 && there.joins >= 1, "both were told by a diff");
}

/// A channel that wants to see the diffs itself.
struct Intercepting;

impl Channel for Intercepting {
    type Assigns = ();
    const INTERCEPT: &'static [&'static str] = &["presence_diff"];

    fn join(_: &str, _: &Payload, _: &mut Joining<'_, ()>) -> JoinResult<Self> {
        Ok(Intercepting.into())
    }

    fn handle_out(&mut self, message: &Message, socket: &mut ChannelSocket<'_, ()>) -> Flow {
        let diff: &fanfare::presence::Diff = message.downcast_ref().unwrap();
        let keys: Vec<&str> = diff.joins().iter().map(|present| present.key()).collect();
        socket.push("seen", json!({ "keys": keys })).unwrap();
        Flow::Continue
    }
}

#[test]
fn a_channel_may_intercept_diffs() {
    let _watchdog = watch();
    let pubsub = PubSub::builder().workers(1).build().unwrap();
    let presence = Presence::builder().start(&pubsub).unwrap();
    let router = Router::new().channel::<Intercepting>("room:*").unwrap();
    let endpoint = Endpoint::builder(pubsub).socket("/socket", Anyone, router).build();
    let mut client = Client::connect(&endpoint, "/socket", json!({})).unwrap();
    client.join_ok(ROOM, json!({}));
    let owner = fanfare::presence::Owner::new();
    presence.track((&owner, ROOM), "x", json!({})).unwrap();
    client.assert_push(ROOM, "seen", json!({ "keys": ["x"] }));
}

#[test]
fn an_old_client_gets_states_and_diffs_in_its_own_form() {
    let kit = Kit::new(false, Presence::builder());
    let mut old = Client::connect(&kit.endpoint, "/socket", json!({ "vsn": "1.0.0" })).unwrap();
    let join = json!({ "topic": ROOM, "event": "phx_join", "ref": "1", "join_ref": "1", "payload": { "key": "old" } });
    old.send_text(&join);
    old.settle();
    kit.presence.flush().unwrap();
    let frames: BTreeMap<String, Value> =
        (0..3).map(|_| text(&mut old)).map(|frame| (frame["event"].as_str().unwrap().to_owned(), frame)).collect();
    let metas = |value: &Value| value["old"]["metas"].as_array().unwrap().len();
    assert_eq!(metas(&frames["presence_state"]["payload"]), 1);
    assert_eq!(metas(&frames["presence_diff"]["payload"]["joins"]), 1);
}
