//! What was found, for those who read it: the header, and the reply to mail that is refused.
//!
//! RFC 8601 sections 2.2 and 2.7. Of what a stranger wrote only names go into either.

use super::dkim::Signed;
use super::dmarc::{Disposition, Findings, Judgement};
use super::policy::Wish;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::fmt::Write;

/// How much of a signature tells it from others, RFC 6008.
const SIGNATURE_PART: usize = 8;
/// Most signatures named in a reply.
const MOST_NAMED: usize = 2;
/// Most that is repeated of a domain's own words.
const LONGEST_EXPLANATION: usize = 100;

/// The value of this host's Authentication-Results. DMARC comes first, on the line of the host:
/// Sieve looks for it there.
pub fn header_value(host: &str, judgements: &[Judgement], findings: &Findings) -> String {
    let mut value = host.to_owned();
    for (number, judgement) in judgements.iter().enumerate() {
        value.push_str(if number == 0 { "; " } else { ";\n " });
        push_dmarc(&mut value, judgement);
    }
    if judgements.is_empty() {
        value.push_str("; dmarc=none (no domain in From)");
    }
    match &findings.spf {
        Some(spf) => {
            let word = spf.verdict.word();
            match &spf.domain {
                Some(domain) => {
                    let _ = write!(value, ";\n spf={word} {}={domain}", spf.property);
                }
                // A name that no header can hold has no policy.
                None => value.push_str(";\n spf=none"),
            }
        }
        None => value.push_str(";\n spf=none"),
    }
    if let Some(iprev) = &findings.iprev {
        let _ = write!(value, ";\n {iprev}");
    }
    for signed in &findings.dkim {
        push_dkim(&mut value, signed);
    }
    if findings.dkim.is_empty() {
        value.push_str(";\n dkim=none");
    }
    let arc = &findings.arc;
    let _ = write!(value, ";\n arc={}", arc.verdict.word());
    push_reason(&mut value, arc.verdict.reason());
    if let Some(last) = arc.hosts.last() {
        let _ = write!(value, " (i={} {})", arc.hosts.len(), last.domain);
    }
    value
}

fn push_dmarc(value: &mut String, judgement: &Judgement) {
    let disposition = match judgement.disposition {
        Disposition::Deliver => "none",
        Disposition::Quarantine => "quarantine",
        // Both are told in a reply and in no header.
        Disposition::Defer | Disposition::Reject => "reject",
    };
    let _ = write!(value, "dmarc={}", judgement.verdict.word());
    if let Some(wish) = judgement.wish {
        let _ = write!(value, " (p={} dis={disposition}", wish.word());
        if let Some(host) = &judgement.vouched {
            let _ = write!(value, " arc={host}");
        }
        value.push(')');
    }
    let _ = write!(value, " header.from={}", judgement.domain);
    if judgement.wish.is_some() {
        let _ = write!(value, " policy.dmarc={disposition}");
    }
}

fn push_dkim(value: &mut String, signed: &Signed) {
    let _ = write!(value, ";\n dkim={}", signed.verdict.word());
    push_reason(value, signed.verdict.reason());
    if let Some(signature) = &signed.signature {
        let seal = &signature.seal;
        let part = STANDARD.encode(&seal.signature);
        let part = part.get(..SIGNATURE_PART).unwrap_or(&part);
        let _ = write!(
            value,
            "\n header.d={} header.s={} header.a={} header.b=\"{part}\"",
            seal.domain,
            seal.selector,
            seal.algorithm.word(),
        );
    }
}

fn push_reason(value: &mut String, reason: Option<&str>) {
    if let Some(reason) = reason {
        let _ = write!(value, " ({reason})");
    }
}

/// A word for each check, none of them of the message; the best of its signatures counts.
pub fn summary(judgements: &[Judgement], findings: &Findings) -> String {
    let spf = findings
        .spf
        .as_ref()
        .map_or("none", |spf| spf.verdict.word());
    let mut dkim = findings.dkim.iter().map(|signed| signed.verdict.word());
    let dkim = dkim.find(|word| *word == "pass").or_else(|| {
        let first = findings.dkim.first();
        first.map(|signed| signed.verdict.word())
    });
    let dmarc = judgements
        .first()
        .map_or("none", |judgement| judgement.verdict.word());
    format!("spf={spf} dkim={} dmarc={dmarc}", dkim.unwrap_or("none"))
}

