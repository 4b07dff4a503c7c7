//! The WebSocket endpoint from outside, on real sockets: who may connect and how the others are refused, frames, close
//! codes, and plain HTTP on the same connections.
#![cfg(feature = "server")]

mod common;
mod wire;

use common::watch;
use fanfare::channel::{Connect, ConnectInfo, Endpoint, Params, Router, Socket};
use fanfare::net::http::Response;
use fanfare::net::server::{Echo, Options, Server};
use fanfare::net::{CheckOrigin, Subprotocols};
use fanfare::{Payload, PubSub};
use serde_json::{Value, json};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use wire::{ACCEPT, BINARY, CLOSE, FIN, PING, PONG, Reply, TEXT, Wire, handshake};

const NEVER: Duration = Duration::from_secs(3600);

/// Notes who asks, and refuses as the parameter `refuse` says.
#[derive(Clone, Default)]
struct Doorman(Arc<Mutex<Vec<(Value, ConnectInfo)>>>);

impl Doorman {
    fn take(&self) -> Vec<(Value, ConnectInfo)> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Socket for Doorman {
    type Assigns = Option<String>;

    fn connect(&self, params: &Params, info: &ConnectInfo) -> Connect<Option<String>> {
        self.0.lock().unwrap().push((Value::Object(params.clone()), info.clone()));
        match params.get("refuse").and_then(Value::as_str) {
            None => Connect::Accept(params.get("user").and_then(Value::as_str).map(|user| format!("user:{user}"))),
            Some("plain") => Connect::Refuse,
            Some("panic") => panic!("as the client wants"),
            Some(_) => Connect::RefuseWith(429, "Too many requests".to_owned()),
        }
    }

    fn id(&self, id: &Option<String>) -> Option<String> {
        id.clone()
    }
}

/// A server with a doorman at `/socket`, `/echo`, and a route that tells what it got.
fn serve(pubsub: &PubSub, options: Options) -> (Server, Doorman) {
    let doorman = Doorman::default();
    let router = || Router::new().channel::<RoomOf>("room:*").unwrap();
    let endpoint = Endpoint::builder(pubsub.clone()).socket("/socket", doorman.clone(), router()).build();
    let builder = Server::builder(endpoint).options(options).raw("/echo", || Echo).route(|request, body| {
        let what = format!("{} {} {}", request.method, request.path, String::from_utf8_lossy(body));
        Response::new(if request.path == "/none" { 404 } else { 200 }).typed_body("text/plain", what)
    });
    (builder.listen("127.0.0.1:0".parse().unwrap()).unwrap(), doorman)
}

/// `Room`, for the doorman's assigns.
struct RoomOf;

impl fanfare::channel::Channel for RoomOf {
    type Assigns = Option<String>;

    fn join(
        _: &str,
        _: &Payload,
        _: &mut fanfare::channel::Joining<'_, Option<String>>,
    ) -> fanfare::channel::JoinResult<Self> {
        Ok(RoomOf.into())
    }
}

fn request(server: &Server, text: &str) -> Reply {
    Wire::connect(server.address()).request(text)
}

#[test]
fn the_answer_to_a_handshake_is_exactly_this() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let mut client = Wire::connect(server.address());
    // With the close behind it the server ends the connection, so that all it says can be read.
    client.send([handshake("/socket/websocket?vsn=2.0.0", "").as_bytes(), &wire::frame(FIN | CLOSE, b"")].concat());
    let expected = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {ACCEPT}\r\n\r\n"
    );
    assert_eq!(client.rest(), [expected.as_bytes(), &[0x88, 2, 0x03, 0xE8]].concat());
    let mut refused = Wire::connect(server.address());
    refused.send(handshake("/socket/websocket?refuse=plain", ""));
    let expected = "HTTP/1.1 403 Forbidden\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(refused.rest()).unwrap(), expected);
}

