//! Runs single checks: asks, judges, and looks for what explains a fault.

use super::super::data::Data;
use super::super::expected::{Expected, Need, Purpose};
use super::super::facts::Facts;
use super::super::name_servers::{NameServers, Unknown, View};
use super::super::policy::text::Kind;
use super::super::zone::Signed;
use super::conclude::{cannot_tell, conclude, conclude_one, empty_view, worst};
use super::finding::{Finding, Judged, Verdict};
use super::judge::{judge_view, wanted};
use super::misplaced::{find_misplaced, is_of_kind};
use super::spf::SpfJudge;
use super::wildcard::find_wildcard;
use super::{host, issuer};
use hickory_proto::rr::RecordType;
use std::sync::Arc;

/// What all checks need.
pub struct Checker {
    /// Whom to ask.
    pub name_servers: Arc<NameServers>,
    /// What should be published.
    pub facts: Facts,
    /// Who judges SPF records.
    pub spf: SpfJudge,
}

impl Checker {
    /// Checks an expected record; `None` when there is nothing to say.
    pub async fn check(&self, expected: &Expected) -> Option<Finding> {
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
        let views = match self.name_servers.look_up(&expected.name, kind).await {
            Ok(views) => views,
            Err(unknown) => return Some(cannot_tell(expected, unknown)),
        };
        if expected.purpose == Purpose::Tlsa {
            let zone = self.name_servers.zone(&expected.name).await;
            // Nobody heeds TLSA records without signatures (RFC 7672 section 2.2).
            if zone.is_ok_and(|zone| zone.signed == Signed::No) {
                return None;
            }
        }
        let mut judged = Vec::new();
        for view in views {
            judged.push((self.judge(expected, &view).await, view));
        }
        let mut finding = conclude(expected, &judged);
        self.explain(&mut finding, expected, &judged, &[kind]).await;
        Some(finding)
    }

    async fn judge(&self, expected: &Expected, view: &View) -> Judged {
        judge_view(&self.facts, &self.spf, expected, view).await
    }

    /// Adds to a fault what should be there, and where the answer comes from.
    async fn explain(
        &self,
        finding: &mut Finding,
        expected: &Expected,
        judged: &[(Judged, View)],
        kinds: &[RecordType],
    ) {
        let Some((judged, view)) = worst(expected, judged) else {
            return;
        };
        if judged.verdict == Verdict::Ok {
            return;
        }
        let wanted = wanted(&self.facts, expected, view, judged);
        finding.expected = wanted.iter().map(Data::form_value).collect();
        // What is to be done is not always another record.
        if finding.expected == finding.found {
            finding.expected.clear();
        }
        let mut wildcard = None;
        for kind in kinds {
            wildcard = find_wildcard(&self.name_servers, &expected.name, *kind, view).await;
            if wildcard.is_some() {
                break;
            }
        }
        let own =
            view.records.iter().any(|data| is_of_kind(expected, data)) || !view.aliases.is_empty();
        let absent = !own || wildcard.is_some();
        finding.advice.extend(wildcard);
        if absent && matches!(judged.verdict, Verdict::Missing | Verdict::Wrong) {
            self.explain_by_place(finding, expected).await;
        }
    }

    /// Adds where the record is instead; its text has to be moved, and made good where it is not.
    async fn explain_by_place(&self, finding: &mut Finding, expected: &Expected) {
        let misplaced = find_misplaced(&self.name_servers, expected).await;
        if let Some(first) = misplaced.first()
            && Kind::of(expected.purpose).is_some()
        {
            let view = View {
                records: first.records.clone(),
                ..empty_view()
            };
            let judged = self.judge(expected, &view).await;
            let wanted = match judged.verdict {
                Verdict::Ok => view.records,
                _ => wanted(&self.facts, expected, &view, &judged),
            };
            finding.expected = wanted.iter().map(Data::form_value).collect();
            finding.advice = judged.advice;
        }
        let places = misplaced.into_iter().map(|misplaced| misplaced.advice);
        finding.advice.splice(0..0, places);
    }

    /// Checks that HOSTNAME is no alias.
    pub async fn check_own_name(&self) -> Option<Finding> {
        let host = &self.facts.hostname;
        let views = self.name_servers.look_up(host, RecordType::A).await.ok()?;
        let expected = Expected {
            purpose: Purpose::Ipv4,
            of: host.clone(),
            name: host.clone(),
            data: Vec::new(),
            need: Need::Required,
            why: String::new(),
        };
        let judged: Vec<(Judged, View)> = views
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
            ..conclude(&expected, &judged)
        })
    }

    /// Checks that HOSTNAME has no address of a family that this machine has none of.
    pub async fn check_no_address(&self, kind: &'static str) -> Option<Finding> {
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
        let finding = match self.name_servers.look_up(host, record_type).await {
            Err(unknown) => cannot_tell(&expected, unknown),
            Ok(views) => {
                let judged: Vec<(Judged, View)> = views
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
                conclude(&expected, &judged)
            }
        };
        Some(Finding { kind, ..finding })
    }

    /// Looks at both families, since a name that leads elsewhere on one is no good.
    async fn check_alias(&self, expected: &Expected) -> Finding {
        let mut judged = Vec::new();
        let mut missing = Vec::new();
        for kind in [RecordType::A, RecordType::AAAA] {
            match self.name_servers.look_up(&expected.name, kind).await {
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
        let mut finding = conclude_one(expected, &judged);
        let kinds = [RecordType::A, RecordType::AAAA];
        self.explain(&mut finding, expected, &judged, &kinds).await;
        finding
    }

    /// The nearest name with CAA records decides.
    async fn check_issuer(&self, expected: &Expected) -> Finding {
        let Some(issuer) = &self.facts.issuer else {
            return cannot_tell(expected, Unknown("no authority is known".to_owned()));
        };
        let mut own = Vec::new();
        for name in issuer::climb(&expected.name) {
            let views = match self.name_servers.look_up(&name, RecordType::CAA).await {
                Err(unknown) => return cannot_tell(expected, unknown),
                Ok(views) => views,
            };
            if views.iter().all(|view| view.records.is_empty()) {
                if name == expected.name {
                    own = views;
                }
                continue;
            }
            let judged: Vec<(Judged, View)> = views
                .into_iter()
                .map(|view| {
                    let judged =
                        issuer::judge_issuer(&self.facts, issuer, expected, &name, &view.records);
                    (judged, view)
                })
                .collect();
            let mut finding = conclude(expected, &judged);
            if name == expected.name {
                self.explain(&mut finding, expected, &judged, &[RecordType::CAA])
                    .await;
            } else if finding.verdict != Verdict::Ok {
                self.explain_by_place(&mut finding, expected).await;
            }
            return finding;
        }
        let judged = issuer::judge_issuer(&self.facts, issuer, expected, &expected.name, &[]);
        let view = own.into_iter().next().unwrap_or_else(empty_view);
        let judged = [(judged, view)];
        let mut finding = conclude_one(expected, &judged);
        self.explain(&mut finding, expected, &judged, &[RecordType::CAA])
            .await;
        finding
    }
}
