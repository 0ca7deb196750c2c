//! `mailctl dns check`: what is published, compared with what should be.
//!
//! Each entry of the expected records is one check, asked of every responsible
//! name server. A check judges its own record only: where it leans on another
//! one, that one is taken as right, so that one mistake is one finding.

mod finding;
mod host;
mod issuer;
mod report;
mod spf;
mod text;

use anyhow::Result;
pub use finding::{Finding, Verdict};
pub use issuer::names_issuer;
pub use report::{Report, Style};
pub use spf::{SpfJudge, is_spf};
pub use text::{is_key, is_of_version, tags};

use super::authority::{Authority, Unknown, View};
use super::data::Data;
use super::expected::{Expected, Need, Purpose, expected_records};
use super::facts::Facts;
use super::zone::Signed;
use finding::Judged;
use hickory_proto::rr::RecordType;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// When all checks end, whoever has not answered by then.
pub const CHECK_LIMIT: Duration = Duration::from_secs(25);

/// Runs every check; what DNS says is never an error.
pub async fn check_records(facts: Facts, resolver: SocketAddr) -> Result<Report> {
    let deadline = Instant::now() + CHECK_LIMIT;
    let authority = Authority::new(resolver, deadline);
    let checker = Arc::new(Checker {
        spf: SpfJudge::new(resolver, deadline)?,
        authority: Arc::clone(&authority),
        facts,
    });
    let mut tasks: JoinSet<(usize, Option<Finding>)> = JoinSet::new();
    let expected = expected_records(&checker.facts);
    let count = expected.len();
    for (index, expected) in expected.into_iter().enumerate() {
        let checker = Arc::clone(&checker);
        tasks.spawn(async move { (index + 3, checker.check(&expected).await) });
    }
    let own = Arc::clone(&checker);
    tasks.spawn(async move { (0, own.check_own_name().await) });
    for (index, kind, known) in [
        (1, "A", checker.facts.addresses.ipv4.is_some()),
        (2, "AAAA", checker.facts.addresses.ipv6.is_some()),
    ] {
        if !known {
            let checker = Arc::clone(&checker);
            tasks.spawn(async move { (index, checker.check_no_address(kind).await) });
        }
    }
    let mut findings = Vec::with_capacity(count + 3);
    while let Some(joined) = tasks.join_next().await {
        if let Ok((index, Some(finding))) = joined {
            findings.push((index, finding));
        }
    }
    findings.sort_by_key(|(index, _)| *index);
    let mut findings: Vec<Finding> = findings.into_iter().map(|(_, finding)| finding).collect();
    let zones = authority.zones();
    findings.extend(zones.iter().map(check_zone));
    Ok(Report::new(&checker.facts, findings, &zones))
}

/// Whether every server of a zone does its work.
fn check_zone(state: &super::authority::ZoneState) -> Finding {
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

/// Name of the check of a purpose.
fn check_name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Ipv4 => "a",
        Purpose::Ipv6 => "aaaa",
        Purpose::Reverse => "ptr",
        Purpose::MailServer => "mx",
        Purpose::Spf => "spf",
        Purpose::Dkim => "dkim",
        Purpose::Dmarc => "dmarc",
        Purpose::DmarcReports => "dmarc-reports",
        Purpose::StsPolicy => "mta-sts",
        Purpose::StsHost => "mta-sts-host",
        Purpose::TlsReports => "tls-rpt",
        Purpose::Tlsa => "tlsa",
        Purpose::Issuer => "caa",
        Purpose::Autoconfig => "autoconfig",
        Purpose::Service => "srv",
    }
}

/// Judges what some name servers say about a record.
pub async fn judge_view(facts: &Facts, spf: &SpfJudge, expected: &Expected, view: &View) -> Judged {
    let mut judged = match expected.purpose {
        Purpose::Ipv4 | Purpose::Ipv6 => host::judge_address(expected, view),
        Purpose::Reverse => host::judge_reverse(facts, expected, view),
        Purpose::MailServer => host::judge_mail_server(facts, expected, view),
        Purpose::Service => host::judge_service(expected, view),
        Purpose::Tlsa => host::judge_tlsa(expected, view),
        Purpose::StsHost | Purpose::Autoconfig => host::judge_alias(facts, expected, view),
        Purpose::Issuer => match &facts.issuer {
            Some(issuer) => issuer::judge_issuer(issuer, expected, &expected.name, &view.records),
            None => Judged::unknown("no authority is known"),
        },
        Purpose::Spf => spf.judge(facts, expected, view).await,
        Purpose::Dkim => text::judge_dkim(expected, view),
        Purpose::Dmarc => text::judge_dmarc(expected, view),
        Purpose::DmarcReports => text::judge_dmarc_reports(expected, view),
        Purpose::StsPolicy => text::judge_sts(expected, view),
        Purpose::TlsReports => text::judge_tls_reports(expected, view),
    };
    if judged.verdict != Verdict::Ok {
        judged.advice.extend(text::oddities(view));
    }
    judged
}

