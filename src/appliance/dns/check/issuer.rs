//! Judging CAA (RFC 8659, <https://www.rfc-editor.org/rfc/rfc8659>).

use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::{Facts, Issuer};
use super::super::policy::issue::{Refusal, is_unknown_and_critical, judge};
use super::finding::Judged;

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

/// The records that count, found at `at`: our authority is among them.
pub fn judge_issuer(
    facts: &Facts,
    issuer: &Issuer,
    expected: &Expected,
    at: &str,
    records: &[Data],
) -> Judged {
    let name = &expected.name;
    let wanted = expected
        .data
        .first()
        .map(Data::to_string)
        .unwrap_or_default();
    let critical = records.iter().find_map(|record| match record {
        Data::Caa(flags, tag, _) if is_unknown_and_critical(*flags, tag) => Some(tag),
        _ => None,
    });
    if let Some(tag) = critical {
        return Judged::wrong(format!(
            "a critical record '{tag}' at {at} stops every authority that does not know it"
        ))
        .advise(format!(
            "set the flags of the CAA record '{tag}' of {at} to 0, or remove it if nobody needs it"
        ))
        .advise("until then our certificate cannot be renewed")
        .harm();
    }
    // Wildcards are never asked for, so issuewild does not count (section 4.3).
    let values: Vec<&str> = records
        .iter()
        .filter_map(|record| match record {
            Data::Caa(_, tag, value) if tag == "issue" => Some(value.as_str()),
            _ => None,
        })
        .collect();
    if values.is_empty() {
        let judged = Judged::missing("is not published: any authority may issue certificates")
            .advise(format!("set a CAA record of {name} to {wanted}"));
        return if facts.domains.contains(name) {
            judged.advise(format!(
                "it counts for every name below {name} too: add a record for each other authority or account that has certificates there"
            ))
        } else {
            judged
        };
    }
    // Several are alternatives: one that allows it is enough.
    let refusals: Vec<Refusal> = values
        .iter()
        .filter_map(|value| judge(issuer, value).err())
        .collect();
    if refusals.len() < values.len() {
        return Judged::good(format!("{} may issue certificates", issuer.domain));
    }
    let judged = Judged::wrong(words(issuer, at, &values, &refusals));
    let judged = if at == name {
        judged.advise(format!(
            "add this CAA record to those of {name}, which may stay: {wanted}"
        ))
    } else {
        judged.advise(format!(
            "set a CAA record of {name} to {wanted}: then those of {at} count no longer for this name, and still do for others"
        ))
    };
    judged
        .advise_all(slips(&values))
        .advise("until then our certificate cannot be renewed")
        .harm()
}

/// Why nobody may issue to us; what comes nearest to allowing it is told.
fn words(issuer: &Issuer, at: &str, values: &[&str], refusals: &[Refusal]) -> String {
    let ours = &issuer.domain;
    let methods = refusals.iter().find_map(|refusal| match refusal {
        Refusal::Methods(methods) => Some(methods),
        _ => None,
    });
    let account = refusals.iter().find_map(|refusal| match refusal {
        Refusal::Account(account) => Some(account),
        _ => None,
    });
    let unreadable = values
        .iter()
        .zip(refusals)
        .find(|(_, refusal)| **refusal == Refusal::Unreadable)
        .map(|(value, _)| value);
    if let Some(methods) = methods {
        let way = if methods.is_empty() {
            "by no way of proof at all".to_owned()
        } else {
            format!("by {methods}")
        };
        format!(
            "{ours} may issue certificates at {at} only {way} (validationmethods), and this machine proves its names by {}",
            issuer.methods.join(" or ")
        )
    } else if let Some(account) = account {
        format!(
            "{ours} may issue certificates at {at} only for another account than ours: {account}"
        )
    } else if let Some(value) = unreadable {
        format!("'{value}' at {at} is no proper value, which forbids every authority to issue")
    } else if refusals.iter().all(|refusal| *refusal == Refusal::Nobody) {
        format!("at {at} nobody may issue certificates (\";\")")
    } else {
        format!(
            "at {at} only others may issue certificates: {}",
            values.join(", ")
        )
    }
}

