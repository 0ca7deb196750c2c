//! Who is asked about whom, and what can be said.

use crate::appliance::filter::lookup::ascii_domain;
use std::net::IpAddr;

/// Who writes when the sender has no local part (section 4.3).
const POSTMASTER: &str = "postmaster";

/// One client and whom it says to write for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// The client.
    pub client: IpAddr,
    /// What it called itself.
    pub helo: String,
    /// MAIL FROM without brackets, empty for a bounce.
    pub sender: String,
}

impl Question {
    /// As the client says it; domains in other scripts become those of the DNS (RFC 8616
    /// section 4).
    pub fn new(client: IpAddr, helo: &str, sender: &str) -> Self {
        let encoded = |domain: &str| match domain.is_ascii() {
            true => domain.to_owned(),
            false => ascii_domain(domain).unwrap_or_else(|| domain.to_owned()),
        };
        let sender = match sender.rsplit_once('@') {
            Some((local, domain)) => format!("{local}@{}", encoded(domain)),
            None => sender.to_owned(),
        };
        Self {
            client,
            helo: encoded(helo),
            sender,
        }
    }

    /// The domain that is asked.
    pub fn domain(&self) -> &str {
        match self.sender.rsplit_once('@') {
            Some((_, domain)) => domain,
            None => &self.helo,
        }
    }

    /// The part before the domain.
    pub fn local_part(&self) -> &str {
        match self.sender.rsplit_once('@') {
            Some((local, _)) if !local.is_empty() => local,
            _ => POSTMASTER,
        }
    }

    /// How the domain is called in a result, RFC 8601 section 2.7.2.
    pub fn property(&self) -> &'static str {
        if self.sender.contains('@') {
            "smtp.mailfrom"
        } else {
            "smtp.helo"
        }
    }
}

/// What a domain says about a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    SoftFail,
    Neutral,
    None,
    TempError,
    PermError,
}

impl Verdict {
    /// Its word, RFC 8601 section 2.7.2.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::SoftFail => "softfail",
            Self::Neutral => "neutral",
            Self::None => "none",
            Self::TempError => "temperror",
            Self::PermError => "permerror",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Question;

    #[test]
    fn domains() {
        for (sender, domain, local) in [
            ("a@B.example", "B.example", "a"),
            ("a@x@b.example", "b.example", "a@x"),
            (
                "j\u{fc}@b\u{fc}cher.example",
                "xn--bcher-kva.example",
                "j\u{fc}",
            ),
            ("@b.example", "b.example", "postmaster"),
            ("", "xn--br-via.example", "postmaster"),
            ("a@\u{fc} b.example", "\u{fc} b.example", "a"),
        ] {
            let question = Question::new([192, 0, 2, 1].into(), "b\u{e4}r.example", sender);
            assert_eq!(question.domain(), domain);
            assert_eq!(question.local_part(), local);
        }
    }
}
