//! What becomes of a message.

use super::arc;
use super::author::author_domains;
use super::body::Bodies;
use super::dkim;
use super::dmarc::{Disposition, Findings, Judgement, judge};
use super::headers::Headers;
use super::organisation::Organisations;
use super::policy::find_policy;
use super::report::{header_value, refusal, summary};
use crate::appliance::filter::iprev::Iprev;
use crate::appliance::filter::lookup::{Lookup, NoAnswer};
use crate::appliance::filter::spf::Spf;
use crate::appliance::machine::clock::now;
use rand::RngExt;
use std::future::Future;
use tokio::time::{Instant, timeout_at};

/// By what is judged.
pub struct Rules<'a> {
    /// In whose name.
    pub hostname: &'a str,
    /// Domains whose word about a message counts for more than what is found (ARC).
    pub trusted: &'a [String],
    /// Domains of this machine: their users log in to send.
    pub served: &'a [String],
    /// Who belongs together.
    pub organisations: &'a Organisations,
    /// Until when keys and policies are waited for. What is not known by then is as if its name
    /// server had failed: the rest may be enough.
    pub deadline: Instant,
}

/// A message that is there.
pub struct Incoming<'a> {
    /// The value of its one From header.
    pub from: &'a [u8],
    /// All headers.
    pub headers: &'a Headers,
    /// What is left of the body.
    pub bodies: Bodies,
    /// What was found about the client's name.
    pub iprev: Option<Iprev>,
}

/// What is answered.
#[derive(Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is taken, with this value of `Authentication-Results`.
    Take(String),
    /// It is not, with this reply.
    Refuse(String),
}

/// Judges a message, and by what comes to be found about the sender of its envelope.
pub async fn decide(
    lookup: &impl Lookup,
    rules: &Rules<'_>,
    incoming: Incoming<'_>,
    spf: impl Future<Output = Option<Spf>>,
) -> Decision {
    let deadline = rules.deadline;
    let Incoming {
        from,
        headers,
        bodies,
        iprev,
    } = incoming;
    if headers.too_many() {
        let text = "552 5.3.4 The headers of the message are longer than anybody's";
        return Decision::Refuse(text.to_owned());
    }
    let Some(domains) = author_domains(from) else {
        let text = "550 5.7.1 The From header does not show in one way whose the message is \
                    (RFC 5322 section 3.4)";
        return Decision::Refuse(text.to_owned());
    };
    let seconds = u64::try_from(now()).unwrap_or(0);
    let policies = async {
        let mut policies = Vec::new();
        for domain in &domains {
            let policy = find_policy(lookup, rules.organisations, domain);
            policies.push(timeout_at(deadline, policy).await.unwrap_or(Err(NoAnswer)));
        }
        policies
    };
    let (spf, dkim, arc, policies) = tokio::join!(
        spf,
        dkim::check(lookup, headers, &bodies, seconds, deadline),
        timeout_at(deadline, arc::check(lookup, headers, &bodies, seconds)),
        policies,
    );
    let arc = arc.unwrap_or(arc::Verdict::TempError.into());
    let findings = Findings {
        spf,
        iprev,
        dkim,
        arc,
    };
    // The lot of one message is the same for all that it shows.
    let lot = rand::rng().random_range(0..100);
    let mut judgements: Vec<Judgement> = domains
        .iter()
        .zip(policies)
        .map(|(domain, policy)| {
            let organisations = rules.organisations;
            let judgement = judge(domain, policy, &findings, organisations, rules.trusted, lot);
            if rules.served.contains(domain) {
                judgement.of_ours(&findings, organisations, rules.trusted)
            } else {
                judgement
            }
        })
        .collect();
    // The strictest decides (RFC 7489 section 6.6.1), and is named first.
    judgements.sort_by_key(|judgement| std::cmp::Reverse(judgement.disposition));
    // Figures are made of it.
    tell!("judged {}", summary(&judgements, &findings));
    let strictest = judgements
        .first()
        .filter(|first| first.disposition >= Disposition::Defer);
    match strictest {
        Some(judgement) => Decision::Refuse(refusal(judgement, &findings)),
        None => Decision::Take(header_value(rules.hostname, &judgements, &findings)),
    }
}
