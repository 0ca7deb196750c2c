//! Every record of every domain: what is expected, what is found, and the text to copy.
//!
//! The checks are those of `mailctl dns check`, run by root's helper; they take up to half a
//! minute, so the page shows what came of the last ones and when that was.

use super::frame::Frame;
use crate::appliance::machine::clock::now;
use crate::appliance::monitoring::asked::Asked;
use crate::appliance::monitoring::facts::{DnsFacts, Finding, Record, Zone};
use crate::appliance::monitoring::site::Site;
use crate::appliance::monitoring::unit::time;
use crate::appliance::web::answer::Answer;
use anyhow::Result;
use http::header;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Checks that are older are done anew when the page is looked at, in seconds.
const FRESH: i64 = 3600;
/// Domains whose records are all on one page.
const FEW: usize = 8;
/// Domains with problems that are shown in full nevertheless.
const MOST_TROUBLED: usize = 20;

/// One value to be published, as a provider's form wants it.
#[derive(Debug, Serialize)]
struct Entry {
    /// Relative to the zone.
    name: String,
    kind: String,
    value: String,
    zone: String,
    ttl: u32,
}

/// One record, judged.
#[derive(Debug, Serialize)]
struct Row {
    check: String,
    name: String,
    kind: String,
    need: String,
    /// `ok`, `cannot-tell`, `missing` or `wrong`.
    verdict: String,
    words: &'static str,
    said: String,
    why: String,
    found: Vec<String>,
    advice: Vec<String>,
    entries: Vec<Entry>,
}

