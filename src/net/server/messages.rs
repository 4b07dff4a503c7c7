//! What a WebSocket's client sends, on its way to the connection's socket.
//!
//! - I1. Nothing reaches a socket that has closed its connection, or has panicked.
//! - I2. A panic of the user's code, a serializer's included, ends its connection alone.

use super::ServerShared;
use super::conn::{Conn, Phase};
use super::raw::RawOut;
use crate::channel::{Close, Frame};
use crate::net::websocket::{CloseCode, Event, close, pong};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What `f` returns, unless it panics.
pub(crate) fn caught<R>(f: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(f)).ok()
}

/// Acts on what a WebSocket's client has sent.
pub(crate) fn messages(server: &ServerShared, conn: &mut Conn, bytes: &mut [u8]) {
    let mut input = bytes;
    while !conn.wire.is_ending() {
        let decoder = match &mut conn.phase {
            Phase::Channels(decoder, _) | Phase::Raw(decoder, _) => decoder,
            _ => return,
        };
        let last = match decoder.next(&mut input, &server.options.websocket) {
            Ok(None) => return,
            Ok(Some(Event::Pong(_))) => continue,
            Ok(Some(Event::Ping(payload))) => {
                // A ping's payload is always short enough for a pong.
                pong(&payload).into_iter().for_each(|pong| conn.wire.push(pong));
                continue;
            }
            Ok(Some(Event::Text(text))) => {
                message(conn, Frame::Text(Bytes::copy_from_slice(text.as_bytes())));
                continue;
            }
            Ok(Some(Event::Binary(bytes))) => {
                message(conn, Frame::Binary(Bytes::copy_from_slice(&bytes)));
                continue;
            }
            // As Phoenix does, whatever the client's own code was.
            Ok(Some(Event::Close(_))) => close(CloseCode::NORMAL, ""),
            Err(error) => close(error.close_code(), ""),
        };
        conn.wire.end(Some(last));
        leave(&mut conn.phase);
    }
}

fn message(conn: &mut Conn, frame: Frame) {
    let done = match &mut conn.phase {
        Phase::Channels(_, key) => caught(|| key.frame(&frame)),
        Phase::Raw(_, socket) => caught(|| socket.on_message(frame, &mut RawOut(&conn.wire))),
        _ => Some(()),
    };
    if done.is_none() {
        conn.wire.end(Some(close(CloseCode::INTERNAL_ERROR, "")));
    }
}

/// The socket of a connection that ends is told so, and goes.
pub(crate) fn leave(phase: &mut Phase) {
    // A panic at the end changes nothing any more.
    let _ = match std::mem::replace(phase, Phase::Ending) {
        Phase::Channels(_, key) => caught(|| key.close(Close::Gone)),
        Phase::Raw(_, mut socket) => caught(move || socket.on_close()),
        Phase::Request(_) | Phase::Waiting(_) | Phase::Ending => None,
    };
}

/// Tells a client that the server goes away.
pub(crate) fn say_restart(conn: &Conn) {
    match &conn.phase {
        Phase::Channels(_, key) => {
            // After a panic the client sees an end without a reason.
            let _ = caught(|| key.close(Close::Draining));
        }
        Phase::Raw(..) => conn.wire.end(Some(close(CloseCode::SERVICE_RESTART, ""))),
        Phase::Request(_) | Phase::Waiting(_) | Phase::Ending => {}
    }
}

/// Tells a client how many frames it has missed, if its socket has a way to say so.
pub(crate) fn say_lagged(conn: &Conn, dropped: u64) {
    if let Phase::Channels(_, key) = &conn.phase
        && caught(|| key.lagged(dropped)).is_none()
    {
        conn.wire.end(Some(close(CloseCode::INTERNAL_ERROR, "")));
    }
}