/// How values were spoilt on their way into the zone.
fn slips(values: &[&str]) -> Option<String> {
    values.iter().any(|value| value.contains('"')).then(|| {
        "a value has quotation marks of its own: leave quotes out of the provider's form".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::{Expected, Need, Purpose};
    use super::super::finding::{Judged, Verdict};
    use super::super::text::tests::facts;
    use super::{Data, Issuer, climb, judge_issuer};

    const HOST: &str = "mail.a.example";

    fn caa(flags: u8, tag: &str, value: &str) -> Data {
        Data::Caa(flags, tag.to_owned(), value.to_owned())
    }

    fn judged(at: &str, records: &[Data]) -> Judged {
        let issuer = Issuer {
            domain: "ca.example".to_owned(),
            account: Some("https://x/2".to_owned()),
            methods: vec!["http-01", "tls-alpn-01"],
        };
        let expected = Expected {
            purpose: Purpose::Issuer,
            of: HOST.to_owned(),
            name: HOST.to_owned(),
            data: vec![caa(0, "issue", "ca.example; accounturi=https://x/2")],
            need: Need::Recommended,
            why: String::new(),
        };
        judge_issuer(&facts(), &issuer, &expected, at, records)
    }

    #[test]
    fn one_of_several_is_enough() {
        for good in [
            &["ca.example"][..],
            &[";", "ca.example; validationmethods=http-01"],
            &[
                "ca.example; validationmethods=dns-01",
                "other.example",
                "ca.example; accounturi=https://x/2",
            ],
        ] {
            let records: Vec<Data> = good.iter().map(|value| caa(0, "issue", value)).collect();
            assert_eq!(judged(HOST, &records).verdict, Verdict::Ok, "{good:?}");
        }
        // Neither restricts who may issue for a plain name.
        for tag in ["issuewild", "iodef", "issuemail"] {
            let judged = judged(HOST, &[caa(0, tag, ";")]);
            assert_eq!(
                (judged.verdict, judged.need),
                (Verdict::Missing, None),
                "{tag}"
            );
        }
    }

    #[test]
    fn what_keeps_a_certificate_away_is_told_and_nothing_is_taken_away() {
        for (values, said) in [
            (
                &["ca.example; validationmethods=dns-01"][..],
                "only by dns-01",
            ),
            (
                &["other.example", "ca.example; validationmethods="],
                "by no way of proof",
            ),
            (
                &["ca.example; accounturi=https://x/1"],
                "another account than ours: https://x/1",
            ),
            (
                &["ca.example validationmethods=http-01"],
                "is no proper value",
            ),
            (&[";"], "nobody may issue"),
            (&["", "other.example"], "only others may issue"),
        ] {
            let records: Vec<Data> = values.iter().map(|value| caa(0, "issue", value)).collect();
            let judged = judged(HOST, &records);
            assert!(judged.said.contains(said), "{values:?}: {}", judged.said);
            assert_eq!(
                (judged.verdict, judged.need),
                (Verdict::Wrong, Some(Need::Required))
            );
            assert!(judged.advice[0].starts_with("add this CAA record to those of mail.a.example"));
            assert!(!judged.advice.join("").contains("remove"));
        }
        let above = judged("a.example", &[caa(0, "issue", ";")]);
        assert!(above.advice[0].starts_with("set a CAA record of mail.a.example"));
        let quoted = judged(HOST, &[caa(0, "issue", "\"ca.example\"")]);
        assert!(
            quoted.advice[1].contains("quotation marks"),
            "{:?}",
            quoted.advice
        );
        let critical = judged(HOST, &[caa(128, "tbs", "x"), caa(0, "issue", "ca.example")]);
        assert!(critical.said.contains("critical record 'tbs'"));
        assert_eq!(critical.need, Some(Need::Required));
    }

    #[test]
    fn names_on_the_way_up() {
        assert_eq!(climb("mail.a.example"), ["mail.a.example", "a.example"]);
    }
}
