//! Asks the gateway for its outer address: NAT-PMP, then PCP.
//!
//! NAT-PMP has a question for it (RFC 6886, section 3.2,
//! <https://www.rfc-editor.org/rfc/rfc6886>). PCP (RFC 6887,
//! <https://www.rfc-editor.org/rfc/rfc6887>) tells it only with a mapping: one
//! is made for the very socket that asks, and taken back at once. Ports of mail
//! are not mapped here: what is open to the world is its owner's choice.

use anyhow::{Context, Result, bail};
use rand::RngExt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Where both are spoken.
const PORT: u16 = 5351;
/// The first wait for an answer; each further one is twice as long (RFC 6886, section 3.1).
const FIRST_WAIT: Duration = Duration::from_millis(250);
/// Version and operation: the outer address, please.
const NAT_PMP_QUESTION: [u8; 2] = [0, 0];
/// Answers have this bit set.
const ANSWER_BIT: u8 = 0x80;
/// PCP's version, its operation MAP, and UDP among the protocols.
const PCP_VERSION: u8 = 2;
const PCP_MAP: u8 = 1;
const UDP: u8 = 17;
/// How long a mapping lives that is not taken back, in seconds.
const MAPPING_SECONDS: u32 = 30;
/// Longest packet of PCP.
const PACKET_BYTES_MAX: usize = 1100;

pub type Nonce = [u8; 12];

/// Asks a gateway for its outer address.
pub fn ask_gateway(gateway: Ipv4Addr, limit: Duration) -> Result<Ipv4Addr> {
    ask((gateway, PORT).into(), limit).with_context(|| format!("asking the gateway {gateway}"))
}

fn ask(server: SocketAddr, limit: Duration) -> Result<Ipv4Addr> {
    let end = Instant::now() + limit;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Answers of others are dropped by the kernel then.
    socket.connect(server)?;
    // An old gateway does not know PCP and a new one need not know NAT-PMP, and either
    // may be silent about what it does not know: both questions each time.
    let IpAddr::V4(own) = socket.local_addr()?.ip() else {
        bail!("no address of our own");
    };
    let port = socket.local_addr()?.port();
    let mut nonce = Nonce::default();
    rand::rng().fill(&mut nonce);
    let mut wait = FIRST_WAIT;
    while Instant::now() < end {
        socket.send(&NAT_PMP_QUESTION)?;
        socket.send(&pcp_map(own, port, &nonce, MAPPING_SECONDS))?;
        let next = (Instant::now() + wait).min(end);
        while let Some(answer) = receive(&socket, next)? {
            let mapped = parse_pcp(&answer, &nonce);
            if mapped.is_some() {
                // Best effort: it ends by itself soon.
                let _ = socket.send(&pcp_map(own, port, &nonce, 0));
            }
            if let Some(address) = mapped.or_else(|| parse_nat_pmp(&answer)) {
                return Ok(address);
            }
        }
        wait *= 2;
    }
    bail!("it knows neither NAT-PMP nor PCP")
}

/// The next packet, `None` when there is none until then.
fn receive(socket: &UdpSocket, until: Instant) -> Result<Option<Vec<u8>>> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Ok(None);
    }
    socket.set_read_timeout(Some(left))?;
    let mut buffer = vec![0; PACKET_BYTES_MAX];
    match socket.recv(&mut buffer) {
        Ok(length) => {
            buffer.truncate(length);
            Ok(Some(buffer))
        }
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
            ) =>
        {
            Ok(None)
        }
        // Nobody listens there (connection refused), or there is no way to it.
        Err(error) => Err(error.into()),
    }
}

pub fn parse_nat_pmp(answer: &[u8]) -> Option<Ipv4Addr> {
    let answer: &[u8; 12] = answer.try_into().ok()?;
    // Version, operation, result code, seconds since the gateway's start, address.
    let [0, ANSWER_BIT, 0, 0, _, _, _, _, address @ ..] = answer else {
        return None;
    };
    Some(Ipv4Addr::from(*address)).filter(|address| !address.is_unspecified())
}