/// The reply to a message that its domain does not stand behind.
pub fn refusal(judgement: &Judgement, findings: &Findings) -> String {
    let domain = &judgement.domain;
    if judgement.disposition == Disposition::Defer {
        return match judgement.wish {
            None => format!(
                "451 4.7.1 The DMARC policy of {domain} cannot be looked up now, try again later"
            ),
            Some(_) => format!(
                "451 4.7.1 Whether the message is {domain}'s cannot be found out now, \
                 try again later ({})",
                found(findings)
            ),
        };
    }
    let wish = judgement.wish.map_or("none", Wish::word);
    let mut reply = format!(
        "550 5.7.1 {domain} wants mail in its name refused that it does not stand behind \
         (DMARC p={wish}): {}",
        found(findings)
    );
    let explanation = findings
        .spf
        .as_ref()
        .and_then(|spf| spf.explanation.as_ref());
    if let Some(explanation) = explanation {
        let explanation: String = explanation.chars().take(LONGEST_EXPLANATION).collect();
        let _ = write!(reply, "; {explanation}");
    }
    reply
}

fn found(findings: &Findings) -> String {
    let mut text = match &findings.spf {
        Some(spf) => {
            let domain = spf.domain.as_deref().unwrap_or("the sender");
            format!("SPF {} for {domain}", spf.verdict.word())
        }
        None => "no SPF".to_owned(),
    };
    for signed in findings.dkim.iter().take(MOST_NAMED) {
        let _ = write!(text, ", DKIM {}", signed.verdict.word());
        if let Some(signature) = &signed.signature {
            let _ = write!(text, " for {}", signature.seal.domain);
        }
        push_reason(&mut text, signed.verdict.reason());
    }
    if findings.dkim.is_empty() {
        text.push_str(", no DKIM signature");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::arc;
    use super::super::dkim::{Signed, Verdict};
    use super::super::dmarc;
    use super::super::policy::Wish;
    use super::{Disposition, Findings, Judgement, header_value, refusal, summary};
    use crate::appliance::filter::spf::{self, Spf};

    fn findings(domain: Option<&str>) -> Findings {
        Findings {
            spf: Some(Spf {
                verdict: spf::Verdict::SoftFail,
                property: "smtp.mailfrom",
                domain: domain.map(str::to_owned),
                explanation: Some("ask <postmaster>".to_owned()),
            }),
            iprev: None,
            dkim: vec![Signed {
                verdict: Verdict::Neutral("unknown version"),
                signature: None,
            }],
            arc: arc::Verdict::Fail("a seal is broken").into(),
        }
    }

    fn judgement(disposition: Disposition, wish: Option<Wish>) -> Judgement {
        Judgement {
            domain: "a.example".to_owned(),
            verdict: dmarc::Verdict::Fail,
            wish,
            disposition,
            vouched: None,
        }
    }

    #[test]
    fn the_header() {
        let quarantine = judgement(Disposition::Quarantine, Some(Wish::Reject));
        assert_eq!(
            header_value("mx.example", &[quarantine], &findings(Some("b.example"))),
            "mx.example; dmarc=fail (p=reject dis=quarantine) header.from=a.example \
             policy.dmarc=quarantine;\n spf=softfail smtp.mailfrom=b.example;\n \
             dkim=neutral (unknown version);\n arc=fail (a seal is broken)"
        );
        assert_eq!(
            header_value("mx.example", &[], &findings(None)),
            "mx.example; dmarc=none (no domain in From);\n spf=none;\n \
             dkim=neutral (unknown version);\n arc=fail (a seal is broken)"
        );
    }

    #[test]
    fn figures_are_made_of_three_words() {
        let reject = judgement(Disposition::Reject, Some(Wish::Reject));
        let mut found = findings(None);
        assert_eq!(
            summary(&[reject], &found),
            "spf=softfail dkim=neutral dmarc=fail"
        );
        found.dkim.push(Signed {
            verdict: Verdict::Pass,
            signature: None,
        });
        assert_eq!(summary(&[], &found), "spf=softfail dkim=pass dmarc=none");
        found.dkim.clear();
        found.spf = None;
        assert_eq!(summary(&[], &found), "spf=none dkim=none dmarc=none");
    }

    #[test]
    fn replies() {
        let found = findings(Some("b.example"));
        let reject = judgement(Disposition::Reject, Some(Wish::Reject));
        assert_eq!(
            refusal(&reject, &found),
            "550 5.7.1 a.example wants mail in its name refused that it does not stand behind \
             (DMARC p=reject): SPF softfail for b.example, DKIM neutral (unknown version); \
             ask <postmaster>"
        );
        let unknown = judgement(Disposition::Defer, None);
        assert_eq!(
            refusal(&unknown, &found),
            "451 4.7.1 The DMARC policy of a.example cannot be looked up now, try again later"
        );
        let unsure = judgement(Disposition::Defer, Some(Wish::Reject));
        assert!(
            refusal(&unsure, &found).starts_with("451 4.7.1 Whether the message is a.example's")
        );
    }
}
