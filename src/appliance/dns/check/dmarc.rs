//! Judging DMARC policies (RFC 7489, <https://www.rfc-editor.org/rfc/rfc7489>; RFC 9989).
//!
//! Mail depends on a policy that others can read and that asks for something.
//! Reports, and tests that somebody runs, are the owner's business: they are
//! told as recommendations. Stricter than ours is good.

use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::Facts;
use super::super::name_servers::View;
use super::super::policy::dmarc::Strictness;
use super::super::policy::reports::is_mailed;
use super::super::policy::tags::Tags;
use super::super::policy::text::{Found, Kind};
use super::super::zone::Resolver;
use super::finding::{Judged, Verdict};
use super::text::Case;
use hickory_proto::rr::RecordType;

/// What is wrong with a policy, by weight.
#[derive(Default)]
struct Faults {
    /// It asks for nothing.
    idle: Vec<String>,
    /// It asks for less than its owner may think.
    weak: Vec<String>,
    /// It lacks what would be good to have.
    lacking: Vec<String>,
    advice: Vec<String>,
}

impl Faults {
    fn find(tags: &Tags) -> Self {
        let mut faults = Self::default();
        faults.find_idle(tags);
        faults.find_weak(tags);
        faults.find_lacking(tags);
        faults
    }

    fn find_idle(&mut self, tags: &Tags) {
        for name in tags.repeated() {
            self.idle.push(format!(
                "{name} is there more than once, so nobody knows which one counts"
            ));
        }
        match (tags.get("p"), Strictness::of(tags, "p")) {
            (_, Strictness::Quarantine | Strictness::Reject) => {}
            (None, _) => self
                .idle
                .push("p is missing, so it asks others for nothing".to_owned()),
            (Some(value), _) if Strictness::parse(value).is_some() => {
                self.idle.push(
                    "p is none, neither quarantine nor reject: it only watches, and forged mail is delivered"
                        .to_owned(),
                );
                self.advice.push(
                    "while you only watch, read the reports; once every server that sends for this domain passes, let p be quarantine or reject"
                        .to_owned(),
                );
            }
            (Some(value), _) => self.idle.push(format!(
                "p is {value}, neither quarantine nor reject: others take that for none"
            )),
        }
    }

    fn find_weak(&mut self, tags: &Tags) {
        for (name, whose) in [
            ("sp", "names below the domain"),
            ("np", "names below the domain that do not exist"),
        ] {
            let Some(value) = tags.get(name) else {
                // They have the domain's own policy then.
                continue;
            };
            match Strictness::parse(value) {
                Some(Strictness::None) => self
                    .weak
                    .push(format!("{name} is none, so {whose} can be forged")),
                None => self.weak.push(format!(
                    "{name} is {value}, neither quarantine nor reject: others take that for none"
                )),
                Some(_) => {}
            }
        }
        match tags.get("pct").map(str::parse::<u8>) {
            None | Some(Ok(100)) => {}
            Some(Ok(share)) if share < 100 => {
                self.weak.push(format!(
                    "pct is {share}: of 100 mails it asks for that in {share} only"
                ));
                self.advice.push(format!(
                    "take pct={share} out once the reports are good; newer receivers ignore it and heed p fully"
                ));
            }
            Some(_) => self.weak.push("pct is no number from 0 to 100".to_owned()),
        }
        if tags
            .get("t")
            .is_some_and(|value| value.eq_ignore_ascii_case("y"))
        {
            self.weak
                .push("t is y, a test: others are asked for one step less than it says".to_owned());
            self.advice
                .push("take t=y out once the reports are good".to_owned());
        }
    }

    fn find_lacking(&mut self, tags: &Tags) {
        for (name, what) in [
            ("fo", "when to report a failure"),
            ("rua", "where summaries go"),
            ("ruf", "where reports of single failures go"),
        ] {
            match tags.get(name) {
                None => self.lacking.push(format!("{name} is missing ({what})")),
                Some(list) if name != "fo" && !is_mailed(list) => {
                    self.lacking
                        .push(format!("{name} holds no mailto: address ({what})"));
                }
                Some(_) => {}
            }
        }
    }
}

