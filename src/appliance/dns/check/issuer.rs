//! Judging CAA (RFC 8659, <https://www.rfc-editor.org/rfc/rfc8659>; accounts by RFC 8657).

use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::Issuer;
use super::finding::Judged;

/// Tags that issuers understand, so that the critical flag on them is harmless.
const KNOWN_TAGS: [&str; 5] = ["issue", "issuewild", "issuemail", "iodef", "issuevmc"];

/// The names whose CAA records count for a host, nearest first; top-level domains have none.
pub fn climb(host: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut rest = host;
    while rest.contains('.') {
        names.push(rest.to_owned());
        rest = rest.split_once('.').map_or("", |(_, parent)| parent);
    }
    names
}

/// An `issue` value: the authority's domain and its parameters.
fn parse_issue(value: &str) -> (String, Vec<(String, String)>) {
    let mut parts = value.split(';');
    let domain = parts.next().unwrap_or_default().trim().to_ascii_lowercase();
    let parameters = parts
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    (domain, parameters)
}

/// Whether one `issue` value lets our authority issue for our account.
fn allows(issuer: &Issuer, value: &str) -> bool {
    let (domain, parameters) = parse_issue(value);
    domain == issuer.domain
        && parameters
            .iter()
            .filter(|(name, _)| name == "accounturi")
            // Without an account yet nobody can say that it is another one.
            .all(|(_, account)| issuer.account.as_ref().is_none_or(|ours| ours == account))
}

/// Whether an `issue` value is for our authority, whatever account it names.
pub fn names_issuer(issuer: &Issuer, value: &str) -> bool {
    parse_issue(value).0 == issuer.domain
}

/// The records that count, found at `at`: our authority is among them.
pub fn judge_issuer(issuer: &Issuer, expected: &Expected, at: &str, records: &[Data]) -> Judged {
    let wanted = expected
        .data
        .first()
        .map(Data::to_string)
        .unwrap_or_default();
    let advice = format!("set a CAA record of {} to {wanted}", expected.name);
    let critical = records.iter().find_map(|record| match record {
        Data::Caa(flags, tag, _) if flags & 128 != 0 && !KNOWN_TAGS.contains(&tag.as_str()) => {
            Some(tag)
        }
        _ => None,
    });
    if let Some(tag) = critical {
        return Judged::wrong(format!(
            "a critical record '{tag}' at {at} stops every authority that does not know it"
        ))
        .advise(format!("remove the CAA record '{tag}' of {at}"))
        .harm();
    }
    let values: Vec<&str> = records
        .iter()
        .filter_map(|record| match record {
            Data::Caa(_, tag, value) if tag == "issue" => Some(value.as_str()),
            _ => None,
        })
        .collect();
    if values.is_empty() {
        return Judged::missing("is not published: any authority may issue certificates")
            .advise(advice);
    }
    if values.iter().any(|value| allows(issuer, value)) {
        return Judged::good(format!("{} may issue certificates", issuer.domain));
    }
    let said = if values.iter().any(|value| names_issuer(issuer, value)) {
        format!(
            "{} may issue certificates at {at} only for another account than ours",
            issuer.domain
        )
    } else {
        format!(
            "at {at} only others may issue certificates: {}",
            values.join(", ")
        )
    };
    Judged::wrong(said)
        .advise(advice)
        .advise("until then our certificate cannot be renewed")
        .harm()
}

#[cfg(test)]
mod tests {
    use super::{allows, climb};
    use crate::appliance::dns::facts::Issuer;

    #[test]
    fn the_account_counts_once_it_is_known() {
        let mut issuer = Issuer {
            domain: "ca.example".to_owned(),
            account: None,
        };
        assert!(allows(&issuer, "CA.example ; accounturi=https://x/1"));
        issuer.account = Some("https://x/2".to_owned());
        assert!(allows(&issuer, "ca.example"));
        assert!(allows(&issuer, "ca.example; accounturi=https://x/2"));
        assert!(!allows(&issuer, "ca.example; accounturi=https://x/1"));
        assert!(!allows(&issuer, ";"));
        assert_eq!(climb("mail.a.example"), ["mail.a.example", "a.example"]);
    }
}
