//! One finding out of what all name servers said.

use super::super::data::Data;
use super::super::expected::{Expected, Need, Purpose};
use super::super::name_servers::{Unknown, View};
use super::finding::{Finding, Judged, Verdict};

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

/// What nobody answered.
pub fn empty_view() -> View {
    View {
        servers: Vec::new(),
        exists: true,
        aliases: Vec::new(),
        renamed: false,
        records: Vec::new(),
    }
}

/// A finding without an answer.
pub fn cannot_tell(expected: &Expected, unknown: Unknown) -> Finding {
    let judged = Judged::unknown(unknown.0).advise(
        "try again later; if it stays so, see whether the domain is registered and delegated to its name servers",
    );
    conclude_one(expected, &[(judged, empty_view())])
}

/// The worst of all views counts, and differing ones are told.
pub fn conclude(expected: &Expected, judged: &[(Judged, View)]) -> Finding {
    let mut finding = conclude_one(expected, judged);
    if judged.len() > 1 {
        let differing: Vec<String> = judged
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
            .collect();
        finding.advice.push(format!(
            "the name servers differ, which passes when a change is on its way: {}",
            differing.join("; ")
        ));
    }
    finding
}

/// The worst of them: first what mail depends on.
pub fn worst<'a>(expected: &Expected, judged: &'a [(Judged, View)]) -> Option<&'a (Judged, View)> {
    judged.iter().max_by_key(|(judged, _)| {
        let need = judged.need.unwrap_or(expected.need);
        (
            need == Need::Required && judged.verdict != Verdict::Ok,
            judged.verdict,
        )
    })
}

/// The worst of them, without a word on differing ones.
pub fn conclude_one(expected: &Expected, judged: &[(Judged, View)]) -> Finding {
    let nobody = (Judged::unknown("nobody answered"), empty_view());
    let (judged, view) = worst(expected, judged).unwrap_or(&nobody);
    Finding {
        check: check_name(expected.purpose),
        of: expected.of.clone(),
        name: expected.name.clone(),
        kind: expected.type_name(),
        need: judged.need.unwrap_or(expected.need),
        verdict: judged.verdict,
        said: judged.said.clone(),
        expected: expected.data.iter().map(Data::form_value).collect(),
        found: view.records.iter().map(Data::form_value).collect(),
        advice: judged.advice.clone(),
    }
}
