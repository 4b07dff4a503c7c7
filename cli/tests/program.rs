//! The `fanfare` program, run as a user runs it, on small loads.

mod serving;
#[path = "../../tests/common/watchdog.rs"]
mod watchdog;
#[path = "../../tests/wire/mod.rs"]
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::{Value, json};
use serving::Serving;
use watchdog::watch;
use wire::{Reply, Wire};

fn fanfare(arguments: &[&str]) -> Output {
    serving::command(arguments).output().expect("the program was built")
}

/// Runs the benchmark on a small load with `flags` and returns its JSON.
fn bench(flags: &[&str]) -> Value {
    let small = ["bench", "--json", "--duration", "0.05", "--subscribers", "1000"];
    let output = fanfare(&[&small, flags].concat());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{flags:?}: {errors}");
    assert!(errors.is_empty(), "the progress bar is for terminals: {errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.trim_end().lines().count(), 1, "one object: {text}");
    serde_json::from_str(&text).unwrap()
}

fn figure(report: &Value, name: &str) -> f64 {
    report[name].as_f64().unwrap_or_else(|| panic!("`{name}` in {report}"))
}

/// Holds for every run, whatever the load.
fn check(report: &Value) {
    let positive = [
        "ns_per_delivery",
        "publish_return_ns_p50",
        "publish_return_ns_p99",
        "publish_return_asleep_ns_p50",
        "publish_return_asleep_ns_p99",
        "last_delivery_us_p50",
        "last_delivery_us_p99",
        "last_delivery_us_p999",
        "deliveries_per_s",
        "create_per_s",
        "subscribe_per_s",
        "seconds",
        "single_broadcasts",
        "broadcasts",
    ];
    for name in positive {
        assert!(figure(report, name) > 0.0, "{name} in {report}");
    }
    assert_eq!(cfg!(target_os = "linux"), report["bytes_per_subscriber"].is_number(), "{report}");
    for (less, more) in [
        ("publish_return_ns_p50", "publish_return_ns_p99"),
        ("last_delivery_us_p50", "last_delivery_us_p99"),
        ("last_delivery_us_p99", "last_delivery_us_p999"),
    ] {
        assert!(figure(report, less) <= figure(report, more), "{less} and {more} in {report}");
    }
    // Every broadcast goes to as many members: the loads here divide evenly.
    let members = figure(report, "subscribers") / figure(report, "topics");
    assert_eq!(figure(report, "deliveries"), figure(report, "broadcasts") * members, "{report}");
    let rate = figure(report, "deliveries") / figure(report, "seconds");
    assert!((figure(report, "deliveries_per_s") / rate - 1.0).abs() < 1e-9, "{report}");
}

#[test]
fn mailboxes_that_are_read_drop_nothing() {
    let report = bench(&["--topics", "10", "--workers", "2", "--readers", "2", "--payload", "5"]);
    check(&report);
    assert_eq!(report["kind"], "mailbox");
    let loads = ["subscribers", "workers", "topics", "readers", "payload_bytes"].map(|name| figure(&report, name));
    assert_eq!(loads, [1000.0, 2.0, 10.0, 2.0, 5.0]);
    assert_eq!((figure(&report, "single_dropped"), figure(&report, "dropped")), (0.0, 0.0));
    assert!(figure(&report, "read_per_s") > 0.0);
}

#[test]
fn mailboxes_that_nobody_reads_drop_and_say_so() {
    let report = bench(&["--readers", "0"]);
    check(&report);
    assert_eq!(figure(&report, "dropped"), figure(&report, "deliveries"));
    assert_eq!(figure(&report, "single_dropped"), figure(&report, "single_broadcasts") * 1000.0);
    assert!(report["read_per_s"].is_null());
}

#[test]
fn slow_readers_cost_nobody_else_a_message() {
    let report = bench(&["--readers", "1", "--slow-readers", "100"]);
    check(&report);
    assert_eq!(figure(&report, "dropped"), figure(&report, "broadcasts") * 100.0);
}

#[test]
fn handlers_run_on_a_spinning_pinned_worker() {
    let report = bench(&["--kind", "handler", "--idle", "spin", "--pin", "--workers", "1"]);
    check(&report);
    assert_eq!(report["kind"], "handler");
    assert_eq!(report["idle"], "spin");
    assert_eq!(report["pinned"], true);
    assert_eq!(figure(&report, "dropped"), 0.0);
}

#[test]
fn the_table_is_for_people() {
    let output = fanfare(&["bench", "--subscribers", "1000", "--duration", "0.05"]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    for wanted in ["1,000 mailboxes", "ns per delivery", "last delivery", "broadcast returns", "subscribe", "M/s"] {
        assert!(text.contains(wanted), "`{wanted}` in:\n{text}");
    }
    assert!(!text.contains("DROPPED"), "{text}");
}

#[test]
fn flags_that_make_no_sense_are_refused_with_code_2() {
    let cases: [(&[&str], &str); 17] = [
        (&["bench", "--subscribers", "0"], "--subscribers"),
        (&["bench", "--workers", "65"], "--workers"),
        (&["bench", "--duration", "soon"], "--duration"),
        (&["bench", "--kind", "pigeon"], "--kind"),
        (&["bench", "--subscribers", "2", "--topics", "3"], "--topics"),
        (&["bench", "--kind", "handler", "--readers", "2"], "--readers"),
        (&["bench", "--bogus"], "--bogus"),
        (&["fly"], "fly"),
        (&["serve", "--listen", "nowhere"], "--listen"),
        (&["serve", "--listen", "127.0.0.1:65536"], "--listen"),
        (&["serve", "--workers", "0"], "--workers"),
        (&["serve", "--idle-timeout", "never"], "--idle-timeout"),
        (&["serve", "--idle-timeout", "0"], "--idle-timeout"),
        (&["serve", "--diff-period", "0"], "--diff-period"),
        (&["serve", "--message-max=-1"], "--message-max"),
        (&["serve", "--channels-max", "0"], "--channels-max"),
        (&["serve", "room"], "room"),
    ];
    for (arguments, named) in cases {
        let output = fanfare(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("error:") && errors.contains(named), "{arguments:?}: {errors}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[test]
fn the_environment_gives_defaults() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    command.args(["bench", "--json", "--duration", "0.05", "--topics", "1"]);
    command.env("FANFARE_BENCH_SUBSCRIBERS", "50").env("FANFARE_BENCH_KIND", "handler");
    let output = command.output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((figure(&report, "subscribers"), &report["kind"]), (50.0, &Value::from("handler")));
}

fn get(server: &Serving, path: &str) -> Reply {
    Wire::connect(server.address).request(&format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"))
}

#[test]
fn it_serves_by_default_and_tells_where() {
    let _watch = watch();
    let mut command = serving::command(&[]);
    command.env("FANFARE_LISTEN", "127.0.0.1:0");
    let server = Serving::of(command);
    let health = get(&server, "/health");
    assert_eq!((health.status, &*health.body), (200, r#"{"status":"ok"}"#));
    assert_eq!(health.header("content-type"), Some("application/json; charset=utf-8"));
    for (path, content_type) in
        [("/", "text/html"), ("/chat.mjs", "text/javascript"), ("/fanfare.mjs", "text/javascript")]
    {
        let page = get(&server, path);
        assert_eq!(page.status, 200, "{path}");
        assert_eq!(page.header("content-type"), Some(&*format!("{content_type}; charset=utf-8")), "{path}");
        let head = Wire::connect(server.address).request(&format!("HEAD {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert_eq!((head.status, head.header("content-length")), (200, Some(&*page.body.len().to_string())));
    }
    for path in ["/nothing", "/socket", "/echo", "/admin/broadcast", "/assets/a.txt"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    let post = Wire::connect(server.address).request("POST /admin/disconnect HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(post.status, 404, "without --admin nobody acts from outside");
}

#[test]
fn a_taken_port_is_an_error_that_says_so() {
    let _watch = watch();
    let server = Serving::start(&["--workers", "1"]);
    let taken = server.address.to_string();
    for workers in ["1", "2"] {
        let output = fanfare(&["serve", "--listen", &taken, "--workers", workers]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(errors, format!("fanfare: {taken} is taken: another program listens there\n"));
        assert!(output.stdout.is_empty());
    }
    assert_eq!(get(&server, "/health").status, 200);
}

#[test]
fn what_it_cannot_serve_is_an_error_that_says_so() {
    let _watch = watch();
    let cases: [(&[&str], &str); 3] = [
        (&["--assets", "/no/such/folder"], "/no/such/folder"),
        (&["--assets", env!("CARGO_BIN_EXE_fanfare")], "is not a folder"),
        (&["--origin", "example.com"], "example.com"),
    ];
    for (flags, named) in cases {
        let output = fanfare(&[&["serve", "--listen", "127.0.0.1:0"], flags].concat());
        assert_eq!(output.status.code(), Some(1), "{flags:?}");
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(errors.starts_with("fanfare: ") && errors.contains(named), "{errors}");
    }
}

#[test]
fn each_flag_of_serve_has_its_variable() {
    let _watch = watch();
    let mut command = serving::command(&["serve"]);
    command.env("FANFARE_LISTEN", "127.0.0.1:0").env("FANFARE_WORKERS", "2").env("FANFARE_ECHO", "true");
    command.env("FANFARE_ORIGIN", "//a.example,//b.example").env("FANFARE_CHANNELS_MAX", "1");
    command.env("FANFARE_MESSAGE_MAX", "200").env("FANFARE_IDLE_TIMEOUT", "0.5");
    let server = Serving::of(command);
    let from = |origin: &str| {
        let header = format!("origin: http://{origin}\r\n");
        Wire::connect(server.address).request(&wire::handshake("/socket/websocket?vsn=2.0.0", &header)).status
    };
    assert_eq!([from("a.example"), from("b.example"), from("c.example")], [101, 101, 403]);
    let mut client = wire::socket(server.address);
    client.join("bench:a");
    let second = client.ask(&json!(["2", "2", "bench:b", "phx_join", {}]));
    assert_eq!(second[4], json!({ "status": "error", "response": { "reason": "too many channels joined" } }));
    assert_eq!(client.close_code(), 1002, "idle");
    let mut echo = wire::open(server.address, "/echo");
    echo.text(&"x".repeat(200));
    assert_eq!(echo.next().1.len(), 200);
    echo.text(&"x".repeat(201));
    assert_eq!(echo.close_code(), 1009);
    let output = serving::command(&["serve"]).env("FANFARE_DIFF_PERIOD", "never").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8(output.stderr).unwrap().contains("--diff-period"));
}

/// A folder of this test's own, empty.
fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
#[cfg(unix)]
fn assets_are_served_and_nothing_beside_them() {
    let _watch = watch();
    let outside = folder("assets-outside");
    fs::write(outside.join("secret.txt"), "secret").unwrap();
    let assets = outside.join("assets");
    fs::create_dir_all(assets.join("below")).unwrap();
    fs::write(assets.join("phoenix.mjs"), "export {};").unwrap();
    fs::write(assets.join("below/a b.txt"), "text").unwrap();
    fs::write(assets.join("raw.bin"), "raw").unwrap();
    std::os::unix::fs::symlink(outside.join("secret.txt"), assets.join("link.txt")).unwrap();
    std::os::unix::fs::symlink(&outside, assets.join("up")).unwrap();
    std::os::unix::fs::symlink("raw.bin", assets.join("inside.bin")).unwrap();
    let server = Serving::start(&["--assets", assets.to_str().unwrap()]);
    let found = [
        ("/assets/phoenix.mjs", "text/javascript; charset=utf-8", "export {};"),
        ("/assets/below/a%20b.txt", "text/plain; charset=utf-8", "text"),
        ("/assets//below///a%20b.txt?v=1", "text/plain; charset=utf-8", "text"),
        ("/assets/raw.bin", "application/octet-stream", "raw"),
        ("/assets/inside.bin", "application/octet-stream", "raw"),
    ];
    for (path, content_type, body) in found {
        let reply = get(&server, path);
        assert_eq!((reply.status, reply.header("content-type"), &*reply.body), (200, Some(content_type), body));
    }
    for path in ["/assets/link.txt", "/assets/up/secret.txt", "/assets/none", "/assets/", "/assets/below", "/assets"] {
        assert_eq!(get(&server, path).status, 404, "{path}");
    }
    let absolute = format!("/assets/{}", outside.join("secret.txt").display());
    assert_eq!(get(&server, &absolute).status, 404);
    let leading_out = [
        "/assets/../secret.txt",
        "/assets/below/../../secret.txt",
        "/assets/%2e%2e/secret.txt",
        "/assets/%2e%2e%2fsecret.txt",
        "/assets/..%5csecret.txt",
        "/assets/%2fetc%2fpasswd",
        "/assets/secret.txt%00",
    ];
    for path in leading_out {
        let reply = get(&server, path);
        assert!(matches!(reply.status, 400 | 404) && reply.body.is_empty(), "{path}: {reply:?}");
    }
}

#[test]
#[cfg(unix)]
fn it_stops_in_order_when_told_to() {
    let _watch = watch();
    for signal in ["TERM", "INT"] {
        let server = Serving::start(&["--workers", "2"]);
        let mut clients: Vec<Wire> = (0..4).map(|_| wire::socket(server.address)).collect();
        clients.iter_mut().for_each(|client| client.join("bench:a"));
        server.signal(signal);
        clients.into_iter().for_each(|mut client| assert_eq!(client.close_code(), 1012));
        let (status, output, errors) = server.wait();
        assert_eq!((status.code(), &*output), (Some(0), ""), "{signal}: {errors}");
        assert!(errors.starts_with("fanfare: stopping"), "{errors}");
    }
}

#[test]
#[cfg(unix)]
fn a_second_signal_stops_it_at_once() {
    let _watch = watch();
    let server = Serving::start(&[]);
    // It is told to go, and does not.
    let mut stubborn = wire::socket(server.address);
    stubborn.heartbeat();
    server.signal("TERM");
    assert_eq!(stubborn.next().0, wire::CLOSE);
    server.signal("TERM");
    assert_eq!(server.wait().0.code(), Some(1));
}

#[test]
#[cfg(target_os = "linux")]
fn without_descriptors_left_clients_wait_until_others_go() {
    let _watch = watch();
    let program =
        format!("ulimit -n 48 && exec {} serve --listen 127.0.0.1:0 --workers 1", env!("CARGO_BIN_EXE_fanfare"));
    let mut command = Command::new("sh");
    command.args(["-c", &program]);
    let server = Serving::of(command);
    let mut clients: Vec<Wire> = (0..100).map(|_| Wire::connect(server.address)).collect();
    for client in &mut clients {
        client.send("GET /health HTTP/1.1\r\nhost: a\r\n\r\n");
    }
    // They are accepted in their order, and each that goes makes room for one more.
    for mut client in clients {
        assert_eq!(client.reply_to(true).status, 200);
    }
}
