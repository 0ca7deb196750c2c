//! What all checks found, for people and for programs.

use super::super::expected::Need;
use super::super::facts::Facts;
use super::super::name_servers::ZoneState;
use super::super::zone::Signed;
use super::finding::{Finding, Verdict};
use anyhow::{Context, Result};
use serde::Serialize;
use std::fmt::Write;

/// Whether the reader is a terminal that shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Letters only.
    Plain,
    /// Colours too.
    Coloured,
}

/// Whether a zone is signed.
#[derive(Debug, Clone, Serialize)]
struct ZoneRow {
    zone: String,
    dnssec: Signed,
}

/// The outcome of all checks.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Whether every required check is good.
    pub ok: bool,
    /// The public addresses.
    addresses: Vec<String>,
    /// One for each check.
    pub checks: Vec<Finding>,
    zones: Vec<ZoneRow>,
    #[serde(skip)]
    hostname: String,
}

impl Report {
    /// Sums up.
    pub fn new(facts: &Facts, checks: Vec<Finding>, zones: &[ZoneState]) -> Self {
        let failed =
            |finding: &Finding| finding.need == Need::Required && finding.verdict != Verdict::Ok;
        Self {
            // Nothing was compared without an address.
            ok: !checks.iter().any(failed) && facts.addresses.all().next().is_some(),
            addresses: facts.addresses.words.clone(),
            zones: zones
                .iter()
                .filter(|state| !state.zone.apex.ends_with(".arpa"))
                .map(|state| ZoneRow {
                    zone: state.zone.apex.clone(),
                    dnssec: state.zone.signed,
                })
                .collect(),
            checks,
            hostname: facts.hostname.clone(),
        }
    }

    /// As JSON.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self).context("writing JSON")
    }

    /// As text.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        if self.addresses.is_empty() {
            text.push_str("The public address of this machine is not known: set PUBLIC_IPV4 or PUBLIC_IPV6 in the settings.\n");
        } else {
            let _ = writeln!(
                text,
                "This machine is {}, in the internet as {}.",
                self.hostname,
                self.addresses.join(" and ")
            );
        }
        for (need, title) in [
            (Need::Required, "Required"),
            (Need::Recommended, "Recommended"),
        ] {
            let _ = write!(text, "\n{title}\n");
            let mut of = "";
            for finding in self.checks.iter().filter(|finding| finding.need == need) {
                let title = match finding.check {
                    "servers" => "Name servers",
                    _ => &finding.of,
                };
                if title != of {
                    of = title;
                    let _ = writeln!(text, "  {of}");
                }
                write_finding(&mut text, finding, style);
            }
        }
        if !self.zones.is_empty() {
            text.push_str("\nDNSSEC\n");
        }
        for row in &self.zones {
            let said = match row.dnssec {
                Signed::Yes => "is signed",
                Signed::No => {
                    "is not signed; signed, it would let others verify our TLS keys (DANE)"
                }
                Signed::Broken => "is signed, and its signatures are broken",
            };
            let _ = writeln!(text, "  {} {said}.", row.zone);
        }
        let _ = write!(text, "\n{}", self.sum());
        text
    }

    fn sum(&self) -> String {
        let count = |need, verdict: fn(Verdict) -> bool| {
            self.checks
                .iter()
                .filter(|finding| finding.need == need && verdict(finding.verdict))
                .count()
        };
        let bad = |verdict| matches!(verdict, Verdict::Missing | Verdict::Wrong);
        let unknown = |verdict| verdict == Verdict::CannotTell;
        let mut parts = Vec::new();
        for (need, word) in [
            (Need::Required, "required"),
            (Need::Recommended, "recommended"),
        ] {
            match count(need, bad) {
                0 => {}
                number => parts.push(format!("{number} {word} to mend")),
            }
            match count(need, unknown) {
                0 => {}
                number => parts.push(format!("{number} {word} that nobody could tell")),
            }
        }
        if parts.is_empty() {
            return "All checks are good.".to_owned();
        }
        let good = if self.ok {
            "All required checks are good; "
        } else {
            ""
        };
        format!(
            "{good}{}. mailctl dns records prints everything to publish.",
            parts.join(", ")
        )
    }
}

fn write_finding(text: &mut String, finding: &Finding, style: Style) {
    let (word, colour) = match (finding.verdict, finding.need) {
        (Verdict::Ok, _) => ("ok", "32"),
        (Verdict::CannotTell, _) => ("cannot tell", "33"),
        (Verdict::Missing, Need::Required) => ("MISSING", "31"),
        (Verdict::Wrong, Need::Required) => ("WRONG", "31"),
        (Verdict::Missing, Need::Recommended) => ("missing", "33"),
        (Verdict::Wrong, Need::Recommended) => ("wrong", "33"),
    };
    // As wide as the longest word, with the colour outside.
    let word = match style {
        Style::Plain => format!("{word:<11}"),
        Style::Coloured => format!("\x1b[{colour}m{word:<11}\x1b[0m"),
    };
    // An address reads better than its name in reverse.
    let subject = match finding.check {
        "ptr" => String::new(),
        _ => format!("{} ", finding.name),
    };
    let _ = writeln!(
        text,
        "    {word}  {:<13}  {}",
        finding.check.to_uppercase(),
        printable(&format!("{subject}{}", finding.said))
    );
    if finding.verdict == Verdict::Ok {
        return;
    }
    for (label, values) in [
        ("expected", &finding.expected),
        ("found", &finding.found),
        ("to do", &finding.advice),
    ] {
        for value in values {
            let _ = writeln!(text, "{:17}{label}: {}", "", printable(value));
        }
    }
}

/// What stands in somebody's zone must not reach the terminal as it is.
fn printable(text: &str) -> String {
    text.chars()
        .map(|character| {
            if character.is_control() {
                '\u{fffd}'
            } else {
                character
            }
        })
        .collect()
}
