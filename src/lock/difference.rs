//! What changed between two locks, one line a change.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::{Lock, LockedPackage, held_text};
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
    let mut names: BTreeMap<&str, (Option<&LockedPackage>, Option<&LockedPackage>)> =
        BTreeMap::new();
    for package in &old.packages {
        names.entry(&package.name).or_default().0 = Some(package);
    }
    for package in &new.packages {
        names.entry(&package.name).or_default().1 = Some(package);
    }
    for (name, change) in names {
        lines.extend(match change {
            (None, Some(added)) => Some(format!("added       {name} {}", added.version)),
            (Some(removed), None) => Some(format!("removed     {name} {}", removed.version)),
            (Some(before), Some(after)) => changed(before, after),
            (None, None) => None,
        });
    }
    lines.extend(new.packages.iter().filter_map(held_text));
    lines.iter().map(|line| format!("{line}\n")).collect()
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