/// The records of one name.
#[derive(Debug, Serialize)]
struct Group {
    of: String,
    bad: usize,
    total: usize,
    is_shown: bool,
    rows: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Values {
    at: String,
    is_running: bool,
    problem: Option<String>,
    is_known: bool,
    is_good: bool,
    addresses: Vec<String>,
    bad: usize,
    total: usize,
    groups: Vec<Group>,
    zones: Vec<Zone>,
    /// The domain that was asked for alone.
    only: Option<String>,
}

/// Has the checks done in the background.
pub fn check_again(site: &Rc<Site>) {
    let site = site.clone();
    tokio::task::spawn_local(async move {
        let place = site.place.clone();
        site.dns.renew(&place, "dns").await;
    });
}

/// The same, unless it is not long ago.
pub fn ensure_checked(site: &Rc<Site>) {
    let known = site.dns.known();
    let is_fresh = known.is_some_and(|known| (now() - known.at).abs() < FRESH);
    if !is_fresh && !site.dns.is_running() {
        check_again(site);
    }
}

/// The page.
pub async fn answer(site: &Rc<Site>, frame: &Frame, asked: &Asked) -> Result<Answer> {
    ensure_checked(site);
    // Has the task begin, so that the page says so.
    tokio::task::yield_now().await;
    let values = values(site, asked.parameter("of"));
    let answer = site.templates.page("dns.html", frame, &values)?;
    Ok(match values.is_running {
        true => answer.with(header::REFRESH, "2"),
        false => answer,
    })
}

fn values(site: &Site, only: Option<String>) -> Values {
    let known = site.dns.known();
    let at = known.as_ref().map(|known| time(known.at));
    let (facts, problem) = match known.map(|known| known.what) {
        Some(Ok(facts)) => (Some(facts), None),
        Some(Err(problem)) => (None, Some(problem)),
        None => (None, None),
    };
    let (groups, zones) = facts.as_ref().map_or_else(
        || (Vec::new(), Vec::new()),
        |facts| (group(facts, only.as_deref()), facts.report.zones.clone()),
    );
    let zones = match zones.len() {
        ..=FEW => zones,
        // Of many only those in whose signatures something is wrong.
        _ => zones
            .into_iter()
            .filter(|zone| zone.dnssec == "broken")
            .collect(),
    };
    Values {
        at: at.unwrap_or_default(),
        is_running: site.dns.is_running(),
        problem,
        is_known: facts.is_some(),
        is_good: facts.as_ref().is_some_and(|facts| facts.is_good()),
        addresses: facts
            .as_ref()
            .map(|facts| facts.report.addresses.clone())
            .unwrap_or_default(),
        bad: groups.iter().map(|group| group.bad).sum(),
        total: groups.iter().map(|group| group.total).sum(),
        groups,
        zones,
        only,
    }
}

/// The records by name, those to be mended first.
fn group(facts: &DnsFacts, only: Option<&str>) -> Vec<Group> {
    let mut by_name: BTreeMap<(&str, &str), Vec<&Record>> = BTreeMap::new();
    for record in &facts.records {
        let key = (record.name.as_str(), record.kind.as_str());
        by_name.entry(key).or_default().push(record);
    }
    let mut order = Vec::new();
    let mut seen = BTreeSet::new();
    let mut findings: BTreeMap<&str, Vec<&Finding>> = BTreeMap::new();
    for finding in &facts.report.checks {
        if seen.insert(finding.of.as_str()) {
            order.push(finding.of.as_str());
        }
        findings.entry(&finding.of).or_default().push(finding);
    }
    let few = order.len() <= FEW;
    let mut troubled = 0;
    let mut groups = Vec::with_capacity(order.len());
    for of in order {
        let findings = findings.remove(of).unwrap_or_default();
        let bad = findings.iter().filter(|one| one.verdict != "ok").count();
        troubled += usize::from(bad > 0);
        let is_shown = match only {
            Some(only) => only == of,
            None => few || bad > 0 && troubled <= MOST_TROUBLED,
        };
        let rows = match is_shown {
            true => findings.iter().map(|one| row(one, &by_name)).collect(),
            false => Vec::new(),
        };
        groups.push(Group {
            of: of.to_owned(),
            bad,
            total: findings.len(),
            is_shown,
            rows,
        });
    }
    groups
}

fn row(finding: &Finding, by_name: &BTreeMap<(&str, &str), Vec<&Record>>) -> Row {
    let key = (finding.name.as_str(), finding.kind.as_str());
    let records = by_name.get(&key).map(Vec::as_slice).unwrap_or_default();
    let zone = records.first().map_or("", |record| record.zone.as_str());
    let name = relative(&finding.name, zone);
    // A record of theirs that ours goes into is to be published as the check says.
    let mut values: Vec<&str> = finding.expected.iter().map(String::as_str).collect();
    if values.is_empty() {
        values = records.iter().map(|record| record.value.as_str()).collect();
    }
    // SPF, DKIM and others may stand at one name and have one type.
    let is_alone = |record: &&&Record| values.contains(&record.value.as_str());
    let first = records.iter().find(is_alone).or(records.first());
    if finding.expected.is_empty() && records.len() > 1 && finding.kind == "TXT" {
        values.retain(|value| fits(&finding.check, value));
    }
    Row {
        check: finding.check.to_uppercase(),
        name: finding.name.clone(),
        kind: finding.kind.clone(),
        need: finding.need.clone(),
        words: match finding.verdict.as_str() {
            "ok" => "good",
            "missing" => "missing",
            "wrong" => "wrong",
            _ => "cannot tell",
        },
        verdict: finding.verdict.clone(),
        said: finding.said.clone(),
        why: first.map_or_else(String::new, |record| record.why.clone()),
        found: finding.found.clone(),
        advice: finding.advice.clone(),
        entries: values
            .into_iter()
            .map(|value| Entry {
                name: name.to_owned(),
                kind: finding.kind.clone(),
                value: value.to_owned(),
                zone: zone.to_owned(),
                ttl: first.map_or(3600, |record| record.ttl),
            })
            .collect(),
    }
}

/// Whether a text record is of that check's kind.
fn fits(check: &str, value: &str) -> bool {
    let start = match check {
        "spf" => "v=spf1",
        "dkim" => "v=DKIM1",
        "dmarc" | "dmarc-reports" => "v=DMARC1",
        "mta-sts" => "v=STSv1",
        "tls-rpt" => "v=TLSRPTv1",
        _ => "",
    };
    value.starts_with(start)
}

/// A name as forms take it: without the zone's, or `@` for that one.
fn relative<'a>(name: &'a str, zone: &str) -> &'a str {
    if zone.is_empty() {
        return name;
    }
    crate::appliance::dns::zone_text::relative(name, zone)
}
