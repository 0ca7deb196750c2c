//! What a record set should become, given what it is: ours is set, the rest stays.

use super::check::{is_key, is_of_version, is_spf, names_issuer, tags};
use super::data::Data;
use super::expected::{Expected, Purpose, spf_mechanism};
use super::facts::Facts;

/// The set as it should be. Asked only when a check finds fault with it.
pub fn amend(facts: &Facts, expected: &Expected, live: &[Data]) -> Vec<Data> {
    let ours = || expected.data.iter().cloned();
    let keep = |stays: &dyn Fn(&Data) -> bool| -> Vec<Data> {
        live.iter()
            .filter(|data| stays(data) && !expected.data.contains(data))
            .cloned()
            .collect()
    };
    let text = |data: &Data| data.joined().unwrap_or_default();
    let mut set = match expected.purpose {
        // Names that are this machine's own: nothing else belongs there.
        Purpose::Ipv4
        | Purpose::Ipv6
        | Purpose::Reverse
        | Purpose::Service
        | Purpose::StsHost
        | Purpose::Autoconfig => Vec::new(),
        // Another mail server may be a backup; one that refuses all mail is not (RFC 7505).
        Purpose::MailServer => keep(&|data| !matches!(data, Data::Mx(_, host) if host.is_empty())),
        Purpose::Spf => keep(&|data| !is_spf(&text(data))),
        Purpose::Dkim => keep(&|data| !is_key(&text(data))),
        Purpose::Dmarc | Purpose::DmarcReports => {
            keep(&|data| !is_of_version(&text(data), "v=DMARC1"))
        }
        Purpose::StsPolicy => keep(&|data| !is_of_version(&text(data), "v=STSv1")),
        Purpose::TlsReports => keep(&|data| !is_of_version(&text(data), "v=TLSRPTv1")),
        // Pins of authorities are somebody's own; keys of a server that we replaced are not.
        Purpose::Tlsa => keep(&|data| !matches!(data, Data::Tlsa(3, 1, 1, _))),
        Purpose::Issuer => keep(&|data| match (data, &facts.issuer) {
            (Data::Caa(_, tag, value), Some(issuer)) => {
                tag != "issue" || !names_issuer(issuer, value)
            }
            _ => true,
        }),
    };
    match expected.purpose {
        Purpose::Spf => set.push(Data::text(&merged_policies(facts, expected, live))),
        Purpose::Dmarc => set.push(Data::text(&completed_policy(expected, live))),
        _ => set.extend(ours()),
    }
    set.sort();
    set
}

/// One SPF record out of all that there are, with us in it.
fn merged_policies(facts: &Facts, expected: &Expected, live: &[Data]) -> String {
    let ours = expected
        .data
        .first()
        .and_then(Data::joined)
        .unwrap_or_default();
    // HOSTNAME itself sends for nobody else.
    if expected.name == facts.hostname && !facts.domains.contains(&facts.hostname) {
        return ours;
    }
    let mut terms = vec![spf_mechanism(facts)];
    let mut soft = false;
    let mut redirect = None;
    for text in live.iter().filter_map(Data::joined) {
        if !is_spf(&text) {
            continue;
        }
        for term in text.split_whitespace().skip(1) {
            let lower = term.to_ascii_lowercase();
            if lower == "~all" {
                soft = true;
            } else if lower.starts_with("redirect=") {
                redirect = Some(term.to_owned());
            } else if lower.trim_start_matches(['+', '-', '?']) != "all"
                && !terms.iter().any(|known| known.eq_ignore_ascii_case(term))
            {
                terms.push(term.to_owned());
            }
        }
    }
    let end = match (redirect, soft) {
        (Some(redirect), _) => redirect,
        (None, true) => "~all".to_owned(),
        (None, false) => "-all".to_owned(),
    };
    format!("v=spf1 {} {end}", terms.join(" "))
}

