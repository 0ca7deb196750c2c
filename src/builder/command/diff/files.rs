//! Files and units that differ between two images.

use std::collections::{BTreeMap, BTreeSet};

use super::report::{FileChange, Unit};
use super::subject::Subject;
use crate::builder::seal::erofs::{Stat, What};

/// Units of packages and ours.
const UNITS: &str = "usr/lib/systemd/system/";
/// Links that enable, rename and mask them.
const ENABLED: &str = "etc/systemd/system/";
/// Where the link of a masked unit leads.
const MASKED: &str = "/dev/null";

/// What became of a thing that was there before, is there after, or both.
pub(super) fn verb(before: bool, after: bool) -> &'static str {
    match (before, after) {
        (false, _) => "added",
        (true, false) => "removed",
        (true, true) => "changed",
    }
}

/// Paths that differ, sorted.
pub(super) fn changes(old: &Subject, new: &Subject) -> Vec<FileChange> {
    let differing = differing(old, new);
    let changes = differing.into_iter().map(|(path, (before, after))| {
        let origin = new.origins.get(path).or_else(|| old.origins.get(path));
        FileChange {
            path: format!("/{path}"),
            origin: origin.cloned(),
            change: verb(before.is_some(), after.is_some()),
            differs: match (before, after) {
                (Some(before), Some(after)) => aspects(before, after),
                _ => Vec::new(),
            },
            old_size: before.and_then(size),
            new_size: after.and_then(size),
        }
    });
    changes.collect()
}

type Pair<'a> = (Option<&'a Stat>, Option<&'a Stat>);

fn differing<'a>(old: &'a Subject, new: &'a Subject) -> BTreeMap<&'a str, Pair<'a>> {
    let mut paths: BTreeMap<&str, Pair> = BTreeMap::new();
    for (path, stat) in old.files.iter().flatten() {
        paths.entry(path).or_default().0 = Some(stat);
    }
    for (path, stat) in new.files.iter().flatten() {
        paths.entry(path).or_default().1 = Some(stat);
    }
    paths.retain(|_, (before, after)| before != after);
    paths
}

/// In what two things at one path differ.
fn aspects(before: &Stat, after: &Stat) -> Vec<&'static str> {
    let mut aspects = Vec::new();
    match (&before.what, &after.what) {
        (one, two) if one == two => {}
        (What::File(..), What::File(..)) => aspects.push("content"),
        (What::Symlink(_), What::Symlink(_)) => aspects.push("target"),
        _ => aspects.push("kind"),
    }
    if before.mode != after.mode {
        aspects.push("mode");
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        aspects.push("owner");
    }
    if before.xattrs != after.xattrs {
        aspects.push("attributes");
    }
    aspects
}

fn size(stat: &Stat) -> Option<u64> {
    match stat.what {
        What::File(size, _) => Some(size),
        _ => None,
    }
}

/// Units that are enabled, disabled, masked, unmasked, or other than before.
pub(super) fn unit_changes(old: &Subject, new: &Subject) -> Vec<Unit> {
    let mut found = BTreeSet::new();
    for (path, (before, after)) in differing(old, new) {
        if let Some(name) = path.strip_prefix(ENABLED) {
            let [was, is] = [before, after].map(link);
            for (target, verbs) in [(was, ["unmasked", "disabled"]), (is, ["masked", "enabled"])] {
                if let Some(target) = target {
                    let verb = verbs[usize::from(target != MASKED)];
                    found.insert((name, verb));
                }
            }
        } else if let Some(name) = path.strip_prefix(UNITS)
            && !name.contains('/')
            && [before, after]
                .iter()
                .flatten()
                .any(|stat| stat.what != What::Directory)
        {
            found.insert((name, verb(before.is_some(), after.is_some())));
        }
    }
    let units = found.into_iter().map(|(name, change)| Unit {
        name: name.to_owned(),
        change,
    });
    units.collect()
}

fn link(stat: Option<&Stat>) -> Option<&str> {
    match &stat?.what {
        What::Symlink(target) => Some(target),
        _ => None,
    }
}
