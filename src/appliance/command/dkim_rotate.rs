//! `mailctl dkim rotate`: from one signing key to the next without a gap.
//!
//! Two steps with a person between them, because only a person can publish a
//! record: the first makes a key and goes on signing with the old one, the
//! second asks DNS whether the record is there and signs with the new one. The
//! old record stays until nothing that it signed is under way any more.

use crate::appliance::boot::apply::{publish_keys, take_keys_into_use};
use crate::appliance::dkim::key::{ensure_key, joined_text, load_record, record_name};
use crate::appliance::dkim::{LockedKeys, chosen_domains, date, free_selector, load_selectors};
use crate::appliance::dns::policy::text::Kind;
use crate::appliance::machine::clock::now;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::settings::load_stored;
use crate::appliance::wire::dns::course::Patience;
use crate::appliance::wire::dns::message::{Question, accept, text_of};
use crate::appliance::wire::dns::{RESOLVER, blocking};
use crate::error::{Hint, hinted};
use anyhow::{Context, Result, bail};
use hickory_proto::rr::RecordType;
use std::time::Duration;

/// A person waits.
const PATIENCE: Patience = Patience {
    one_answer: Duration::from_secs(5),
    tries: 3,
};

/// Makes the next key of each domain and returns the records to publish.
pub fn prepare(place: &Place, only: Option<&str>) -> Result<String> {
    let settings = load_stored(place)?.settings;
    let domains = chosen_domains(&settings, only)?;
    let locked = LockedKeys::open(place)?;
    let mut lines = Vec::new();
    for domain in &domains {
        let mut selectors = load_selectors(place, &settings, domain);
        let pending = match selectors.pending.clone() {
            Some(pending) => pending,
            None => free_selector(place, &settings.dkim_selector, domain),
        };
        ensure_key(place, domain, &pending, locked.signer)
            .with_context(|| format!("making the next DKIM key of {domain}"))?;
        selectors.pending = Some(pending.clone());
        locked.store(domain, &selectors)?;
        lines.push(format!(
            "; {domain}: publish this record and leave the old one, then run \
             mailctl dkim rotate --activate {domain}\n{}",
            load_record(place, domain, &pending)?
        ));
    }
    publish_keys(place)?;
    Ok(lines.join("\n"))
}

/// Signs with the keys that wait, and returns what to say.
///
/// Without `force` nothing is changed before all of their records are published.
pub fn activate(place: &Place, only: Option<&str>, force: bool) -> Result<String> {
    let settings = load_stored(place)?.settings;
    let domains = chosen_domains(&settings, only)?;
    let locked = LockedKeys::open(place)?;
    let mut waiting = Vec::new();
    for domain in domains {
        let selectors = load_selectors(place, &settings, &domain);
        if let Some(pending) = selectors.pending.clone() {
            waiting.push((domain, pending, selectors));
        }
    }
    if waiting.is_empty() {
        return Err(hinted(
            "no key waits to be used",
            "mailctl dkim rotate makes the next one",
        ));
    }
    if !force {
        for (domain, pending, _) in &waiting {
            check_published(place, domain, pending)?;
        }
    }
    let mut lines = Vec::new();
    for (domain, pending, mut selectors) in waiting {
        let old = selectors.active.clone();
        selectors.activate(&pending, now());
        locked.store(&domain, &selectors)?;
        let until = selectors.retired.last().map_or(0, |retired| retired.until);
        lines.push(format!(
            "{domain} signs with '{pending}'. Leave the record of '{old}' published until {}.",
            date(until)
        ));
    }
    drop(locked);
    take_keys_into_use(place)?;
    Ok(lines.join("\n"))
}

fn check_published(place: &Place, domain: &str, selector: &str) -> Result<()> {
    let ours = joined_text(&load_record(place, domain, selector)?);
    let name = record_name(domain, selector);
    look_up(&name)
        .and_then(|published| compare(&published, &ours))
        .with_context(|| format!("checking the record {name}"))
        .hint(
            "publish what mailctl dkim show prints and try again later: resolvers remember for a \
             while that it was missing; --force activates the key all the same",
        )
}

/// The TXT records of a name, by the machine's own resolver. Unbound validates; what it
/// withholds is no answer here either.
fn look_up(name: &str) -> Result<Vec<String>> {
    let question = Question::new(name, RecordType::TXT)?;
    let answer = blocking::ask(RESOLVER, &question, PATIENCE)
        .map_err(|failure| anyhow::anyhow!(failure.of_resolver(RESOLVER)))?;
    let records = accept(answer)?.answers;
    let data = records.iter().map(|record| &record.data);
    Ok(data.filter_map(text_of).collect())
}

/// Whether verifiers find this key and no other.
fn compare(published: &[String], ours: &str) -> Result<()> {
    if published.is_empty() {
        bail!("no record is published");
    }
    let keys: Vec<&String> = published.iter().filter(|text| Kind::Key.is(text)).collect();
    let published = match keys.as_slice() {
        [] => bail!("the record holds no key"),
        [only] => only.as_str(),
        // Verifiers take any one of them (RFC 6376 section 3.6.2.2).
        _ => bail!("more than one record is published"),
    };
    if tag(published, "p") != tag(ours, "p") {
        bail!("another key is published");
    }
    if tag(published, "k").is_some_and(|kind| kind != "rsa") {
        bail!("the record names another kind of key");
    }
    Ok(())
}

/// One value of a tag list (RFC 6376 section 3.2), without white space.
fn tag(record: &str, name: &str) -> Option<String> {
    record
        .split(';')
        .filter_map(|tag| tag.split_once('='))
        .find(|(key, _)| key.trim() == name)
        .map(|(_, value)| value.split_whitespace().collect())
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_the_very_key_counts_as_published() {
        let ours = "v=DKIM1; k=rsa; p=AAAB";
        let compare = |published: &[&str]| {
            let published: Vec<String> = published.iter().map(|&text| text.to_owned()).collect();
            super::compare(&published, ours)
        };
        compare(&["v=DKIM1;k=rsa;p=AA AB;"]).unwrap();
        compare(&["p=AAAB"]).unwrap();
        compare(&["of=somebody else", "v=DKIM1; p=AAAB"]).unwrap();
        for (published, wrong) in [
            (&[] as &[&str], "no record"),
            (&[""], "holds no key"),
            (&["v=spf1 -all"], "holds no key"),
            (&["v=DKIM1; p="], "another key"),
            (&["v=DKIM1; p=AAAC"], "another key"),
            (&["v=DKIM1; k=ed25519; p=AAAB"], "another kind"),
            (&["v=DKIM1; p=AAABv=DKIM1; p=AAAB"], "another key"),
            (&["v=DKIM1; p=AAAB", "v=DKIM1; p=AAAB"], "more than one"),
        ] {
            let error = compare(published).unwrap_err().to_string();
            assert!(error.contains(wrong), "{published:?}: {error}");
        }
    }
}
