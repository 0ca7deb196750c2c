//! Judging SPF (RFC 7208, <https://www.rfc-editor.org/rfc/rfc7208>) by evaluating it.
//!
//! The record itself is the authoritative answer; what it leads to is asked of
//! the resolver, except for HOSTNAME and the domain's mail servers. These are
//! taken as they should be: another check says when they are not, and this one
//! is about the policy.

mod evaluate;
mod follow;
mod lookups;

use super::super::amend::completed_text;
use super::super::expected::Expected;
use super::super::facts::Facts;
use super::super::name_servers::View;
use super::super::policy::spf::{Joining, ending};
use super::super::policy::spf_repair::repaired_terms;
use super::super::policy::text::{Found, Kind};
use super::super::zone::Resolver;
use super::finding::Judged;
use super::text::publish;
use anyhow::Result;
use evaluate::Evaluator;
use follow::Follower;
use lookups::{LOOKUPS_MAX, Lookup, Trouble, VOID_MAX, Walk};
use mail_auth::SpfResult;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::time::Instant;

/// Longest wait for all answers that a record leads to.
const RECORD_LIMIT: Duration = Duration::from_secs(10);
/// What it costs.
const UNTIL_THEN: &str = "until then others refuse our mail or take it for junk";

/// Evaluates records.
pub struct SpfJudge {
    evaluator: Evaluator,
    resolver: Resolver,
}

impl SpfJudge {
    /// One that asks this resolver and ends at this time.
    pub fn new(resolver: SocketAddr, deadline: Instant) -> Result<Self> {
        Ok(Self {
            evaluator: Evaluator::new(resolver)?,
            resolver: Resolver {
                address: resolver,
                deadline,
            },
        })
    }

    /// Whom it asks.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Exactly one record, which covers all our addresses and refuses others.
    pub async fn judge(&self, facts: &Facts, expected: &Expected, view: &View) -> Judged {
        let end = self.resolver.deadline.min(Instant::now() + RECORD_LIMIT);
        let resolver = Resolver {
            deadline: end,
            ..self.resolver
        };
        let mut case = Case {
            facts,
            expected,
            view,
            found: Found::among(Kind::Spf, &view.records),
            follower: Follower::new(resolver, facts, &expected.name),
        };
        let readings = case.found.readings.clone();
        let slips = case.found.slips();
        match readings.as_slice() {
            [reading] if reading.counts && slips.is_empty() => {
                self.judge_record(&mut case, &reading.text, end).await
            }
            [reading] if reading.counts => {
                case.mend(Judged::wrong("is not written as it was meant"))
                    .await
            }
            [first, ..] if !first.counts => {
                case.mend(Judged::missing(
                    "has an SPF record but for the way it is written, so nobody heeds it",
                ))
                .await
            }
            [] if view.records.is_empty() => case.mend(Judged::missing("is not published")).await,
            [] => {
                case.mend(Judged::missing(
                    "has text records, but none is for SPF (v=spf1)",
                ))
                .await
            }
            several => {
                case.mend(
                    Judged::wrong(format!(
                        "there are {} records; with more than one, none counts",
                        several.len()
                    ))
                    .advise("make one of them"),
                )
                .await
            }
        }
    }

    async fn judge_record(&self, case: &mut Case<'_>, record: &str, end: Instant) -> Judged {
        let (facts, name) = (case.facts, &case.expected.name);
        let mut covered = Vec::new();
        for address in facts.addresses.all() {
            let result = self
                .evaluator
                .evaluate(facts, name, record, address, end)
                .await;
            match result {
                SpfResult::Pass => covered.push(address),
                SpfResult::TempError => {
                    return Judged::unknown(format!(
                        "what the record leads to cannot be looked up: {record}"
                    ));
                }
                SpfResult::PermError | SpfResult::None => {
                    let walk = case.follower.follow(name, record, Some(address)).await;
                    let (said, advice) = fault(&walk, name).unwrap_or_else(|| {
                        (format!("is no valid SPF record: {record}"), Vec::new())
                    });
                    let judged = case.mend(Judged::wrong(said)).await;
                    return judged.advise_all(advice).advise(UNTIL_THEN);
                }
                SpfResult::Fail | SpfResult::SoftFail | SpfResult::Neutral => {
                    let judged =
                        Judged::wrong(format!("does not cover our address {address}: {record}"));
                    return case.mend(judged).await.advise(UNTIL_THEN);
                }
            }
        }
        if let Some(judged) = judge_end(record) {
            return case.mend_end(judged);
        }
        if covered.is_empty() {
            return Judged::unknown("our public address is not known");
        }
        case.judge_lookups(record, &covered).await
    }
}

