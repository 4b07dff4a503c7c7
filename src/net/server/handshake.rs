//! What is looked at before a WebSocket is opened, in Phoenix's order: the query, the origin, the token and the
//! subprotocol; then the socket's `connect`; then whether the request is a proper upgrade at all.

use super::ServerShared;
use super::messages::caught;
use crate::channel::{ConnectInfo, Params};
use crate::net::connect_info::connect_info;
use crate::net::http::{Request, Response, UpgradeError, switching_protocols, upgrade};
use crate::net::params;
use bytes::Bytes;
use std::net::SocketAddr;

/// A request to open a socket that may be put to the socket's `connect`.
pub(crate) struct Handshake {
    pub(crate) mount: usize,
    pub(crate) params: Params,
    pub(crate) info: ConnectInfo,
    /// What `sec-websocket-accept` is to say, or what is wrong with the request.
    pub(crate) upgrade: Result<String, UpgradeError>,
    pub(crate) subprotocol: Option<String>,
}

/// Looks at a request for a socket with channels. `Err`: how it is refused.
pub(crate) fn begin(
    server: &ServerShared,
    peer: Option<SocketAddr>,
    mount: usize,
    request: &Request<'_>,
) -> Result<Handshake, Response> {
    if request.method != "GET" {
        return Err(Response::new(400));
    }
    let limits = params::ParamLimits::default();
    let params = params::parse(request.query.unwrap_or_default(), &limits).map_err(|_| Response::new(400))?;
    check_origin(server, request)?;
    let negotiated = server.options.subprotocols.negotiate(request);
    let negotiated = negotiated.map_err(|error| Response::new(error.status()))?;
    let subprotocol = negotiated.subprotocol.map(str::to_owned);
    let info = connect_info(request, "http", peer, negotiated);
    Ok(Handshake { mount, params, info, upgrade: upgrade(request), subprotocol })
}

/// Looks at a request for a socket without channels, and answers it.
pub(crate) fn raw(server: &ServerShared, request: &Request<'_>) -> Result<Bytes, Response> {
    check_origin(server, request)?;
    let accept = upgrade(request).map_err(|error| Response::new(error.status()).body(error.body()))?;
    Ok(switching_protocols(&accept, None))
}

fn check_origin(server: &ServerShared, request: &Request<'_>) -> Result<(), Response> {
    match caught(|| server.options.check_origin.allows(request, "http")) {
        Some(true) => Ok(()),
        Some(false) => Err(Response::new(403)),
        // It is the user's code.
        None => Err(Response::new(500)),
    }
}
