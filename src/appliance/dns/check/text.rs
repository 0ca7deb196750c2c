//! Judging text records, those of MTA-STS and TLS-RPT among them.
//!
//! Texts are compared by what they mean: order, white space and how a text is
//! cut into strings do not count.

use super::super::amend::completed_text;
use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::Facts;
use super::super::name_servers::View;
use super::super::policy::reports::{is_mailed, is_posted};
use super::super::policy::spf::Joining;
use super::super::policy::tags::Tags;
use super::super::policy::text::{Found, Kind, Reading};
use super::finding::Judged;

/// A text record that is judged, and what it should be.
pub struct Case<'a> {
    /// What should be there.
    pub expected: &'a Expected,
    /// What some name servers say.
    pub view: &'a View,
    /// Its texts of the kind.
    pub found: Found,
    /// The text that should be there, with everything in it that is not ours.
    pub wanted: String,
    kind: Kind,
}

impl<'a> Case<'a> {
    /// Looks at the texts of a kind.
    pub fn new(facts: &Facts, expected: &'a Expected, view: &'a View, kind: Kind) -> Self {
        let found = Found::among(kind, &view.records);
        Self {
            wanted: completed_text(facts, expected, &found, Joining::default()),
            expected,
            view,
            found,
            kind,
        }
    }

    /// What to publish, as advice; none when it is there already.
    pub fn publish(&self) -> Option<String> {
        publish(self.expected, self.view, &self.wanted)
    }

    /// Adds how the texts are spoilt and what to publish.
    pub fn mend(&self, judged: Judged) -> Judged {
        judged
            .advise_all(self.found.slips())
            .advise_all(self.publish())
    }

    /// The only text, or what to say.
    pub fn only(&self) -> Result<&Reading, Judged> {
        let what = self.kind.what();
        let judged = match self.found.readings.as_slice() {
            [reading] if reading.counts => return Ok(reading),
            [] if self.view.records.is_empty() => Judged::missing("is not published"),
            [first, ..] if !first.counts => Judged::missing(format!(
                "has a text that is {what} but for the way it is written, so nobody heeds it"
            )),
            [] => Judged::missing(format!("has text records, but none is {what}")),
            several => Judged::wrong(format!(
                "{} records are {what}; with more than one, none counts",
                several.len()
            ))
            .advise("leave only one of them"),
        };
        Err(self.mend(judged))
    }

    /// The only text as tags; a spoilt one is wrong.
    pub fn only_tags(&self) -> Result<Tags, Judged> {
        let reading = self.only()?;
        if !reading.slips.is_empty() {
            return Err(self.mend(Judged::wrong("is not written as it was meant")));
        }
        Ok(Tags::parse(&reading.text))
    }
}

/// What to publish, as advice; none when it is there already.
pub fn publish(expected: &Expected, view: &View, text: &str) -> Option<String> {
    let there = view
        .records
        .iter()
        .filter_map(Data::joined)
        .any(|found| found == text);
    if there {
        return None;
    }
    // Nothing can stand beside an alias.
    let at = match view.aliases.last() {
        Some(target) => format!("{target}, which {} is an alias of", expected.name),
        None => expected.name.clone(),
    };
    Some(format!(
        "publish this text as the TXT record of {at}: {text}"
    ))
}

/// The permission to be sent reports about another domain.
pub fn judge_dmarc_reports(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let case = Case::new(facts, expected, view, Kind::Dmarc);
    if case.found.readings.iter().any(|reading| reading.counts) {
        return Judged::good("allows reports");
    }
    case.mend(Judged::missing("is not published"))
}

/// MTA-STS: the id of the policy that we serve.
pub fn judge_sts(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let case = Case::new(facts, expected, view, Kind::Sts);
    let tags = match case.only_tags() {
        Ok(tags) => tags,
        Err(judged) => return judged,
    };
    let wanted = Tags::parse(&case.wanted);
    let (found, wanted) = (tags.get("id"), wanted.get("id"));
    if found == wanted {
        return Judged::good("has the id of our policy");
    }
    case.mend(Judged::wrong(format!(
        "has id {}, but our policy has {}: others keep an old policy and do not look again",
        found.unwrap_or("none"),
        wanted.unwrap_or_default()
    )))
}

