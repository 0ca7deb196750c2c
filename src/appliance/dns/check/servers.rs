//! Whether the name servers of zones do their work.

use super::super::expected::Need;
use super::super::name_servers::ZoneState;
use super::super::zone::Signed;
use super::finding::{Finding, Verdict};

/// Whether every server of a zone does its work.
pub fn check_zone(state: &ZoneState) -> Finding {
    let zone = &state.zone;
    let reverse = zone.apex.ends_with(".arpa");
    let mut problems: Vec<String> = state.problems.iter().cloned().collect();
    let mut advice = Vec::new();
    if !problems.is_empty() {
        advice.push(if reverse {
            "this is your provider's business".to_owned()
        } else {
            format!(
                "mend or remove these name servers at the DNS provider of {}: others ask them too",
                zone.apex
            )
        });
    }
    if zone.signed == Signed::Broken {
        problems.push("its DNSSEC signatures are refused by resolvers that validate".to_owned());
        advice
            .push("have the zone signed anew, or remove its DS record at the registrar".to_owned());
    }
    let names: Vec<String> = zone
        .servers
        .iter()
        .map(|server| server.name.clone())
        .collect();
    Finding {
        check: "servers",
        of: zone.apex.clone(),
        name: zone.apex.clone(),
        kind: "NS",
        // Nobody but the provider can mend those of addresses.
        need: if reverse {
            Need::Recommended
        } else {
            Need::Required
        },
        verdict: if problems.is_empty() {
            Verdict::Ok
        } else {
            Verdict::Wrong
        },
        said: if problems.is_empty() {
            "all name servers answer".to_owned()
        } else {
            problems.join("; ")
        },
        expected: Vec::new(),
        found: names,
        advice,
    }
}
