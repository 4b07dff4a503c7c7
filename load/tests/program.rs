//! The load program, run as `cargo xtask load` runs it, with few connections.
#![cfg(target_os = "linux")]

use std::process::{Command, Output};

fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fanfare-load")).args(arguments).output().expect("the program was built")
}

#[test]
fn the_floor_delivers_all_in_order() {
    let output = load(&["run", "--quick", "--cases", "50x1,300x8", "--repeat", "2"]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}{errors}");
    // 20 rounds, twice: that many at least, since none lasts a given time.
    let deliveries = 2 * 20 * (50 + 8 * 300);
    assert!(text.ends_with(&format!("\n{deliveries} deliveries, none lost, each connection's in order\n")), "{text}");
    let floors: Vec<&str> = text.lines().filter(|line| line.starts_with("floor, 1 thread")).collect();
    assert_eq!(floors.len(), 2, "{text}");
    for line in floors {
        let mut words = line["floor, 1 thread".len()..].split_whitespace();
        assert!(words.next().unwrap().parse::<f64>().unwrap() > 0.0, "{line}");
        assert_eq!((words.next(), words.next()), (Some("us"), Some("1.00")), "{line}");
    }
}

#[test]
fn a_server_that_does_not_serve_is_code_1() {
    let output = load(&["run", "--quick", "--server", "true"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is not where true listens"));
}

#[test]
fn arguments_without_sense_are_code_2() {
    for arguments in [&["run", "--cases", "many"][..], &["walk"], &[], &["floor", "--port"]] {
        let output = load(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: fanfare-load run"), "{arguments:?}");
    }
}