#[test]
fn only_get_is_accepted_and_connect_is_not_called_for_others() {
    let _watch = watch();
    let (server, doorman) = serve(&wire::engine(1), Options::default());
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "HEAD"] {
        let reply = request(&server, &handshake("/socket/websocket", "").replacen("GET", method, 1));
        assert_eq!((reply.status, &*reply.body), (400, ""), "{method}");
    }
    assert!(doorman.take().is_empty());
}

#[test]
fn what_is_no_upgrade_is_told_why_after_connect_was_asked() {
    let _watch = watch();
    let (server, doorman) = serve(&wire::engine(1), Options::default());
    let whole = handshake("/socket/websocket?vsn=2.0.0", "");
    let cases = [
        ("connection: Upgrade", "connection: close", "'connection' header must contain 'upgrade', got [\"close\"]"),
        ("upgrade: websocket", "upgrade: h2c", "'upgrade' header must contain 'websocket', got [\"h2c\"]"),
        ("version: 13", "version: 12", "'sec-websocket-version' header must equal '13', got [\"12\"]"),
    ];
    for (good, bad, why) in cases {
        let reply = request(&server, &whole.replacen(good, bad, 1));
        assert_eq!((reply.status, &*reply.body, reply.header("content-type")), (400, why, None));
        assert_eq!(doorman.take().len(), 1, "connect is asked before the upgrade is looked at");
    }
    let refused = whole.replacen("version: 13", "version: 12", 1).replacen("?", "?refuse=x&", 1);
    assert_eq!(request(&server, &refused).status, 429, "so its refusal wins");
}

#[test]
fn a_version_that_nobody_speaks_is_refused_and_connect_not_called() {
    let _watch = watch();
    let (server, doorman) = serve(&wire::engine(1), Options::default());
    for query in ["vsn=123.1.1", "vsn=2.1.0", "vsn=1.1.0", "vsn=2.0", "vsn=", "vsn", "vsn=x", "vsn[]=1", "vsn[a]=2.0.0"]
    {
        let reply = request(&server, &handshake(&format!("/socket/websocket?{query}"), ""));
        assert_eq!((reply.status, &*reply.body), (403, ""), "{query}");
    }
    assert!(doorman.take().is_empty());
    // The last of several counts, as everywhere in a query.
    wire::open(server.address(), "/socket/websocket?vsn=9.9.9&vsn=2.0.0").heartbeat();
}

