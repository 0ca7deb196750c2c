//! Who is asked about whom, and what can be said.

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