struct Checker {
    authority: Arc<Authority>,
    facts: Facts,
    spf: SpfJudge,
}

impl Checker {
    /// `None` when there is nothing to say.
    async fn check(&self, expected: &Expected) -> Option<Finding> {
        match expected.purpose {
            Purpose::Issuer => return Some(self.check_issuer(expected).await),
            Purpose::StsHost | Purpose::Autoconfig => {
                return Some(self.check_alias(expected).await);
            }
            _ => {}
        }
        let kind = expected
            .data
            .first()
            .map_or(RecordType::NULL, Data::record_type);
        let views = match self.authority.look_up(&expected.name, kind).await {
            Ok(views) => views,
            Err(unknown) => return Some(cannot_tell(expected, unknown)),
        };
        if expected.purpose == Purpose::Tlsa {
            let zone = self.authority.zone(&expected.name).await;
            // Nobody heeds TLSA records without signatures (RFC 7672 section 2.2).
            if zone.is_ok_and(|zone| zone.signed == Signed::No) {
                return None;
            }
        }
        let mut judged = Vec::new();
        for view in views {
            judged.push((self.judge(expected, &view).await, view));
        }
        let mut finding = conclude(expected, judged);
        if finding.verdict != Verdict::Ok
            && let Some(words) = self.find_wildcard(&finding.name, kind).await
        {
            finding.advice.push(words);
        }
        Some(finding)
    }

    async fn judge(&self, expected: &Expected, view: &View) -> Judged {
        judge_view(&self.facts, &self.spf, expected, view).await
    }

    /// Says so when any name beside this one is answered as well.
    async fn find_wildcard(&self, name: &str, kind: RecordType) -> Option<String> {
        let (_, parent) = name.split_once('.')?;
        let beside = format!("mailctl-{:08x}.{parent}", rand::random::<u32>());
        let views = self.authority.look_up(&beside, kind).await.ok()?;
        let found = views
            .iter()
            .any(|view| !view.records.is_empty() || !view.aliases.is_empty());
        found.then(|| {
            format!(
                "a wildcard record *.{parent} answers for every name below {parent} that has no records of its own"
            )
        })
    }

    async fn check_own_name(&self) -> Option<Finding> {
        let host = &self.facts.hostname;
        let views = self.authority.look_up(host, RecordType::A).await.ok()?;
        let expected = Expected {
            purpose: Purpose::Ipv4,
            of: host.clone(),
            name: host.clone(),
            data: Vec::new(),
            need: Need::Required,
            why: String::new(),
        };
        let judged = views
            .into_iter()
            .map(|view| {
                let judged = host::judge_own_name(host, &view);
                let aliases = view.aliases.iter().cloned().map(Data::Cname).collect();
                let view = View {
                    records: aliases,
                    ..view
                };
                (judged, view)
            })
            .collect();
        Some(Finding {
            check: "alias",
            kind: "CNAME",
            ..conclude(&expected, judged)
        })
    }

    async fn check_no_address(&self, kind: &'static str) -> Option<Finding> {
        let host = &self.facts.hostname;
        let (purpose, record_type) = match kind {
            "A" => (Purpose::Ipv4, RecordType::A),
            _ => (Purpose::Ipv6, RecordType::AAAA),
        };
        let expected = Expected {
            purpose,
            of: host.clone(),
            name: host.clone(),
            data: Vec::new(),
            need: Need::Required,
            why: String::new(),
        };
        let none_known = self.facts.addresses.all().next().is_none();
        let finding = match self.authority.look_up(host, record_type).await {
            Err(unknown) => cannot_tell(&expected, unknown),
            Ok(views) => {
                let judged = views
                    .into_iter()
                    .map(|view| {
                        let judged = if none_known {
                            Judged::unknown("our public address is not known").advise(
                                "set PUBLIC_IPV4 or PUBLIC_IPV6 in the settings, or say it with --address",
                            )
                        } else {
                            host::judge_no_address(kind, &view)
                        };
                        (judged, view)
                    })
                    .collect();
                conclude(&expected, judged)
            }
        };
        Some(Finding { kind, ..finding })
    }