#[test]
fn without_a_version_it_is_the_first() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    for target in ["/socket/websocket", "/socket/websocket?vsn=1.0.0", "/socket/websocket?vsn=1.0.7"] {
        let mut client = wire::open(server.address(), target);
        let answer = client.ask(&json!({ "topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "1" }));
        let payload = json!({ "status": "ok", "response": {} });
        assert_eq!(answer, json!({ "topic": "phoenix", "event": "phx_reply", "payload": payload, "ref": "1" }));
    }
}

#[test]
fn connect_refuses_with_403_or_as_it_says() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let refusal = |how| {
        let reply = request(&server, &handshake(&format!("/socket/websocket?vsn=2.0.0&refuse={how}"), ""));
        assert_eq!(reply.header("connection"), Some("close"));
        (reply.status, reply.body)
    };
    assert_eq!(refusal("plain"), (403, String::new()));
    assert_eq!(refusal("with"), (429, "Too many requests".to_owned()));
    assert_eq!(refusal("panic"), (500, String::new()));
}

#[test]
fn the_query_then_the_origin_then_the_token_then_the_subprotocol_then_connect() {
    let _watch = watch();
    let options = wire::options(|options| {
        options.check_origin = CheckOrigin::list(["//good.example"]).unwrap();
        options.subprotocols = Subprotocols::supported(["mqtt"]).with_auth_token();
    });
    let (server, doorman) = serve(&wire::engine(1), options);
    let (good, bad) = ("origin: http://good.example\r\n", "origin: http://bad.example\r\n");
    let (token, none) = ("sec-websocket-protocol: base64url.bearer.phx.!\r\n", "sec-websocket-protocol: unknown\r\n");
    let status = |query: &str, headers: &[&str]| {
        request(&server, &handshake(&format!("/socket/websocket?{query}"), &headers.concat())).status
    };
    assert_eq!(status("a=%zz", &[bad, token]), 400);
    assert_eq!(status("a=1", &[bad, token]), 403);
    assert_eq!(status("a=1", &[good, token]), 400);
    assert_eq!(status("refuse=with", &[good, none]), 403);
    assert!(doorman.take().is_empty());
    assert_eq!(status("refuse=with", &[good]), 429);
    assert_eq!(doorman.take().len(), 1);
}

#[test]
fn connect_gets_all_parameters_nested_ones_too() {
    let _watch = watch();
    let (server, doorman) = serve(&wire::engine(1), Options::default());
    wire::open(server.address(), "/socket/websocket?a[b]=c&a[d][]=1&a[d][]=2&e=f%20g+h&user_id=1&vsn=2.0.0");
    let expected = json!({ "a": { "b": "c", "d": ["1", "2"] }, "e": "f g h", "user_id": "1", "vsn": "2.0.0" });
    assert_eq!(doorman.take()[0].0, expected);
}

#[test]
fn connect_is_told_about_the_request_but_not_its_secrets() {
    let _watch = watch();
    let (server, doorman) = serve(&wire::engine(1), Options::default());
    let mut client = Wire::connect(server.address());
    let headers = "user-agent: a browser\r\nX-Forwarded-For: 1.2.3.4\r\ncookie: secret=1\r\nauthorization: secret\r\n\
                   traceparent: t\r\nsec-websocket-protocol: phoenix, base64url.bearer.phx.dG9rZW4\r\n";
    let text = handshake("/socket/websocket?vsn=2.0.0", headers).replacen("localhost", "a.example:4000", 1);
    let reply = client.request(&text);
    assert_eq!((reply.status, reply.header("sec-websocket-protocol")), (101, Some("phoenix")));
    let (_, info) = doorman.take().remove(0);
    assert_eq!(info.peer, Some(client.stream().local_addr().unwrap()));
    assert_eq!(info.user_agent.as_deref(), Some("a browser"));
    assert_eq!(info.x_headers, [("x-forwarded-for".to_owned(), "1.2.3.4".to_owned())]);
    assert_eq!(info.trace_context_headers, [("traceparent".to_owned(), "t".to_owned())]);
    assert_eq!((&*info.uri.scheme, &*info.uri.host, info.uri.port), ("http", "a.example", Some(4000)));
    assert_eq!((&*info.uri.path, info.uri.query.as_deref()), ("/socket/websocket", Some("vsn=2.0.0")));
    assert_eq!(info.auth_token.as_ref().and_then(|token| token.as_str()), Some("token"));
    assert!(info.sec_websocket_headers.iter().any(|(name, value)| name == "sec-websocket-key" && value == wire::KEY));
    assert!(info.sec_websocket_headers.iter().all(|(_, value)| !value.contains("bearer")));
    assert!(!format!("{info:?}").contains("secret"));
}

#[test]
fn origins_are_checked_in_every_form() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let check = |policy: CheckOrigin, cases: &[(&str, bool)]| {
        let (server, doorman) = serve(&pubsub, wire::options(|options| options.check_origin = policy.clone()));
        for (origin, allowed) in cases {
            let header = format!("origin: {origin}\r\n");
            let reply = request(&server, &handshake("/socket/websocket?vsn=2.0.0", &header));
            assert_eq!(reply.status, if *allowed { 101 } else { 403 }, "{policy:?} {origin}");
            assert_eq!(doorman.take().len(), usize::from(*allowed));
            let reply = request(&server, &handshake("/echo", &header));
            assert_eq!(reply.status, if *allowed { 101 } else { 403 }, "{policy:?} {origin}: a raw socket");
        }
        // No browser comes without the header.
        wire::open(server.address(), "/socket/websocket?vsn=2.0.0");
    };
    check(CheckOrigin::Off, &[("http://any.example", true), ("null", true), ("file://", true)]);
    let host = CheckOrigin::Host("a.example".to_owned());
    check(host, &[("https://a.example:81", true), ("http://b.example", false), ("null", false), ("", false)]);
    let list = CheckOrigin::list(["//a.example", "http://b.example", "//*.c.example", "//d.example:81"]).unwrap();
    let cases = [
        ("https://a.example:9", true),
        ("http://a.example/", true),
        ("http://b.example", true),
        ("http://b.example:8080", false),
        ("https://b.example", false),
        ("http://c.example", true),
        ("http://x.y.c.example", true),
        ("http://x-c.example", false),
        ("http://x.a.example", false),
        ("http://d.example:81", true),
        ("http://d.example", false),
        ("null", false),
    ];
    check(list, &cases);
    let conn = [("http://localhost", true), ("http://localhost:80", true), ("https://localhost", false)];
    check(CheckOrigin::Conn, &conn);
    let callback = CheckOrigin::callback(|origin| origin.host.is_none() || origin.port == Some(7));
    check(callback, &[("null", true), ("http://a:7", true), ("http://a:8", false)]);
}

