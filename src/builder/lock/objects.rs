//! The packages of a lock as files to fetch: which addresses may have them.

use jiff::Timestamp;

use super::locked::{Lock, LockedPackage, LockedSource};
use crate::builder::archive::suite::join_url;
use crate::builder::fetch::Object;
use crate::builder::recipe::Recipe;

/// How long after an index was made another snapshot is looked into, in seconds.
///
/// Snapshots are taken some time after an index is published, so the newest at
/// its very date may lack what came in with it. Debian keeps what was replaced
/// for a day and a half, so the one a day later has both.
const SNAPSHOT_DELAY: i64 = 24 * 60 * 60;

/// How snapshots name a moment.
const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";

/// The packages of a lock as files to fetch, in the lock's order.
///
/// Mirrors are those of the lock. Snapshots are those of the recipe: they
/// decide nothing of what is built, so that a lock may be older than they.
pub fn objects(lock: &Lock, recipe: &Recipe) -> Vec<Object> {
    lock.packages
        .iter()
        .map(|package| Object {
            label: format!("{} {}", package.name, package.version),
            urls: sources(lock, package)
                .flat_map(|source| &source.mirrors)
                .map(|mirror| join_url(mirror, &package.path))
                .collect(),
            snapshots: sources(lock, package)
                .flat_map(|source| snapshots(source, package, recipe))
                .map(|base| join_url(&base, &package.path))
                .collect(),
            size: package.size,
            sha256: package.sha256.clone(),
        })
        .collect()
}

fn sources<'a>(
    lock: &'a Lock,
    package: &'a LockedPackage,
) -> impl Iterator<Item = &'a LockedSource> {
    lock.sources
        .iter()
        .filter(|source| source.suite == package.suite)
}

/// The base addresses of a source's snapshots at the time of the index that
/// listed the package: an earlier one, when the package is held back.
fn snapshots(source: &LockedSource, package: &LockedPackage, recipe: &Recipe) -> Vec<String> {
    let held = package.held.as_ref().map(|held| held.listed);
    let date = held.unwrap_or(source.date);
    let times: Vec<String> = [date, date.saturating_add(SNAPSHOT_DELAY)]
        .into_iter()
        .filter_map(|moment| Timestamp::from_second(moment).ok())
        .map(|moment| moment.strftime(TIME_FORMAT).to_string())
        .collect();
    let mut addresses = Vec::new();
    for archive in &recipe.sources {
        if archive.suite != source.suite {
            continue;
        }
        for template in &archive.snapshots {
            addresses.extend(times.iter().map(|time| template.replace("{time}", time)));
        }
    }
    addresses.dedup();
    addresses
}
