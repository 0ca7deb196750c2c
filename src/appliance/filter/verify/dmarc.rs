//! DMARC: whether a domain that a message shows stands behind it, and what is done if not.
//!
//! RFC 7489 sections 3.1 and 6.6.

use super::arc::Chain;
use super::dkim::{self, Signed};
use super::organisation::Organisations;
use super::policy::{Policy, Wish};
use crate::appliance::filter::iprev::Iprev;
use crate::appliance::filter::lookup::NoAnswer;
use crate::appliance::filter::spf::{self, Spf};

/// What is known about a domain, RFC 8601 section 2.7.6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It asks for nothing.
    None,
    Pass,
    Fail,
    /// A name server failed, and it depends on its answer.
    TempError,
}

impl Verdict {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::TempError => "temperror",
        }
    }
}

/// What is done to the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Disposition {
    Deliver,
    Quarantine,
    Defer,
    Reject,
}

/// One domain of `From`, judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judgement {
    pub domain: String,
    pub verdict: Verdict,
    /// What the domain asks for; `None` when it asks for nothing or nobody knows.
    pub wish: Option<Wish>,
    pub disposition: Disposition,
    /// The host whose word counted for more.
    pub vouched: Option<String>,
}

impl Judgement {
    /// The same of a domain of this machine. What its users write comes in by login, so mail
    /// that it does not stand behind is as if it asked for quarantine, whatever it asks for.
    pub fn of_ours(
        mut self,
        findings: &Findings,
        organisations: &Organisations,
        trusted: &[String],
    ) -> Self {
        if self.disposition > Disposition::Deliver || self.vouched.is_some() {
            return self;
        }
        let aligned = |other: &str| organisations.same(other, &self.domain);
        let verdict = match self.verdict {
            Verdict::None => stands(findings, aligned, aligned),
            known => known,
        };
        if verdict == Verdict::Fail {
            self.vouched = findings
                .arc
                .vouches(&self.domain, trusted)
                .map(str::to_owned);
            self.verdict = verdict;
            self.wish.get_or_insert(Wish::None);
            if self.vouched.is_none() {
                self.disposition = Disposition::Quarantine;
            }
        }
        self
    }
}

/// What was found about a message.
#[derive(Debug)]
pub struct Findings {
    /// Missing when the client has no address.
    pub spf: Option<Spf>,
    /// Missing when the mail server does not tell.
    pub iprev: Option<Iprev>,
    pub dkim: Vec<Signed>,
    pub arc: Chain,
}

/// Judges a domain by what was found; the lot is a number below 100.
pub fn judge(
    domain: &str,
    policy: Result<Option<Policy>, NoAnswer>,
    findings: &Findings,
    organisations: &Organisations,
    trusted: &[String],
    lot: u8,
) -> Judgement {
    let judgement = |verdict, wish, disposition| Judgement {
        domain: domain.to_owned(),
        verdict,
        wish,
        disposition,
        vouched: None,
    };
    let policy = match policy {
        Ok(Some(policy)) => policy,
        Ok(None) => return judgement(Verdict::None, None, Disposition::Deliver),
        // The very domain passes whatever its record says.
        Err(NoAnswer) => {
            let equal = |other: &str| other == domain;
            let disposition = match stands(findings, equal, equal) {
                Verdict::Pass => Disposition::Deliver,
                _ => Disposition::Defer,
            };
            return judgement(Verdict::TempError, None, disposition);
        }
    };
    let aligned = |strict: bool| {
        move |other: &str| other == domain || (!strict && organisations.same(other, domain))
    };
    let spf = aligned(policy.record.strict_spf);
    let dkim = aligned(policy.record.strict_dkim);
    let mut verdict = stands(findings, spf, dkim);
    let mut judged = match policy.disposition(lot) {
        _ if verdict == Verdict::Pass => Disposition::Deliver,
        Wish::None => Disposition::Deliver,
        // What cannot be known now is neither refused for good nor filed away.
        _ if verdict == Verdict::TempError => Disposition::Defer,
        Wish::Quarantine => Disposition::Quarantine,
        Wish::Reject => Disposition::Reject,
    };
    let mut vouched = None;
    if judged > Disposition::Deliver {
        vouched = findings.arc.vouches(domain, trusted).map(str::to_owned);
        let unknown = findings.arc.verdict == super::arc::Verdict::TempError;
        if vouched.is_some() {
            judged = Disposition::Deliver;
        } else if unknown && !trusted.is_empty() {
            (verdict, judged) = (Verdict::TempError, Disposition::Defer);
        }
    }
    Judgement {
        vouched,
        ..judgement(verdict, Some(policy.wish), judged)
    }
}