/// A request for a mapping (RFC 6887, sections 7.1 and 11.1).
fn pcp_map(own: Ipv4Addr, port: u16, nonce: &Nonce, lifetime: u32) -> Vec<u8> {
    let mut packet = vec![PCP_VERSION, PCP_MAP, 0, 0];
    packet.extend_from_slice(&lifetime.to_be_bytes());
    packet.extend_from_slice(&own.to_ipv6_mapped().octets());
    packet.extend_from_slice(nonce);
    packet.extend_from_slice(&[UDP, 0, 0, 0]);
    packet.extend_from_slice(&port.to_be_bytes());
    // Whatever outer port and address the gateway likes.
    packet.extend_from_slice(&[0, 0]);
    packet.extend_from_slice(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped().octets());
    packet
}

/// The outer address of a mapping (RFC 6887, sections 7.2 and 11.1).
pub fn parse_pcp(answer: &[u8], nonce: &Nonce) -> Option<Ipv4Addr> {
    let [PCP_VERSION, operation, _, 0, ..] = answer else {
        return None;
    };
    if *operation != ANSWER_BIT | PCP_MAP || answer.get(24..36)? != nonce {
        return None;
    }
    let outer: [u8; 16] = answer.get(44..60)?.try_into().ok()?;
    Ipv6Addr::from(outer)
        .to_ipv4_mapped()
        .filter(|address| !address.is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::{Nonce, ask, parse_nat_pmp, parse_pcp};
    use std::net::{SocketAddr, UdpSocket};
    use std::time::{Duration, Instant};

    const LIMIT: Duration = Duration::from_secs(2);

    /// A gateway that answers each packet with what a function makes of it, until it is silent.
    fn gateway(answer: fn(&[u8]) -> Option<Vec<u8>>) -> (SocketAddr, std::thread::JoinHandle<u32>) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(600)))
            .unwrap();
        let handle = std::thread::spawn(move || {
            let mut open = 0;
            let mut buffer = [0; 1100];
            while let Ok((length, client)) = socket.recv_from(&mut buffer) {
                let packet = &buffer[..length];
                if let Some(answer) = answer(packet) {
                    if packet[..2] == [2, 1] {
                        open = u32::from_be_bytes(packet[4..8].try_into().unwrap());
                    }
                    socket.send_to(&answer, client).unwrap();
                }
            }
            open
        });
        (address, handle)
    }

    #[test]
    fn a_gateway_with_nat_pmp() {
        // The bytes of RFC 6886, section 3.2; for the other version an answer as section 3.5 has it.
        let (address, _) = gateway(|packet| {
            Some(match packet {
                [0, 0] => vec![0, 128, 0, 0, 0, 0, 0, 9, 5, 9, 1, 2],
                _ => vec![0, 129, 0, 1, 0, 0, 0, 9],
            })
        });
        assert_eq!(ask(address, LIMIT).unwrap().to_string(), "5.9.1.2");
    }

    #[test]
    fn a_gateway_with_pcp_alone() {
        let (address, handle) = gateway(|packet| {
            let [2, 1, ..] = packet else {
                return None;
            };
            let mut answer = packet.to_vec();
            answer[1] |= 0x80;
            answer[8..24].fill(0);
            answer[44..60].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 5, 9, 1, 3]);
            Some(answer)
        });
        assert_eq!(ask(address, LIMIT).unwrap().to_string(), "5.9.1.3");
        assert_eq!(handle.join().unwrap(), 0, "the mapping was taken back");
    }

    #[test]
    fn others_end_in_time() {
        let started = Instant::now();
        let (silent, _) = gateway(|_| None);
        let (garbage, _) = gateway(|packet| Some(vec![0xff; packet.len() + 7]));
        for server in [silent, garbage, "127.0.0.1:9".parse().unwrap()] {
            assert!(ask(server, Duration::from_millis(700)).is_err());
        }
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn answers_that_are_none() {
        let nonce = Nonce::default();
        for answer in [
            &[][..],
            &[0, 128],
            &[0, 128, 0, 3, 0, 0, 0, 9, 5, 9, 1, 2],
            &[0, 128, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0],
            &[0, 128, 0, 0, 0, 0, 0, 9, 5, 9, 1, 2, 3],
            &[2, 0x81, 0, 0, 0, 0],
            &[2, 0x81, 0, 4, 0, 0],
        ] {
            assert_eq!(parse_nat_pmp(answer), None);
            assert_eq!(parse_pcp(answer, &nonce), None);
        }
        // Somebody else's mapping.
        let mut other = vec![0; 60];
        other[..2].copy_from_slice(&[2, 0x81]);
        other[24] = 1;
        other[54..].copy_from_slice(&[255, 255, 5, 9, 1, 2]);
        assert_eq!(parse_pcp(&other, &nonce), None);
    }
}
