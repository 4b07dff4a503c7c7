//! What a hostile or unlucky client, a panicking callback or an engine that ends may do to the server, and may not.
#![cfg(feature = "server")]

mod common;
mod wire;

use common::{Blocker, watch};
use fanfare::channel::{Connect, ConnectInfo, Endpoint, Frame, Params, Router, Socket};
use fanfare::net::CheckOrigin;
use fanfare::net::http::Response;
use fanfare::net::server::{Echo, Options, RawOut, RawSocket, Server, SlowClient};
use fanfare::net::websocket::CloseCode;
use fanfare::{Context, Message, PubSub};
use serde_json::json;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use wire::{CLOSE, FIN, PING, PONG, TEXT, Wire};

const NEVER: Duration = Duration::from_secs(3600);

/// Options by which nothing ends for being idle.
fn patient() -> Options {
    wire::options(|options| {
        options.idle_timeout = NEVER;
        options.handshake_timeout = NEVER;
    })
}

/// A gate that a callback waits at: how many have come to it, and a way to let one through.
fn gate() -> (impl Fn() + Send + Sync + 'static, Receiver<()>, Sender<()>) {
    let (entered, enters) = channel();
    let (go, gone) = channel();
    let (entered, gone) = (Mutex::new(entered), Mutex::new(gone));
    let wait = move || {
        // Errors mean that the test has ended.
        let _ = entered.lock().unwrap().send(());
        let _ = gone.lock().unwrap().recv();
    };
    (wait, enters, go)
}

#[test]
fn a_short_idle_timeout_is_kept() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| {
        options.idle_timeout = Duration::from_millis(100);
        options.handshake_timeout = NEVER;
    });
    let server = wire::server(&pubsub, options, |server| server);
    assert_eq!(wire::socket(server.address()).close_code(), 1002);
}

#[test]
fn the_longest_timeouts_are_no_overflow() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| {
        options.idle_timeout = Duration::MAX;
        options.handshake_timeout = Duration::MAX;
        options.drain_interval = Duration::MAX;
    });
    let server = wire::server(&pubsub, options, |server| server);
    let mut client = wire::socket(server.address());
    client.heartbeat();
    let draining = std::thread::spawn(move || server.drain(Instant::now() + NEVER));
    assert_eq!(client.close_code(), 1012);
    drop(client);
    assert_eq!(draining.join().unwrap(), 0);
}

