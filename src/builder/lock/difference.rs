//! What changed between two locks, one line a change.

use super::held::held_text;
use super::locked::Lock;
use crate::builder::archive::date::format_date;
use crate::format::packages::package_changes;

/// Lists sources and packages that changed; empty when none did.
pub fn difference(old: &Lock, new: &Lock) -> String {
    let mut lines = source_changes(old, new);
    let changes = package_changes(&old.pinned(), &new.pinned());
    lines.extend(changes.iter().map(ToString::to_string));
    lines.extend(new.packages.iter().filter_map(held_text));
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// Sources that changed, a line each.
pub fn source_changes(old: &Lock, new: &Lock) -> Vec<String> {
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
    lines
}
