//! Questions to one name server (RFC 1035, <https://www.rfc-editor.org/rfc/rfc1035>).
//!
//! ```text
//! message  what is sent, and whether what comes back is its answer
//! course   what to send next, without sockets
//! exchange, blocking  the sockets: for who asks many at once, and for everybody else
//! ```
//!
//! Nothing here validates. Unbound does; the answers of others are only reported.
//! The crate `mail-auth` asks by itself, see `authenticator`.

pub mod blocking;
pub mod course;
pub mod exchange;
pub mod message;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Unbound, the machine's only resolver.
pub const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