    /// Looks at both families, since a name that leads elsewhere on one is no good.
    async fn check_alias(&self, expected: &Expected) -> Finding {
        let mut judged = Vec::new();
        let mut missing = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            match self.authority.look_up(&expected.name, kind).await {
                Err(unknown) => return cannot_tell(expected, unknown),
                Ok(views) => {
                    for view in views {
                        let one = (self.judge(expected, &view).await, view);
                        match one.0.verdict {
                            Verdict::Missing => missing.push(one),
                            _ => judged.push(one),
                        }
                    }
                }
            }
        }
        if judged.is_empty() {
            judged = missing;
        }
        judged.dedup_by(|one, other| one.0 == other.0 && one.1.records == other.1.records);
        let mut finding = conclude_one(expected, judged);
        if finding.verdict != Verdict::Ok
            && let Some(words) = self.find_wildcard(&expected.name, RecordType::A).await
        {
            finding.advice.push(words);
        }
        finding
    }

    /// The nearest name with CAA records decides.
    async fn check_issuer(&self, expected: &Expected) -> Finding {
        let Some(issuer) = &self.facts.issuer else {
            return cannot_tell(expected, Unknown("no authority is known".to_owned()));
        };
        for name in issuer::climb(&expected.name) {
            match self.authority.look_up(&name, RecordType::CAA).await {
                Err(unknown) => return cannot_tell(expected, unknown),
                Ok(views) => {
                    if views.iter().any(|view| !view.records.is_empty()) {
                        let judged = views
                            .into_iter()
                            .map(|view| {
                                let judged =
                                    issuer::judge_issuer(issuer, expected, &name, &view.records);
                                (judged, view)
                            })
                            .collect();
                        return conclude(expected, judged);
                    }
                }
            }
        }
        let judged = issuer::judge_issuer(issuer, expected, &expected.name, &[]);
        conclude_one(expected, vec![(judged, empty_view())])
    }
}

fn empty_view() -> View {
    View {
        servers: Vec::new(),
        exists: true,
        aliases: Vec::new(),
        renamed: false,
        records: Vec::new(),
    }
}

fn cannot_tell(expected: &Expected, unknown: Unknown) -> Finding {
    let judged = Judged::unknown(unknown.0).advise(
        "try again later; if it stays so, see whether the domain is registered and delegated to its name servers",
    );
    conclude_one(expected, vec![(judged, empty_view())])
}

/// The worst of all views counts, and differing ones are told.
fn conclude(expected: &Expected, judged: Vec<(Judged, View)>) -> Finding {
    let differing: Vec<String> = if judged.len() > 1 {
        judged
            .iter()
            .map(|(_, view)| {
                let found: Vec<String> = view.records.iter().map(Data::to_string).collect();
                let found = if found.is_empty() {
                    "nothing".to_owned()
                } else {
                    found.join(", ")
                };
                format!("{} say {found}", view.servers.join(", "))
            })
            .collect()
    } else {
        Vec::new()
    };
    let mut finding = conclude_one(expected, judged);
    if !differing.is_empty() {
        finding.advice.push(format!(
            "the name servers differ, which passes when a change is on its way: {}",
            differing.join("; ")
        ));
    }
    finding
}

fn conclude_one(expected: &Expected, judged: Vec<(Judged, View)>) -> Finding {
    let worst = judged
        .into_iter()
        .max_by_key(|(judged, _)| judged.verdict)
        .unwrap_or_else(|| (Judged::unknown("nobody answered"), empty_view()));
    let (judged, view) = worst;
    Finding {
        check: check_name(expected.purpose),
        of: expected.of.clone(),
        name: expected.name.clone(),
        kind: expected.type_name(),
        need: if judged.harmful {
            Need::Required
        } else {
            expected.need
        },
        verdict: judged.verdict,
        said: judged.said,
        expected: expected.data.iter().map(Data::form_value).collect(),
        found: view.records.iter().map(Data::form_value).collect(),
        advice: judged.advice,
    }
}
