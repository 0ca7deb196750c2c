//! What a record set should become, given what it is: ours is set, the rest stays.

use super::data::Data;
use super::expected::{Expected, Purpose, spf_mechanism};
use super::facts::Facts;
use super::policy::spf::Joining;
use super::policy::tags::Tags;
use super::policy::target::target_slip;
use super::policy::text::{Found, Kind};
use super::policy::{dkim, dmarc, reports, spf};

/// The set as it should be. Asked only when a check finds fault with it.
pub fn amend(facts: &Facts, expected: &Expected, live: &[Data], joining: Joining) -> Vec<Data> {
    if let Some(kind) = Kind::of(expected.purpose) {
        let found = Found::among(kind, live);
        let text = completed_text(facts, expected, &found, joining);
        // However it is cut into strings.
        let same = live
            .iter()
            .find(|data| data.joined().as_ref() == Some(&text));
        let mut set = found.others;
        set.push(same.cloned().unwrap_or_else(|| Data::text(&text)));
        set.sort();
        return set;
    }
    let keep = |stays: &dyn Fn(&Data) -> bool| -> Vec<Data> {
        live.iter()
            .filter(|data| stays(data) && !expected.data.contains(data))
            .cloned()
            .collect()
    };
    let mut set = match expected.purpose {
        // Another mail server may be a backup; one that refuses all mail is not (RFC 7505),
        // nor is our own by a name that a form spoilt.
        Purpose::MailServer => keep(&|data| {
            let refuses = matches!(data, Data::Mx(_, host) if host.is_empty());
            !refuses && target_slip(&facts.hostname, &expected.name, data).is_none()
        }),
        // What we published ourselves goes with the key; pins of others are somebody's own,
        // and harm nobody while one record fits (RFC 7672 section 3.1).
        Purpose::Tlsa => keep(
            &|data| !matches!(data, Data::Tlsa(3, 1, 1, digest) if facts.former_tls_keys.contains(digest)),
        ),
        // Each of them allows something; none takes away what ours allows (RFC 8659 section 4.2).
        Purpose::Issuer => keep(&|_| true),
        // Names that are this machine's own: nothing else belongs there.
        _ => Vec::new(),
    };
    set.extend(expected.data.iter().cloned());
    set.sort();
    set
}

/// Ours, with everything in it that others wrote there.
pub fn completed_text(
    facts: &Facts,
    expected: &Expected,
    found: &Found,
    joining: Joining,
) -> String {
    let ours = expected
        .data
        .first()
        .and_then(Data::joined)
        .unwrap_or_default();
    let theirs: Vec<&str> = found
        .readings
        .iter()
        .map(|reading| reading.text.as_str())
        .collect();
    match expected.purpose {
        Purpose::Spf if theirs.is_empty() => ours,
        Purpose::Spf => merged_policy(facts, expected, &theirs, joining),
        Purpose::Dkim => dkim::completed(&ours, &theirs),
        Purpose::Dmarc => dmarc::completed(&ours, &theirs),
        Purpose::StsPolicy => with_tag(&ours, &theirs, "id", |_, ours| ours.to_owned()),
        Purpose::TlsReports => with_tag(&ours, &theirs, "rua", |theirs, ours| {
            reports::completed(theirs, ours, true)
        }),
        _ => ours,
    }
}

/// An SPF record with us in it.
fn merged_policy(facts: &Facts, expected: &Expected, theirs: &[&str], joining: Joining) -> String {
    let name = if expected.name == facts.hostname {
        "a".to_owned()
    } else {
        spf_mechanism(facts)
    };
    let addresses: Vec<String> = facts.addresses.all().map(spf::mechanism).collect();
    match joining {
        Joining::Already => spf::merged(&[], &[], theirs),
        Joining::Addresses if !addresses.is_empty() => spf::merged(&addresses, &[name], theirs),
        Joining::Addresses | Joining::Name => spf::merged(&[name], &[], theirs),
    }
}

/// The list that there is, with one tag made good.
fn with_tag(
    ours: &str,
    theirs: &[&str],
    name: &str,
    make: impl Fn(&str, &str) -> String,
) -> String {
    let Some((first, others)) = theirs.split_first() else {
        return ours.to_owned();
    };
    let wanted = Tags::parse(ours);
    let wanted = wanted.get(name).unwrap_or_default();
    let mut tags = Tags::parse(first);
    let mut value = tags.get(name).unwrap_or_default().to_owned();
    // Of several records none counts; what each of them names stays.
    for other in others.iter().map(|text| Tags::parse(text)) {
        value = reports::united(&value, other.get(name).unwrap_or_default());
    }
    tags.set(name, make(&value, wanted));
    tags.text(Some(first))
}

