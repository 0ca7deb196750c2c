//! Ports that nobody listens on, and that nobody gets who asks for any free one.
//!
//! The kernel gives out ports of `/proc/sys/net/ipv4/ip_local_port_range`, from 32768 on
//! (<https://docs.kernel.org/networking/ip-sysctl.html>). One of these that was free a moment
//! ago is soon another test's server: an agent then spoke with that instead of its authority.

use std::net::{Ipv4Addr, TcpListener};

use rand::RngExt;

/// Below what the kernel gives out, above what services have.
const FIRST: u16 = 20_000;
const LAST: u16 = 32_000;

/// A port for somebody who binds it later, or never.
pub fn unused_port() -> u16 {
    loop {
        let port = rand::rng().random_range(FIRST..LAST);
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
