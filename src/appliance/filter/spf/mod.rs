//! SPF, RFC 7208 (<https://www.rfc-editor.org/rfc/rfc7208>).
//!
//! Evaluated here and not by the crate `mail-auth`, which reads `include` one level deep
//! only, passes over mechanisms that it does not know, takes the first of several
//! records, and counts no empty answers. No result refuses mail by itself: DMARC decides
//! what follows from it.

mod evaluate;
mod macros;
mod question;
mod record;
#[cfg(test)]
mod suite;

use super::lookup::{Lookup, is_domain};
use evaluate::Evaluation;
use std::time::Duration;
use tokio::time::timeout;

pub use question::{Question, Verdict};

/// Longest wait for all answers together; RFC 7208 section 4.6.4 wants 20 s at least.
const SPF_LIMIT: Duration = Duration::from_secs(20);
/// What SPF says about one message's sender.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spf {
    /// What the domain says.
    pub verdict: Verdict,
    /// How the domain came in.
    pub property: &'static str,
    /// The domain in lower case; `None` for one that has no place in a header.
    pub domain: Option<String>,
    /// What the domain says about its refusal, if it does.
    pub explanation: Option<String>,
}

/// Asks for the host of this name.
pub async fn check(lookup: &impl Lookup, receiver: &str, question: &Question) -> Spf {
    let mut evaluation = Evaluation::new(lookup, question, receiver);
    let outcome = timeout(SPF_LIMIT, async {
        let outcome = evaluation.run().await;
        let explanation = evaluation.explain(&outcome).await;
        (outcome.verdict, explanation)
    });
    let (verdict, explanation) = outcome.await.unwrap_or((Verdict::TempError, None));
    let domain = question.domain().trim_end_matches('.').to_ascii_lowercase();
    Spf {
        verdict,
        property: question.property(),
        domain: is_domain(&domain).then_some(domain),
        explanation,
    }
}
