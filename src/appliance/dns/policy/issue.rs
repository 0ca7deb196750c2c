//! `issue` properties of CAA (RFC 8659 section 4.2,
//! <https://www.rfc-editor.org/rfc/rfc8659#section-4.2>; parameters by RFC 8657,
//! <https://www.rfc-editor.org/rfc/rfc8657>).

use super::super::facts::Issuer;

/// Tags that authorities understand; others stop them when they are critical.
const KNOWN_TAGS: [&str; 4] = ["issue", "issuewild", "issuemail", "iodef"];
/// The flag of section 4.1, and the bit that people take for it; Let's Encrypt heeds both
/// (<https://github.com/letsencrypt/boulder/blob/main/va/caa.go>).
const CRITICAL: u8 = 128 | 1;

/// Whether a property stops every authority that does not know it.
pub fn is_unknown_and_critical(flags: u8, tag: &str) -> bool {
    flags & CRITICAL != 0 && !KNOWN_TAGS.contains(&tag)
}

/// Why a property does not let our authority issue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is against the grammar, which is as if it allowed nobody.
    Unreadable,
    /// It allows nobody.
    Nobody,
    /// It is for another authority.
    Other(String),
    /// It is for another account.
    Account(String),
    /// It is for ways of proof that are not used here.
    Methods(String),
}

/// Whether a property lets our authority issue to us.
pub fn judge(issuer: &Issuer, value: &str) -> Result<(), Refusal> {
    let (domain, parameters) = parse(value).ok_or(Refusal::Unreadable)?;
    if domain.is_empty() {
        return Err(Refusal::Nobody);
    }
    if domain != issuer.domain {
        return Err(Refusal::Other(domain));
    }
    let all = |name: &str| -> Vec<&str> {
        parameters
            .iter()
            .filter(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
            .collect()
    };
    // Several of one name cannot be met at once.
    match all("accounturi").as_slice() {
        [] => {}
        // Without an account yet nobody can say that it is another one.
        [account] if issuer.account.as_ref().is_none_or(|ours| ours == account) => {}
        accounts => return Err(Refusal::Account(accounts.join(" and "))),
    }
    match all("validationmethods").as_slice() {
        [] => {}
        [methods]
            if methods
                .split(',')
                .any(|method| issuer.methods.contains(&method)) => {}
        methods => return Err(Refusal::Methods(methods.join(" and "))),
    }
    Ok(())
}

/// The authority's domain, empty for none, and its parameters.
fn parse(value: &str) -> Option<(String, Vec<(String, String)>)> {
    let blank = [' ', '\t'];
    let (domain, rest) = match value.split_once(';') {
        Some((domain, rest)) => (domain, Some(rest)),
        None => (value, None),
    };
    let domain = domain.trim_matches(blank).to_ascii_lowercase();
    if !domain.is_empty() && !domain.split('.').all(is_label) {
        return None;
    }
    let mut parameters = Vec::new();
    let rest = rest
        .map(|rest| rest.trim_matches(blank))
        .unwrap_or_default();
    if !rest.is_empty() {
        for parameter in rest.split(';') {
            let (name, value) = parameter.split_once('=')?;
            let (name, value) = (name.trim_matches(blank), value.trim_matches(blank));
            if !is_label(name) || !value.bytes().all(|byte| (0x21..=0x7e).contains(&byte)) {
                return None;
            }
            parameters.push((name.to_ascii_lowercase(), value.to_owned()));
        }
    }
    Some((domain, parameters))
}

/// Letters, digits and hyphens between them.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::{Refusal, is_unknown_and_critical, judge};
    use crate::appliance::dns::facts::Issuer;

    fn issuer(account: Option<&str>) -> Issuer {
        Issuer {
            domain: "ca.example".to_owned(),
            account: account.map(str::to_owned),
            methods: vec!["http-01", "tls-alpn-01"],
        }
    }

    #[test]
    fn the_account_counts_once_it_is_known() {
        let account = |text: &str| Err(Refusal::Account(text.to_owned()));
        let none = issuer(None);
        assert_eq!(judge(&none, "CA.example ; accounturi=https://x/1"), Ok(()));
        let ours = issuer(Some("https://x/2"));
        assert_eq!(judge(&ours, "ca.example"), Ok(()));
        assert_eq!(judge(&ours, "ca.example; AccountURI=https://x/2"), Ok(()));
        assert_eq!(
            judge(&ours, "ca.example; accounturi=https://x/1"),
            account("https://x/1")
        );
        for issuer in [none, ours] {
            assert_eq!(
                judge(
                    &issuer,
                    "ca.example; accounturi=https://x/2; accounturi=https://x/1"
                ),
                account("https://x/2 and https://x/1")
            );
        }
    }

    #[test]
    fn the_way_of_proof_is_one_of_ours() {
        let ours = issuer(Some("https://x/2"));
        for good in [
            "ca.example; validationmethods=http-01",
            "ca.example;validationmethods=dns-01,http-01",
            "ca.example; validationmethods=tls-alpn-01,x-other",
            "ca.example; validationmethods = http-01 ; accounturi=https://x/2",
            "ca.example; own=1",
        ] {
            assert_eq!(judge(&ours, good), Ok(()), "{good}");
        }
        for (bad, methods) in [
            ("ca.example; validationmethods=dns-01", "dns-01"),
            (
                "ca.example; ValidationMethods=dns-01,dns-account-01",
                "dns-01,dns-account-01",
            ),
            ("ca.example; validationmethods=", ""),
            ("ca.example; validationmethods=HTTP-01", "HTTP-01"),
            (
                "ca.example; accounturi=https://x/2; validationmethods=dns-01",
                "dns-01",
            ),
            (
                "ca.example; validationmethods=http-01; validationmethods=dns-01",
                "http-01 and dns-01",
            ),
        ] {
            assert_eq!(
                judge(&ours, bad),
                Err(Refusal::Methods(methods.to_owned())),
                "{bad}"
            );
        }
        let mut plain = issuer(None);
        plain.methods = vec!["http-01"];
        assert!(judge(&plain, "ca.example; validationmethods=tls-alpn-01").is_err());
    }

    #[test]
    fn values_by_the_grammar() {
        let ours = issuer(None);
        for nobody in [";", "", " ", " ; ", "; own=1"] {
            assert_eq!(judge(&ours, nobody), Err(Refusal::Nobody), "{nobody}");
        }
        assert_eq!(judge(&ours, "ca.example;"), Ok(()));
        for unreadable in [
            "ca.example validationmethods=http-01",
            "ca.example; http-01",
            "ca.example; validationmethods=http-01, tls-alpn-01",
            "\"ca.example\"",
            "ca.example.",
            "https://ca.example",
            "ca.example; a=b;",
            "ca.example; a_b=c",
        ] {
            assert_eq!(
                judge(&ours, unreadable),
                Err(Refusal::Unreadable),
                "{unreadable}"
            );
        }
        assert_eq!(
            judge(&ours, "mail.ca.example"),
            Err(Refusal::Other("mail.ca.example".to_owned()))
        );
    }

    #[test]
    fn critical_properties() {
        assert!(is_unknown_and_critical(128, "tbs"));
        assert!(is_unknown_and_critical(1, "issuevmc"));
        assert!(!is_unknown_and_critical(0, "tbs"));
        assert!(!is_unknown_and_critical(128, "issue"));
        assert!(!is_unknown_and_critical(128, "issuemail"));
    }
}
