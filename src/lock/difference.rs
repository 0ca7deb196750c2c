//! What changed between two locks, one line a change.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::Serialize;

use super::{Lock, LockedPackage};
use crate::archive::release::format_date;
use crate::archive::version::compare_versions;

/// Lists sources and packages that changed; empty when none did.
pub fn difference(old: &Lock, new: &Lock) -> String {
    let mut lines = Vec::new();
    for source in &new.sources {
        let last = old.sources.iter().find(|last| last.suite == source.suite);
        match last {
            None => lines.push(format!("source      {} added", source.suite)),
            Some(last) if last.date != source.date => lines.push(format!(
                "source      {} {} -> {}",
                source.suite,
                format_date(last.date),
                format_date(source.date)
            )),
            Some(_) => {}
        }
    }
    for source in &old.sources {
        if !new.sources.iter().any(|kept| kept.suite == source.suite) {
            lines.push(format!("source      {} removed", source.suite));
        }
    }
    for (name, change) in pairs(old, new) {
        lines.extend(match change {
            (None, Some(added)) => Some(format!("added       {name} {}", added.version)),
            (Some(removed), None) => Some(format!("removed     {name} {}", removed.version)),
            (Some(before), Some(after)) => changed(before, after),
            (None, None) => None,
        });
    }
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// A package that a lock made now would have otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
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

/// What would become of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChangeKind {
    /// A higher version is offered.
    Upgraded,
    /// A lower version is offered than is locked.
    Downgraded,
    /// The same version is offered with other content.
    Rebuilt,
    /// Something offered needs it.
    Added,
    /// Nothing needs it any more.
    Removed,
}

/// The packages in which two locks differ: security updates first, then by name.
pub fn changes(locked: &Lock, offered: &Lock) -> Vec<Change> {
    let mut changes: Vec<Change> = pairs(locked, offered)
        .into_values()
        .filter_map(|(before, after)| change(before, after))
        .collect();
    changes.sort_by_key(|change| !change.security);
    changes
}

fn change(before: Option<&LockedPackage>, after: Option<&LockedPackage>) -> Option<Change> {
    let change = match (before, after) {
        (None, Some(_)) => ChangeKind::Added,
        (Some(_), None) => ChangeKind::Removed,
        (Some(before), Some(after)) if before.version == after.version => {
            if before.sha256 == after.sha256 {
                return None;
            }
            ChangeKind::Rebuilt
        }
        (Some(before), Some(after)) => match compare_versions(&before.version, &after.version) {
            Ok(Ordering::Greater) => ChangeKind::Downgraded,
            _ => ChangeKind::Upgraded,
        },
        (None, None) => return None,
    };
    let one = after.or(before)?;
    Some(Change {
        change,
        package: one.name.clone(),
        locked: before.map(|package| package.version.clone()),
        offered: after.map(|package| package.version.clone()),
        suite: one.suite.clone(),
        security: change != ChangeKind::Removed && one.suite.ends_with(SECURITY_ENDING),
    })
}

/// How suites of security updates are named.
const SECURITY_ENDING: &str = "-security";

/// The packages of two locks by name, as both have them.
type Pairs<'a> = BTreeMap<&'a str, (Option<&'a LockedPackage>, Option<&'a LockedPackage>)>;

fn pairs<'a>(old: &'a Lock, new: &'a Lock) -> Pairs<'a> {
    let mut names = Pairs::new();
    for package in &old.packages {
        names.entry(&package.name).or_default().0 = Some(package);
    }
    for package in &new.packages {
        names.entry(&package.name).or_default().1 = Some(package);
    }
    names
}

fn changed(before: &LockedPackage, after: &LockedPackage) -> Option<String> {
    let name = &after.name;
    if before.version == after.version {
        return (before.sha256 != after.sha256)
            .then(|| format!("rebuilt     {name} {}, other content", after.version));
    }
    // Versions in a lock came out of an index; an unreadable one was edited by hand.
    let verb = match compare_versions(&before.version, &after.version) {
        Ok(Ordering::Greater) => "downgraded",
        _ => "upgraded",
    };
    Some(format!(
        "{verb:<11} {name} {} -> {}",
        before.version, after.version
    ))
}