#[cfg(test)]
mod tests {
    use super::amend;
    use crate::appliance::dns::address::Addresses;
    use crate::appliance::dns::data::Data;
    use crate::appliance::dns::expected::{Expected, Purpose, expected_records};
    use crate::appliance::dns::facts::{Facts, Issuer};
    use crate::appliance::dns::policy::spf::Joining;

    fn facts() -> Facts {
        Facts {
            hostname: "mail.a.example".to_owned(),
            domains: vec!["a.example".to_owned()],
            addresses: Addresses {
                ipv4: Some("192.0.2.1".parse().unwrap()),
                ipv6: Some("2001:db8::1".parse().unwrap()),
                words: Vec::new(),
            },
            reports_to: ("postmaster".to_owned(), "a.example".to_owned()),
            keys: Vec::new(),
            sts_id: Some("1".to_owned()),
            tls_key: Some("aa".to_owned()),
            next_tls_key: Some("bb".to_owned()),
            former_tls_keys: vec!["ee".to_owned()],
            issuer: Some(Issuer {
                domain: "ca.example".to_owned(),
                account: Some("https://ca.example/2".to_owned()),
                methods: vec!["http-01"],
            }),
            relayed: false,
        }
    }

    fn amended(purpose: Purpose, live: &[Data]) -> Vec<String> {
        amended_by(purpose, live, Joining::Name)
    }

    fn amended_by(purpose: Purpose, live: &[Data], joining: Joining) -> Vec<String> {
        let facts = facts();
        let expected: Expected = expected_records(&facts)
            .into_iter()
            .find(|expected| expected.purpose == purpose && expected.need == need(purpose))
            .unwrap();
        amend(&facts, &expected, live, joining)
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
    fn what_needs_no_change_gets_none() {
        for (purpose, live) in [
            (Purpose::Spf, "v=spf1 a:mail.a.example -all"),
            (
                Purpose::Dmarc,
                "v=DMARC1;p=reject;fo=0;rua=mailto:x@b.example;ruf=mailto:x@b.example;",
            ),
            (Purpose::TlsReports, "v=TLSRPTv1;rua=https://b.example/"),
            (Purpose::StsPolicy, "v=STSv1;id=1;"),
        ] {
            let half = live.len() / 2;
            let cut = Data::Txt(vec![live[..half].to_owned(), live[half..].to_owned()]);
            let facts = facts();
            let expected = expected_records(&facts)
                .into_iter()
                .find(|expected| expected.purpose == purpose && expected.need == need(purpose))
                .unwrap();
            let set = amend(&facts, &expected, std::slice::from_ref(&cut), Joining::Name);
            assert_eq!(set, [cut], "{live}");
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
                "v=spf1 a:mail.a.example include:b.example mx -all",
                "verification=1"
            ]
        );
        let full = [text("v=spf1 include:b.example  ~all")];
        assert_eq!(
            amended_by(Purpose::Spf, &full, Joining::Addresses),
            ["v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 include:b.example ~all"]
        );
        assert_eq!(
            amended(Purpose::Spf, &[text("v=spf1 redirect=b.example")]),
            ["v=spf1 a:mail.a.example redirect=b.example"]
        );
        assert_eq!(
            amended(
                Purpose::MailServer,
                &[
                    Data::Mx(0, String::new()),
                    Data::Mx(10, "mail.a.example.a.example".into()),
                    Data::Mx(20, "b.example".into())
                ]
            ),
            ["10 mail.a.example.", "20 b.example."]
        );
        assert_eq!(
            amended(
                Purpose::Dmarc,
                &[text("v=DMARC1; pct=50; p=none; rua=mailto:x@b.example")]
            ),
            [
                "v=DMARC1; p=none; pct=50; rua=mailto:x@b.example; fo=1; ruf=mailto:postmaster@a.example"
            ]
        );
        assert_eq!(
            amended(
                Purpose::TlsReports,
                &[text("\"v=TLSRPTv1;rua=x@b.example;own=1\"")]
            ),
            ["v=TLSRPTv1; rua=mailto:x@b.example; own=1"]
        );
        assert_eq!(
            amended(Purpose::StsPolicy, &[text("v=STSv1; id=0; own=1")]),
            ["v=STSv1; id=1; own=1"]
        );
        assert_eq!(
            amended(
                Purpose::Tlsa,
                &[
                    Data::Tlsa(2, 1, 1, "cc".into()),
                    Data::Tlsa(3, 1, 1, "dd".into()),
                    Data::Tlsa(3, 1, 1, "ee".into()),
                    Data::Tlsa(3, 0, 1, "ee".into()),
                ]
            ),
            ["2 1 1 cc", "3 0 1 ee", "3 1 1 aa", "3 1 1 bb", "3 1 1 dd"]
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
                "0 issue \"ca.example; accounturi=https://ca.example/1\"",
                "0 issue \"ca.example; accounturi=https://ca.example/2\"",
                "0 issue \"other.example\"",
            ]
        );
    }
}