/// The DMARC policy that there is, with what it lacks; ours when there is none or several.
fn completed_policy(expected: &Expected, live: &[Data]) -> String {
    let ours = expected
        .data
        .first()
        .and_then(Data::joined)
        .unwrap_or_default();
    let policies: Vec<String> = live
        .iter()
        .filter_map(Data::joined)
        .filter(|text| is_of_version(text, "v=DMARC1"))
        .collect();
    let [policy] = policies.as_slice() else {
        return ours;
    };
    let mut completed = tags(policy);
    for (name, value) in tags(&ours) {
        let weak = matches!(name.as_str(), "p" | "sp");
        let mailed = matches!(name.as_str(), "rua" | "ruf");
        match completed.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                let lower = known.to_ascii_lowercase();
                if weak && lower != "quarantine" && lower != "reject"
                    || mailed && !lower.contains("mailto:")
                {
                    *known = value;
                }
            }
            None => completed.push((name, value)),
        }
    }
    // Version and policy come first (RFC 7489 section 6.4).
    completed.sort_by_key(|(name, _)| match name.as_str() {
        "v" => 0,
        "p" => 1,
        _ => 2,
    });
    let parts: Vec<String> = completed
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    parts.join("; ")
}

#[cfg(test)]
mod tests {
    use super::amend;
    use crate::appliance::dns::address::Addresses;
    use crate::appliance::dns::data::Data;
    use crate::appliance::dns::expected::{Expected, Purpose, expected_records};
    use crate::appliance::dns::facts::{Facts, Issuer};

    fn facts() -> Facts {
        Facts {
            hostname: "mail.a.example".to_owned(),
            domains: vec!["a.example".to_owned()],
            addresses: Addresses::default(),
            reports_to: ("postmaster".to_owned(), "a.example".to_owned()),
            keys: Vec::new(),
            sts_id: Some("1".to_owned()),
            tls_key: Some("aa".to_owned()),
            next_tls_key: Some("bb".to_owned()),
            issuer: Some(Issuer {
                domain: "ca.example".to_owned(),
                account: Some("https://ca.example/2".to_owned()),
            }),
            relayed: false,
        }
    }

    fn amended(purpose: Purpose, live: &[Data]) -> Vec<String> {
        let facts = facts();
        let expected: Expected = expected_records(&facts)
            .into_iter()
            .find(|expected| expected.purpose == purpose && expected.need == need(purpose))
            .unwrap();
        amend(&facts, &expected, live)
            .iter()
            .map(Data::form_value)
            .collect()
    }

    fn need(purpose: Purpose) -> crate::appliance::dns::expected::Need {
        use crate::appliance::dns::expected::Need;
        match purpose {
            Purpose::MailServer | Purpose::Spf | Purpose::Dmarc => Need::Required,
            _ => Need::Recommended,
        }
    }

    #[test]
    fn what_is_not_ours_stays() {
        let text = Data::text;
        assert_eq!(
            amended(
                Purpose::Spf,
                &[
                    text("v=spf1 include:b.example ~all"),
                    text("verification=1"),
                    text("v=spf1 mx include:B.example -all"),
                ]
            ),
            [
                "v=spf1 a:mail.a.example include:b.example mx ~all",
                "verification=1"
            ]
        );
        assert_eq!(
            amended(Purpose::Spf, &[text("v=spf1 redirect=b.example")]),
            ["v=spf1 a:mail.a.example redirect=b.example"]
        );
        assert_eq!(
            amended(
                Purpose::MailServer,
                &[Data::Mx(0, String::new()), Data::Mx(20, "b.example".into())]
            ),
            ["10 mail.a.example.", "20 b.example."]
        );
        assert_eq!(
            amended(
                Purpose::Dmarc,
                &[text("v=DMARC1; pct=50; p=none; rua=mailto:x@b.example")]
            ),
            [
                "v=DMARC1; p=quarantine; pct=50; rua=mailto:x@b.example; sp=quarantine; adkim=r; aspf=r; fo=1; ruf=mailto:postmaster@a.example"
            ]
        );
        assert_eq!(
            amended(
                Purpose::Tlsa,
                &[
                    Data::Tlsa(2, 1, 1, "cc".into()),
                    Data::Tlsa(3, 1, 1, "dd".into())
                ]
            ),
            ["2 1 1 cc", "3 1 1 aa", "3 1 1 bb"]
        );
        assert_eq!(
            amended(
                Purpose::Issuer,
                &[
                    Data::Caa(
                        0,
                        "issue".into(),
                        "ca.example; accounturi=https://ca.example/1".into()
                    ),
                    Data::Caa(0, "issue".into(), "other.example".into()),
                    Data::Caa(0, "iodef".into(), "mailto:x@a.example".into()),
                ]
            ),
            [
                "0 iodef \"mailto:x@a.example\"",
                "0 issue \"ca.example; accounturi=https://ca.example/2\"",
                "0 issue \"other.example\"",
            ]
        );
    }
}
