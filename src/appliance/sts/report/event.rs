//! What libtlsrpt sends: a datagram of JSON for each session, version 1.
//!
//! <https://github.com/sys4/libtlsrpt>: `d` is the domain, `pr` its record, and
//! each policy has `f`, 0 for a success; numbers of types and failures are
//! those of tlsrpt.h.

use crate::appliance::sts::policy::is_domain;
use serde::{Deserialize, Serialize};

/// Longest text that is kept; the longest that is needed names a host.
const LONGEST_TEXT: usize = 300;
/// Most texts in a list.
const MOST_TEXTS: usize = 110;

/// The outcome of a session.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Event {
    /// The domain that mail was for.
    #[serde(rename = "d")]
    pub domain: String,
    /// Its record.
    #[serde(rename = "pr")]
    pub record: String,
    pub policies: Vec<PolicyOutcome>,
}

/// What became of one policy.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct PolicyOutcome {
    #[serde(flatten)]
    pub policy: Applied,
    #[serde(rename = "failure-details", default)]
    pub failures: Vec<Failure>,
    /// 0 if the session came about as the policy wants it.
    #[serde(rename = "f")]
    pub failed: u8,
}

/// A policy as it was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    #[serde(rename = "policy-type")]
    pub kind: u16,
    #[serde(rename = "policy-domain", default)]
    pub domain: Option<String>,
    #[serde(rename = "policy-string", default)]
    pub texts: Vec<String>,
    #[serde(rename = "mx-host", default)]
    pub patterns: Vec<String>,
}

/// Why a session failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    #[serde(rename = "c")]
    pub code: u16,
    #[serde(rename = "s", default)]
    pub sender: Option<String>,
    #[serde(rename = "n", default)]
    pub server: Option<String>,
    #[serde(rename = "h", default)]
    pub greeting: Option<String>,
    #[serde(rename = "r", default)]
    pub address: Option<String>,
    #[serde(rename = "a", default)]
    pub more: Option<String>,
    #[serde(rename = "f", default)]
    pub reason: Option<String>,
}

/// Reads a datagram; texts of strangers in it are cut to size.
pub fn parse_event(bytes: &[u8]) -> Option<Event> {
    let mut event: Event = serde_json::from_slice(bytes).ok()?;
    event.domain.make_ascii_lowercase();
    if !is_domain(&event.domain) || event.record.len() > 4096 {
        return None;
    }
    for outcome in &mut event.policies {
        outcome.policy.domain.as_mut().map(shorten);
        for texts in [&mut outcome.policy.texts, &mut outcome.policy.patterns] {
            texts.truncate(MOST_TEXTS);
            texts.iter_mut().for_each(shorten);
        }
        for failure in &mut outcome.failures {
            if let Some(greeting) = &mut failure.greeting {
                *greeting = greeted_name(greeting).to_owned();
            }
            for text in [
                &mut failure.sender,
                &mut failure.server,
                &mut failure.greeting,
                &mut failure.address,
                &mut failure.more,
                &mut failure.reason,
            ] {
                text.as_mut().map(shorten);
            }
        }
    }
    Some(event)
}

/// Who answers EHLO: the first line of the answer, without its code.
fn greeted_name(answer: &str) -> &str {
    let line = answer.lines().next().unwrap_or_default();
    line.strip_prefix("250")
        .and_then(|rest| rest.strip_prefix(['-', ' ']))
        .unwrap_or(line)
}

fn shorten(text: &mut String) {
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT)
            .rfind(|end| text.is_char_boundary(*end))
            .unwrap_or(0);
        text.truncate(end);
    }
}

/// The addresses in the record of a domain that wants reports, at most a few.
///
/// RFC 8460, section 3.
pub fn parse_record(record: &str) -> Vec<Endpoint> {
    /// Addresses that are reported to.
    const MOST_ENDPOINTS: usize = 4;
    let Some(fields) = record.strip_prefix("v=TLSRPTv1") else {
        return Vec::new();
    };
    if !fields.trim_start_matches([' ', '\t']).starts_with(';') {
        return Vec::new();
    }
    fields
        .split(';')
        .filter_map(|field| field.trim_matches([' ', '\t']).split_once('='))
        .find_map(|(key, value)| (key.trim_end() == "rua").then_some(value))
        .into_iter()
        .flat_map(|list| list.split(','))
        .filter_map(|text| parse_endpoint(text.trim_matches([' ', '\t'])))
        .take(MOST_ENDPOINTS)
        .collect()
}

/// Where a report goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// To this mail address.
    Mail(String),
    /// To this address of a web server, on this host.
    Web {
        url: String,
        host: String,
        port: u16,
    },
}

