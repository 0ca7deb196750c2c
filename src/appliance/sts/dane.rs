//! Whether a domain's mail servers are covered by DANE, as Postfix would find it.
//!
//! RFC 7672, sections 2.1 and 2.2: MX and address records that DNSSEC vouches
//! for, and TLSA records that can be used (<https://www.rfc-editor.org/rfc/rfc7672>).

use super::answer::Dane;
use super::name_server::NameServer;
use anyhow::Result;
use hickory_proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_proto::rr::{RData, RecordType};

/// Most mail servers looked at; Postfix itself tries five addresses.
const MOST_SERVERS: usize = 10;

/// Finds out how far DANE covers a domain.
///
/// Where TLSA records of a signed server cannot be had they count as there:
/// Postfix then finds the same, and waits.
///
/// After an error nothing is known.
pub async fn find_dane(server: NameServer, domain: &str) -> Result<Dane> {
    let found = server.ask(domain, RecordType::MX).await?;
    if !found.secure {
        return Ok(Dane::None);
    }
    let mut hosts: Vec<(u16, String)> = found
        .records
        .iter()
        .filter_map(|record| match record {
            RData::MX(mx) => Some((mx.preference, mx.exchange.to_ascii())),
            _ => None,
        })
        .collect();
    hosts.sort();
    hosts.truncate(MOST_SERVERS);
    if hosts.is_empty() {
        // RFC 5321, section 5.1: the domain itself.
        hosts.push((0, domain.to_owned()));
    }
    let mut covered = 0;
    for (_, host) in &hosts {
        if is_covered(server, host.trim_end_matches('.')).await? {
            covered += 1;
        }
    }
    Ok(match covered {
        0 => Dane::None,
        all if all == hosts.len() => Dane::Every,
        _ => Dane::Some,
    })
}

async fn is_covered(server: NameServer, host: &str) -> Result<bool> {
    if host.is_empty() {
        // "MX 0 .": takes no mail (RFC 7505).
        return Ok(false);
    }
    let (four, six) = tokio::join!(
        server.ask(host, RecordType::A),
        server.ask(host, RecordType::AAAA)
    );
    let families = [four?, six?];
    let signed = families
        .iter()
        .any(|known| known.secure && !known.records.is_empty());
    if !signed {
        return Ok(false);
    }
    let name = format!("_25._tcp.{host}");
    let Ok(found) = server.ask(&name, RecordType::TLSA).await else {
        return Ok(true);
    };
    Ok(found.secure && found.records.iter().any(is_usable))
}

/// RFC 7672, section 3.1: DANE-TA and DANE-EE, and nothing unassigned.
fn is_usable(record: &RData) -> bool {
    let RData::TLSA(tlsa) = record else {
        return false;
    };
    let length = match tlsa.matching {
        Matching::Sha256 => Some(32),
        Matching::Sha512 => Some(64),
        Matching::Raw => None,
        _ => return false,
    };
    matches!(tlsa.cert_usage, CertUsage::DaneTa | CertUsage::DaneEe)
        && matches!(tlsa.selector, Selector::Full | Selector::Spki)
        && length.is_none_or(|length| tlsa.cert_data.len() == length)
}
