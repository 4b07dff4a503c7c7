//! Requests and their answers: plain HTTP, and the handshake that makes a connection a WebSocket.
//!
//! What may block is answered on the pool of callbacks, and the connection waits for it. What it sends meanwhile is
//! kept, up to a bound, past which it is not read.
//!
//! - I1. A request is looked at when all answers to those before it have been written: a client that does not read
//!   answers gets no more of them.
//! - I2. What the pool has decided is for the connection that asked, by its serial: never for a later one of its slot.

use super::conn::{Conn, Phase};
use super::handshake::{self, Handshake};
use super::messages::caught;
use super::reactor::{NetReactor, Stay};
use super::wire::ChannelWire;
use super::{Decided, ServerShared, ToReactor};
use crate::channel::ConnectError;
use crate::net::http::{Body, HeadError, Parsed, Request, Response, parse, switching_protocols};
use crate::net::websocket::Decoder;
use crate::sync::Arc;
use bytes::Bytes;

impl NetReactor {
    /// Looks whether a request has come whole, and begins to answer it.
    pub(crate) fn request(&mut self, server: &Arc<ServerShared>, conn: &mut Conn, token: usize) -> Stay {
        // I1: the flush that empties the queue comes back here.
        if conn.wire.is_busy() {
            return Stay::Yes;
        }
        let Phase::Request(bytes) = &mut conn.phase else { return Stay::Yes };
        let bytes = std::mem::take(bytes);
        let (request, body_bytes) = match whole_request(&bytes, server) {
            Ok(Some(whole)) => whole,
            Ok(None) => {
                conn.phase = Phase::Request(bytes);
                return Stay::Yes;
            }
            Err(refused) => return self.answer_last(server, conn, token, refused),
        };
        let end = request.head_bytes + body_bytes;
        let behind = bytes[end..].to_vec();
        if let Some(mount) = server.endpoint.mount_of(request.path, "/websocket") {
            return match handshake::begin(server, conn.peer, mount, &request) {
                Ok(handshake) => {
                    conn.phase = Phase::Waiting(behind);
                    self.connect(server, token, conn.serial, handshake);
                    Stay::Yes
                }
                Err(response) => self.answer_last(server, conn, token, response.encode_closing(Some(&request))),
            };
        }
        if let Some((_, make)) = server.raw.iter().find(|(path, _)| **path == *request.path) {
            let opened = handshake::raw(server, &request).and_then(|accept| {
                let socket = caught(make).ok_or_else(|| Response::new(500))?;
                Ok((accept, socket))
            });
            return match opened {
                Ok((accept, socket)) => {
                    conn.wire.push_always(accept);
                    conn.phase = Phase::Raw(Decoder::new(), socket);
                    self.begin_messages(server, conn, token, behind)
                }
                Err(response) => self.answer_last(server, conn, token, response.encode_closing(Some(&request))),
            };
        }
        conn.phase = Phase::Waiting(behind);
        drop(request);
        let mut bytes = bytes;
        bytes.truncate(end);
        self.respond(server, token, conn.serial, bytes);
        Stay::Yes
    }

    /// Has the endpoint decide about a connection, on the pool.
    fn connect(&self, server: &Arc<ServerShared>, token: usize, serial: u64, handshake: Handshake) {
        let (shared, worker) = (server.clone(), self.worker());
        server.endpoint.spawn(move || {
            let Handshake { mount, params, info, upgrade, subprotocol } = handshake;
            let result = caught(|| shared.endpoint.connect(mount, &params, &info));
            let decided = Decided { token, serial, upgrade, subprotocol, result };
            // Without the reactor there is no connection any more; so below.
            let _ = shared.tell(worker, ToReactor::Connected(Box::new(decided)));
        });
    }

    /// Has the server's route answer a request, on the pool.
    fn respond(&self, server: &Arc<ServerShared>, token: usize, serial: u64, bytes: Vec<u8>) {
        let (shared, worker) = (server.clone(), self.worker());
        server.endpoint.spawn(move || {
            let Ok(Parsed::Request(request)) = parse(&bytes, &shared.options.head) else { return };
            let body = &bytes[request.head_bytes..];
            let response = caught(|| (shared.route)(&request, body)).unwrap_or_else(|| Response::new(500));
            let keep_alive = request.keep_alive();
            let bytes = response.encode(&request);
            let _ = shared.tell(worker, ToReactor::Response { token, serial, bytes, keep_alive });
        });
    }