/// Whether a sender or a signer that counts for the domain passed.
fn stands(
    findings: &Findings,
    spf_counts: impl Fn(&str) -> bool,
    dkim_counts: impl Fn(&str) -> bool,
) -> Verdict {
    let spf = findings.spf.iter().filter_map(|spf| {
        let domain = spf.domain.as_deref()?;
        spf_counts(domain).then_some(match spf.verdict {
            spf::Verdict::Pass => Verdict::Pass,
            spf::Verdict::TempError => Verdict::TempError,
            _ => Verdict::Fail,
        })
    });
    let dkim = findings.dkim.iter().filter_map(|signed| {
        let signature = signed.signature.as_ref()?;
        dkim_counts(&signature.seal.domain).then_some(match signed.verdict {
            dkim::Verdict::Pass => Verdict::Pass,
            dkim::Verdict::TempError => Verdict::TempError,
            _ => Verdict::Fail,
        })
    });
    let all: Vec<Verdict> = spf.chain(dkim).collect();
    if all.contains(&Verdict::Pass) {
        Verdict::Pass
    } else if all.contains(&Verdict::TempError) {
        Verdict::TempError
    } else {
        Verdict::Fail
    }
}

#[cfg(test)]
mod tests {
    use super::super::arc::{self, Chain, Host};
    use super::super::organisation::Organisations;
    use super::super::policy::{Policy, Record};
    use super::{Disposition, Findings, Judgement, NoAnswer, Spf, Verdict, judge, spf};

    fn findings(verdict: spf::Verdict, domain: &str) -> Findings {
        Findings {
            spf: Some(Spf {
                verdict,
                property: "smtp.mailfrom",
                domain: Some(domain.to_owned()),
                explanation: None,
            }),
            iprev: None,
            dkim: Vec::new(),
            arc: arc::Verdict::None.into(),
        }
    }

    fn policy(text: &str) -> Policy {
        let record = Record::parse(format!("v=DMARC1; {text}").as_bytes()).unwrap();
        let wish = if text.starts_with("p=reject") {
            super::Wish::Reject
        } else {
            super::Wish::None
        };
        Policy { record, wish }
    }

    fn judged(policy: Result<Option<Policy>, NoAnswer>, findings: &Findings) -> Judgement {
        let list = Organisations::parse("example\n").unwrap();
        let trusted = ["lists.example".to_owned()];
        judge("a.example", policy, findings, &list, &trusted, 0)
    }

    #[test]
    fn alignment() {
        use spf::Verdict::{Fail, Pass, TempError};
        for (record, result, domain, expected) in [
            ("p=reject", Pass, "a.example", Verdict::Pass),
            ("p=reject", Pass, "out.a.example", Verdict::Pass),
            ("p=reject; aspf=s", Pass, "out.a.example", Verdict::Fail),
            ("p=reject", Pass, "b.example", Verdict::Fail),
            ("p=reject", Fail, "a.example", Verdict::Fail),
            ("p=reject", TempError, "a.example", Verdict::TempError),
            ("p=reject", TempError, "b.example", Verdict::Fail),
        ] {
            let found = judged(Ok(Some(policy(record))), &findings(result, domain));
            assert_eq!(found.verdict, expected, "{record} {result:?} {domain}");
            let disposition = match expected {
                Verdict::Pass => Disposition::Deliver,
                Verdict::TempError => Disposition::Defer,
                _ => Disposition::Reject,
            };
            assert_eq!(found.disposition, disposition);
        }
        let found = judged(Ok(Some(policy("p=none"))), &findings(Fail, "a.example"));
        assert_eq!(found.verdict, Verdict::Fail);
        assert_eq!(found.disposition, Disposition::Deliver);
        let found = judged(Ok(None), &findings(Fail, "a.example"));
        assert_eq!(found.verdict, Verdict::None);
        assert_eq!(found.disposition, Disposition::Deliver);
    }

    #[test]
    fn no_answer_is_no_policy() {
        let found = judged(Err(NoAnswer), &findings(spf::Verdict::Fail, "a.example"));
        assert_eq!(found.verdict, Verdict::TempError);
        assert_eq!(found.disposition, Disposition::Defer);
        // It passes whatever the record says.
        let found = judged(Err(NoAnswer), &findings(spf::Verdict::Pass, "a.example"));
        assert_eq!(found.disposition, Disposition::Deliver);
        // This could be forbidden.
        let found = judged(Err(NoAnswer), &findings(spf::Verdict::Pass, "x.a.example"));
        assert_eq!(found.disposition, Disposition::Defer);
    }

    #[test]
    fn a_trusted_host_vouches() {
        let mut found = findings(spf::Verdict::Pass, "lists.example");
        found.arc = Chain {
            verdict: arc::Verdict::Pass,
            hosts: vec![Host {
                domain: "lists.example".to_owned(),
                passed: vec!["a.example".to_owned()],
            }],
        };
        let judgement = judged(Ok(Some(policy("p=reject"))), &found);
        assert_eq!(judgement.verdict, Verdict::Fail);
        assert_eq!(judgement.disposition, Disposition::Deliver);
        assert_eq!(judgement.vouched.as_deref(), Some("lists.example"));
        found.arc.verdict = arc::Verdict::TempError;
        let judgement = judged(Ok(Some(policy("p=reject"))), &found);
        assert_eq!(judgement.disposition, Disposition::Defer);
        found.arc.verdict = arc::Verdict::Fail("");
        let judgement = judged(Ok(Some(policy("p=reject"))), &found);
        assert_eq!(judgement.disposition, Disposition::Reject);
    }
}