#[test]
fn subprotocols_are_chosen_from_the_servers_list() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let chosen = |own: Subprotocols, offered: &str| {
        let (server, _) = serve(&pubsub, wire::options(|options| options.subprotocols = own));
        let header = format!("sec-websocket-protocol: {offered}\r\n");
        let reply = request(&server, &handshake("/socket/websocket?vsn=2.0.0", &header));
        (reply.status, reply.header("sec-websocket-protocol").map(str::to_owned))
    };
    let token = "phoenix, base64url.bearer.phx.YQ";
    assert_eq!(chosen(Subprotocols::none(), token), (101, None));
    assert_eq!(chosen(Subprotocols::none().with_auth_token(), token), (101, Some("phoenix".to_owned())));
    assert_eq!(chosen(Subprotocols::supported(["a", "b"]), "b, a"), (101, Some("a".to_owned())));
    assert_eq!(chosen(Subprotocols::supported(["a"]), "b"), (403, None));
}

#[test]
fn mounts_below_each_other_are_different_sockets_and_match_whole_segments() {
    let _watch = watch();
    let [outer, inner] = [Doorman::default(), Doorman::default()];
    let router = || Router::new().channel::<RoomOf>("room:*").unwrap();
    let endpoint = Endpoint::builder(wire::engine(1)).socket("/ws", outer.clone(), router());
    let endpoint = endpoint.socket("/ws/admin", inner.clone(), router()).build();
    let server = Server::builder(endpoint).listen("127.0.0.1:0".parse().unwrap()).unwrap();
    wire::open(server.address(), "/ws/websocket?vsn=2.0.0");
    assert_eq!((outer.take().len(), inner.take().len()), (1, 0));
    wire::open(server.address(), "/ws/admin/websocket?vsn=2.0.0");
    assert_eq!((outer.take().len(), inner.take().len()), (0, 1));
    for path in
        ["/ws", "/ws/x/websocket", "/ws/websocket/x", "/w/websocket", "/wsx/websocket", "/websocket", "/WS/websocket"]
    {
        assert_eq!(request(&server, &handshake(path, "")).status, 404, "{path}");
    }
    assert_eq!((outer.take().len(), inner.take().len()), (0, 0));
}

#[test]
fn whoever_sends_nothing_is_closed_and_any_frame_counts_as_something() {
    let _watch = watch();
    let options = wire::options(|options| options.idle_timeout = Duration::from_secs(1));
    let (server, _) = serve(&wire::engine(1), options);
    let address = server.address();
    let mut lively = wire::socket(address);
    let (end, ended) = channel();
    let silent = std::thread::spawn(move || {
        let code = wire::socket(address).close_code();
        end.send(()).unwrap();
        code
    });
    // Longer than the silent one lives.
    while ended.try_recv().is_err() {
        lively.frame(FIN | PONG, b"");
        lively.frame(FIN | PING, b"?");
        assert_eq!(lively.next(), (PONG, b"?".to_vec()));
    }
    assert_eq!(silent.join().unwrap(), 1002);
    lively.heartbeat();
}

