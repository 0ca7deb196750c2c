//! Judges by purpose, and what a finding asks for.

use super::super::amend::{amend, completed_text};
use super::super::data::Data;
use super::super::expected::{Expected, Purpose};
use super::super::facts::Facts;
use super::super::name_servers::View;
use super::super::policy::target::target_slip;
use super::super::policy::text::{Found, Kind};
use super::finding::{Judged, Verdict};
use super::spf::SpfJudge;
use super::{dkim, dmarc, host, issuer, text};

/// Judges what some name servers say about a record.
pub async fn judge_view(facts: &Facts, spf: &SpfJudge, expected: &Expected, view: &View) -> Judged {
    let judged = match expected.purpose {
        Purpose::Ipv4 | Purpose::Ipv6 => host::judge_address(expected, view),
        Purpose::Reverse => host::judge_reverse(facts, expected, view),
        Purpose::MailServer => host::judge_mail_server(facts, expected, view),
        Purpose::Service => host::judge_service(expected, view),
        Purpose::Tlsa => host::judge_tlsa(expected, view),
        Purpose::StsHost | Purpose::Autoconfig => host::judge_alias(facts, expected, view),
        Purpose::Issuer => match &facts.issuer {
            Some(issuer) => {
                issuer::judge_issuer(facts, issuer, expected, &expected.name, &view.records)
            }
            None => Judged::unknown("no authority is known"),
        },
        Purpose::Spf => spf.judge(facts, expected, view).await,
        Purpose::Dkim => dkim::judge_dkim(facts, expected, view),
        Purpose::Dmarc => dmarc::judge_dmarc(facts, spf.resolver(), expected, view).await,
        Purpose::DmarcReports => text::judge_dmarc_reports(facts, expected, view),
        Purpose::StsPolicy => text::judge_sts(facts, expected, view),
        Purpose::TlsReports => text::judge_tls_reports(facts, expected, view),
    };
    if judged.verdict == Verdict::Ok {
        return judged;
    }
    let mut leads_to = view.records.clone();
    leads_to.extend(view.aliases.iter().cloned().map(Data::Cname));
    let mut slips: Vec<String> = leads_to
        .iter()
        .filter_map(|record| target_slip(&facts.hostname, &expected.name, record))
        .collect();
    slips.dedup();
    judged.advise_all(slips)
}

/// The records that a finding asks for: ours, and what is there and may stay.
pub fn wanted(facts: &Facts, expected: &Expected, view: &View, judged: &Judged) -> Vec<Data> {
    if let Some(kind) = Kind::of(expected.purpose) {
        let found = Found::among(kind, &view.records);
        let text = completed_text(facts, expected, &found, judged.joining);
        return vec![Data::text(&text)];
    }
    match expected.purpose {
        Purpose::Tlsa => {
            let mut set = view.records.clone();
            let lacking = expected.data.iter().filter(|data| !set.contains(data));
            let lacking: Vec<Data> = lacking.cloned().collect();
            set.extend(lacking);
            set.sort();
            set
        }
        _ => amend(facts, expected, &view.records, judged.joining),
    }
}