#[test]
fn a_client_that_trickles_a_head_is_cut_off() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| options.handshake_timeout = Duration::from_millis(200));
    let server = wire::server(&pubsub, options, |server| server);
    let silent = &mut Wire::connect(server.address());
    let trickling = &mut Wire::connect(server.address());
    // Each byte comes when the server has done something else, and none earns it more time.
    for byte in b"GET / HTTP/1.1\r\nhost: a\r\nx: ".iter().chain(std::iter::repeat(&b'x')) {
        use std::io::Write;
        if trickling.stream().write_all(&[*byte]).is_err() || trickling.stream().take_error().unwrap().is_some() {
            break;
        }
        assert_eq!(Wire::connect(server.address()).request("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 404);
    }
    assert_eq!((trickling.rest(), silent.rest()), (vec![], vec![]));
}

#[test]
fn a_request_that_is_kept_open_has_as_long_as_the_first() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| {
        options.idle_timeout = NEVER;
        options.handshake_timeout = Duration::from_millis(200);
    });
    let server = wire::server(&pubsub, options, |server| server);
    let mut client = Wire::connect(server.address());
    assert_eq!(client.request("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 404);
    client.send("GET / HTTP/1.1\r\n");
    assert_eq!(client.rest(), b"");
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_seen() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let server = wire::server(&pubsub, patient(), |server| server.raw("/echo", || Echo));
    let mut plain = Wire::connect(server.address());
    plain.request("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut echo = wire::open(server.address(), "/echo");
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    // Both come to the worker as one event.
    plain.send("GET / HTTP/1.1\r\nhost: a\r\n");
    plain.finish();
    echo.text("last");
    echo.finish();
    blocker.let_go();
    assert_eq!(plain.rest(), b"");
    echo.rest();
}

#[test]
fn a_client_that_only_listens_any_more_gets_its_answer() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let (wait, entered, go) = gate();
    let server = wire::server(&pubsub, patient(), |server| {
        server.route(move |_, _| {
            wait();
            Response::new(200).body("late")
        })
    });
    let mut client = Wire::connect(server.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    entered.recv().unwrap();
    client.finish();
    // The server has seen the end when it answers another, which was sent behind it on the same worker.
    let mut other = Wire::connect(server.address());
    assert_eq!(other.request("nonsense\r\n\r\n").status, 400);
    go.send(()).unwrap();
    assert_eq!(client.reply_to(true).body, "late");
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_close_that_comes_with_the_end_is_answered() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let server = wire::server(&pubsub, patient(), |server| server);
    let mut client = wire::socket(server.address());
    let blocker = Blocker::new(&pubsub, 0);
    blocker.block(&pubsub);
    client.frame(FIN | CLOSE, &4000_u16.to_be_bytes());
    client.finish();
    blocker.let_go();
    assert_eq!(client.close_code(), 1000);
}

#[test]
fn requests_whose_answers_are_not_read_wait() {
    let _watch = watch();
    const REQUESTS: usize = 300;
    let pubsub = wire::engine(1);
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = calls.clone();
    let server = wire::server(&pubsub, patient(), |server| {
        server.route(move |request, _| {
            if request.path == "/small" {
                return Response::new(200);
            }
            let call = counted.fetch_add(1, Ordering::Relaxed);
            Response::new(200).body(format!("{}{call}", "0".repeat(1 << 20)))
        })
    });
    let mut client = Wire::connect(server.address());
    client.send("GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(REQUESTS));
    // Until nothing more is answered while another client gets many answers.
    let mut other = Wire::connect(server.address());
    let (mut ahead, mut since) = (0, 0);
    while since < 300 {
        assert_eq!(other.request("GET /small HTTP/1.1\r\nhost: a\r\n\r\n").status, 200);
        let now = calls.load(Ordering::Relaxed);
        since = if now == ahead { since + 1 } else { 0 };
        ahead = now;
    }
    assert!(ahead < REQUESTS / 2, "{ahead} MiB of answers wait for a client that reads none");
    for call in 0..REQUESTS {
        assert_eq!(client.reply_to(true).body.parse(), Ok(call));
    }
}

#[test]
fn what_comes_while_a_callback_decides_waits_unread() {
    let _watch = watch();
    const FRAMES: usize = 3000;
    let pubsub = wire::engine(1);
    let (wait, entered, go) = gate();
    struct Slow<F>(F);
    impl<F: Fn() + Send + Sync + 'static> Socket for Slow<F> {
        type Assigns = ();
        fn connect(&self, _: &Params, _: &ConnectInfo) -> Connect<()> {
            (self.0)();
            Connect::Accept(())
        }
    }
    let router = Router::new().channel::<wire::Room>("room:*").unwrap();
    let endpoint = Endpoint::builder(pubsub.clone()).socket("/socket", Slow(wait), router).build();
    let options = wire::options(|options| {
        options.websocket.frame_bytes_max = 2048;
        options.websocket.message_bytes_max = 2048;
    });
    let server = Server::builder(endpoint).options(options).listen("127.0.0.1:0".parse().unwrap()).unwrap();
    let mut client = Wire::connect(server.address());
    client.send(wire::handshake("/socket/websocket?vsn=2.0.0", ""));
    entered.recv().unwrap();
    let mut writer = client.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        for n in 0..FRAMES {
            let message = json!([null, n.to_string(), "phoenix", "heartbeat", { "pad": "x".repeat(1000) }]);
            writer.write_all(&wire::frame(FIN | TEXT, message.to_string().as_bytes())).unwrap();
        }
    });
    // The server reads some of it meanwhile.
    for _ in 0..20 {
        assert_eq!(Wire::connect(server.address()).request("GET / HTTP/1.1\r\nhost: a\r\n\r\n").status, 404);
    }
    go.send(()).unwrap();
    assert_eq!(client.reply_to(true).status, 101);
    for n in 0..FRAMES {
        assert_eq!(client.json()[1], n.to_string());
    }
    writing.join().unwrap();
}

