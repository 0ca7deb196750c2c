//! What became of each package between two states of an image.
//!
//! The order of versions is that of `deb-version(7)`,
//! <https://manpages.debian.org/trixie/dpkg-dev/deb-version.7.en.html>.

use std::collections::BTreeMap;
use std::fmt;

use debversion::Version;
use serde::{Deserialize, Serialize};

/// A package as locks and manifests pin it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pinned {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// SHA-256 of the .deb, hexadecimal.
    pub sha256: String,
}

/// How a package changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// A newer version.
    Upgraded,
    /// An older version.
    Downgraded,
    /// The same version with other content.
    Rebuilt,
}

/// What became of one package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// Package name.
    pub name: String,
    /// How it changed.
    pub change: ChangeKind,
    /// The version before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub old: Option<String>,
    /// The version now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub new: Option<String>,
}

impl fmt::Display for Change {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = match self.change {
            ChangeKind::Added => "added",
            ChangeKind::Removed => "removed",
            ChangeKind::Upgraded => "upgraded",
            ChangeKind::Downgraded => "downgraded",
            ChangeKind::Rebuilt => "rebuilt",
        };
        write!(formatter, "{verb:<11} {}", self.name)?;
        match (&self.old, &self.new) {
            (Some(old), Some(_)) if self.change == ChangeKind::Rebuilt => {
                write!(formatter, " {old}, other content")
            }
            (Some(old), Some(new)) => write!(formatter, " {old} -> {new}"),
            (Some(version), None) | (None, Some(version)) => write!(formatter, " {version}"),
            (None, None) => Ok(()),
        }
    }
}

/// What changed, sorted by name; nothing is said of packages that did not.
pub fn package_changes(old: &[Pinned], new: &[Pinned]) -> Vec<Change> {
    let mut names: BTreeMap<&str, (Option<&Pinned>, Option<&Pinned>)> = BTreeMap::new();
    for package in old {
        names.entry(&package.name).or_default().0 = Some(package);
    }
    for package in new {
        names.entry(&package.name).or_default().1 = Some(package);
    }
    let changes = names.into_iter().filter_map(|(name, (old, new))| {
        Some(Change {
            name: name.to_owned(),
            change: match (old, new) {
                (Some(old), Some(new)) => changed(old, new)?,
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
            },
            old: old.map(|package| package.version.clone()),
            new: new.map(|package| package.version.clone()),
        })
    });
    changes.collect()
}

fn changed(old: &Pinned, new: &Pinned) -> Option<ChangeKind> {
    if old.version == new.version {
        return (old.sha256 != new.sha256).then_some(ChangeKind::Rebuilt);
    }
    // Versions came out of an index; an unreadable one was edited by hand.
    match (old.version.parse::<Version>(), new.version.parse()) {
        (Ok(old), Ok(new)) if old > new => Some(ChangeKind::Downgraded),
        _ => Some(ChangeKind::Upgraded),
    }
}
