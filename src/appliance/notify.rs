//! Tells systemd that a service is ready.
//!
//! The protocol of sd_notify(3)
//! (<https://www.freedesktop.org/software/systemd/man/257/sd_notify.html>):
//! one datagram to the socket in `NOTIFY_SOCKET`. Only readiness is told.

use anyhow::Context;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Says that the service can be used; nothing when nobody asked.
///
/// # Errors
/// A socket that does not take the word: the start would never end.
pub fn notify_ready() -> anyhow::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let bytes = path.as_encoded_bytes();
    let tell = || -> std::io::Result<()> {
        let address = match bytes.strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(&path)?,
        };
        UnixDatagram::unbound()?
            .send_to_addr(b"READY=1", &address)
            .map(|_| ())
    };
    tell().context("telling systemd that the service is ready")
}