    /// Answers, and ends the connection.
    fn answer_last(&mut self, server: &ServerShared, conn: &mut Conn, token: usize, response: Bytes) -> Stay {
        conn.phase = Phase::Ending;
        conn.wire.end(Some(response));
        self.give(conn, token, server.options.handshake_timeout);
        self.resume(conn, token);
        Stay::Yes
    }

    /// The endpoint has decided about a connection.
    pub(crate) fn connected(&mut self, decided: Decided) {
        let Decided { token, serial, upgrade, subprotocol, result } = decided;
        self.with(token, |this, server, conn, token| {
            let Phase::Waiting(behind) = &mut conn.phase else { return Stay::Yes };
            if conn.serial != serial {
                return Stay::Yes;
            }
            let behind = std::mem::take(behind);
            let refusal = match (result, upgrade) {
                (Some(Ok(_)), Ok(_)) if conn.ended => return Stay::No,
                (Some(Ok(accepted)), Ok(accept)) => {
                    conn.wire.push_always(switching_protocols(&accept, subprotocol.as_deref()));
                    let wire = Box::new(ChannelWire { wire: conn.wire.clone(), worker: this.worker() });
                    let key = server.endpoint.open(this.worker(), accepted, wire);
                    conn.phase = Phase::Channels(Decoder::new(), key);
                    return this.begin_messages(server, conn, token, behind);
                }
                (Some(Ok(_)), Err(error)) => Response::new(error.status()).body(error.body()),
                (Some(Err(ConnectError::Refused { status, body })), _) => Response::new(status).body(body),
                (Some(Err(_)), _) => Response::new(403),
                (None, _) => Response::new(500),
            };
            this.answer_last(server, conn, token, refusal.encode_closing(None))
        });
    }

    fn begin_messages(
        &mut self,
        server: &Arc<ServerShared>,
        conn: &mut Conn,
        token: usize,
        mut behind: Vec<u8>,
    ) -> Stay {
        self.give(conn, token, server.options.idle_timeout);
        self.resume(conn, token);
        if behind.is_empty() { Stay::Yes } else { self.bytes(server, conn, token, &mut behind) }
    }

    /// The route has answered a request.
    pub(crate) fn response(&mut self, (token, serial): (usize, u64), bytes: Bytes, keep_alive: bool) {
        self.with(token, |this, server, conn, token| {
            let Phase::Waiting(behind) = &mut conn.phase else { return Stay::Yes };
            if conn.serial != serial {
                return Stay::Yes;
            }
            let behind = std::mem::take(behind);
            if !keep_alive || this.is_draining() {
                return this.answer_last(server, conn, token, bytes);
            }
            let patience =
                if behind.is_empty() { server.options.idle_timeout } else { server.options.handshake_timeout };
            conn.phase = Phase::Request(behind);
            this.give(conn, token, patience);
            // The next request comes when this has been written (I1).
            conn.wire.push_always(bytes);
            Stay::Yes
        });
    }
}

/// A request that has come whole, and the length of its body; or how it is refused.
fn whole_request<'b>(bytes: &'b [u8], server: &ServerShared) -> Result<Option<(Request<'b>, usize)>, Bytes> {
    let refuse = |error: HeadError| Response::new(error.status()).encode_closing(None);
    let request = match parse(bytes, &server.options.head).map_err(refuse)? {
        Parsed::Partial => return Ok(None),
        Parsed::Request(request) => request,
    };
    match request.body().map_err(refuse)? {
        Body::Chunked => Err(Response::new(411).encode_closing(Some(&request))),
        Body::Length(length) => match usize::try_from(length) {
            Ok(length) if length <= server.options.body_bytes_max => {
                Ok((bytes.len() - request.head_bytes >= length).then_some((request, length)))
            }
            _ => Err(Response::new(413).encode_closing(Some(&request))),
        },
    }
}