/// DMARC: a policy of the domain's own, or one that it has from a domain above it.
pub async fn judge_dmarc(
    facts: &Facts,
    resolver: &Resolver,
    expected: &Expected,
    view: &View,
) -> Judged {
    let judged = judge_policy(facts, expected, view);
    let own = !Found::among(Kind::Dmarc, &view.records).readings.is_empty();
    if own || judged.verdict == Verdict::Ok {
        return judged;
    }
    // One of its own would take the place of that one, which may be stricter.
    match inherited(resolver, &expected.of).await {
        Some((domain, value)) => Judged::good(format!(
            "has no policy of its own, and for names below it {domain} says {value}"
        )),
        None => judged,
    }
}

/// The policy that a domain has from those above it (RFC 7489 section 6.6.3, RFC 9989),
/// if each of them asks for something: which one counts depends on who reads them.
async fn inherited(resolver: &Resolver, domain: &str) -> Option<(String, String)> {
    let mut weakest: Option<(Strictness, String, String)> = None;
    for above in domains_above(domain) {
        let answer = resolver
            .ask(&format!("_dmarc.{above}"), RecordType::TXT, false)
            .await
            .ok()?;
        let records: Vec<Data> = answer
            .answers
            .iter()
            .map(|record| Data::from_wire(&record.data))
            .collect();
        let found = Found::among(Kind::Dmarc, &records);
        let [reading] = found.readings.as_slice() else {
            continue;
        };
        let tags = Tags::parse(&reading.text);
        if !reading.counts
            || tags
                .get("psd")
                .is_some_and(|value| value.eq_ignore_ascii_case("y"))
        {
            continue;
        }
        let name = if tags.get("sp").is_some() { "sp" } else { "p" };
        let strictness = Strictness::of(&tags, name);
        let value = tags.get(name).unwrap_or("none").to_owned();
        if weakest
            .as_ref()
            .is_none_or(|(known, ..)| strictness < *known)
        {
            weakest = Some((strictness, above, value));
        }
    }
    weakest
        .filter(|(strictness, ..)| *strictness > Strictness::None)
        .map(|(_, domain, value)| (domain, value))
}

/// Domains that a domain lies in, without the top-level domain.
fn domains_above(domain: &str) -> Vec<String> {
    let mut domains = Vec::new();
    let mut rest = domain;
    while let Some((_, above)) = rest.split_once('.') {
        if above.contains('.') {
            domains.push(above.to_owned());
        }
        rest = above;
    }
    domains
}

