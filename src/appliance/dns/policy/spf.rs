//! Whole SPF records: how one ends, and one that says what several said.

use super::spf_repair::repaired_terms;
use super::spf_term::{Mechanism, Term, parse_term, terms};
use std::net::IpAddr;

/// How we come into a record.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Joining {
    /// By our name, which costs a DNS lookup.
    #[default]
    Name,
    /// By our addresses, where no lookup is left.
    Addresses,
    /// We are in it.
    Already,
}

/// The mechanism of an address, which costs no lookup.
pub fn mechanism(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    }
}

/// Terms that make a record invalid.
pub fn bad_terms(record: &str) -> Vec<&str> {
    let mut redirects = 0;
    let mut explanations = 0;
    terms(record)
        .filter(|term| match parse_term(term) {
            None => true,
            // Section 6: neither may stand twice.
            Some(Term::Redirect(_)) => {
                redirects += 1;
                redirects > 1
            }
            Some(Term::Explanation(_)) => {
                explanations += 1;
                explanations > 1
            }
            Some(_) => false,
        })
        .collect()
}

/// The sign of a term that is about everybody.
fn all_sign(term: &str) -> Option<char> {
    match parse_term(term) {
        Some(Term::Directive(sign, Mechanism::All)) => Some(sign),
        _ => None,
    }
}

fn is_redirect(term: &str) -> bool {
    matches!(parse_term(term), Some(Term::Redirect(_)))
}

/// The term that decides about everybody else.
pub fn ending(record: &str) -> Option<&str> {
    terms(record)
        .find(|term| all_sign(term).is_some())
        .or_else(|| terms(record).find(|term| is_redirect(term)))
}

/// One record out of all that there are, with these mechanisms in it.
///
/// Terms of others stay, but for those that make it invalid, and for those that
/// ours stand for. Its end is the strictest of theirs; where others may send as
/// they like, it becomes `~all`, which refuses nobody whom their owner forgot.
pub fn merged(ours: &[String], replaced: &[String], theirs: &[&str]) -> String {
    let is_ours = |term: &str| {
        let plain = term.strip_prefix('+').unwrap_or(term);
        ours.iter()
            .chain(replaced)
            .any(|known| known.eq_ignore_ascii_case(plain))
    };
    match theirs {
        [] => format!("v=spf1 {} -all", ours.join(" ")),
        [one] => completed(ours, is_ours, one),
        _ => united(ours, is_ours, theirs),
    }
}

fn completed(ours: &[String], is_ours: impl Fn(&str) -> bool, record: &str) -> String {
    let (theirs, _) = repaired_terms(record);
    let mut kept: Vec<String> = ours.to_vec();
    let mut ended = false;
    for term in theirs {
        match all_sign(&term) {
            _ if is_ours(&term) => {}
            Some('-' | '~') => {
                ended = true;
                kept.push(term);
            }
            Some(_) if ended => {}
            Some(_) => {
                ended = true;
                kept.push("~all".to_owned());
            }
            None => {
                ended |= is_redirect(&term);
                kept.push(term);
            }
        }
    }
    if !ended {
        kept.push("~all".to_owned());
    }
    format!("v=spf1 {}", kept.join(" "))
}

fn united(ours: &[String], is_ours: impl Fn(&str) -> bool, records: &[&str]) -> String {
    let mut kept: Vec<String> = ours.to_vec();
    let mut redirects: Vec<String> = Vec::new();
    let mut explained = false;
    let mut signs = Vec::new();
    let theirs = records.iter().flat_map(|record| repaired_terms(record).0);
    for term in theirs {
        match parse_term(&term) {
            None => {}
            Some(Term::Directive(sign, Mechanism::All)) => signs.push(sign),
            Some(Term::Redirect(name)) if redirects.contains(&name) => {}
            Some(Term::Redirect(name)) => redirects.push(name),
            Some(Term::Explanation(_)) if explained => {}
            Some(other) => {
                explained |= matches!(other, Term::Explanation(_));
                let known = kept.iter().any(|known| known.eq_ignore_ascii_case(&term));
                if !known && !is_ours(&term) {
                    kept.push(term);
                }
            }
        }
    }
    let end = if let [name] = redirects.as_slice() {
        format!("redirect={name}")
    } else {
        // A record has but one redirect; what others let pass can be included.
        kept.extend(redirects.iter().map(|name| format!("include:{name}")));
        let strict = signs.contains(&'-');
        (if strict { "-all" } else { "~all" }).to_owned()
    };
    kept.push(end);
    format!("v=spf1 {}", kept.join(" "))
}

