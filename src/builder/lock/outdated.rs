//! What a lock made now would have otherwise, security updates first.

use serde::Serialize;

use super::locked::{Lock, LockedPackage};
use crate::format::packages::{Change, ChangeKind, package_changes};

/// How suites of security updates are named.
const SECURITY_ENDING: &str = "-security";

/// A package that a lock made now would have otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Outdated {
    /// What would become of it.
    pub change: ChangeKind,
    /// Package name.
    pub package: String,
    /// The version in the lock; nothing when it would be added.
    pub locked: Option<String>,
    /// The version that is offered; nothing when it would be removed.
    pub offered: Option<String>,
    /// The suite that offers it; the lock's when it would be removed.
    pub suite: String,
    /// Whether that suite is one of security updates.
    pub security: bool,
}

/// The packages in which two locks differ: security updates first, then by name.
pub fn outdated(locked: &Lock, offered: &Lock) -> Vec<Outdated> {
    let changes = package_changes(&locked.pinned(), &offered.pinned());
    let mut outdated: Vec<Outdated> = changes
        .into_iter()
        .filter_map(|change| {
            let package = find(offered, &change.name).or_else(|| find(locked, &change.name))?;
            Some(describe(change, &package.suite))
        })
        .collect();
    outdated.sort_by_key(|one| !one.security);
    outdated
}

fn describe(change: Change, suite: &str) -> Outdated {
    Outdated {
        security: change.change != ChangeKind::Removed && suite.ends_with(SECURITY_ENDING),
        change: change.change,
        package: change.name,
        locked: change.old,
        offered: change.new,
        suite: suite.to_owned(),
    }
}

fn find<'a>(lock: &'a Lock, name: &str) -> Option<&'a LockedPackage> {
    lock.packages.iter().find(|package| package.name == name)
}