/// A policy has a `p` that does something; reports are recommended.
fn judge_policy(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let case = Case::new(facts, expected, view, Kind::Dmarc);
    let tags = match case.only_tags() {
        Ok(tags) => tags,
        Err(judged) => return judged,
    };
    let Faults {
        idle,
        weak,
        lacking,
        advice,
    } = Faults::find(&tags);
    let p = tags.get("p").unwrap_or_default();
    let good = format!(
        "says {p} for the domain and {} for names below it",
        tags.get("sp").unwrap_or(p)
    );
    let told = [weak.clone(), lacking].concat();
    let judged = if !idle.is_empty() {
        Judged::wrong([idle, told].concat().join("; "))
    } else if !weak.is_empty() {
        Judged::wrong(format!("{good}, but {}", told.join("; "))).minor()
    } else if !told.is_empty() {
        Judged::missing(format!("{good}, but {}", told.join("; "))).minor()
    } else {
        return Judged::good(good);
    };
    case.mend(judged.advise_all(advice))
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::{Need, Purpose};
    use super::super::finding::Verdict;
    use super::super::text::tests::{expected, facts, view};
    use super::{domains_above, judge_policy};

    const OURS: &str = "v=DMARC1; p=quarantine; sp=quarantine; adkim=r; aspf=r; fo=1; rua=mailto:us@a.example; ruf=mailto:us@a.example";
    const REPORTS: &str = "fo=1; rua=mailto:a@b; ruf=mailto:a@b";

    #[test]
    fn stricter_is_good() {
        let ours = expected(Purpose::Dmarc, OURS);
        for good in [
            "V = DMARC1; p=Reject;sp=quarantine ;",
            "v=DMARC1; p=reject; ",
            "v=DMARC1;p=quarantine;np=reject;psd=n;adkim=s;aspf=s;pct=100;t=n;own=1;",
        ] {
            let text = format!("{good}{REPORTS}");
            let judged = judge_policy(&facts(), &ours, &view(&[&text, "x"]));
            assert_eq!(judged.verdict, Verdict::Ok, "{text}: {}", judged.said);
        }
    }

    #[test]
    fn what_mail_does_not_depend_on_is_recommended() {
        let ours = expected(Purpose::Dmarc, OURS);
        let judge = |text: &str| judge_policy(&facts(), &ours, &view(&[text]));
        for (text, verdict, said) in [
            (
                "v=DMARC1; p=reject; rua=mailto:a@b".to_owned(),
                Verdict::Missing,
                "fo is missing",
            ),
            (
                "v=DMARC1; p=reject".to_owned(),
                Verdict::Missing,
                "rua is missing",
            ),
            (
                format!(
                    "v=DMARC1; p=reject; {}",
                    REPORTS.replace("ruf=mailto:", "ruf=")
                ),
                Verdict::Missing,
                "ruf holds no mailto:",
            ),
            (
                format!("v=DMARC1; p=reject; sp=none; {REPORTS}"),
                Verdict::Wrong,
                "sp is none",
            ),
            (
                format!("v=DMARC1; p=reject; np=nonne; {REPORTS}"),
                Verdict::Wrong,
                "np is nonne",
            ),
            (
                format!("v=DMARC1; p=reject; pct=20; {REPORTS}"),
                Verdict::Wrong,
                "pct is 20",
            ),
            (
                format!("v=DMARC1; p=reject; t=y; {REPORTS}"),
                Verdict::Wrong,
                "t is y",
            ),
        ] {
            let judged = judge(&text);
            assert!(judged.said.contains(said), "{text}: {}", judged.said);
            assert_eq!(
                (judged.verdict, judged.need),
                (verdict, Some(Need::Recommended)),
                "{text}"
            );
            let advice = judged.advice.join("\n");
            assert!(!advice.contains(" p=quarantine"), "{text}: {advice}");
        }
    }

    #[test]
    fn names_above_a_domain() {
        assert_eq!(domains_above("b.m.a.example"), ["m.a.example", "a.example"]);
        assert!(domains_above("a.example").is_empty());
    }

    #[test]
    fn policies_that_ask_for_nothing() {
        let ours = expected(Purpose::Dmarc, OURS);
        let judge = |texts: &[&str]| judge_policy(&facts(), &ours, &view(texts));
        for (text, said) in [
            ("v=DMARC1; p=none; sp=reject", "p is none"),
            ("v=DMARC1; p=rejekt", "p is rejekt"),
            ("v=DMARC1; rua=mailto:a@b", "p is missing"),
            ("v=DMARC1; p=none; p=reject", "p is there more than once"),
            (
                "v=DMARC1; p=reject rua=mailto:a@b",
                "not written as it was meant",
            ),
        ] {
            let judged = judge(&[text]);
            assert!(judged.said.contains(said), "{text}: {}", judged.said);
            assert_eq!(
                (judged.verdict, judged.need),
                (Verdict::Wrong, None),
                "{text}"
            );
        }
        assert_eq!(judge(&["v=spf1"]).verdict, Verdict::Missing);
        let two = judge(&[
            "v=DMARC1; p=reject; rua=mailto:a@b",
            "v=DMARC1; p=none; rua=mailto:c@d",
        ]);
        assert_eq!(two.verdict, Verdict::Wrong);
        assert_eq!(
            two.advice.last().unwrap(),
            "publish this text as the TXT record of n.a.example: v=DMARC1; p=reject; rua=mailto:a@b,mailto:c@d; fo=1; ruf=mailto:us@a.example"
        );
        // It is there, but as no policy.
        let quoted = judge(&["\"v=DMARC1; p=reject; rua=mailto:a@b\""]);
        assert_eq!(quoted.verdict, Verdict::Missing);
        assert!(
            quoted.advice[0].contains("quotation marks"),
            "{:?}",
            quoted.advice
        );
        assert!(quoted.advice[1].contains(": v=DMARC1; p=reject; rua=mailto:a@b; fo=1"));
    }
}
