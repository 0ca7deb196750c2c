//! Judging addresses, their names, mail servers and services.

use super::super::address::reverse_name;
use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::Facts;
use super::super::name_servers::View;
use super::finding::Judged;

/// Services that begin without encryption; an owner may well decline them.
const PLAIN_SERVICES: [&str; 2] = ["_submission._tcp.", "_imap._tcp."];

fn list(data: &[Data]) -> String {
    let texts: Vec<String> = data.iter().map(Data::to_string).collect();
    texts.join(", ")
}

/// A or AAAA of HOSTNAME: our address and no other.
pub fn judge_address(expected: &Expected, view: &View) -> Judged {
    let kind = expected.type_name();
    let ours = list(&expected.data);
    let advice = format!("set one {kind} record of {} with {ours}", expected.name);
    if view.records.is_empty() {
        let said = if view.exists {
            format!("has no {kind} record")
        } else {
            "does not exist".to_owned()
        };
        return Judged::missing(said).advise(advice);
    }
    if view.records == expected.data {
        return Judged::good(format!("points to our public address {ours}"));
    }
    let others: Vec<Data> = view
        .records
        .iter()
        .filter(|record| !expected.data.contains(record))
        .cloned()
        .collect();
    let others_text = list(&others);
    if others.len() < view.records.len() {
        return Judged::wrong(format!(
            "points to our public address {ours}, but also to {others_text}"
        ))
        .advise(format!(
            "remove {others_text}: whoever asks there does not reach this machine"
        ));
    }
    Judged::wrong(format!(
        "points to {others_text}, but our public address is {ours}"
    ))
    .advise(advice)
    .advise(format!(
        "if {others_text} is in fact ours, set PUBLIC_{} in the settings",
        if kind == "A" { "IPV4" } else { "IPV6" }
    ))
}

/// A family that this machine has no address of: HOSTNAME must have none either.
pub fn judge_no_address(kind: &str, view: &View) -> Judged {
    if view.records.is_empty() {
        return Judged::good(format!(
            "has no {kind} record, as this machine has no such address"
        ));
    }
    let found = list(&view.records);
    Judged::wrong(format!(
        "points to {found}, but this machine has no such address"
    ))
    .advise(format!(
        "remove the {kind} record: mail that goes there is lost or late"
    ))
    .advise(format!(
        "if {found} is in fact ours, set PUBLIC_{} in the settings",
        if kind == "A" { "IPV4" } else { "IPV6" }
    ))
}

/// The name of one of our addresses: HOSTNAME and no other.
pub fn judge_reverse(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let address = facts
        .addresses
        .all()
        .find(|address| reverse_name(*address) == expected.name)
        .map_or_else(|| expected.name.clone(), |address| address.to_string());
    let host = list(&expected.data);
    let advice = format!(
        "at your provider, set the reverse DNS (PTR) of {address} to {}",
        host.trim_end_matches('.')
    );
    if view.records.is_empty() {
        return Judged::missing(format!("{address} has no name")).advise(advice);
    }
    if view.records == expected.data {
        return Judged::good(format!("{address} leads to {host}"));
    }
    let found = list(&view.records);
    if view.records.contains(&expected.data[0]) {
        return Judged::wrong(format!("{address} has several names: {found}")).advise(advice);
    }
    Judged::wrong(format!(
        "{address} is called {found}, but this machine is {host}"
    ))
    .advise(advice)
}

/// MX: HOSTNAME is among them.
pub fn judge_mail_server(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let host = &facts.hostname;
    let domain = &expected.name;
    let advice = format!("add an MX record of {domain}: 10 {host}.");
    if view.records.is_empty() {
        let said = if view.exists {
            "has no MX record"
        } else {
            "does not exist"
        };
        return Judged::missing(said)
            .advise(advice)
            .advise("until then nobody can send mail to this domain");
    }
    let is_ours = |record: &Data| matches!(record, Data::Mx(_, target) if target == host);
    let is_null = |record: &Data| matches!(record, Data::Mx(_, target) if target.is_empty());
    let found = list(&view.records);
    if view.records.iter().any(is_null) {
        // RFC 7505.
        return Judged::wrong("says with '0 .' that it takes no mail")
            .advise(format!("replace that record by 10 {host}."));
    }
    if !view.records.iter().any(is_ours) {
        return Judged::wrong(format!("sends its mail to {found}, not to {host}.")).advise(advice);
    }
    if view.records.iter().all(is_ours) {
        return Judged::good(format!("sends its mail to {host}."));
    }
    Judged::good(format!("sends its mail to {host}., among others: {found}"))
}

