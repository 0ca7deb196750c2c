//! Records that are published, only under another name than they should be.
//!
//! Most forms of providers add the zone's name to what is entered, and some
//! add more, so that a full name ends up doubled: `_dmarc.example.org.example.org`.

use super::super::data::Data;
use super::super::expected::{Expected, Purpose};
use super::super::name_servers::NameServers;
use super::super::policy::text::{Kind, read};
use super::super::zone_text::relative;
use super::wildcard::is_wildcard;
use hickory_proto::rr::RecordType;
use std::sync::Arc;

/// A name that a record may have got, and how it comes back to its own.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Slip {
    name: String,
    advice: String,
}

impl Slip {
    fn new(name: String, advice: impl Into<String>) -> Self {
        Self {
            name,
            advice: advice.into(),
        }
    }
}

/// The slips of a record in a zone, the likeliest first.
fn slips(expected: &Expected, apex: &str) -> Vec<Slip> {
    let name = &expected.name;
    let mut slips = Vec::new();
    for added in [apex, expected.of.as_str()] {
        // The mail domain may be a name within the zone.
        let within = added.ends_with(&format!(".{apex}"));
        let full = name.ends_with(&format!(".{added}"));
        if added == apex && (name == added || full) || within && full {
            let entered = relative(name, added);
            let entered = if entered == "@" {
                "nothing, or @,".to_owned()
            } else {
                format!("only {entered}")
            };
            slips.push(Slip::new(
                format!("{name}.{added}"),
                format!("the provider's form adds {added} by itself: enter {entered} as its name"),
            ));
        }
    }
    slips.dedup_by(|one, other| one.name == other.name);
    let labels: Vec<&str> = name.split('.').collect();
    // Labels up to the last one with an underscore belong to the record, the rest is a host's.
    let own = labels
        .iter()
        .rposition(|label| label.starts_with('_'))
        .map_or(0, |at| at + 1);
    if own == 0 {
        return slips;
    }
    let (prefix, host) = (labels[..own].join("."), labels[own..].join("."));
    let last = labels[own - 1];
    slips.push(Slip::new(
        format!("{prefix}.{last}.{host}"),
        format!("the provider's form adds {last} by itself: leave it out of its name there"),
    ));
    slips.push(Slip::new(
        format!("{prefix}.{prefix}.{host}"),
        format!("{prefix} stands twice in its name: leave one out"),
    ));
    let bare: Vec<&str> = labels[..own]
        .iter()
        .map(|label| label.trim_start_matches('_'))
        .collect();
    slips.push(Slip::new(
        format!("{}.{host}", bare.join(".")),
        format!("underscores are missing in its name: it has to be {name}"),
    ));
    if Kind::of(expected.purpose).is_some() {
        let advice = format!(
            "it has to stand at {name}: enter {} as its name",
            relative(name, apex)
        );
        slips.push(Slip::new(host.clone(), advice.clone()));
        if let Some((selector, "_domainkey")) = prefix.split_once('.') {
            slips.push(Slip::new(format!("{selector}.{host}"), advice.clone()));
            slips.push(Slip::new(format!("_domainkey.{host}"), advice));
        }
    }
    slips.dedup_by(|one, other| one.name == other.name);
    slips
}

/// Whether a record is what is looked for, whatever it says.
pub fn is_of_kind(expected: &Expected, data: &Data) -> bool {
    match Kind::of(expected.purpose) {
        Some(kind) => read(kind, data).is_some(),
        None => true,
    }
}

/// A record that does not stand where it should.
pub struct Misplaced {
    /// Where it is, and how it comes back.
    pub advice: String,
    /// What it says.
    pub records: Vec<Data>,
}

