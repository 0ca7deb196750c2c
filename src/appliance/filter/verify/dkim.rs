//! DKIM, RFC 6376: who signed a message, and whether it is still what was signed.

use super::body::Bodies;
use super::headers::{Header, Headers};
use super::key::{NoKey, find_key};
use super::signature::{Flaw, Signature, parse_identity, parse_signature};
use super::tags::Tags;
use crate::appliance::filter::lookup::Lookup;
use tokio::time::{Instant, timeout_at};

/// Name of the header, in lower case.
pub const DKIM_SIGNATURE: &str = "dkim-signature";
/// Most signatures looked at; mail has one to four.
const MOST_SIGNATURES: usize = 10;

/// What a signature says, RFC 8601 section 2.7.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    /// The message is not what was signed.
    Fail(&'static str),
    /// It may be right, but is not believed here.
    Policy(&'static str),
    /// It cannot be read.
    Neutral(&'static str),
    TempError,
    PermError(&'static str),
}

impl Verdict {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail(_) => "fail",
            Self::Policy(_) => "policy",
            Self::Neutral(_) => "neutral",
            Self::TempError => "temperror",
            Self::PermError(_) => "permerror",
        }
    }

    /// Why it is none that passes, in words of ours.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::Pass => None,
            Self::TempError => Some("no answer about its key"),
            Self::Fail(why) | Self::Policy(why) | Self::Neutral(why) | Self::PermError(why) => {
                Some(why)
            }
        }
    }
}

/// One signature.
#[derive(Debug, PartialEq, Eq)]
pub struct Signed {
    pub verdict: Verdict,
    /// Missing when it cannot be read.
    pub signature: Option<Signature>,
}

/// Checks the signatures of a message. Keys that are not there by the deadline are not known.
pub async fn check(
    lookup: &impl Lookup,
    headers: &Headers,
    bodies: &Bodies,
    now: u64,
    deadline: Instant,
) -> Vec<Signed> {
    let mut all = Vec::new();
    for header in headers.named(DKIM_SIGNATURE).take(MOST_SIGNATURES) {
        let signed = match read(header) {
            Ok(signature) => {
                let verdict = verify(lookup, headers, bodies, header, &signature, now);
                let verdict = timeout_at(deadline, verdict).await;
                Signed {
                    verdict: verdict.unwrap_or(Verdict::TempError),
                    signature: Some(signature),
                }
            }
            Err(flaw) => Signed {
                verdict: match flaw {
                    Flaw::Syntax(why) => Verdict::Neutral(why),
                    Flaw::Policy(why) => Verdict::Policy(why),
                },
                signature: None,
            },
        };
        all.push(signed);
        // Others have their turn between two signatures.
        tokio::task::yield_now().await;
    }
    all
}

fn read(header: &Header) -> Result<Signature, Flaw> {
    let tags = Tags::parse(&header.value).ok_or(Flaw::Syntax("no list of tags"))?;
    if tags.get("v") != Some("1") {
        return Err(Flaw::Syntax("unknown version"));
    }
    let mut signature = parse_signature(&tags)?;
    signature.identity = parse_identity(&tags, &signature.seal.domain)?;
    Ok(signature)
}

/// Holds a signature of a message against it; those of ARC are checked the same way.
pub async fn verify(
    lookup: &impl Lookup,
    headers: &Headers,
    bodies: &Bodies,
    own: &Header,
    signature: &Signature,
    now: u64,
) -> Verdict {
    if signature.expires.is_some_and(|expires| expires <= now) {
        return Verdict::Policy("it expired");
    }
    let Some(hashed) = bodies.hashed(signature.body_kind) else {
        return Verdict::TempError;
    };
    // A signature over a part lets anybody write the rest.
    match signature.length {
        Some(length) if length < hashed.length => {
            return Verdict::Policy("a part of the body is not signed");
        }
        Some(length) if length > hashed.length => return Verdict::Fail("the body is shorter"),
        _ => {}
    }
    if hashed.digest != signature.body_hash {
        return Verdict::Fail("the body is another");
    }
    let key = match find_key(lookup, &signature.seal).await {
        Ok(key) => key,
        Err(NoKey::NoAnswer) => return Verdict::TempError,
        Err(NoKey::None(why)) => return Verdict::PermError(why),
        Err(NoKey::Weak(why)) => return Verdict::Policy(why),
    };
    if key.strict && signature.identity.is_some() {
        return Verdict::PermError("a key for no subdomains");
    }
    let text = signature.signed_text(headers, own);
    if key.verifies(&text, &signature.seal.signature) {
        Verdict::Pass
    } else {
        Verdict::Fail("the headers are others")
    }
}