#[test]
fn disconnect_closes_the_connections_of_one_user_with_1001() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(2), Options::default());
    let of = |user: &str| wire::open(server.address(), &format!("/socket/websocket?vsn=2.0.0&user={user}"));
    let mut both = [of("1"), of("1")];
    let mut other = of("2");
    both.iter_mut().chain([&mut other]).for_each(Wire::heartbeat);
    server.endpoint().broadcast("user:1", "something else", json!({})).unwrap();
    server.endpoint().disconnect("user:1").unwrap();
    assert_eq!(both.map(|mut wire| wire.close_code()), [1001, 1001]);
    other.heartbeat();
}

#[test]
fn a_drain_closes_all_with_1012_in_batches() {
    let _watch = watch();
    let options = wire::options(|options| {
        options.drain_batch = 2;
        options.drain_interval = Duration::from_millis(1);
    });
    let (server, _) = serve(&wire::engine(2), options);
    let address = server.address();
    let mut sockets: Vec<Wire> = (0..9).map(|_| wire::socket(address)).collect();
    sockets.push(wire::open(address, "/echo"));
    let mut idle = Wire::connect(address);
    idle.request("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let draining = std::thread::spawn(move || server.drain(Instant::now() + NEVER));
    sockets.into_iter().for_each(|mut wire| assert_eq!(wire.close_code(), 1012));
    assert_eq!(idle.rest(), b"");
    drop(idle);
    assert_eq!(draining.join().unwrap(), 0);
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens");
}

#[test]
fn the_clients_own_close_is_answered_with_1000() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    for payload in [&b""[..], b"\x03\xe8", b"\x03\xe9bye", b"\x0f\xa0"] {
        for target in ["/socket/websocket?vsn=2.0.0", "/echo"] {
            let mut client = wire::open(server.address(), target);
            client.send([wire::frame(FIN | CLOSE, payload), wire::frame(FIN | PING, b"ignored")].concat());
            assert_eq!(client.close_code(), 1000, "{target} {payload:?}");
        }
    }
}