/// SRV: one of them is our service.
pub fn judge_service(expected: &Expected, view: &View) -> Judged {
    let ours = |record: &Data| match (record, &expected.data[0]) {
        (Data::Srv(_, _, port, host), Data::Srv(_, _, our_port, our_host)) => {
            (port, host) == (our_port, our_host)
        }
        _ => false,
    };
    let wanted = list(&expected.data);
    let advice = format!("set the SRV record of {} to {wanted}", expected.name);
    if view.records.is_empty() {
        return Judged::missing("is not published").advise(advice);
    }
    if view.records.iter().any(ours) {
        return Judged::good(format!("leads to {wanted}"));
    }
    // Programs then take the service that is encrypted from the first byte (RFC 6186 section 3.4).
    let starts_plain = PLAIN_SERVICES
        .iter()
        .any(|service| expected.name.starts_with(service));
    let declined =
        |record: &Data| matches!(record, Data::Srv(_, _, _, target) if target.is_empty());
    if starts_plain && view.records.iter().all(declined) {
        return Judged::good("says that this service is not offered");
    }
    Judged::wrong(format!("leads to {}, not to {wanted}", list(&view.records))).advise(advice)
}

/// A name that must lead to this machine, by an alias of HOSTNAME or by itself.
pub fn judge_alias(facts: &Facts, expected: &Expected, view: &View) -> Judged {
    let host = &facts.hostname;
    let advice = format!("set a CNAME record of {} to {host}.", expected.name);
    if view.aliases.contains(host) {
        return Judged::good(format!("is an alias of {host}."));
    }
    if view.records.is_empty() {
        return match view.aliases.last() {
            Some(alias) => Judged::wrong(format!("is an alias of {alias}., which leads nowhere")),
            None => Judged::missing("does not exist"),
        }
        .advise(advice);
    }
    let is_ours = |record: &Data| match record {
        Data::A(address) => facts.addresses.ipv4 == Some(*address),
        Data::Aaaa(address) => facts.addresses.ipv6 == Some(*address),
        _ => false,
    };
    let found = list(&view.records);
    if view.records.iter().all(is_ours) {
        return Judged::good(format!("points to our public address {found}"));
    }
    Judged::wrong(format!("points to {found}, which is not this machine")).advise(advice)
}

/// HOSTNAME must have records of its own.
pub fn judge_own_name(host: &str, view: &View) -> Judged {
    let Some(target) = view.aliases.first() else {
        return Judged::good("is no alias");
    };
    let how = if view.renamed {
        format!("a DNAME record above it makes it an alias of {target}.")
    } else {
        format!("is an alias (CNAME) of {target}.")
    };
    Judged::wrong(how).advise(format!(
        "give {host} A and AAAA records of its own: the host that an MX record names must not be an alias (RFC 2181 section 10.3)"
    ))
}

