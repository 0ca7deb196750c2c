//! What can be seen to be wrong without asking the CA.
//!
//! A CA counts failed attempts and shuts its door for hours. So the clock, DNS
//! and the web server are looked at first; these cost nothing and are looked at
//! again with every run. We may be wrong about DNS behind NAT, so the CA is
//! asked nevertheless twice a day.

use super::challenge::publish_http;
use super::configuration::Configuration;
use super::failure::{Failure, Kind};
use super::names::{Resolved, resolve};
use super::record::Record;
use crate::appliance::machine::clock::{
    CLOCK_SKEW, DAY, describe_span, is_synchronized, may_be_set,
};
use crate::appliance::machine::place::Place;
use crate::appliance::network::public_address::find_addresses;
use crate::appliance::wire::http::client;
use std::net::IpAddr;
use std::time::Duration;

/// Before this nothing of ours existed: 2025-06-01.
const EARLIEST_CLOCK: i64 = 1_748_736_000;
/// How far ahead of the CA's a clock may be, in seconds: what is issued then is valid here all the
/// same, since no certificate lives shorter than six days.
const CLOCK_AHEAD_MAX: i64 = 5 * DAY;
/// How often the CA is asked though DNS looks wrong.
const DNS_DOUBT_PAUSE: i64 = 12 * 3600;
/// Longest wait for the web server.
const OWN_WEB_SERVER_LIMIT: Duration = Duration::from_secs(10);
/// Longest answer of it that is looked at.
const OWN_ANSWER_BYTES_MAX: u64 = 512;

/// What mends a clock.
pub const CLOCK_HINT: &str = "nothing has to be done if it is set in a moment; the machine sets its own by NTP, which \
     needs UDP port 123 outwards, or set the clock of the host";

/// Whether the clock can be right.
pub fn check_clock(now: i64) -> Result<(), Failure> {
    if now >= EARLIEST_CLOCK {
        return Ok(());
    }
    let text = "the clock is wrong: it shows a time before this program was written";
    Err(Failure::new(Kind::Clock, text, CLOCK_HINT))
}

/// Whether a clock that nobody set yet agrees with the CA's: one that is behind would find the
/// certificate not valid yet, and one that is years ahead finds it expired.
///
/// Set, it is believed more than a CA. It is waited for NTP for a while after power-on;
/// where it never comes, most clocks are good enough all the same.
pub fn check_skew(place: &Place, ahead: Option<i64>) -> Result<(), Failure> {
    let waits = may_be_set(place);
    match ahead {
        Some(ahead) if waits && !(-CLOCK_AHEAD_MAX..=CLOCK_SKEW).contains(&ahead) => {
            Err(Failure::new(
                Kind::Clock,
                format!(
                    "the clock was not set yet and is {} {} that of the CA",
                    describe_span(ahead),
                    if ahead > 0 { "behind" } else { "ahead of" }
                ),
                CLOCK_HINT,
            ))
        }
        _ => Ok(()),
    }
}

/// What a failure means whose reason may be a clock that nobody set: the time of the
/// CA's own certificate looks wrong by it.
pub fn blame_clock(place: &Place, failure: Failure) -> Failure {
    let by_time = ["expired", "not valid yet", "notvalidyet"];
    let text = failure.text.to_lowercase();
    let suspect = failure.kind == Kind::Unreachable
        && by_time.iter().any(|words| text.contains(words))
        && !is_synchronized(place);
    if !suspect {
        return failure;
    }
    let text = format!("the clock was not set yet, and by it {}", failure.text);
    Failure::new(Kind::Clock, text, CLOCK_HINT)
}

/// Addresses that are this machine's as far as it knows; none behind some kinds of NAT.
pub fn own_addresses(place: &Place, configuration: &Configuration) -> Vec<IpAddr> {
    let set = &configuration.public_addresses;
    let set4 = set.iter().find_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    });
    let set6 = set.iter().find_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    });
    let found = find_addresses(place, set4, set6);
    [found.ipv4, found.ipv6]
        .into_iter()
        .flatten()
        .map(|found| found.address)
        .collect()
}

fn listed(addresses: &[IpAddr]) -> String {
    let texts: Vec<String> = addresses.iter().map(IpAddr::to_string).collect();
    texts.join(", ")
}

/// Whether HOSTNAME leads here, as far as that can be known; the CA is not asked otherwise.
pub fn check_host(
    name: &str,
    resolved: &Resolved,
    own: &[IpAddr],
    record: &mut Record,
    now: i64,
) -> Result<(), Failure> {
    let failure = if !resolved.exists {
        Failure::new(
            Kind::NoSuchName,
            format!("{name} is not in DNS"),
            "publish its A and AAAA records: mailctl dns records prints them",
        )
    } else if resolved.addresses.is_empty() {
        Failure::new(
            Kind::NoSuchName,
            format!("{name} has no address in DNS"),
            "publish its A and AAAA records: mailctl dns records prints them",
        )
    } else if own.is_empty() || resolved.addresses.iter().any(|found| own.contains(found)) {
        record.held_back = None;
        return Ok(());
    } else {
        Failure::new(
            Kind::PointsElsewhere,
            format!(
                "{name} leads to {} in DNS, this machine is {}",
                listed(&resolved.addresses),
                listed(own)
            ),
            "correct its A and AAAA records; if this machine is reachable under the other \
             address, set PUBLIC_IPV4 or PUBLIC_IPV6",
        )
    };
    match record.held_back {
        Some(since) if (0..DNS_DOUBT_PAUSE).contains(&(now - since)) => Err(failure),
        Some(_) if !resolved.addresses.is_empty() => {
            record.held_back = Some(now);
            Ok(())
        }
        _ => {
            record.held_back = Some(now);
            Err(failure)
        }
    }
}

