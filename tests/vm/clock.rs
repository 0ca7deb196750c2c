//! The time for the machines: an SNTP server (RFC 4330, RFC 5905) on the gateway.

use std::net::UdpSocket;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

use crate::world::network::GATEWAY;

/// Seconds from 1900, where NTP counts from, to 1970.
const EPOCH_OFFSET: u64 = 2_208_988_800;
/// Size of a packet without extensions.
const PACKET: usize = 48;

/// Answers until the process ends.
pub fn start() -> Result<()> {
    let socket = UdpSocket::bind((GATEWAY, 123)).context("listening for NTP")?;
    std::thread::spawn(move || {
        let mut request = [0; 512];
        while let Ok((length, client)) = socket.recv_from(&mut request) {
            if length >= PACKET {
                let _ = socket.send_to(&reply(&request[..PACKET]), client);
            }
        }
    });
    Ok(())
}

fn reply(request: &[u8]) -> [u8; PACKET] {
    let now = timestamp();
    let mut packet = [0; PACKET];
    // No leap second, the client's version, mode 4 (server).
    packet[0] = (request[0] & 0b0011_1000) | 4;
    // Stratum 1, a poll interval of 64 s, a precision of about a microsecond.
    packet[1..4].copy_from_slice(&[1, 6, 0xec]);
    packet[12..16].copy_from_slice(b"LOCL");
    packet[16..24].copy_from_slice(&now);
    packet[24..32].copy_from_slice(&request[40..48]);
    packet[32..40].copy_from_slice(&now);
    packet[40..48].copy_from_slice(&now);
    packet
}

/// Now, as 32.32 fixed point.
fn timestamp() -> [u8; 8] {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    (((now.as_secs() + EPOCH_OFFSET) << 32) | fraction).to_be_bytes()
}
