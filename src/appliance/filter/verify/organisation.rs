//! Where an organisation's domain begins: the public suffix list.
//!
//! DMARC lets a subdomain speak for its organisation (RFC 7489 section 3.2). RFC 9989
//! finds organisations by walking up the DNS instead. The list is kept: it is
//! what the owners of today's records tried them with, and it costs no questions, up to
//! eight for each domain that a stranger names, whose failures would put mail off.
//! Format: <https://github.com/publicsuffix/list/wiki/Format>.

use anyhow::{Result, ensure};
use std::collections::HashSet;

/// The list.
#[derive(Debug, Default)]
pub struct Organisations {
    suffixes: HashSet<String>,
    /// Below each of these, every name is a suffix.
    wildcards: HashSet<String>,
    /// But not these.
    exceptions: HashSet<String>,
}

impl Organisations {
    /// Reads the list.
    pub fn parse(text: &str) -> Result<Self> {
        let mut list = Self::default();
        for line in text.lines() {
            let rule = line.split_whitespace().next().unwrap_or_default();
            if rule.is_empty() || rule.starts_with("//") {
                continue;
            }
            let (set, name) = match (rule.strip_prefix('!'), rule.strip_prefix("*.")) {
                (Some(name), _) => (&mut list.exceptions, name),
                (_, Some(name)) => (&mut list.wildcards, name),
                _ => (&mut list.suffixes, rule),
            };
            // What cannot be written in the DNS is nobody's domain.
            if let Ok(name) = idna::domain_to_ascii(name) {
                set.insert(name);
            }
        }
        ensure!(
            !list.suffixes.is_empty(),
            "the public suffix list has no rules"
        );
        Ok(list)
    }

    /// The organisation's domain of one in lower case; a suffix is its own.
    pub fn organisation<'a>(&self, domain: &'a str) -> &'a str {
        let mut below = None;
        let mut name = domain;
        loop {
            let parent = name.split_once('.').map(|(_, parent)| parent);
            if self.exceptions.contains(name) {
                return name;
            }
            let is_suffix = self.suffixes.contains(name)
                || parent.is_none_or(|parent| self.wildcards.contains(parent));
            if is_suffix {
                return below.unwrap_or(domain);
            }
            below = Some(name);
            match parent {
                Some(parent) => name = parent,
                None => return domain,
            }
        }
    }

    /// Whether two domains are of one organisation.
    pub fn same(&self, one: &str, other: &str) -> bool {
        one == other || self.organisation(one) == self.organisation(other)
    }
}

#[cfg(test)]
mod tests {
    use super::Organisations;

    const LIST: &str = "// ===BEGIN ICANN DOMAINS===\ncom\n\nuk\nco.uk\n*.ck\n!www.ck\njp\n*.kobe.jp\n\
                        !city.kobe.jp // more\n公司.cn\ncn\n// ===BEGIN PRIVATE DOMAINS===\ngithub.io\nio\n";

    #[test]
    fn organisations() {
        let list = Organisations::parse(LIST).unwrap();
        for (domain, expected) in [
            ("com", "com"),
            ("a.com", "a.com"),
            ("mail.a.com", "a.com"),
            ("a.b.c.a.com", "a.com"),
            ("co.uk", "co.uk"),
            ("a.co.uk", "a.co.uk"),
            ("b.a.co.uk", "a.co.uk"),
            ("a.uk", "a.uk"),
            ("test.ck", "test.ck"),
            ("b.test.ck", "b.test.ck"),
            ("a.b.test.ck", "b.test.ck"),
            ("www.ck", "www.ck"),
            ("a.www.ck", "www.ck"),
            ("c.kobe.jp", "c.kobe.jp"),
            ("b.c.kobe.jp", "b.c.kobe.jp"),
            ("a.b.c.kobe.jp", "b.c.kobe.jp"),
            ("a.city.kobe.jp", "city.kobe.jp"),
            ("a.xn--55qx5d.cn", "a.xn--55qx5d.cn"),
            ("b.a.xn--55qx5d.cn", "a.xn--55qx5d.cn"),
            ("a.github.io", "a.github.io"),
            // Not on the list: the last label is a suffix.
            ("b.a.example", "a.example"),
            ("example", "example"),
            ("localhost", "localhost"),
        ] {
            assert_eq!(list.organisation(domain), expected, "{domain}");
        }
        assert!(list.same("x.a.com", "y.a.com"));
        assert!(!list.same("a.github.io", "b.github.io"));
        assert!(Organisations::parse("// nothing\n").is_err());
    }
}
