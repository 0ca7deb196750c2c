//! Judging addresses, their names, mail servers and services.

use super::super::address::reverse_name;
use super::super::authority::View;
use super::super::data::Data;
use super::super::expected::Expected;
use super::super::facts::Facts;
use super::finding::Judged;

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
    let advice = format!("set the TLSA records of {name} to {}", list(&expected.data));
    if view.records.is_empty() {
        return Judged::missing("is not published").advise(advice);
    }
    let Some((current, next)) = expected.data.split_first() else {
        return Judged::unknown("no key is known");
    };
    if !view.records.contains(current) {
        return Judged::wrong(format!(
            "does not list the key that we serve; it lists {}",
            list(&view.records)
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