/// Why an optional name gets no certificate yet.
pub fn check_optional(name: &str, resolved: &Resolved, own: &[IpAddr]) -> Option<String> {
    if resolved.addresses.is_empty() {
        return Some(format!("{name} has no address in DNS"));
    }
    // Every address, since the CA may choose any of them.
    let foreign: Vec<IpAddr> = resolved
        .addresses
        .iter()
        .copied()
        .filter(|address| !own.contains(address))
        .collect();
    (!foreign.is_empty()).then(|| format!("{name} leads to {}", listed(&foreign)))
}

/// Whether our own web server answers, and with what we put there.
pub fn check_web_server(place: &Place, configuration: &Configuration) -> Result<(), Failure> {
    let nonce = hex::encode(rand::random::<[u8; 16]>());
    let _answer = publish_http(place, &nonce, &nonce)?;
    let url = format!(
        "http://127.0.0.1:{}/.well-known/acme-challenge/{nonce}",
        configuration.http_port
    );
    let ask = || -> Result<Vec<u8>, ureq::Error> {
        let config = client()
            .http_status_as_error(true)
            .timeout_global(Some(OWN_WEB_SERVER_LIMIT))
            .build();
        ureq::Agent::new_with_config(config)
            .get(&url)
            .header("Host", &configuration.hostname)
            .call()?
            .body_mut()
            .with_config()
            .limit(OWN_ANSWER_BYTES_MAX)
            .read_to_vec()
    };
    let wrong = match ask() {
        Ok(text) if text == nonce.as_bytes() => return Ok(()),
        Ok(_) => "it serves something else".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Failure::new(
        Kind::WebServer,
        format!(
            "the machine's own web server does not answer challenges on port {}: {wrong}",
            configuration.http_port
        ),
        "journalctl -u mailimg-web.service says why",
    ))
}

/// Looks at where HOSTNAME leads.
pub fn look_up(configuration: &Configuration, name: &str) -> Result<Resolved, Failure> {
    resolve(configuration.name_server, name)
}

#[cfg(test)]
mod tests {
    use super::{check_clock, check_host, check_optional};
    use crate::appliance::certificate::acme::failure::Kind;
    use crate::appliance::certificate::acme::names::Resolved;
    use crate::appliance::certificate::acme::record::Record;
    use std::net::IpAddr;

    fn to(addresses: &[&str]) -> Resolved {
        Resolved {
            exists: true,
            addresses: addresses
                .iter()
                .map(|address| address.parse().unwrap())
                .collect(),
        }
    }

    #[test]
    fn a_name_that_leads_elsewhere_is_tried_twice_a_day() {
        let own: Vec<IpAddr> = vec!["198.18.0.2".parse().unwrap()];
        let mut record = Record::default();
        let mut check =
            |resolved: &Resolved, now| check_host("a.example", resolved, &own, &mut record, now);
        let elsewhere = to(&["198.18.0.9"]);
        let failure = check(&elsewhere, 1000).unwrap_err();
        assert_eq!(failure.kind, Kind::PointsElsewhere);
        assert_eq!(
            failure.text,
            "a.example leads to 198.18.0.9 in DNS, this machine is 198.18.0.2"
        );
        assert!(check(&elsewhere, 2000).is_err());
        assert!(check(&elsewhere, 1000 + 12 * 3600).is_ok());
        assert!(check(&elsewhere, 1001 + 12 * 3600).is_err());
        assert!(check(&to(&["198.18.0.9", "198.18.0.2"]), 50_000).is_ok());
        // There is nothing to ask the CA for then.
        let absent = Resolved::default();
        for now in [0, 100_000, 200_000] {
            assert_eq!(check(&absent, now).unwrap_err().kind, Kind::NoSuchName);
        }
        // Behind NAT nothing is known.
        let mut record = Record::default();
        assert!(check_host("a.example", &elsewhere, &[], &mut record, 0).is_ok());
    }

    #[test]
    fn optional_names_must_lead_here_with_every_address() {
        let own: Vec<IpAddr> = vec!["198.18.0.2".parse().unwrap()];
        assert_eq!(check_optional("a", &to(&["198.18.0.2"]), &own), None);
        assert!(check_optional("a", &to(&["198.18.0.2", "2001:2::9"]), &own).is_some());
        assert!(check_optional("a", &Resolved::default(), &own).is_some());
    }

    #[test]
    fn clocks_before_this_program_are_wrong() {
        assert!(check_clock(0).is_err() && check_clock(1_795_000_000).is_ok());
    }
}
