//! What a check found, and how it is judged.

use super::super::expected::Need;
use super::super::policy::spf::Joining;
use serde::Serialize;

/// How a record stands. Later ones are worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// As it should be.
    Ok,
    /// Nobody answered.
    CannotTell,
    /// Not there.
    Missing,
    /// Something else is there.
    Wrong,
}

/// A judgement on one answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// How the record stands.
    pub verdict: Verdict,
    /// The same as a sentence without subject: "points to ...".
    pub said: String,
    /// What to do about it.
    pub advice: Vec<String>,
    /// How much depends on it, where that is not what depends on the record.
    pub need: Option<Need>,
    /// How we come into an SPF record.
    pub joining: Joining,
}

impl Judged {
    /// As it should be.
    pub fn good(said: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Ok,
            said: said.into(),
            advice: Vec::new(),
            need: None,
            joining: Joining::default(),
        }
    }

    /// Not there.
    pub fn missing(said: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Missing,
            ..Self::good(said)
        }
    }

    /// Something else.
    pub fn wrong(said: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::Wrong,
            ..Self::good(said)
        }
    }

    /// Nobody knows.
    pub fn unknown(said: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::CannotTell,
            ..Self::good(said)
        }
    }

    /// Adds a line on what to do.
    pub fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// Adds several lines on what to do.
    pub fn advise_all(mut self, advice: impl IntoIterator<Item = String>) -> Self {
        self.advice.extend(advice);
        self
    }

    /// Marks it as harmful although the record is only recommended.
    pub fn harm(mut self) -> Self {
        self.need = Some(Need::Required);
        self
    }

    /// Marks it as nothing that mail depends on, although it does on the record.
    pub fn minor(mut self) -> Self {
        self.need = Some(Need::Recommended);
        self
    }
}

/// The outcome of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Name of the check.
    pub check: &'static str,
    /// HOSTNAME, the mail domain or the zone that it is about.
    pub of: String,
    /// Name of the record.
    pub name: String,
    /// Type of the record.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// How much depends on it.
    pub need: Need,
    /// How it stands.
    pub verdict: Verdict,
    /// The same in words.
    pub said: String,
    /// What should be there.
    pub expected: Vec<String>,
    /// What is there.
    pub found: Vec<String>,
    /// What to do.
    pub advice: Vec<String>,
}
