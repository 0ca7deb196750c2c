//! Answers to Postfix: a policy in the words of `smtp_tls_policy_maps`.
//!
//! <https://www.postfix.org/postconf.5.html#smtp_tls_policy_maps> and, for what
//! is reported (RFC 8460), <https://www.postfix.org/TLSRPT_README.html#mta-sts>.
//! Postfix 3.10 matches `mx_host_pattern` against the names of MX records, where
//! `*.` is one label as RFC 8461 wants it, and then takes the certificate of that
//! very name (`smtp_tls_enforce_sts_mx_patterns`). It does so only beside a
//! `match`, which it replaces; ours has its older meaning, where `.example.com`
//! stands for any depth, should somebody switch the parameter off.

use super::policy::{Mode, Policy};

/// What Postfix is told about a domain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A level with its attributes.
    Level(String),
    /// Nothing special: DANE where there is any, otherwise encryption if offered.
    NotFound,
    /// Ask again later; mail waits.
    Later(&'static str),
}

/// How far the mail servers of a domain are covered by DANE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dane {
    /// All of them.
    Every,
    /// Some of them.
    Some,
    /// None of them.
    None,
}

/// The answer for a domain with a policy.
///
/// DANE comes first (RFC 8461, section 2): a policy never replaces what TLSA
/// records demand. Where only some servers have them, `dane-only` leaves out
/// the others, so that mail goes to no server that proves nothing.
pub fn answer(domain: &str, policy: &Policy, dane: Dane) -> Answer {
    match (policy.mode, dane) {
        (Mode::None, _) | (_, Dane::Every) | (Mode::Testing, Dane::Some) => Answer::NotFound,
        (Mode::Enforce, Dane::Some) => Answer::Level("dane-only".to_owned()),
        (Mode::Enforce, Dane::None) => {
            let matches: Vec<&str> = policy
                .patterns
                .iter()
                .map(|pattern| pattern.strip_prefix('*').unwrap_or(pattern))
                .collect();
            Answer::Level(format!(
                "secure match={} servername=hostname{}",
                matches.join(":"),
                attributes(domain, policy)
            ))
        }
        // Never below what Postfix does by itself: encrypted whenever the peer can.
        (Mode::Testing, Dane::None) => Answer::Level(format!(
            "may servername=hostname{}",
            attributes(domain, policy)
        )),
    }
}

/// What Postfix puts into reports. All words come out of the parser, so none
/// holds blanks, commas or braces.
fn attributes(domain: &str, policy: &Policy) -> String {
    let mut text = format!(" policy_type=sts policy_domain={domain}");
    for pattern in &policy.patterns {
        text.push_str(" mx_host_pattern=");
        text.push_str(pattern);
    }
    for line in policy_lines(policy) {
        text.push_str(&format!(" {{ policy_string = {line} }}"));
    }
    text
}

fn policy_lines(policy: &Policy) -> Vec<String> {
    let mut lines = vec![
        "version: STSv1".to_owned(),
        format!("mode: {}", policy.mode.word()),
    ];
    lines.extend(
        policy
            .patterns
            .iter()
            .map(|pattern| format!("mx: {pattern}")),
    );
    lines.push(format!("max_age: {}", policy.max_age));
    lines
}

#[cfg(test)]
mod tests {
    use super::{Answer, Dane, answer};
    use crate::appliance::sts::policy::{Mode, Policy};

    fn policy(mode: Mode) -> Policy {
        Policy {
            mode,
            patterns: vec!["mail.example.com".to_owned(), "*.example.net".to_owned()],
            max_age: 604_800,
        }
    }

    #[test]
    fn an_enforced_policy_is_secure_with_all_that_reports_need() {
        let Answer::Level(text) = answer("example.com", &policy(Mode::Enforce), Dane::None) else {
            panic!("no level");
        };
        insta::assert_snapshot!(text, @"secure match=mail.example.com:.example.net servername=hostname policy_type=sts policy_domain=example.com mx_host_pattern=mail.example.com mx_host_pattern=*.example.net { policy_string = version: STSv1 } { policy_string = mode: enforce } { policy_string = mx: mail.example.com } { policy_string = mx: *.example.net } { policy_string = max_age: 604800 }");
    }

    #[test]
    fn a_tested_policy_demands_nothing() {
        let Answer::Level(text) = answer("example.com", &policy(Mode::Testing), Dane::None) else {
            panic!("no level");
        };
        assert!(
            text.starts_with("may servername=hostname policy_type=sts policy_domain=example.com ")
        );
        assert!(!text.contains(" match="));
    }

    #[test]
    fn dane_comes_first() {
        for mode in [Mode::Enforce, Mode::Testing, Mode::None] {
            assert_eq!(
                answer("a.example", &policy(mode), Dane::Every),
                Answer::NotFound
            );
        }
        assert_eq!(
            answer("a.example", &policy(Mode::Enforce), Dane::Some),
            Answer::Level("dane-only".to_owned())
        );
        assert_eq!(
            answer("a.example", &policy(Mode::Testing), Dane::Some),
            Answer::NotFound
        );
        assert_eq!(
            answer("a.example", &policy(Mode::None), Dane::None),
            Answer::NotFound
        );
    }

    #[test]
    fn the_longest_answer_fits() {
        let name = format!("{}.example", vec!["a".repeat(60); 4].join("."));
        let policy = Policy {
            mode: Mode::Enforce,
            patterns: vec![format!("*.{name}"); 100],
            max_age: 31_557_600,
        };
        let Answer::Level(text) = answer(&name, &policy, Dane::None) else {
            panic!("no level");
        };
        assert!(text.len() < 100_000, "{}", text.len());
    }
}
