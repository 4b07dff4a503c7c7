//! Listening sockets: one for each worker, on one address.

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections that may wait to be accepted, if the system lets so many.
const BACKLOG: i32 = 4096;

/// `count` listeners on `address`. With port 0 the system chooses one port for all. Where the system can't spread
/// connections over several listeners there is one.
///
/// # Errors
///
/// What the system says: that the address is taken, above all.
pub(crate) fn listeners(address: SocketAddr, count: usize) -> io::Result<(SocketAddr, Vec<TcpListener>)> {
    // The first alone, so that a port that another program has is found to be taken, though that program may share it.
    let first = listener(address, false)?;
    let address = first.local_addr()?;
    if count <= 1 || !cfg!(target_os = "linux") {
        return Ok((address, vec![first]));
    }
    drop(first);
    let all = (0..count).map(|_| listener(address, true)).collect::<io::Result<_>>()?;
    Ok((address, all))
}

fn listener(address: SocketAddr, shared: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that is started again need not wait for the connections of the last one to be forgotten.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    #[cfg(target_os = "linux")]
    socket.set_reuse_port(shared)?;
    let _ = shared;
    socket.bind(&SockAddr::from(address))?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