#[test]
fn a_decision_is_for_the_connection_that_asked_alone() {
    let _watch = watch();
    // More connections than a slot has generations: a slow answer must not go to a later connection of its slot.
    const GENERATIONS: usize = 1 << 15;
    let pubsub = wire::engine(1);
    let (wait, entered, go) = gate();
    let server = wire::server(&pubsub, patient(), |server| {
        server.route(move |request, _| {
            if request.path != "/fast" {
                wait();
            }
            Response::new(200).body(request.path.to_owned())
        })
    });
    let reset = |mut wire: Wire| {
        // Seen by the worker before the next connection is accepted: the answer ends it.
        wire.send("nonsense\r\n\r\n");
        wire.rest();
    };
    let first = Wire::connect(server.address());
    let abandoned = {
        let mut wire = first;
        wire.send("GET /first HTTP/1.1\r\nhost: a\r\n\r\n");
        entered.recv().unwrap();
        socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
        wire
    };
    drop(abandoned);
    for _ in 1..GENERATIONS {
        reset(Wire::connect(server.address()));
    }
    let mut second = Wire::connect(server.address());
    second.send("GET /second HTTP/1.1\r\nhost: a\r\n\r\n");
    entered.recv().unwrap();
    go.send(()).unwrap();
    go.send(()).unwrap();
    assert_eq!(second.reply_to(true).body, "/second");
}

/// Panics at every turn, or does as told.
struct Unruly;

impl RawSocket for Unruly {
    fn on_message(&mut self, message: Frame, out: &mut RawOut<'_>) {
        match message {
            Frame::Text(text) if text == "close" => out.close(CloseCode::GOING_AWAY, "told to"),
            Frame::Text(text) if text == "panic" => panic!("told to"),
            message => out.send(&message),
        }
    }

    fn on_close(&mut self) {
        panic!("at the end")
    }
}

#[test]
fn a_panic_of_a_callback_is_its_connections_alone() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| options.check_origin = CheckOrigin::callback(|_| panic!("no idea")));
    let made = AtomicUsize::new(0);
    let server = wire::server(&pubsub, options, |server| {
        server.raw("/unruly", || Unruly).raw("/unmade", move || -> Echo {
            assert_ne!(made.fetch_add(1, Ordering::Relaxed), 0, "no idea");
            Echo
        })
    });
    let mut other = wire::socket(server.address());
    let request = |request: String| Wire::connect(server.address()).request(&request).status;
    assert_eq!(request(wire::handshake("/socket/websocket", "origin: http://a.example\r\n")), 500);
    assert_eq!(request(wire::handshake("/unruly", "origin: http://a.example\r\n")), 500);
    assert_eq!(request(wire::handshake("/unmade", "")), 500);
    wire::open(server.address(), "/unmade");
    let mut unruly = wire::open(server.address(), "/unruly");
    unruly.text("panic");
    assert_eq!(unruly.close_code(), 1011);
    other.heartbeat();
    assert_eq!(pubsub.stats().panics, 0, "no panic reached the engine");
}

#[test]
fn a_socket_that_has_closed_or_panicked_gets_no_more_messages() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let server = wire::server(&pubsub, patient(), |server| server.raw("/unruly", || Unruly));
    for (last, code) in [("close", 1001), ("panic", 1011)] {
        let mut client = wire::open(server.address(), "/unruly");
        let frames = ["one", last, "two", "panic"].map(|text| wire::frame(FIN | TEXT, text.as_bytes()));
        client.send(frames.concat());
        assert_eq!(client.next(), (TEXT, b"one".to_vec()));
        assert_eq!(client.close_code(), code);
    }
}

/// Of broadcasts that add up to more than the system buffers for one connection.
const BROADCASTS: u64 = 500;

/// One of them.
fn tick(n: u64) -> serde_json::Value {
    json!({ "n": n, "pad": "x".repeat(64 << 10) })
}

#[test]
fn a_slow_client_is_closed_and_counted_and_costs_nobody_else() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let options = wire::options(|options| options.outbound_bytes_max = 128 << 10);
    let server = wire::server(&pubsub, options, |server| server);
    let mut slow = wire::socket(server.address());
    let mut fast: Vec<Wire> = (0..4).map(|_| wire::socket(server.address())).collect();
    slow.join("room:a");
    fast.iter_mut().for_each(|client| client.join("room:a"));
    for n in 0..BROADCASTS {
        server.endpoint().broadcast("room:a", "tick", tick(n)).unwrap();
        for client in &mut fast {
            let message = client.json();
            assert_eq!((&message[3], &message[4]["n"]), (&json!("tick"), &json!(n)));
        }
    }
    assert_eq!(server.stats().slow, 1);
    let mut next = 0;
    let code = loop {
        match slow.next() {
            (TEXT, payload) => {
                let message: serde_json::Value = serde_json::from_slice(&payload).unwrap();
                assert_eq!(message[4]["n"], next, "in order, up to the close");
                next += 1;
            }
            (CLOSE, payload) => break u16::from_be_bytes([payload[0], payload[1]]),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1013);
    assert!(next < BROADCASTS);
    assert_eq!(slow.try_next(), None);
}

