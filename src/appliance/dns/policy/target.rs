//! Names in MX, SRV, CNAME and PTR records as a provider's form made them.
//!
//! A name without a dot at its end is relative to the zone in many forms, so
//! that `mail.example.org` becomes `mail.example.org.example.org`.

use super::super::data::Data;
use std::net::IpAddr;

/// What went wrong with the name in a record at `name` that should be this host's.
pub fn target_slip(host: &str, name: &str, record: &Data) -> Option<String> {
    target(record).and_then(|target| slip(host, name, target))
}

fn target(data: &Data) -> Option<&str> {
    match data {
        Data::Ptr(name) | Data::Cname(name) | Data::Mx(_, name) | Data::Srv(_, _, _, name) => {
            Some(name)
        }
        _ => None,
    }
}

fn slip(host: &str, name: &str, target: &str) -> Option<String> {
    if target == host || target.is_empty() {
        return None;
    }
    // Blanks are written by their number, in octal.
    if target.contains("\\040") || target.contains("\\011") {
        return Some(format!(
            "{target}. holds a space: numbers and the name {host}. go into fields of their own"
        ));
    }
    if target.contains("\\\"") || target.contains('"') {
        return Some(format!(
            "{target}. holds quotation marks: enter {host}. without any"
        ));
    }
    let (inner, added) = without_zone(name, target);
    if let Some(zone) = added.filter(|_| inner == host) {
        let short = host
            .strip_suffix(&zone)
            .and_then(|rest| rest.strip_suffix('.'))
            .map(|short| format!(", or only {short}"))
            .unwrap_or_default();
        return Some(format!(
            "{target}. is {host} with {zone} behind it once more: enter {host}. with the dot at its end{short}"
        ));
    }
    if inner.parse::<IpAddr>().is_ok() {
        return Some(format!(
            "{inner} is an address, and only a name may stand here: enter {host}."
        ));
    }
    let begins = host
        .strip_prefix(target)
        .is_some_and(|rest| rest.starts_with('.'));
    begins.then(|| format!("{target}. is only the beginning of a name: enter {host}. in full"))
}

/// A target without the name that it stands at, or one above it, behind it.
fn without_zone<'a>(name: &str, target: &'a str) -> (&'a str, Option<String>) {
    let mut zone = name;
    loop {
        let inner = target
            .strip_suffix(zone)
            .and_then(|rest| rest.strip_suffix('.'));
        // A top-level domain alone is nobody's zone.
        if let Some(inner) = inner.filter(|_| zone.contains('.')) {
            return (inner, Some(zone.to_owned()));
        }
        match zone.split_once('.') {
            Some((_, parent)) => zone = parent,
            None => return (target, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_form_made_something_else_of() {
        let slip =
            |name: &str, data: Data| target_slip("mail.a.example", name, &data).unwrap_or_default();
        let mx = |target: &str| slip("a.example", Data::Mx(10, target.to_owned()));
        for (target, said) in [
            (
                "mail.a.example.a.example",
                "with a.example behind it once more: enter mail.a.example. with the dot at its end, or only mail",
            ),
            ("mail", "only the beginning"),
            ("192.0.2.1", "192.0.2.1 is an address"),
            ("192.0.2.1.a.example", "192.0.2.1 is an address"),
            ("10\\040mail.a.example", "holds a space"),
            ("\\\"mail.a.example\\\".a.example", "quotation marks"),
        ] {
            assert!(mx(target).contains(said), "{target}: {}", mx(target));
        }
        for target in [
            "mail.a.example",
            "",
            "mx.b.example",
            "mx.a.example",
            "a.example",
        ] {
            assert_eq!(mx(target), "", "{target}");
        }
        for (name, target) in [
            ("_imaps._tcp.b.example", "mail.a.example.b.example"),
            (
                "_imaps._tcp.b.example",
                "mail.a.example._imaps._tcp.b.example",
            ),
            ("autoconfig.b.example", "mail.a.example.b.example"),
        ] {
            let said = slip(name, Data::Srv(0, 1, 993, target.to_owned()));
            assert!(
                said.ends_with("with the dot at its end"),
                "{target}: {said}"
            );
        }
        let ptr = Data::Ptr("mail.a.example.2.0.192.in-addr.arpa".to_owned());
        assert!(slip("1.2.0.192.in-addr.arpa", ptr).contains("once more"));
    }
}
