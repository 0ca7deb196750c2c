//! Questions to a name server over TCP (RFC 1035, RFC 7766), answers as text.
//!
//! Enough for a test to read records back: no cache, no recursion.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// A name server in the same namespace answers at once.
const LIMIT: Duration = Duration::from_secs(5);
/// Record type TXT.
const TXT: u16 = 16;
/// Record type TLSA (RFC 6698).
const TLSA: u16 = 52;
/// Record type SOA.
const SOA: u16 = 6;

/// The serial of a zone, proof that it is served.
pub fn soa_serial(server: IpAddr, zone: &str) -> Result<Option<u32>> {
    let reply = ask(server, zone, SOA)?;
    let Some(data) = answers(&reply, SOA)?.into_iter().next() else {
        return Ok(None);
    };
    // The serial stands 20 bytes before the end, after two names.
    let start = data
        .len()
        .checked_sub(20)
        .context("reading an SOA record")?;
    Ok(Some(u32::from_be_bytes(data[start..start + 4].try_into()?)))
}

/// The TXT records of a name, the strings of each joined.
pub fn lookup_txt(server: IpAddr, name: &str) -> Result<Vec<String>> {
    let reply = ask(server, name, TXT)?;
    answers(&reply, TXT)?
        .into_iter()
        .map(|mut data| {
            let mut text = Vec::new();
            while let Some((&length, rest)) = data.split_first() {
                ensure!(
                    rest.len() >= usize::from(length),
                    "a TXT string of {name} is cut short"
                );
                let (string, after) = rest.split_at(usize::from(length));
                text.extend_from_slice(string);
                data = after;
            }
            Ok(String::from_utf8(text)?)
        })
        .collect()
}

/// The digests of a name's TLSA records, in hexadecimal.
pub fn lookup_tlsa(server: IpAddr, name: &str) -> Result<Vec<String>> {
    let reply = ask(server, name, TLSA)?;
    answers(&reply, TLSA)?
        .into_iter()
        .map(|data| {
            // Usage, selector and matching type come first.
            let digest = data.get(3..).context("a TLSA record is cut short")?;
            Ok(hex::encode(digest))
        })
        .collect()
}

fn ask(server: IpAddr, name: &str, kind: u16) -> Result<Vec<u8>> {
    let mut question = vec![0x4d, 0x49, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name
        .trim_end_matches('.')
        .split('.')
        .filter(|label| !label.is_empty())
    {
        question.push(u8::try_from(label.len())?);
        question.extend_from_slice(label.as_bytes());
    }
    question.push(0);
    question.extend_from_slice(&kind.to_be_bytes());
    question.extend_from_slice(&[0, 1]);
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(server, 53), LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let length = u16::try_from(question.len())?;
    stream.write_all(&[&length.to_be_bytes()[..], &question].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

/// The data of the answer section's records of one type.
fn answers(reply: &[u8], kind: u16) -> Result<Vec<&[u8]>> {
    let number = |offset: usize| -> Result<u16> {
        let bytes = reply
            .get(offset..offset + 2)
            .context("a DNS answer is cut short")?;
        Ok(u16::from_be_bytes(bytes.try_into()?))
    };
    let mut offset = 12;
    for _ in 0..number(4)? {
        offset = skip_name(reply, offset)? + 4;
    }
    let mut found = Vec::new();
    for _ in 0..number(6)? {
        offset = skip_name(reply, offset)?;
        let length = usize::from(number(offset + 8)?);
        let data = reply
            .get(offset + 10..offset + 10 + length)
            .context("a DNS answer is cut short")?;
        if number(offset)? == kind {
            found.push(data);
        }
        offset += 10 + length;
    }
    Ok(found)
}

/// The offset behind a name, which may end in a pointer.
fn skip_name(reply: &[u8], mut offset: usize) -> Result<usize> {
    loop {
        match *reply.get(offset).context("a DNS answer is cut short")? {
            0 => return Ok(offset + 1),
            pointer if pointer >= 0xc0 => return Ok(offset + 2),
            length => offset += 1 + usize::from(length),
        }
    }
}
