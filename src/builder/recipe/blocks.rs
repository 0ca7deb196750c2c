//! What packaging helpers write into maintainer scripts, as a table.
//!
//! debhelper puts blocks made from fixed templates into scripts
//! (<https://manpages.debian.org/trixie/debhelper/dh_installdeb.1.en.html>).
//! The file that a recipe names as `blocks_file` says line by line what they
//! consist of and what each kind of line is for; `compose` reads scripts with
//! it. A line of the table is made of words; `{unit}` and its like stand for
//! what differs from package to package, and `...` after a word for one or
//! more of its kind.

use serde::{Deserialize, Serialize};

/// The table of blocks and triggers.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Blocks {
    /// What commands of blocks do.
    #[serde(default)]
    pub kind: Vec<BlockKind>,
    /// What blocks ask before they do it.
    #[serde(default)]
    pub condition: Vec<Condition>,
    /// Triggers, deb-triggers(5).
    #[serde(default)]
    pub trigger: Vec<Trigger>,
}

/// A kind of command in blocks, with its effect.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BlockKind {
    /// A verb; with the parameters it is what a reviewed script `does`.
    pub name: String,
    /// The command's forms.
    pub lines: Vec<String>,
    /// What it does at a first installation, and where the image says so instead.
    pub effect: String,
    /// What the builder checks in the image.
    #[serde(default)]
    pub check: Check,
    /// A kind that this one is a part of: with the same parameters it is not
    /// listed beside it.
    pub part_of: Option<String>,
}

/// What the image has to show for a command that does not run.
#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Check {
    /// Nothing: at a first installation the command changes no file.
    #[default]
    Nothing,
    /// Each unit is named by a preset or masked, or was left out.
    Unit,
    /// Each user unit was left out, or no user has a manager to run it.
    UserUnit,
    /// The sysusers.d files are from packages; accounts are checked anyway.
    Sysusers,
    /// The tmpfiles.d files are from packages.
    Tmpfiles,
    /// Each link is there, or its folder was left out.
    Alternative,
    /// The package no longer ships the path.
    NotShipped,
}

/// A question in blocks, with its answer at a first installation.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// The question's forms.
    pub lines: Vec<String>,
    /// Its answer.
    pub holds: Holds,
    /// The kind whose parameters it repeats.
    pub part_of: Option<String>,
}

/// Whether a condition holds when a package is installed for the first time.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// It does.
    Yes,
    /// It does not: what depends on it is for upgrades.
    No,
    /// It may.
    Maybe,
}

/// A trigger that packages activate or are interested in.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Trigger {
    /// Its names: words, or absolute paths of file triggers.
    pub names: Vec<String>,
    /// What it leads to, and where the image says so instead.
    pub effect: String,
}
