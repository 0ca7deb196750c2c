//! ARC, RFC 8617: what the hosts that a message came through say they found.
//!
//! A chain that holds proves who said it and nothing else; what is believed is decided by
//! DMARC's judge.

use super::body::Bodies;
use super::canonical::{Canonicalization, push_header};
use super::dkim::{self, verify};
use super::headers::{Header, Headers};
use super::key::{NoKey, find_key};
use super::signature::{Seal, Signature, parse_seal, parse_signature, without_signature};
use super::tags::Tags;
use crate::appliance::filter::lookup::{Lookup, ascii_domain};
use crate::appliance::filter::results::{instance, statements};

/// Names of the headers of a set, in lower case.
const SEAL: &str = "arc-seal";
const SIGNATURE: &str = "arc-message-signature";
const RESULTS: &str = "arc-authentication-results";
/// Most sets of a chain, section 4.2.1.
const MOST_SETS: usize = 50;

/// What a chain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    None,
    Pass,
    Fail(&'static str),
    TempError,
}

impl Verdict {
    /// Its word, section 10.1, which has none for trouble with a name server.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Pass => "pass",
            Self::Fail(_) | Self::TempError => "fail",
        }
    }

    /// Why it is none that passes, in words of ours.
    pub fn reason(self) -> Option<&'static str> {
        match self {
            Self::None | Self::Pass => None,
            Self::Fail(why) => Some(why),
            Self::TempError => Some("no answer about a key"),
        }
    }
}

/// A chain, from the first host to the last.
#[derive(Debug, PartialEq, Eq)]
pub struct Chain {
    pub verdict: Verdict,
    /// Who sealed and what he found: statements of methods.
    pub hosts: Vec<Host>,
}

/// One host of a chain.
#[derive(Debug, PartialEq, Eq)]
pub struct Host {
    /// The domain of its seal.
    pub domain: String,
    /// Domains that were those of `From`, and for which it found DMARC to pass.
    pub passed: Vec<String>,
}

impl From<Verdict> for Chain {
    fn from(verdict: Verdict) -> Self {
        Self {
            verdict,
            hosts: Vec::new(),
        }
    }
}

/// The three headers of one host.
struct Set<'a> {
    results: &'a Header,
    signed: &'a Header,
    signature: Signature,
    sealed: &'a Header,
    seal: Seal,
}

/// Checks the chain of a message, section 5.2.
pub async fn check(lookup: &impl Lookup, headers: &Headers, bodies: &Bodies, now: u64) -> Chain {
    let sets = match read(headers) {
        Ok(sets) => sets,
        Err(why) => return Verdict::Fail(why).into(),
    };
    let Some(last) = sets.last() else {
        return Verdict::None.into();
    };
    match verify(lookup, headers, bodies, last.signed, &last.signature, now).await {
        dkim::Verdict::Pass => {}
        dkim::Verdict::TempError => return Verdict::TempError.into(),
        other => return Verdict::Fail(other.reason().unwrap_or_default()).into(),
    }
    // What is before a set in the text of its seal is the same for all after it.
    let mut text = Vec::new();
    for set in &sets {
        push(&mut text, set.results, &set.results.value, true);
        push(&mut text, set.signed, &set.signed.value, true);
        let length = text.len();
        push(
            &mut text,
            set.sealed,
            &without_signature(&set.sealed.value),
            false,
        );
        let key = match find_key(lookup, &set.seal).await {
            Ok(key) => key,
            Err(NoKey::NoAnswer) => return Verdict::TempError.into(),
            Err(NoKey::None(why) | NoKey::Weak(why)) => return Verdict::Fail(why).into(),
        };
        if !key.verifies(&text, &set.seal.signature) {
            return Verdict::Fail("a seal is broken").into();
        }
        text.truncate(length);
        push(&mut text, set.sealed, &set.sealed.value, true);
        tokio::task::yield_now().await;
    }
    Chain {
        verdict: Verdict::Pass,
        hosts: sets.iter().map(host).collect(),
    }
}

fn push(text: &mut Vec<u8>, header: &Header, value: &[u8], ends: bool) {
    push_header(text, Canonicalization::Relaxed, &header.name, value);
    if ends {
        text.extend_from_slice(b"\r\n");
    }
}

fn host(set: &Set<'_>) -> Host {
    // The instance stands where a header that is not sealed has its host.
    let said = statements(&set.results.value);
    let passes = said
        .iter()
        .filter(|one| one.method == "dmarc" && one.result == "pass");
    Host {
        domain: set.seal.domain.clone(),
        passed: passes
            .filter_map(|one| ascii_domain(one.property("header.from")?))
            .collect(),
    }
}

