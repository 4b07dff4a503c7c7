//! The load program, run as `cargo xtask load` runs it, with few connections.
#![cfg(target_os = "linux")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output};
use std::thread;

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

/// What the program says of a presence server of two clients: `spoil` gets the frames of the first of them.
fn presence_against(spoil: fn(Vec<String>) -> Vec<String>, more: &[&str]) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || serve_presence(&listener, spoil));
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/elsewhere.sh");
    let mut program = Command::new(env!("CARGO_BIN_EXE_fanfare-load"));
    program.args(["presence", "--quick", "--clients", "2", "--server", server]).args(more);
    program.env("SERVER_ADDRESS", address).output().expect("the program was built")
}

/// Serves two clients until the second hangs up.
fn serve_presence(listener: &TcpListener, spoil: fn(Vec<String>) -> Vec<String>) {
    let mut streams: Vec<TcpStream> = (0..2).map(|_| listener.accept().unwrap().0).collect();
    let upgrade = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    for stream in &mut streams {
        assert!(read(stream).starts_with(b"GET "));
        stream.write_all(upgrade.as_bytes()).unwrap();
    }
    let meta = |user: usize| format!(r#""user{user}":{{"metas":[{{"phx_ref":"000000000000000{user}"}}]}}"#);
    let reply = r#"["1","1","room:lobby","phx_reply",{"status":"ok","response":{}}]"#.to_owned();
    let state = |users: &str| format!(r#"["1",null,"room:lobby","presence_state",{{{users}}}]"#);
    let diff = |joins: &str, leaves: &str| {
        format!(r#"[null,null,"room:lobby","presence_diff",{{"joins":{{{joins}}},"leaves":{{{leaves}}}}}]"#)
    };
    let both = format!("{},{}", meta(0), meta(1));
    for (user, stream) in streams.iter_mut().enumerate() {
        assert!(texts(&read(stream))[0].contains(&format!("user{user}")));
        if user == 1 {
            send(stream, &[reply.clone(), state(&both)]);
        }
    }
    send(&mut streams[0], &spoil(vec![reply, state(&meta(0)), diff(&meta(1), "")]));
    assert_eq!(read(&mut streams[0]).len(), 0, "it is the first that goes");
    send(&mut streams[1], &[diff("", &meta(0))]);
    read(&mut streams[1]);
}

/// The client hangs up when it has found a fault.
fn send(stream: &mut TcpStream, texts: &[String]) {
    for text in texts {
        let length = u16::try_from(text.len()).unwrap().to_be_bytes();
        let frame = if text.len() < 126 { frame(text) } else { [&[0x81, 126], &length, text.as_bytes()].concat() };
        drop(stream.write_all(&frame));
    }
}

#[test]
fn views_that_are_complete_and_the_same_are_code_0() {
    let output = presence_against(|frames| frames, &[]);
    let (text, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(0), "{text}{errors}");
    assert!(text.ends_with("every view was complete, and all were the same\n"), "{text}");
}

#[test]
fn a_view_that_is_not_what_it_must_be_is_code_1() {
    type Spoil = fn(Vec<String>) -> Vec<String>;
    let faults: [(Spoil, &str); 3] = [
        (|frames| [&frames[..], &[frames[2].replace("0001", "0002")]].concat(), "user1 joins by a second ref"),
        (
            |frames| vec![frames[0].clone(), frames[1].clone(), frames[2].replace("0001", "0002")],
            "connection 1: sees other refs than the first",
        ),
        (|frames| [&frames[..], &frames[2..]].concat(), "user1 joins twice"),
    ];
    for (spoil, says) in faults {
        let output = presence_against(spoil, &[]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.contains(says), "{errors}");
    }
}

#[test]
fn a_view_that_is_never_complete_is_code_1() {
    for is_silent in [true, false] {
        let spoil: fn(Vec<String>) -> Vec<String> =
            if is_silent { |_| Vec::new() } else { |frames| frames[..2].to_vec() };
        let output = presence_against(spoil, &["--deadline", "1"]);
        assert_eq!(output.status.code(), Some(1));
        let errors = String::from_utf8_lossy(&output.stderr);
        let seen = if is_silent { 0 } else { 1 };
        assert!(errors.contains(&format!("connection 0: sees {seen} of 2 in the end")), "{errors}");
    }
}

#[test]
fn arguments_without_sense_are_code_2() {
    for arguments in
        [&["run", "--cases", "many"][..], &["presence", "--clients", "1"], &["walk"], &[], &["floor", "--port"]]
    {
        let output = load(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("Usage: fanfare-load run"), "{arguments:?}");
    }
}

/// What the program says to a server with a fault: of each burst of two, connection 1 gets what `spoil` leaves.
fn against(spoil: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>) -> Output {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    thread::spawn(move || serve(&listener, spoil));
    let server = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/elsewhere.sh");
    let mut program = Command::new(env!("CARGO_BIN_EXE_fanfare-load"));
    program.args(["run", "--quick", "--cases", "3x2", "--workers", "1", "--server", server]);
    program.env("SERVER_ADDRESS", address).output().expect("the program was built")
}

/// Serves three connections until the first hangs up.
fn serve(listener: &TcpListener, spoil: fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
    let mut streams: Vec<TcpStream> = (0..3).map(|_| listener.accept().unwrap().0).collect();
    for stream in &mut streams {
        assert!(read(stream).starts_with(b"GET "));
        let upgrade = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
        stream.write_all(upgrade.as_bytes()).unwrap();
        assert!(texts(&read(stream))[0].contains("phx_join"));
        let reply = r#"["1","1","bench:load","phx_reply",{"status":"ok","response":{}}]"#;
        stream.write_all(&frame(reply)).unwrap();
    }
    loop {
        let burst = texts(&read(&mut streams[0]));
        if burst.is_empty() {
            return;
        }
        let frames: Vec<Vec<u8>> =
            burst.iter().map(|push| frame(&push.replacen(r#"["1","2""#, "[null,null", 1))).collect();
        for (at, stream) in streams.iter_mut().enumerate() {
            let frames = if at == 1 { spoil(frames.clone()) } else { frames.clone() };
            // The client hangs up when it has found the fault.
            drop(stream.write_all(&frames.concat()));
        }
    }
}

/// What one read returns; nothing when the client has gone.
fn read(stream: &mut TcpStream) -> Vec<u8> {
    let mut buffer = vec![0; 4096];
    let count = stream.read(&mut buffer).unwrap_or(0);
    buffer.truncate(count);
    buffer
}

/// A text frame of fewer than 126 bytes.
fn frame(text: &str) -> Vec<u8> {
    [&[0x81, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat()
}

/// The texts of the masked frames of `bytes`.
fn texts(mut bytes: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    while let [0x81, length, rest @ ..] = bytes {
        let (mask, rest) = rest.split_at(4);
        let (body, rest) = rest.split_at(usize::from(length & 0x7f));
        let text = body.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask).collect();
        texts.push(String::from_utf8(text).unwrap());
        bytes = rest;
    }
    texts
}

#[test]
fn a_server_that_delivers_all_is_code_0() {
    let output = against(|frames| frames);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn a_lost_delivery_is_code_1() {
    let output = against(|frames| frames[1..].to_vec());
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("connection 1 got broadcast 1 instead of 0"), "{errors}");
}

#[test]
fn a_delivery_out_of_order_is_code_1() {
    let output = against(|mut frames| {
        frames.swap(0, 1);
        frames
    });
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("OUT OF ORDER: connection 1 got broadcast 1 instead of 0"), "{errors}");
}