fn parse_endpoint(text: &str) -> Option<Endpoint> {
    if text.len() > 2048 || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (scheme, rest) = text.split_once(':')?;
    if scheme.eq_ignore_ascii_case("mailto") {
        let address = decode(rest.split('?').next()?)?;
        return is_recipient(&address).then_some(Endpoint::Mail(address));
    }
    if !scheme.eq_ignore_ascii_case("https") {
        return None;
    }
    let address: http::Uri = text.parse().ok()?;
    let authority = address.authority()?;
    let host = address.host()?.to_ascii_lowercase();
    if authority.as_str().contains('@') || !is_domain(&host) {
        return None;
    }
    Some(Endpoint::Web {
        url: text.to_owned(),
        port: address.port_u16().unwrap_or(443),
        host,
    })
}

/// Whether a text is a plain mail address (RFC 5321, section 4.1.2, without quotes).
fn is_recipient(address: &str) -> bool {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return false;
    };
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte);
    (1..=64).contains(&local.len())
        && local
            .split('.')
            .all(|word| !word.is_empty() && word.bytes().all(good))
        && is_domain(&domain.to_ascii_lowercase())
}

/// Undoes `%41`; commas and semicolons come that way.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes().iter().copied();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digits = [rest.next()?, rest.next()?];
            bytes.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::{Endpoint, parse_event, parse_record};

    #[test]
    fn a_datagram_of_libtlsrpt_is_read() {
        let datagram = br#"{"dpv": "1","d": "Example.com","pr": "v=TLSRPTv1;rua=mailto:r@example.com","policies":[{"policy-type":2,"policy-domain": "example.com","policy-string":["version: STSv1","mode: enforce"],"mx-host":["*.example.com"],"failure-details":[{"c":202,"s": "192.0.2.1","n": "mx.example.com","h": "250-mx.example.com\r\n250 PIPELINING","r": "192.0.2.2"}],"t":1,"f":1}]}"#;
        let event = parse_event(datagram).unwrap();
        assert_eq!(event.domain, "example.com");
        let outcome = &event.policies[0];
        assert_eq!((outcome.policy.kind, outcome.failed), (2, 1));
        assert_eq!(outcome.failures[0].code, 202);
        assert_eq!(
            outcome.failures[0].greeting.as_deref(),
            Some("mx.example.com")
        );
        let least = br#"{"d":"a.example","pr":"","policies":[{"policy-type":9,"t":0,"f":0}]}"#;
        assert!(parse_event(least).unwrap().policies[0].failures.is_empty());
    }

    #[test]
    fn what_is_none_is_dropped_and_long_texts_are_cut() {
        for bad in ["", "{", "[]", "{}", r#"{"d":"../x","pr":"","policies":[]}"#] {
            assert_eq!(parse_event(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_event(&[0xff; 100]), None);
        let long = format!(
            r#"{{"d":"a.example","pr":"","policies":[{{"policy-type":9,"f":1,"policy-string":["{}"]}}]}}"#,
            "ü".repeat(20_000)
        );
        let event = parse_event(long.as_bytes()).unwrap();
        assert_eq!(event.policies[0].policy.texts[0].len(), 300);
    }

    #[test]
    fn endpoints_of_a_record() {
        let mail = |address: &str| Endpoint::Mail(address.to_owned());
        assert_eq!(
            parse_record("v=TLSRPTv1; rua=mailto:reports@example.com"),
            [mail("reports@example.com")]
        );
        assert_eq!(
            parse_record(
                "v=TLSRPTv1 ;x=y; rua=mailto:a%2Bb@example.com?subject=x , https://Report.example.com:8443/v1/tlsrpt;"
            ),
            [
                mail("a+b@example.com"),
                Endpoint::Web {
                    url: "https://Report.example.com:8443/v1/tlsrpt".to_owned(),
                    host: "report.example.com".to_owned(),
                    port: 8443
                }
            ]
        );
        for none in [
            "",
            "v=TLSRPTv1",
            "v=TLSRPTv1;",
            "v=TLSRPTv12; rua=mailto:a@b.example",
            "v=TLSRPTv1; rua=",
            "v=TLSRPTv1; rua=mailto:",
            "v=TLSRPTv1; rua=mailto:a@b@c.example",
            "v=TLSRPTv1; rua=http://a.example/",
            "v=TLSRPTv1; rua=https://user@a.example/",
            "v=TLSRPTv1; rua=https://127.0.0.1/",
            "v=TLSRPTv1; rua=https://[::1]/",
            "v=TLSRPTv1; rua=mailto:a%0D%0Ab@c.example",
            "v=TLSRPTv1; rua=mailto:%zz@c.example",
            "v=TLSRPTv1; rua=file:///etc/passwd",
        ] {
            assert_eq!(parse_record(none), [], "{none}");
        }
        let many = format!(
            "v=TLSRPTv1; rua={}",
            vec!["mailto:a@b.example"; 50].join(",")
        );
        assert_eq!(parse_record(&many).len(), 4);
    }
}