/// A record that ends so that anybody may send.
fn judge_end(record: &str) -> Option<Judged> {
    let said = match ending(record) {
        Some(end) if end.starts_with(['-', '~']) || end.contains('=') => return None,
        Some(end) => format!("ends in {end}, which lets anybody send"),
        None => "has no end, so it says nothing about others".to_owned(),
    };
    Some(Judged::wrong(said).advise(
        "let it end in -all, or in ~all while you are not sure that it names every server that sends for you",
    ))
}

/// One record set and what it takes to judge it.
struct Case<'a> {
    facts: &'a Facts,
    expected: &'a Expected,
    view: &'a View,
    found: Found,
    follower: Follower,
}

impl Case<'_> {
    fn wanted(&self, joining: Joining) -> String {
        completed_text(self.facts, self.expected, &self.found, joining)
    }

    /// Adds what to publish: with us in it, in such a way that the lookups suffice.
    async fn mend(&mut self, judged: Judged) -> Judged {
        let mut joining = Joining::Name;
        let mut walk = self.follow_wanted(joining).await;
        // Ours comes first, and must not be what pushes the last one out.
        if walk.excess().is_some() && !self.found.readings.is_empty() {
            joining = Joining::Addresses;
            walk = self.follow_wanted(joining).await;
        }
        let text = self.wanted(joining);
        let lost = self
            .found
            .readings
            .iter()
            .flat_map(|reading| repaired_terms(&reading.text).1);
        let lost: Vec<String> = lost
            .map(|term| {
                format!("'{term}' is left out there, since it makes the record invalid: put it in again if you know what was meant")
            })
            .collect();
        let judged = judged
            .advise_all(self.found.slips())
            .advise_all(publish(self.expected, self.view, &text))
            .advise_all(lost)
            .advise_all(costs(&self.expected.name, &walk));
        Judged { joining, ..judged }
    }

    /// The same where we are in it already.
    fn mend_end(&self, judged: Judged) -> Judged {
        let text = self.wanted(Joining::Already);
        Judged {
            joining: Joining::Already,
            ..judged.advise_all(publish(self.expected, self.view, &text))
        }
    }

    async fn follow_wanted(&mut self, joining: Joining) -> Walk {
        let text = self.wanted(joining);
        self.follower.follow(&self.expected.name, &text, None).await
    }

    /// Lookups on the way to our addresses, and those of the whole record.
    async fn judge_lookups(&mut self, record: &str, covered: &[IpAddr]) -> Judged {
        let name = &self.expected.name;
        let listed: Vec<String> = covered.iter().map(IpAddr::to_string).collect();
        let good = format!("covers {}", listed.join(" and "));
        for address in covered {
            let walk = self.follower.follow(name, record, Some(*address)).await;
            // What comes behind a match does not count, nor what may have been one.
            if let Some((said, advice)) = fault(&walk, name).filter(|_| !walk.guessed) {
                let judged = Judged::wrong(format!("names {address}, but {said}"));
                let judged = self.mend(judged).await;
                return judged.advise_all(advice).advise(UNTIL_THEN);
            }
        }
        let walk = self.follower.follow(name, record, None).await;
        match fault(&walk, name) {
            None => Judged::good(good),
            Some((said, advice)) => {
                let judged = Judged::wrong(format!("{good}, but {said}"))
                    .advise_all(advice)
                    .advise_all(costs(name, &walk))
                    .advise("our mail is covered before that; mail of those that are named from there on is not")
                    .minor();
                Judged {
                    joining: Joining::Already,
                    ..judged
                }
            }
        }
    }
}

