//! The `fanfare` program, run as a user runs it, on small loads.
#![cfg(feature = "program")]

use std::process::{Command, Output};

use serde_json::Value;

fn fanfare(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("FANFARE_")) {
        command.env_remove(name);
    }
    command.args(arguments).output().expect("the program was built")
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
    let cases: [(&[&str], &str); 8] = [
        (&["bench", "--subscribers", "0"], "--subscribers"),
        (&["bench", "--workers", "65"], "--workers"),
        (&["bench", "--duration", "soon"], "--duration"),
        (&["bench", "--kind", "pigeon"], "--kind"),
        (&["bench", "--subscribers", "2", "--topics", "3"], "--topics"),
        (&["bench", "--kind", "handler", "--readers", "2"], "--readers"),
        (&["bench", "--bogus"], "--bogus"),
        (&["fly"], "fly"),
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
