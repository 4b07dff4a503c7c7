//! How the nodes of a cluster agree on who is present, without I/O.
#![forbid(unsafe_code)]