/// What is wrong with a walk, in words, and what to do.
fn fault(walk: &Walk, name: &str) -> Option<(String, Vec<String>)> {
    const INVALID: &str = "call the whole record invalid (RFC 7208 section 4.6.4)";
    if let Some(lookup) = walk.excess() {
        return Some((
            format!(
                "{} is its eleventh DNS lookup, and with more than {LOOKUPS_MAX} others {INVALID}",
                lookup.words()
            ),
            Vec::new(),
        ));
    }
    if let Some(lookup) = walk.void_excess() {
        let void: Vec<String> = walk.void.iter().map(Lookup::words).collect();
        return Some((
            format!(
                "{} is its third DNS lookup that finds nothing, and with more than {VOID_MAX} others {INVALID}",
                lookup.words()
            ),
            vec![format!(
                "these find nothing, so take out those that are yours and no longer used: {}",
                void.join(", ")
            )],
        ));
    }
    let trouble = walk.trouble.as_ref()?;
    let (said, advice) = match trouble {
        Trouble::Unknown => return None,
        Trouble::Term(term, domain) if domain == name => (
            format!("'{term}' is nothing that SPF knows"),
            // What is published instead leaves it out, and says so.
            String::new(),
        ),
        Trouble::Term(term, domain) => (
            format!(
                "'{term}' in the record of {domain}, which it leads to, is nothing that SPF knows"
            ),
            format!(
                "tell those who run {domain}, or take out what leads there if it no longer sends for you"
            ),
        ),
        Trouble::NoRecord(lookup, domain) => (
            format!(
                "{} leads to {domain}, which has no SPF record",
                lookup.words()
            ),
            format!(
                "take {} out if {domain} no longer sends for you, or ask those who run it",
                lookup.words()
            ),
        ),
        Trouble::Records(lookup, domain) => (
            format!(
                "{} leads to {domain}, which has more than one SPF record",
                lookup.words()
            ),
            format!(
                "tell those who run {domain}, or take {} out if it no longer sends for you",
                lookup.words()
            ),
        ),
        Trouble::Circle(lookup) => (
            format!("{} leads back to where it came from", lookup.words()),
            format!("take {} out", lookup.words()),
        ),
        Trouble::Servers(lookup) => (
            format!("{} leads to more than ten mail servers", lookup.words()),
            format!(
                "name their addresses by ip4: and ip6: instead of {}",
                lookup.words()
            ),
        ),
    };
    Some((
        format!("{said}, so others call the whole record invalid"),
        Some(advice)
            .filter(|advice| !advice.is_empty())
            .into_iter()
            .collect(),
    ))
}

/// Where the lookups go, when there are too many.
fn costs(name: &str, walk: &Walk) -> Option<String> {
    walk.excess()?;
    let costs: Vec<String> = walk
        .costs()
        .iter()
        .map(|(term, count)| format!("{term} {count}"))
        .collect();
    Some(format!(
        "it takes {} DNS lookups ({}): take out what no longer sends for {name}, or name its addresses by ip4: and ip6:, which take none",
        walk.lookups.len(),
        costs.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::{Judged, Lookup, Walk, costs, fault, judge_end};

    fn lookups(count: usize) -> Vec<Lookup> {
        (1..=count)
            .map(|number| Lookup {
                term: format!("a:n{number}.example"),
                by: Vec::new(),
            })
            .collect()
    }

    #[test]
    fn the_end_may_be_strict() {
        for good in ["v=spf1 -all", "v=spf1 mx ~all", "v=spf1 redirect=b.example"] {
            assert_eq!(judge_end(good), None, "{good}");
        }
        for (bad, said) in [
            ("v=spf1 +all", "ends in +all"),
            ("v=spf1 mx all", "ends in all"),
            ("v=spf1 ?all -all", "ends in ?all"),
            ("v=spf1 mx", "has no end"),
        ] {
            let Judged { said: words, .. } = judge_end(bad).expect(bad);
            assert!(words.starts_with(said), "{bad}: {words}");
        }
    }

    #[test]
    fn the_lookup_that_breaks_it_is_told() {
        let walk = |lookups, void| Walk {
            lookups,
            void,
            ..Walk::default()
        };
        assert!(fault(&walk(lookups(10), lookups(2)), "a.example").is_none());
        let many = walk(lookups(12), Vec::new());
        let (said, _) = fault(&many, "a.example").unwrap();
        assert!(said.starts_with("a:n11.example is its eleventh DNS lookup"));
        let told = costs("a.example", &many).unwrap();
        assert!(told.starts_with("it takes 12 DNS lookups (a:n1.example 1, a:n2.example 1,"));
        let (said, advice) = fault(&walk(lookups(3), lookups(3)), "a.example").unwrap();
        assert!(said.starts_with("a:n3.example is its third DNS lookup that finds nothing"));
        assert!(advice[0].ends_with("a:n1.example, a:n2.example, a:n3.example"));
    }
}
