//! `mailimg diff`: what changed between two images, locks or manifests.
//!
//! Each side is read whole and says what it knows; what both know is compared,
//! and what only one of them knows is named as not compared. Nothing is
//! fetched: maintainer scripts are those of packages in the cache.

mod files;
mod report;
pub(super) mod subject;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;

use crate::builder::deb::cached_package;
use crate::builder::fetch::Cache;
use crate::builder::lock::{Change, Pinned, package_changes, source_changes};
use crate::print::say;
use report::{Report, Script, Sized};
use subject::Subject;

/// Arguments of `mailimg diff`.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// What was: an image (raw or qcow2), a .lock or a .manifest.json
    old: PathBuf,
    /// What is now: the same kinds
    new: PathBuf,
    /// Print JSON, with every file
    #[arg(long)]
    json: bool,
}

/// Prints what changed; whether anything did makes no difference to the exit code.
pub fn run_diff(args: &DiffArgs) -> Result<()> {
    let read =
        |path: &PathBuf| Subject::load(path).with_context(|| format!("reading {}", path.display()));
    let (old, new) = (read(&args.old)?, read(&args.new)?);
    let report = compare(&old, &new)?;
    if args.json {
        say(&(serde_json::to_string_pretty(&report)? + "\n"))
    } else {
        say(&report.to_string())
    }
}

fn compare(old: &Subject, new: &Subject) -> Result<Report> {
    let mut report = Report {
        packages: package_changes(&old.packages, &new.packages),
        ..Report::default()
    };
    let mut unknown = |what: &str, in_old: bool, in_new: bool| {
        let side = match (in_old, in_new) {
            (true, true) => return true,
            // As with two locks: nobody expects them.
            (false, false) => return false,
            (false, true) => "OLD lacks them",
            (true, false) => "NEW lacks them",
        };
        report.not_compared.push(format!("{what}: {side}"));
        false
    };
    let has = |subject: &Subject| subject.files.is_some();
    let both_files = unknown("files and units", has(old), has(new));
    unknown("sizes", old.sizes.is_some(), new.sizes.is_some());
    unknown(
        "settings",
        !old.settings.is_empty(),
        !new.settings.is_empty(),
    );
    if let (Some(old), Some(new)) = (&old.lock, &new.lock) {
        report.sources = source_changes(old, new);
    }
    if !old.settings.is_empty() && !new.settings.is_empty() {
        let lacks = |all: &[String], key: &String| !all.contains(key);
        let added = new.settings.iter().filter(|key| lacks(&old.settings, key));
        report.settings_added = added.cloned().collect();
        let removed = old.settings.iter().filter(|key| lacks(&new.settings, key));
        report.settings_removed = removed.cloned().collect();
    }
    if let (Some(old), Some(new)) = (&old.sizes, &new.sizes) {
        report.sizes = old
            .iter()
            .zip(new.iter())
            .map(|((part, old), (_, new))| Sized { part, old, new })
            .filter(|sized| sized.old != sized.new)
            .collect();
    }
    if both_files {
        report.files = files::changes(old, new);
        report.units = files::unit_changes(old, new);
        if old.origins.is_empty() || new.origins.is_empty() {
            report
                .not_compared
                .push("what brought each file: no bill of materials in the image".to_owned());
        }
    }
    compare_scripts(old, new, &mut report)?;
    Ok(report)
}

/// Maintainer scripts of changed packages, as far as the cache holds both versions.
fn compare_scripts(old: &Subject, new: &Subject, report: &mut Report) -> Result<()> {
    let cache = Cache::open(Cache::default_path()?)?;
    let mut unknown = 0;
    for change in &report.packages {
        let (Some(old), Some(new)) = (pinned(old, change), pinned(new, change)) else {
            continue;
        };
        let [old, new] = [old, new].map(|package| cached_package(&package.sha256, &cache));
        let (Ok(Some(old)), Ok(Some(new))) = (old, new) else {
            unknown += 1;
            continue;
        };
        let mut kinds: Vec<&String> = old.scripts.iter().map(|script| &script.kind).collect();
        kinds.extend(new.scripts.iter().map(|script| &script.kind));
        kinds.sort();
        kinds.dedup();
        for kind in kinds {
            let [before, after] = [&old, &new].map(|package| {
                let mut scripts = package.scripts.iter();
                scripts.find(|script| script.kind == *kind)
            });
            if before != after {
                report.scripts.push(Script {
                    package: change.name.clone(),
                    kind: kind.clone(),
                    change: files::verb(before.is_some(), after.is_some()),
                });
            }
        }
    }
    if unknown > 0 {
        report.not_compared.push(format!(
            "maintainer scripts of {}: not both versions are in the cache, where builds put them",
            report::count(unknown, "package")
        ));
    }
    Ok(())
}

fn pinned<'a>(subject: &'a Subject, change: &Change) -> Option<&'a Pinned> {
    let mut packages = subject.packages.iter();
    packages.find(|package| package.name == change.name)
}