/// Looks for a record where it should not be.
pub async fn find_misplaced(
    name_servers: &Arc<NameServers>,
    expected: &Expected,
) -> Vec<Misplaced> {
    let Ok(zone) = name_servers.zone(&expected.name).await else {
        return Vec::new();
    };
    let is_host = matches!(
        expected.purpose,
        Purpose::StsHost | Purpose::Autoconfig | Purpose::Ipv4 | Purpose::Ipv6
    );
    let kind = match expected.purpose {
        // Both an alias and an address lead somewhere.
        Purpose::StsHost | Purpose::Autoconfig => RecordType::A,
        _ => expected
            .data
            .first()
            .map_or(RecordType::NULL, Data::record_type),
    };
    let mut found = Vec::new();
    for slip in slips(expected, &zone.apex) {
        let Some(view) = name_servers.glance(&zone, &slip.name, kind).await else {
            continue;
        };
        let there = view.records.iter().any(|data| is_of_kind(expected, data))
            || is_host && !view.aliases.is_empty();
        if there && !is_wildcard(name_servers, &zone, &slip.name, kind, &view).await {
            found.push(Misplaced {
                advice: format!("it is published as {}.: {}", slip.name, slip.advice),
                records: view.records,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::Need;
    use super::*;

    fn names(purpose: Purpose, name: &str, of: &str, apex: &str) -> Vec<String> {
        let expected = Expected {
            purpose,
            of: of.to_owned(),
            name: name.to_owned(),
            data: Vec::new(),
            need: Need::Required,
            why: String::new(),
        };
        slips(&expected, apex)
            .into_iter()
            .map(|slip| slip.name)
            .collect()
    }

    #[test]
    fn names_that_a_form_makes() {
        assert_eq!(
            names(Purpose::Dmarc, "_dmarc.a.example", "a.example", "a.example"),
            [
                "_dmarc.a.example.a.example",
                "_dmarc._dmarc.a.example",
                "dmarc.a.example",
                "a.example"
            ]
        );
        assert_eq!(
            names(
                Purpose::Dkim,
                "s._domainkey.m.a.example",
                "m.a.example",
                "a.example"
            ),
            [
                "s._domainkey.m.a.example.a.example",
                "s._domainkey.m.a.example.m.a.example",
                "s._domainkey._domainkey.m.a.example",
                "s._domainkey.s._domainkey.m.a.example",
                "s.domainkey.m.a.example",
                "m.a.example",
                "s.m.a.example",
                "_domainkey.m.a.example"
            ]
        );
        assert_eq!(
            names(
                Purpose::Service,
                "_imaps._tcp.a.example",
                "a.example",
                "a.example"
            ),
            [
                "_imaps._tcp.a.example.a.example",
                "_imaps._tcp._tcp.a.example",
                "_imaps._tcp._imaps._tcp.a.example",
                "imaps.tcp.a.example"
            ]
        );
        assert_eq!(
            names(
                Purpose::Ipv4,
                "mail.a.example",
                "mail.a.example",
                "a.example"
            ),
            ["mail.a.example.a.example"]
        );
        assert_eq!(
            names(Purpose::MailServer, "a.example", "a.example", "a.example"),
            ["a.example.a.example"]
        );
        assert_eq!(
            names(
                Purpose::Reverse,
                "1.2.0.192.in-addr.arpa",
                "mail.a.example",
                "2.0.192.in-addr.arpa"
            ),
            ["1.2.0.192.in-addr.arpa.2.0.192.in-addr.arpa"]
        );
    }

    #[test]
    fn what_to_enter_instead() {
        let expected = |name: &str| Expected {
            purpose: Purpose::Dmarc,
            of: "a.example".to_owned(),
            name: name.to_owned(),
            data: Vec::new(),
            need: Need::Required,
            why: String::new(),
        };
        let advice = |name| slips(&expected(name), "a.example")[0].advice.clone();
        assert!(advice("_dmarc.a.example").ends_with("enter only _dmarc as its name"));
        assert!(advice("a.example").ends_with("enter nothing, or @, as its name"));
    }
}
