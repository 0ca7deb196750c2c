//! Records as people paste them: into a provider's form, or into a zone file.
//!
//! The zone file is RFC 1035 section 5 with full names, a time to live and a
//! class in every line, which BIND and Knot load as it is. Each zone's records
//! begin with its own `$ORIGIN`.

use super::expected::{Expected, Need};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write;

/// How long others may keep a record, in seconds.
pub const TIME_TO_LIVE: u32 = 3600;

/// Records and the zones that they belong to.
pub struct Zones<'a> {
    /// By apex, in the order of the list.
    zones: Vec<(String, Vec<&'a Expected>)>,
}

impl<'a> Zones<'a> {
    /// Groups records; `apexes` names the zone of each name, where it is known.
    pub fn group(
        records: &'a [Expected],
        apexes: &BTreeMap<String, String>,
        domains: &[String],
    ) -> Self {
        let mut zones: Vec<(String, Vec<&Expected>)> = Vec::new();
        for record in records {
            let apex = apexes
                .get(&record.name)
                .cloned()
                .unwrap_or_else(|| likely_apex(&record.name, domains));
            match zones.iter_mut().find(|(name, _)| *name == apex) {
                Some((_, list)) => list.push(record),
                None => zones.push((apex, vec![record])),
            }
        }
        Self { zones }
    }

    /// Zone files.
    pub fn zone_text(&self) -> String {
        let mut text = String::new();
        for (apex, records) in &self.zones {
            let _ = writeln!(
                text,
                "; Records for the zone {apex}; its SOA and NS records are not among them.\n$ORIGIN {apex}."
            );
            for record in records {
                let _ = writeln!(text, "; {}", comment(record));
                for data in &record.data {
                    let _ = writeln!(
                        text,
                        "{}. {TIME_TO_LIVE} IN {} {data}",
                        record.name,
                        data.type_name()
                    );
                }
            }
            text.push('\n');
        }
        text
    }

    /// A list for a provider's form.
    pub fn form_text(&self) -> String {
        let mut text = String::new();
        for (apex, records) in &self.zones {
            let _ = writeln!(
                text,
                "# Zone {apex}. Names are relative to it, '@' is {apex} itself; a dot ends a full name."
            );
            for record in records {
                let _ = writeln!(text, "\n# {}", comment(record));
                for data in &record.data {
                    let _ = writeln!(
                        text,
                        "{}  {}  {}",
                        relative(&record.name, apex),
                        data.type_name(),
                        data.form_value()
                    );
                }
            }
            text.push('\n');
        }
        text
    }

    /// The same for programs.
    pub fn json(&self) -> Result<String> {
        let rows: Vec<Row<'_>> = self
            .zones
            .iter()
            .flat_map(|(apex, records)| records.iter().map(move |record| (apex, *record)))
            .flat_map(|(apex, record)| {
                record.data.iter().map(move |data| Row {
                    zone: apex,
                    name: &record.name,
                    kind: data.type_name(),
                    value: data.form_value(),
                    ttl: TIME_TO_LIVE,
                    need: record.need,
                    purpose: record.purpose,
                    why: &record.why,
                })
            })
            .collect();
        serde_json::to_string_pretty(&rows).context("writing JSON")
    }
}

#[derive(Serialize)]
struct Row<'a> {
    zone: &'a str,
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    value: String,
    ttl: u32,
    need: Need,
    purpose: super::expected::Purpose,
    why: &'a str,
}

fn comment(record: &Expected) -> String {
    let need = match record.need {
        Need::Required => "Required",
        Need::Recommended => "Recommended",
    };
    format!("{need}: {}", record.why)
}

/// A name as forms take it: without the zone's, or `@` for that one.
pub fn relative<'a>(name: &'a str, apex: &str) -> &'a str {
    if name == apex {
        return "@";
    }
    name.strip_suffix(apex)
        .and_then(|rest| rest.strip_suffix('.'))
        .unwrap_or(name)
}

/// The zone of a name as it usually is, for when nobody can be asked.
fn likely_apex(name: &str, domains: &[String]) -> String {
    let labels: Vec<&str> = name.split('.').collect();
    // Reverse zones are cut at whole octets or, for IPv6, at the usual /64.
    if name.ends_with(".in-addr.arpa") {
        return labels[1..].join(".");
    }
    if name.ends_with(".ip6.arpa") && labels.len() > 16 {
        return labels[16..].join(".");
    }
    let longest = domains
        .iter()
        .filter(|domain| {
            name == domain.as_str()
                || name
                    .strip_suffix(domain.as_str())
                    .is_some_and(|rest| rest.ends_with('.'))
        })
        .max_by_key(|domain| domain.len());
    match longest {
        Some(domain) => domain.clone(),
        // HOSTNAME outside the domains: the domain that it lies in.
        None => {
            let owned: Vec<&str> = labels
                .iter()
                .skip_while(|label| label.starts_with('_'))
                .copied()
                .collect();
            if owned.len() > 2 {
                owned[1..].join(".")
            } else {
                owned.join(".")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::likely_apex;

    #[test]
    fn zones_when_nobody_can_be_asked() {
        let domains = ["a.example".to_owned(), "b.a.example".to_owned()];
        let apex = |name| likely_apex(name, &domains);
        assert_eq!(apex("_dmarc.a.example"), "a.example");
        assert_eq!(apex("mail.b.a.example"), "b.a.example");
        assert_eq!(apex("ba.example"), "ba.example");
        assert_eq!(apex("_25._tcp.mx.host.example"), "host.example");
        assert_eq!(apex("1.2.0.192.in-addr.arpa"), "2.0.192.in-addr.arpa");
        assert_eq!(
            apex("b.a.9.8.7.6.5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"),
            "0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"
        );
    }
}