#[test]
fn a_slow_client_may_lose_frames_and_be_told_how_many() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| {
        options.outbound_bytes_max = 128 << 10;
        options.slow_client = SlowClient::Drop;
    });
    let server = wire::server(&pubsub, options, |server| server);
    let mut slow = wire::socket(server.address());
    slow.join("room:a");
    let mut fast = wire::socket(server.address());
    fast.join("room:a");
    for n in 0..BROADCASTS {
        server.endpoint().broadcast("room:a", "tick", tick(n)).unwrap();
        assert_eq!(fast.json()[4]["n"], n);
    }
    let (mut next, mut lost) = (0, 0);
    while next + lost < BROADCASTS {
        let message = slow.json();
        if message[3] == "lagged" {
            assert_eq!(message[2], "phoenix");
            lost += message[4]["dropped"].as_u64().unwrap();
        } else {
            assert!(message[4]["n"].as_u64().unwrap() >= next, "in order");
            next += 1;
        }
    }
    assert!(lost > 0);
    assert_eq!(server.stats().slow, lost);
    slow.heartbeat();
}

#[test]
fn a_flood_of_pings_that_are_not_answered_for_is_bounded() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let options = wire::options(|options| {
        options.outbound_bytes_max = 128 << 10;
        // After its close it is read for so long.
        options.handshake_timeout = Duration::from_millis(500);
    });
    let server = wire::server(&pubsub, options, |server| server.raw("/echo", || Echo));
    let mut client = wire::open(server.address(), "/echo");
    let ping = wire::frame(FIN | PING, &[7; 100]).repeat(100);
    let mut writer = client.stream().try_clone().unwrap();
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        while writer.write_all(&ping).is_ok() {}
    });
    // It does not read until the server has had enough of it.
    writing.join().unwrap();
    while let Some((opcode, payload)) = client.try_next() {
        assert!(matches!(opcode, PONG | CLOSE), "{opcode} {payload:?}");
    }
    assert_eq!(server.stats().slow, 1);
}

#[test]
fn what_was_accepted_is_sent_before_the_engine_ends() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let server = wire::server(&pubsub, patient(), |server| server);
    let mut clients: Vec<Wire> = (0..6).map(|_| wire::socket(server.address())).collect();
    clients.iter_mut().for_each(|client| client.join("room:a"));
    for n in 0..100 {
        server.endpoint().broadcast("room:a", "tick", json!({ "n": n })).unwrap();
    }
    pubsub.shutdown(Duration::from_secs(10)).unwrap();
    for client in &mut clients {
        for n in 0..100 {
            assert_eq!(client.json()[4]["n"], n);
        }
        assert_eq!(client.close_code(), 1012);
    }
    assert_eq!(server.drain(Instant::now() + NEVER), 0);
}

#[test]
fn a_server_goes_and_its_engine_stays() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let mut mailbox = pubsub.subscriber().build().unwrap();
    mailbox.subscribe("room:a").unwrap();
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let mut before = 0;
    for round in 0..20 {
        let server = wire::server(&pubsub, patient(), |server| server);
        let address = server.address();
        let mut client = wire::socket(address);
        client.join("room:a");
        drop(server);
        assert_eq!(client.close_code(), 1012);
        drop(client);
        // The port is free when all workers have let go of it.
        while std::net::TcpStream::connect(address).is_ok() {}
        pubsub.broadcast("room:a", "still", json!({})).unwrap();
        assert_eq!(mailbox.recv().unwrap().event(), "still");
        pubsub.flush().unwrap();
        if round == 1 {
            before = descriptors();
        }
    }
    // Other tests of this process open some meanwhile; what a server leaves would be three for each.
    assert!(descriptors() < before + 40 || cfg!(not(target_os = "linux")), "{before} descriptors, {}", descriptors());
}