#[test]
fn what_the_serializer_cannot_read_closes_with_1011() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let (v1, v2) = ("/socket/websocket?vsn=1.0.0", "/socket/websocket?vsn=2.0.0");
    let cases: [(&str, u8, &[u8]); 13] = [
        (v2, TEXT, b"not json"),
        (v2, TEXT, b""),
        (v2, TEXT, br#"["1","1","room:a","phx_join"]"#),
        (v2, TEXT, br#"{"topic":"phoenix","event":"heartbeat","payload":{},"ref":"1"}"#),
        (v2, TEXT, b"7"),
        (v2, BINARY, b""),
        (v2, BINARY, b"\x00\x01"),
        (v2, BINARY, b"\x00\x05\x01\x01\x01abc"),
        (v2, BINARY, b"\x01\x00\x00\x00\x00"),
        (v2, BINARY, b"\x09\x00\x00\x00\x00"),
        (v1, TEXT, br#"[null,"1","phoenix","heartbeat",{}]"#),
        (v1, TEXT, br#"{"topic":"phoenix","event":"heartbeat","ref":"1"}"#),
        (v1, BINARY, b"\x00\x00\x01\x01\x01abc"),
    ];
    for (target, opcode, payload) in cases {
        let mut client = wire::open(server.address(), target);
        client.frame(FIN | opcode, payload);
        assert_eq!(client.close_code(), 1011, "{}", String::from_utf8_lossy(payload));
    }
}

#[test]
fn what_breaks_the_protocol_closes_with_its_code() {
    let _watch = watch();
    let options = wire::options(|options| {
        options.websocket.frame_bytes_max = 1000;
        options.websocket.message_bytes_max = 1500;
    });
    let (server, _) = serve(&wire::engine(1), options);
    let fragments = [wire::frame(TEXT, &[b'a'; 1000]), wire::frame(FIN, &[b'a'; 501])].concat();
    let cases: [(&[u8], u16); 10] = [
        // A length that is announced, with nothing behind it.
        (&[FIN | TEXT, 0xFE, 0x03, 0xE9, 1, 2, 3, 4], 1009),
        (&[FIN | BINARY, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1, 2, 3, 4], 1009),
        (&fragments, 1009),
        (&wire::frame(FIN | TEXT, b"\xff"), 1007),
        (&wire::frame(TEXT, b"\xc3("), 1007),
        (&[FIN | TEXT, 1, b'a'], 1002),
        (&wire::frame(FIN | 3, b""), 1002),
        (&wire::frame(FIN | 0x40 | TEXT, b"a"), 1002),
        (&wire::frame(FIN, b"a"), 1002),
        (&wire::frame(FIN | CLOSE, b"\x03"), 1002),
    ];
    for (bytes, code) in cases {
        for target in ["/socket/websocket?vsn=2.0.0", "/echo"] {
            let mut client = wire::open(server.address(), target);
            client.send(bytes);
            assert_eq!(client.close_code(), code, "{target} {:?}", &bytes[..2]);
        }
    }
    // What is as long as it may be is not refused.
    let mut client = wire::open(server.address(), "/echo");
    client.send([wire::frame(TEXT, &[b'a'; 1000]), wire::frame(FIN, &[b'a'; 500])].concat());
    assert_eq!(client.next(), (TEXT, vec![b'a'; 1500]));
}

#[test]
fn pings_are_answered_and_control_frames_go_between_fragments() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let mut client = wire::socket(server.address());
    client.frame(FIN | PING, &[9; 125]);
    assert_eq!(client.next(), (PONG, vec![9; 125]));
    client.frame(FIN | PONG, b"nobody asked");
    let text = json!([null, "1", "phoenix", "heartbeat", {}]).to_string();
    let (one, rest) = text.as_bytes().split_at(3);
    let (two, three) = rest.split_at(10);
    client.frame(TEXT, one);
    client.frame(FIN | PING, b"between");
    assert_eq!(client.next(), (PONG, b"between".to_vec()));
    // The last pieces byte by byte.
    let last = [wire::frame(0, two), wire::frame(FIN | PONG, b""), wire::frame(FIN, three)].concat();
    last.iter().for_each(|byte| client.send([*byte]));
    assert_eq!(client.json()[1], "1");
}

#[test]
fn frames_right_behind_the_handshake_are_not_lost() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(2), Options::default());
    for target in ["/socket/websocket?vsn=2.0.0", "/echo"] {
        let mut client = Wire::connect(server.address());
        let beat = |n: u32| json!([null, n.to_string(), "phoenix", "heartbeat", {}]).to_string();
        let frames: Vec<u8> = (0..100).flat_map(|n| wire::frame(FIN | TEXT, beat(n).as_bytes())).collect();
        // Cut inside of the last frame.
        let all = [handshake(target, "").as_bytes(), &frames].concat();
        client.send(&all[..all.len() - 7]);
        assert_eq!(client.reply_to(true).status, 101);
        (0..99).for_each(|n: u32| assert_eq!(client.json()[1], n.to_string()));
        client.send(&all[all.len() - 7..]);
        assert_eq!(client.json()[1], "99");
    }
}

