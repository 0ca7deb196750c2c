//! The first message of a TLS handshake, in versions that no library speaks any
//! more (RFC 2246, RFC 4346, RFC 5246), and what a server makes of it.

use anyhow::{Result, bail, ensure};

use super::wire::Wire;

/// A version as it stands on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// 1.0.
    Tls10,
    /// 1.1.
    Tls11,
    /// 1.2.
    Tls12,
}

/// Types of records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
/// What servers answer to a version they do not speak, and to one for which no
/// cipher is left.
const REFUSALS: [u8; 2] = [70, 40];

/// Suites of all times: RSA and ECDHE with AES, for RSA and ECDSA certificates.
const SUITES: [u16; 12] = [
    0xc02b, 0xc02f, 0xc02c, 0xc030, 0xc009, 0xc00a, 0xc013, 0xc014, 0x009c, 0x002f, 0x0035, 0x000a,
];
/// X25519, P-256, P-384.
const GROUPS: [u8; 12] = [0, 10, 0, 8, 0, 6, 0, 29, 0, 23, 0, 24];
/// RSA and ECDSA with SHA-256 and SHA-1.
const SIGNATURES: [u8; 14] = [0, 13, 0, 10, 0, 8, 4, 1, 4, 3, 2, 1, 2, 3];

/// Says hello in a version; `Ok(true)` means the server goes on with it.
pub fn is_accepted(wire: &mut Wire, version: Version) -> Result<bool> {
    wire.send(&client_hello(version))?;
    let header = wire.bytes(5)?;
    let body = wire.bytes(usize::from(u16::from_be_bytes([header[3], header[4]])))?;
    match (header[0], body.as_slice()) {
        // ServerHello, with the version it chose.
        (HANDSHAKE, [2, _, _, _, major, minor, ..]) => {
            ensure!(
                [*major, *minor] == number(version),
                "the server chose version {major}.{minor}"
            );
            Ok(true)
        }
        (ALERT, [2, reason]) if REFUSALS.contains(reason) => Ok(false),
        (kind, body) => bail!("the server answers with record {kind}: {body:02x?}"),
    }
}

fn number(version: Version) -> [u8; 2] {
    match version {
        Version::Tls10 => [3, 1],
        Version::Tls11 => [3, 2],
        Version::Tls12 => [3, 3],
    }
}

fn client_hello(version: Version) -> Vec<u8> {
    let mut body = number(version).to_vec();
    body.extend_from_slice(&[0x4d; 32]);
    // No session to resume.
    body.push(0);
    let suites: Vec<u8> = SUITES
        .iter()
        .flat_map(|suite| suite.to_be_bytes())
        .collect();
    push_sized(&mut body, &suites);
    // No compression.
    body.extend_from_slice(&[1, 0]);
    push_sized(&mut body, &[&GROUPS[..], &SIGNATURES].concat());
    let mut message = vec![1, 0];
    push_sized(&mut message, &body);
    let mut record = vec![HANDSHAKE, 3, 1];
    push_sized(&mut record, &message);
    record
}

/// Bytes behind their number, which has two bytes.
fn push_sized(target: &mut Vec<u8>, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    target.extend_from_slice(&length.to_be_bytes());
    target.extend_from_slice(bytes);
}