#[test]
fn what_cannot_serve_says_so_and_does_not_wait() {
    let _watch = watch();
    let listen = |pubsub: &PubSub| {
        let server = Server::builder(wire::endpoint(pubsub)).listen("127.0.0.1:0".parse().unwrap());
        server.map(|server| server.address()).map_err(|error| error.kind())
    };
    let parking = PubSub::builder().workers(1).build().unwrap();
    assert_eq!(listen(&parking), Err(ErrorKind::Unsupported));
    let pubsub = wire::engine(2);
    let (say, said) = channel();
    let endpoint = wire::endpoint(&pubsub);
    let on_worker = pubsub
        .subscriber()
        .handler(move |_: &Message, _: &mut Context<'_>| {
            let server = Server::builder(endpoint.clone()).listen("127.0.0.1:0".parse().unwrap());
            say.send(server.err().map(|error| error.kind())).unwrap();
        })
        .unwrap();
    on_worker.subscribe("go").unwrap();
    // From a worker's own broadcast, not from one that is delivered in place.
    let relay = pubsub.clone();
    let first = pubsub
        .subscriber()
        .handler(move |_: &Message, _: &mut Context<'_>| {
            relay.broadcast("go", "go", json!({})).unwrap();
        })
        .unwrap();
    first.subscribe("first").unwrap();
    pubsub.broadcast("first", "first", json!({})).unwrap();
    assert_eq!(said.recv().unwrap(), Some(ErrorKind::Deadlock));
    drop((on_worker, first));
    pubsub.shutdown(Duration::from_secs(10)).unwrap();
    assert_eq!(listen(&pubsub), Err(ErrorKind::Other));
}

#[test]
fn two_servers_share_an_engine() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let one = wire::server(&pubsub, patient(), |server| server);
    let two = wire::server(&pubsub, patient(), |server| server);
    let mut clients = [one.address(), two.address(), one.address(), two.address()].map(wire::socket);
    clients.iter_mut().for_each(|client| client.join("room:a"));
    one.endpoint().broadcast("room:a", "tick", json!({ "n": 1 })).unwrap();
    clients.iter_mut().for_each(|client| assert_eq!(client.json()[4], json!({ "n": 1 })));
    let draining = std::thread::spawn(move || one.drain(Instant::now() + NEVER));
    let [mut a, mut b, mut c, mut d] = clients;
    assert_eq!((a.close_code(), c.close_code()), (1012, 1012));
    drop((a, c));
    assert_eq!(draining.join().unwrap(), 0);
    two.endpoint().broadcast("room:a", "tick", json!({ "n": 2 })).unwrap();
    [&mut b, &mut d].into_iter().for_each(|client| assert_eq!(client.json()[4], json!({ "n": 2 })));
}

#[test]
fn a_drain_waits_for_connects_that_are_being_decided() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let (wait, entered, go) = gate();
    let options = wire::options(|options| options.drain_interval = Duration::from_millis(10));
    let server = wire::server(&pubsub, options, |server| {
        server.route(move |_, _| {
            wait();
            Response::new(200)
        })
    });
    let address = server.address();
    let mut client = Wire::connect(address);
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    entered.recv().unwrap();
    let draining = std::thread::spawn(move || server.drain(Instant::now() + NEVER));
    while std::net::TcpStream::connect(address).is_ok() {}
    go.send(()).unwrap();
    assert_eq!(client.reply_to(true).status, 200);
    assert_eq!(client.rest(), b"");
    assert_eq!(draining.join().unwrap(), 0);
}

#[test]
fn a_callback_that_never_returns_is_cut_off_at_the_drains_end() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let (wait, entered, _go) = gate();
    let server = wire::server(&pubsub, patient(), |server| {
        server.route(move |_, _| {
            wait();
            Response::new(200)
        })
    });
    let mut client = Wire::connect(server.address());
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    entered.recv().unwrap();
    assert_eq!(server.drain(Instant::now() + Duration::from_millis(50)), 1);
    assert_eq!(client.rest(), b"");
}

#[test]
fn resets_at_every_phase_leave_nothing_behind() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let server = wire::server(&pubsub, patient(), |server| server.raw("/echo", || Echo));
    let reset = |wire: Wire| socket2::SockRef::from(wire.stream()).set_linger(Some(Duration::ZERO)).unwrap();
    let opens = ["/socket/websocket?vsn=2.0.0", "/echo"].map(|target| wire::handshake(target, ""));
    for _ in 0..50 {
        for start in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: a\r\n\r\n", &opens[0], &opens[1]] {
            let mut wire = Wire::connect(server.address());
            wire.send(start);
            reset(wire);
        }
        let mut joined = wire::socket(server.address());
        joined.join("room:a");
        joined.send([FIN | TEXT, 0xFE]);
        reset(joined);
    }
    let mut last = wire::socket(server.address());
    last.join("room:a");
    while server.stats().connections > 1 || pubsub.subscriber_count("room:a") > 1 {
        last.heartbeat();
    }
}
