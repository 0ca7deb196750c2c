//! What an upgrade has to remember beyond restarts: `/var/lib/mailimg/upgrade.json`.
//!
//! It decides nothing: what starts is decided by the names and files on the boot
//! partition. It tells which version the present trial is about, and how the last one went.

use std::fs::File;

use anyhow::{Context, Result};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::machine::{Machine, boot_id};
use crate::appliance::machine::clock::now;
use crate::appliance::machine::files::{
    PUBLIC, ensure_folder, open_lock, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::error::hinted;
use crate::format::uki::Described;
use crate::format::verity::Hash;

/// Held while an upgrade is written.
const LOCK: &str = "/run/mailimg-upgrade.lock";

/// How a trial stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum State {
    /// It was not started yet, or has not proven itself.
    Waiting,
    /// It gave up in its trial; the old version has not started since.
    GaveUp {
        /// What did not work.
        why: String,
    },
    /// It is good.
    Kept,
    /// Its trial never began.
    Interrupted,
    /// The old version is back.
    CameBack {
        /// What did not work.
        why: String,
        /// Whether the owner was told by mail.
        told: bool,
    },
}

/// The last trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version on trial.
    pub version: String,
    /// The hash of its root, in hexadecimal.
    pub root_hash: String,
    /// The version before it.
    pub before: String,
    /// When it was put on trial, seconds since 1970.
    pub since: i64,
    /// The boot that put it on trial.
    pub boot: String,
    /// Whether the machine took it by itself.
    #[serde(default)]
    pub by_itself: bool,
    /// Whether the boot loaders of the version that was kept came onto the disk.
    #[serde(default)]
    pub loaders_done: bool,
    /// How it stands.
    #[serde(flatten)]
    pub state: State,
}

impl Record {
    /// A trial that begins with the next restart.
    pub fn waiting(place: &Place, machine: &Machine, described: &Described) -> Result<Self> {
        Ok(Self {
            version: described.version.clone(),
            root_hash: hex::encode(described.root_hash),
            before: machine.version.clone(),
            since: now(),
            boot: boot_id(place),
            by_itself: false,
            loaders_done: false,
            state: State::Waiting,
        })
    }

    /// The last one; nothing when there was none, or what is there cannot be read.
    pub fn load(place: &Place) -> Result<Option<Self>> {
        let bytes = read_optional(&place.path(place::UPGRADE))?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Keeps it.
    pub fn save(&self, place: &Place) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).context("writing JSON")?;
        text.push('\n');
        ensure_folder(&place.path(place::STATE), 0o755, None)?;
        write_file(&place.path(place::UPGRADE), text.as_bytes(), PUBLIC, None)
    }

    /// Forgets the last one.
    pub fn forget(place: &Place) -> Result<()> {
        remove_file(&place.path(place::UPGRADE))
    }

    /// Whether it is about this root.
    pub fn is_of(&self, root_hash: &Hash) -> bool {
        self.root_hash == hex::encode(root_hash)
    }

    /// Whether the trial has no end yet.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting | State::GaveUp { .. })
    }

    /// How it went, in a line; nothing for a version that was kept.
    pub fn describe(&self, place: &Place, running: &Hash) -> Option<String> {
        let Self {
            version, before, ..
        } = self;
        match &self.state {
            State::Kept => None,
            State::Interrupted => Some(format!(
                "{version} was interrupted before its trial began; do it again"
            )),
            State::CameBack { why, .. } => Some(format!(
                "{version} did not prove itself, {before} is back: {why}"
            )),
            State::Waiting | State::GaveUp { .. } if self.is_of(running) => {
                Some(format!("{version} is on trial, {before} is the one before"))
            }
            State::Waiting | State::GaveUp { .. } if self.boot == boot_id(place) => {
                Some(format!("{version} waits for a restart to be tried"))
            }
            State::Waiting | State::GaveUp { .. } => Some(format!(
                "{version} was put on trial and is not what started"
            )),
        }
    }
}

/// Waits for nobody: two upgrades at once are a mistake.
pub fn lock(place: &Place) -> Result<File> {
    try_lock(place)?.ok_or_else(|| {
        hinted(
            "another upgrade is under way on this machine",
            "wait for its end; `mailctl status` then says what waits",
        )
    })
}

/// Nothing while another upgrade is under way.
pub fn try_lock(place: &Place) -> Result<Option<File>> {
    let path = place.path(LOCK);
    if let Some(folder) = path.parent() {
        ensure_folder(folder, 0o755, None)?;
    }
    let file = open_lock(&path)?;
    let locked = flock(&file, FlockOperation::NonBlockingLockExclusive);
    Ok(locked.is_ok().then_some(file))
}
