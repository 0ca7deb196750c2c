//! DMARC policies (RFC 7489, <https://www.rfc-editor.org/rfc/rfc7489>; RFC 9989).

use super::reports;
use super::tags::Tags;

/// What others are asked to do; later ones are stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strictness {
    /// Nothing.
    None,
    /// To put the mail aside.
    Quarantine,
    /// To refuse it.
    Reject,
}

impl Strictness {
    /// Reads the value of `p`, `sp` or `np`.
    pub fn parse(value: &str) -> Option<Self> {
        match value.to_ascii_lowercase().as_str() {
            "none" => Some(Self::None),
            "quarantine" => Some(Self::Quarantine),
            "reject" => Some(Self::Reject),
            _ => None,
        }
    }

    /// What a tag asks for; unreadable ones ask for nothing (RFC 7489 section 6.6.3).
    pub fn of(tags: &Tags, name: &str) -> Self {
        tags.get(name).and_then(Self::parse).unwrap_or(Self::None)
    }
}

/// The policy that there is with what it lacks; nothing in it gets weaker or lost, and what it
/// asks for is its owner's choice, `p=none` too.
///
/// Of several, of which none counts, the strictest is taken, with all addresses.
pub fn completed(ours: &str, theirs: &[&str]) -> String {
    let ours = Tags::parse(ours);
    let mut policies: Vec<Tags> = theirs.iter().map(|text| Tags::parse(text)).collect();
    // The sort is stable: of equally strict ones the first.
    policies.sort_by_key(|tags| std::cmp::Reverse(Strictness::of(tags, "p")));
    let Some((policy, others)) = policies.split_first() else {
        return ours.to_string();
    };
    let mut policy = policy.clone();
    for other in others {
        add(&mut policy, other);
    }
    for name in ["p", "fo", "rua", "ruf"] {
        let (Some(value), found) = (ours.get(name), policy.get(name)) else {
            continue;
        };
        let value = match found {
            None => value.to_owned(),
            Some(found) if ["p", "fo"].contains(&name) => found.to_owned(),
            Some(found) => reports::completed(found, value, false),
        };
        policy.set(name, value);
    }
    policy.lead_with(&["v", "p"]);
    policy.text(theirs.first().copied())
}

/// Adds what another policy has besides: addresses, strict alignment, tags of its own.
fn add(policy: &mut Tags, other: &Tags) {
    for (name, value) in other.iter() {
        match name.to_ascii_lowercase().as_str() {
            // How strict it is comes from the strictest alone.
            "v" | "p" | "sp" | "np" | "pct" | "t" => {}
            "rua" | "ruf" => {
                let known = policy.get(name).unwrap_or_default();
                let both = reports::united(&reports::mended(known), &reports::mended(value));
                policy.set(name, both);
            }
            "adkim" | "aspf" if value.eq_ignore_ascii_case("s") => policy.set(name, value),
            "adkim" | "aspf" => {}
            _ if policy.get(name).is_none() => policy.set(name, value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::completed;

    const OURS: &str = "v=DMARC1; p=quarantine; sp=quarantine; adkim=r; aspf=r; fo=1; rua=mailto:us@a.example; ruf=mailto:us@a.example";

    #[test]
    fn nothing_gets_weaker_or_lost() {
        let added = "fo=1; rua=mailto:us@a.example; ruf=mailto:us@a.example";
        for (theirs, policy) in [
            ("v=DMARC1; p=reject", format!("v=DMARC1; p=reject; {added}")),
            (
                "v=DMARC1;p=Reject;sp=quarantine;adkim=s;aspf=s;pct=20;t=y;x=1",
                format!(
                    "v=DMARC1; p=Reject; sp=quarantine; adkim=s; aspf=s; pct=20; t=y; x=1; {added}"
                ),
            ),
            (
                "v=DMARC1; p=none; sp=reject; np=reject",
                format!("v=DMARC1; p=none; sp=reject; np=reject; {added}"),
            ),
            (
                "v=DMARC1; p=reject; sp=none; np=nonne",
                format!("v=DMARC1; p=reject; sp=none; np=nonne; {added}"),
            ),
            (
                "v=DMARC1; fo=d; rua=x@b.example; ruf=mailto:y@b.example; p=reject",
                "v=DMARC1; p=reject; fo=d; rua=mailto:x@b.example; ruf=mailto:y@b.example"
                    .to_owned(),
            ),
            (
                "v=DMARC1; rua=mailto:x@b.example",
                "v=DMARC1; p=quarantine; rua=mailto:x@b.example; fo=1; ruf=mailto:us@a.example"
                    .to_owned(),
            ),
        ] {
            assert_eq!(completed(OURS, &[theirs]), policy, "{theirs}");
        }
        assert_eq!(completed(OURS, &[]), OURS);
    }

    #[test]
    fn several_become_the_strictest_with_all_addresses() {
        assert_eq!(
            completed(
                OURS,
                &[
                    "v=DMARC1; p=none; aspf=s; rua=x@b.example; fo=s",
                    "v=DMARC1; p=reject; rua=mailto:y@b.example; ruf=mailto:z@b.example",
                ]
            ),
            "v=DMARC1; p=reject; rua=mailto:y@b.example,mailto:x@b.example; ruf=mailto:z@b.example; aspf=s; fo=s"
        );
    }
}