#[test]
fn a_burst_arrives_whole_and_in_order_by_both_versions() {
    let _watch = watch();
    let pubsub = wire::engine(2);
    let server = wire::server(&pubsub, Options::default(), |server| server);
    let mut second: Vec<Wire> = (0..6).map(|_| wire::socket(server.address())).collect();
    second.iter_mut().for_each(|client| client.join("room:a"));
    let mut first = wire::open(server.address(), "/socket/websocket");
    let reply = first.ask(&json!({ "topic": "room:a", "event": "phx_join", "payload": {}, "ref": "1" }));
    assert_eq!(reply["payload"]["status"], "ok");
    for n in 0..1000 {
        server.endpoint().broadcast("room:a", "tick", json!({ "n": n })).unwrap();
    }
    for n in 0..1000 {
        let text = format!(r#"[null,null,"room:a","tick",{{"n":{n}}}]"#);
        second.iter_mut().for_each(|client| assert_eq!(client.next(), (TEXT, text.clone().into_bytes())));
        let message = json!({ "topic": "room:a", "event": "tick", "payload": { "n": n }, "ref": null });
        assert_eq!(first.json(), message);
    }
}

#[test]
fn a_connection_serves_one_request_after_the_other() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let mut client = Wire::connect(server.address());
    let ok = client.request("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!((ok.status, &*ok.body, ok.header("connection")), (200, "GET /a ", None));
    let none = client.request("GET /none HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(none.status, 404);
    let head = client.request("HEAD /b HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(
        (head.status, head.header("content-length"), head.header("content-type")),
        (200, Some("8"), Some("text/plain"))
    );
    // Two at once, one with a body that comes late.
    client.send("POST /c HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\none");
    client.send("POST /d HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nt");
    assert_eq!(client.reply_to(true).body, "POST /c one");
    client.send("wo");
    assert_eq!(client.reply_to(true).body, "POST /d two");
    // At last it becomes a socket.
    assert_eq!(client.request(&handshake("/socket/websocket?vsn=2.0.0", "")).status, 101);
    client.heartbeat();
}

#[test]
fn a_connection_ends_when_the_client_says_so_or_is_old() {
    let _watch = watch();
    let (server, _) = serve(&wire::engine(1), Options::default());
    let ends = |text: &str| {
        let mut client = Wire::connect(server.address());
        let reply = client.request(text);
        assert_eq!((reply.status, reply.header("connection")), (200, Some("close")));
        assert_eq!(client.rest(), b"");
    };
    ends("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
    ends("GET / HTTP/1.0\r\n\r\n");
    let mut client = Wire::connect(server.address());
    for _ in 0..2 {
        let reply = client.request("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        assert_eq!((reply.status, reply.header("connection")), (200, Some("keep-alive")));
    }
    assert_eq!(request(&server, &handshake("/socket/websocket?vsn=2.0.0", "").replace("1.1", "1.0")).status, 400);
}

#[test]
fn requests_over_the_bounds_are_refused_and_the_connection_ends() {
    let _watch = watch();
    let options = wire::options(|options| {
        options.head.head_bytes_max = 500;
        options.head.headers_max = 10;
        options.body_bytes_max = 10;
    });
    let (server, _) = serve(&wire::engine(1), options);
    let cases = [
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n".to_owned(), 411),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n".to_owned(), 413),
        ("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 18446744073709551615\r\n\r\n".to_owned(), 413),
        (format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(500)), 431),
        (format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: 1\r\n".repeat(10)), 431),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/3.0\r\nhost: a\r\n\r\n".to_owned(), 505),
        ("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip\r\n\r\n".to_owned(), 501),
    ];
    for (text, status) in cases {
        let mut client = Wire::connect(server.address());
        let reply = client.request(&text);
        assert_eq!((reply.status, reply.header("connection")), (status, Some("close")), "{text}");
        assert_eq!(client.rest(), b"");
    }
    assert_eq!(
        request(&server, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10\r\n\r\n0123456789").body,
        "POST / 0123456789"
    );
}

#[test]
fn rooms_answer_over_the_network() {
    let _watch = watch();
    let pubsub = wire::engine(1);
    let server = wire::server(&pubsub, Options::default(), |server| server);
    let mut client = wire::socket(server.address());
    client.join("room:a");
    client.text(&json!(["1", "2", "room:a", "shout", { "n": 1 }]).to_string());
    assert_eq!(client.json(), json!([null, null, "room:a", "shout", { "n": 1 }]));
    assert_eq!(client.json(), json!(["1", "2", "room:a", "phx_reply", { "status": "ok", "response": { "n": 1 } }]));
}