/// TLSA: the served key is listed, and the one that comes next.
pub fn judge_tlsa(expected: &Expected, view: &View) -> Judged {
    let name = &expected.name;
    if view.records.is_empty() {
        return Judged::missing("is not published").advise(format!(
            "set the TLSA records of {name} to {}",
            list(&expected.data)
        ));
    }
    let Some((current, next)) = expected.data.split_first() else {
        return Judged::unknown("no key is known");
    };
    let lacking: Vec<Data> = expected
        .data
        .iter()
        .filter(|data| !view.records.contains(data))
        .cloned()
        .collect();
    // Whatever else is there may stay: one that fits is enough (RFC 7672 section 3.1.2).
    let advice = format!("add to the TLSA records of {name}: {}", list(&lacking));
    if !view.records.contains(current) {
        let found = list(&view.records);
        if view.records.iter().any(may_fit) {
            return Judged::unknown(format!(
                "does not list the key that we serve as 3 1 1; whether it fits {found} was not looked at"
            ))
            .advise(advice);
        }
        return Judged::wrong(format!(
            "does not list the key that we serve; it lists {found}"
        ))
        .advise(advice)
        .advise("until then mail servers that verify TLSA do not deliver to us")
        .harm();
    }
    match next.iter().find(|next| !view.records.contains(next)) {
        Some(next) => Judged::missing(format!(
            "lists the key that we serve, but not the next one: {next}"
        ))
        .advise(advice)
        .advise("until then every renewal keeps the old key"),
        None => Judged::good("lists the key that we serve"),
    }
}

/// Whether a record may speak of our certificate in another way than ours does:
/// of its authority, or by another digest (RFC 7672 section 3.1).
fn may_fit(record: &Data) -> bool {
    match record {
        Data::Tlsa(2, ..) => true,
        Data::Tlsa(3, selector, matching, _) => (*selector, *matching) != (1, 1),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::expected::{Need, Purpose};
    use super::super::finding::Verdict;
    use super::super::text::tests::view;
    use super::*;

    fn expected(purpose: Purpose, name: &str, data: &[Data]) -> Expected {
        Expected {
            purpose,
            of: "a.example".to_owned(),
            name: name.to_owned(),
            data: data.to_vec(),
            need: Need::Recommended,
            why: String::new(),
        }
    }

    fn with(records: &[Data]) -> View {
        View {
            records: records.to_vec(),
            ..view(&[])
        }
    }

    #[test]
    fn other_pins_stay_beside_ours() {
        let tlsa = |usage, selector, digest: &str| Data::Tlsa(usage, selector, 1, digest.into());
        let ours = expected(
            Purpose::Tlsa,
            "_25._tcp.mail.a.example",
            &[tlsa(3, 1, "aa"), tlsa(3, 1, "bb")],
        );
        let judge = |records: &[Data]| judge_tlsa(&ours, &with(records));
        let all = [
            tlsa(2, 1, "cc"),
            tlsa(3, 1, "aa"),
            tlsa(3, 1, "bb"),
            tlsa(3, 1, "dd"),
        ];
        assert_eq!(judge(&all).verdict, Verdict::Ok);
        let next = judge(&[tlsa(3, 1, "aa"), tlsa(3, 1, "dd")]);
        assert_eq!(next.verdict, Verdict::Missing);
        assert_eq!(
            next.advice[0],
            "add to the TLSA records of _25._tcp.mail.a.example: 3 1 1 bb"
        );
        let wrong = judge(&[tlsa(3, 1, "dd"), tlsa(1, 1, "ee")]);
        assert_eq!(
            (wrong.verdict, wrong.need),
            (Verdict::Wrong, Some(Need::Required))
        );
        assert!(wrong.advice[0].starts_with("add to"));
        // An authority's key, or a digest of the whole certificate.
        for other in [tlsa(2, 1, "cc"), tlsa(3, 0, "cc")] {
            let judged = judge(&[other, tlsa(3, 1, "dd")]);
            assert_eq!((judged.verdict, judged.need), (Verdict::CannotTell, None));
        }
    }

    #[test]
    fn a_service_that_begins_unencrypted_may_be_declined() {
        let none = Data::Srv(0, 0, 0, String::new());
        for (service, port, verdict) in [
            ("_imap._tcp", 143, Verdict::Ok),
            ("_submission._tcp", 587, Verdict::Ok),
            ("_imaps._tcp", 993, Verdict::Wrong),
            ("_submissions._tcp", 465, Verdict::Wrong),
        ] {
            let host = "mail.a.example".to_owned();
            let expected = expected(
                Purpose::Service,
                &format!("{service}.a.example"),
                &[Data::Srv(0, 1, port, host)],
            );
            let judged = judge_service(&expected, &with(std::slice::from_ref(&none)));
            assert_eq!(judged.verdict, verdict, "{service}");
        }
    }
}
