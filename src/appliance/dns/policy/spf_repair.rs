//! Terms of SPF records that are none, read as they were meant.

use super::spf_term::{Term, parse_term, terms};
use std::net::IpAddr;

/// The terms of a record, each one good, and those that nobody can make sense of.
pub fn repaired_terms(record: &str) -> (Vec<String>, Vec<String>) {
    let mut good: Vec<String> = Vec::new();
    let mut lost = Vec::new();
    let (mut redirected, mut explained) = (false, false);
    // Neither may stand twice (RFC 7208 section 6).
    let mut is_second = |term: &str| match parse_term(term) {
        Some(Term::Redirect(_)) => std::mem::replace(&mut redirected, true),
        Some(Term::Explanation(_)) => std::mem::replace(&mut explained, true),
        _ => false,
    };
    let mut rest = terms(record).peekable();
    while let Some(term) = rest.next() {
        // `ip4: 192.0.2.1`
        let joined = rest
            .peek()
            .filter(|_| term.ends_with([':', '=']))
            .and_then(|next| repaired(&format!("{term}{next}")));
        if let Some(joined) = joined {
            rest.next();
            is_second(&joined);
            good.push(joined);
            continue;
        }
        match repaired(term) {
            Some(term) if is_second(&term) => lost.push(term),
            Some(term) => good.push(term),
            None => lost.push(term.to_owned()),
        }
    }
    (good, lost)
}

fn repaired(term: &str) -> Option<String> {
    if parse_term(term).is_some() {
        return Some(term.to_owned());
    }
    // Marks that end a sentence or a list elsewhere.
    let term = term.trim_end_matches([',', ';', '.']);
    if parse_term(term).is_some() {
        return Some(term.to_owned());
    }
    // An address with another word before it, or none.
    let plain = term.trim_start_matches('+');
    let lower = plain.to_ascii_lowercase();
    let network = ["ipv4:", "ipv6:", "ip4:", "ip6:", "ip:"]
        .iter()
        .find_map(|word| lower.strip_prefix(word))
        .unwrap_or(&lower);
    let address: IpAddr = network.split('/').next()?.parse().ok()?;
    let mended = match address {
        IpAddr::V4(_) => format!("ip4:{network}"),
        IpAddr::V6(_) => format!("ip6:{network}"),
    };
    parse_term(&mended).map(|_| mended)
}

#[cfg(test)]
mod tests {
    use super::repaired_terms;

    #[test]
    fn terms_as_they_were_meant() {
        for (record, good) in [
            ("v=spf1 mx -all;", "mx -all"),
            (
                "v=spf1 mx, include:b.example, ~all.",
                "mx include:b.example ~all",
            ),
            (
                "v=spf1 ip4: 192.0.2.1 include: b.example -all",
                "ip4:192.0.2.1 include:b.example -all",
            ),
            (
                "v=spf1 192.0.2.0/24 ipv4:192.0.2.1 ip:2001:db8::1 ip4:2001:db8::/32",
                "ip4:192.0.2.0/24 ip4:192.0.2.1 ip6:2001:db8::1 ip6:2001:db8::/32",
            ),
            (
                "v=spf1 a mx a:b.example. v=spf1 exp=e.example own=1",
                "a mx a:b.example. exp=e.example own=1",
            ),
        ] {
            let (found, lost) = repaired_terms(record);
            assert_eq!(
                (found.join(" ").as_str(), lost.len()),
                (good, 0),
                "{record}"
            );
        }
        let (good, lost) = repaired_terms(
            "v=spf1 inlcude:b.example ip4:192.0.2.300 exp=a.example exp=b.example mx",
        );
        assert_eq!(good, ["exp=a.example", "mx"]);
        assert_eq!(
            lost,
            ["inlcude:b.example", "ip4:192.0.2.300", "exp=b.example"]
        );
    }
}
