//! What root's helpers say of the machine, as far as pages show it.
//!
//! The values are those of `mailctl facts`.

use serde::{Deserialize, Serialize};

/// What `mailctl status` says, as far as it is shown.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    pub image_version: Option<String>,
    pub uptime_seconds: Option<i64>,
    pub upgrade: Option<String>,
    /// What came of the last look for updates, when there is a schedule.
    pub updates: Option<String>,
    pub health: Option<String>,
    /// How many accounts there are.
    pub accounts: usize,
    /// How many aliases.
    pub aliases: usize,
    pub alias_problems: Vec<String>,
    pub services: Vec<UnitState>,
    pub queue: Counts,
    pub disk: Option<Disk>,
    pub memory: Option<Memory>,
    /// The certificate of HOSTNAME.
    pub certificate: Option<Certificate>,
    pub bans: Option<usize>,
    pub no_bans: Option<String>,
    pub settings_problem: Option<String>,
    /// Whether the generated first password was never changed.
    pub first_password_stands: bool,
}

#[derive(Debug, Deserialize)]
pub struct UnitState {
    pub name: String,
    pub active: String,
}

#[derive(Debug, Default, Deserialize)]
pub struct Counts {
    pub total: usize,
    pub deferred: usize,
    pub hold: usize,
    pub oldest_seconds: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub struct Disk {
    pub total_bytes: u64,
    pub available_bytes: u64,
    pub total_inodes: u64,
    pub available_inodes: u64,
}

#[derive(Debug, Deserialize)]
pub struct Memory {
    pub total_bytes: u64,
    pub available_bytes: u64,
}

/// The certificate of HOSTNAME.
#[derive(Debug, Deserialize)]
pub struct Certificate {
    pub valid_until: String,
    /// Negative when it ran out.
    pub days_left: i64,
    /// Whether it is ours, which no client trusts.
    pub self_signed: bool,
    /// What keeps another from coming.
    pub problem: Option<String>,
}

/// Records and checks of all domains.
#[derive(Debug, Deserialize)]
pub struct DnsFacts {
    pub report: Report,
    pub records: Vec<Record>,
}

#[derive(Debug, Deserialize)]
pub struct Report {
    pub ok: bool,
    pub addresses: Vec<String>,
    pub checks: Vec<Finding>,
    pub zones: Vec<Zone>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Zone {
    pub zone: String,
    pub dnssec: String,
}

#[derive(Debug, Deserialize)]
pub struct Finding {
    pub check: String,
    pub of: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub need: String,
    pub verdict: String,
    pub said: String,
    pub expected: Vec<String>,
    pub found: Vec<String>,
    pub advice: Vec<String>,
}

#[derive(Debug, Deserialize)]
pub struct Record {
    pub zone: String,
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub value: String,
    pub ttl: u32,
    pub why: String,
}

impl DnsFacts {
    /// Whether all required records are right.
    pub fn is_good(&self) -> bool {
        self.report.ok
    }

    /// Whether an address of this machine is known.
    pub fn has_address(&self) -> bool {
        !self.report.addresses.is_empty()
    }

    /// How many are to be mended among those that a rule chooses by check and need.
    pub fn count_bad(&self, chosen: impl Fn(&str, &str) -> bool) -> usize {
        let checks = self.report.checks.iter();
        checks
            .filter(|check| check.verdict != "ok" && chosen(&check.check, &check.need))
            .count()
    }
}

/// All accounts.
pub type Users = Vec<User>;

/// One account.
#[derive(Debug, Clone, Deserialize)]
pub struct User {
    pub user: String,
    pub mailbox_bytes: Option<u64>,
    pub mailbox_messages: Option<u64>,
    pub quota_bytes: Option<u64>,
    pub sanity: String,
    pub last_login: Option<i64>,
}