/// The sets in order; an error when they are no chain.
fn read(headers: &Headers) -> Result<Vec<Set<'_>>, &'static str> {
    let counts = [SEAL, SIGNATURE, RESULTS].map(|name| headers.named(name).count());
    let count = counts[0];
    if counts.iter().any(|other| *other != count) {
        return Err("a set is incomplete");
    }
    if count > MOST_SETS {
        return Err("too many sets");
    }
    let of_tags = |value: &[u8]| number(Tags::parse(value)?.get("i")?);
    let of_results = |value: &[u8]| number(&instance(value)?);
    let all = Numbered {
        seals: numbered(headers, SEAL, of_tags),
        signatures: numbered(headers, SIGNATURE, of_tags),
        results: numbered(headers, RESULTS, of_results),
    };
    (1..=count).map(|instance| set(&all, instance)).collect()
}

/// Headers with the instances that they say they are of.
struct Numbered<'a> {
    seals: Vec<(Option<usize>, &'a Header)>,
    signatures: Vec<(Option<usize>, &'a Header)>,
    results: Vec<(Option<usize>, &'a Header)>,
}

fn numbered<'a>(
    headers: &'a Headers,
    name: &str,
    instance: impl Fn(&[u8]) -> Option<usize>,
) -> Vec<(Option<usize>, &'a Header)> {
    let found = headers.named(name);
    found
        .map(|header| (instance(&header.value), header))
        .collect()
}

fn set<'a>(all: &Numbered<'a>, instance: usize) -> Result<Set<'a>, &'static str> {
    const UNREADABLE: &str = "a header cannot be read";
    let find = |headers: &[(Option<usize>, &'a Header)]| {
        let mut found = headers.iter().filter(|(own, _)| *own == Some(instance));
        match (found.next(), found.next()) {
            (Some((_, header)), None) => Ok(*header),
            _ => Err("a set is incomplete"),
        }
    };
    let (sealed, signed) = (find(&all.seals)?, find(&all.signatures)?);
    let results = find(&all.results)?;
    let tags = Tags::parse(&sealed.value).ok_or(UNREADABLE)?;
    let chain = tags.get("cv").map(str::to_ascii_lowercase);
    let expected = if instance == 1 { "none" } else { "pass" };
    if chain.as_deref() != Some(expected) {
        return Err("a host found it broken");
    }
    if tags.get("h").is_some() {
        return Err(UNREADABLE);
    }
    let seal = parse_seal(&tags).map_err(|_| UNREADABLE)?;
    let tags = Tags::parse(&signed.value).ok_or(UNREADABLE)?;
    let signature = parse_signature(&tags).map_err(|_| UNREADABLE)?;
    if signature.headers.iter().any(|name| name == SEAL) {
        return Err(UNREADABLE);
    }
    Ok(Set {
        results,
        signed,
        signature,
        sealed,
        seal,
    })
}

fn number(text: &str) -> Option<usize> {
    let plain = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| plain)
}

impl Chain {
    /// Whether a host that is trusted found this domain's DMARC to pass, and all hosts after it
    /// are trusted, too.
    pub fn vouches(&self, domain: &str, trusted: &[String]) -> Option<&str> {
        if self.verdict != Verdict::Pass {
            return None;
        }
        let is_trusted = |host: &&Host| trusted.iter().any(|name| is_within(&host.domain, name));
        let mut last = self.hosts.iter().rev().take_while(is_trusted);
        let found = last.find(|host| host.passed.iter().any(|passed| passed == domain));
        found.map(|host| host.domain.as_str())
    }
}

fn is_within(name: &str, domain: &str) -> bool {
    name.strip_suffix(domain)
        .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::{Chain, Headers, Host, Verdict, read};

    #[test]
    fn no_chains() {
        for (names, expected) in [
            (&["ARC-Seal"][..], "a set is incomplete"),
            (
                &[
                    "ARC-Seal",
                    "ARC-Authentication-Results",
                    "ARC-Message-Signature",
                ],
                "a set is incomplete",
            ),
        ] {
            for value in [
                "", ";", " i=1", " i=0;", "i=51", "i=1;;i=1", "i=-1", "\u{e4}",
            ] {
                let mut headers = Headers::default();
                for name in names {
                    headers.push(name.as_bytes(), value.as_bytes());
                }
                let found = read(&headers).err().unwrap();
                assert!(
                    found == expected || value == " i=1" && found.starts_with("a host found"),
                    "{value}: {found}"
                );
            }
        }
        assert!(read(&Headers::default()).unwrap().is_empty());
    }

    #[test]
    fn who_vouches() {
        let host = |domain: &str, passed: &str| Host {
            domain: domain.to_owned(),
            passed: vec![passed.to_owned()],
        };
        let chain = Chain {
            verdict: Verdict::Pass,
            hosts: vec![
                host("evil.example", "bank.example"),
                host("in.lists.example", "a.example"),
                host("relay.example", "b.example"),
            ],
        };
        let trusted = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        let both = trusted(&["lists.example", "relay.example"]);
        assert_eq!(chain.vouches("a.example", &both), Some("in.lists.example"));
        assert_eq!(chain.vouches("b.example", &both), Some("relay.example"));
        assert_eq!(chain.vouches("bank.example", &both), None);
        // Whoever came after could have changed it.
        assert_eq!(
            chain.vouches("a.example", &trusted(&["lists.example"])),
            None
        );
        assert_eq!(chain.vouches("a.example", &[]), None);
    }
}