/// TLS-RPT: somewhere to report to.
pub fn judge_tls_reports(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let case = Case::new(facts, expected, view, Kind::TlsReports);
    let tags = match case.only_tags() {
        Ok(tags) => tags,
        Err(judged) => return judged,
    };
    match tags.get("rua").unwrap_or_default() {
        "" => case.mend(Judged::wrong("names no address (rua=)")),
        list if is_mailed(list) || is_posted(list) => {
            Judged::good(format!("sends reports to {list}"))
        }
        list => case.mend(Judged::wrong(format!(
            "names {list}, which is neither a mailto: nor an https: address (rua=)"
        ))),
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::super::address::Addresses;
    use super::super::super::expected::{Need, Purpose};
    use super::super::finding::Verdict;
    use super::*;

    /// Facts of nobody.
    pub fn facts() -> Facts {
        Facts {
            hostname: "mail.a.example".to_owned(),
            domains: vec!["a.example".to_owned()],
            addresses: Addresses::default(),
            reports_to: ("us".to_owned(), "a.example".to_owned()),
            keys: Vec::new(),
            sts_id: None,
            tls_key: None,
            next_tls_key: None,
            former_tls_keys: Vec::new(),
            issuer: None,
            relayed: false,
        }
    }

    /// One text that should be there.
    pub fn expected(purpose: Purpose, text: &str) -> Expected {
        Expected {
            purpose,
            of: "a.example".to_owned(),
            name: "n.a.example".to_owned(),
            data: vec![Data::text(text)],
            need: Need::Required,
            why: String::new(),
        }
    }

    /// Texts that are there.
    pub fn view(texts: &[&str]) -> View {
        View {
            servers: Vec::new(),
            exists: true,
            aliases: Vec::new(),
            renamed: false,
            records: texts.iter().map(|text| Data::text(text)).collect(),
        }
    }

    #[test]
    fn reports_about_tls_go_where_their_owner_wants() {
        let ours = expected(Purpose::TlsReports, "v=TLSRPTv1; rua=mailto:us@a.example");
        let judge = |text: &str| judge_tls_reports(&facts(), &ours, &view(&[text]));
        for good in [
            "v=TLSRPTv1; rua=mailto:x@b.example",
            "v=TLSRPTv1;rua=https://b.example/r,mailto:x@b.example; own=1",
        ] {
            assert_eq!(judge(good).verdict, Verdict::Ok, "{good}");
        }
        for (bad, verdict, text) in [
            (
                "v=TLSRPTv1",
                Verdict::Wrong,
                "v=TLSRPTv1; rua=mailto:us@a.example",
            ),
            (
                "v=TLSRPTv1; rua=x@b.example; own=1",
                Verdict::Wrong,
                "v=TLSRPTv1; rua=mailto:x@b.example; own=1",
            ),
            (
                "v=tlsrptv1; rua=mailto:x@b.example",
                Verdict::Missing,
                "v=TLSRPTv1; rua=mailto:x@b.example",
            ),
        ] {
            let judged = judge(bad);
            assert_eq!(judged.verdict, verdict, "{bad}");
            let advice = judged.advice.join("\n");
            assert!(advice.ends_with(&format!(": {text}")), "{bad}: {advice}");
        }
    }

    #[test]
    fn an_alias_is_told_with_the_advice() {
        let ours = expected(Purpose::StsPolicy, "v=STSv1; id=2");
        let mut view = view(&["v=STSv1; id=1; own=1"]);
        view.aliases = vec!["sts.b.example".to_owned()];
        let judged = judge_sts(&facts(), &ours, &view);
        assert_eq!(
            judged.advice,
            [
                "publish this text as the TXT record of sts.b.example, which n.a.example is an alias of: v=STSv1; id=2; own=1"
            ]
        );
    }
}