#[cfg(test)]
mod tests {
    use super::{bad_terms, ending, merged};

    fn with_us(theirs: &[&str]) -> String {
        merged(&["a:mail.a.example".to_owned()], &[], theirs)
    }

    #[test]
    fn ends() {
        assert_eq!(ending("v=spf1 a -all"), Some("-all"));
        assert_eq!(ending("v=spf1 a all redirect=b.example"), Some("all"));
        assert_eq!(
            ending("v=spf1 redirect=b.example"),
            Some("redirect=b.example")
        );
        assert_eq!(ending("v=spf1 a:all.example"), None);
    }

    #[test]
    fn what_others_wrote_stays() {
        for (theirs, one) in [
            (
                "v=spf1 mx include:b.example ~all",
                "mx include:b.example ~all",
            ),
            ("v=spf1 mx -all", "mx -all"),
            ("v=spf1 redirect=b.example", "redirect=b.example"),
            (
                "v=spf1 mx exp=e.example x-own=1 ~all",
                "mx exp=e.example x-own=1 ~all",
            ),
            (
                "v=spf1 ?include:b.example +A:mail.a.example -all",
                "?include:b.example -all",
            ),
            // Others may not send as they like, but nobody is refused for it.
            ("v=spf1 mx +all", "mx ~all"),
            ("v=spf1 mx ?all", "mx ~all"),
            ("v=spf1 mx", "mx ~all"),
            // What makes it invalid goes.
            ("v=spf1 mx ip4:192.0.2.300 -all", "mx -all"),
            (
                "v=spf1 redirect=b.example redirect=c.example",
                "redirect=b.example",
            ),
            ("v=spf1 mx v=spf1 -all", "mx -all"),
            ("v=spf1 mx, ipv4:192.0.2.9, -all;", "mx ip4:192.0.2.9 -all"),
        ] {
            assert_eq!(with_us(&[theirs]), format!("v=spf1 a:mail.a.example {one}"));
        }
        assert_eq!(merged(&[], &[], &["v=spf1 mx -all"]), "v=spf1 mx -all");
        // Our addresses stand for our name, where it would be a lookup too many.
        let (address, name) = (
            ["ip4:192.0.2.1".to_owned()],
            ["a:mail.a.example".to_owned()],
        );
        for theirs in [
            &["v=spf1 mx A:mail.a.example -all"][..],
            &["v=spf1 mx a:mail.a.example", "v=spf1 -all"],
        ] {
            assert_eq!(
                merged(&address, &name, theirs),
                "v=spf1 ip4:192.0.2.1 mx -all"
            );
        }
        assert_eq!(with_us(&[]), "v=spf1 a:mail.a.example -all");
    }

    #[test]
    fn several_become_one_with_the_strictest_end() {
        assert_eq!(
            with_us(&[
                "v=spf1 include:b.example ~all",
                "v=spf1 mx include:B.example -all"
            ]),
            "v=spf1 a:mail.a.example include:b.example mx -all"
        );
        assert_eq!(
            with_us(&["v=spf1 redirect=b.example", "v=spf1 mx ?all"]),
            "v=spf1 a:mail.a.example mx redirect=b.example"
        );
        assert_eq!(
            with_us(&["v=spf1 redirect=b.example", "v=spf1 redirect=c.example"]),
            "v=spf1 a:mail.a.example include:b.example include:c.example ~all"
        );
    }

    #[test]
    fn terms_that_break_a_record() {
        assert_eq!(
            bad_terms("v=spf1 mx ipv4:192.0.2.1 exp=a.example exp=b.example -all"),
            ["ipv4:192.0.2.1", "exp=b.example"]
        );
    }
}
