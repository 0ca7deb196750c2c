//! `mailimg outdated`: what is locked beside what the mirrors offer now.
//!
//! The recipe is resolved as `mailimg lock` does it, in memory; nothing is
//! written but the cache. The exit code is for timers.

use std::fmt::Write as _;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::workbench::{RecipeArgs, Workbench, now};
use crate::builder::lock::{ChangeKind, Outdated, check_fresh, make_lock, outdated};
use crate::error::{EXIT_DONE, EXIT_FAILED};
use crate::print::say;

/// Arguments of `mailimg outdated`.
#[derive(Args, Debug)]
pub struct OutdatedArgs {
    #[command(flatten)]
    recipe: RecipeArgs,
}

/// Prints what a new lock would change; the exit code is 1 when anything
/// locked is behind.
pub fn run_outdated(args: &OutdatedArgs) -> Result<u8> {
    let workbench = Workbench::open(&args.recipe)?;
    let locked = workbench.lock()?;
    let offered = make_lock(
        &workbench.recipe,
        &workbench.mirror,
        Some(locked),
        &[],
        now(),
        &workbench.progress,
    )?;
    let changes = outdated(locked, &offered);
    let behind = changes.iter().filter(|change| is_behind(change)).count();
    let name = &workbench.recipe.name;
    if args.recipe.json {
        let result = json!({
            "event": "outdated", "recipe": name, "behind": behind, "packages": changes,
        });
        say(&format!("{result}\n"))?;
    } else {
        if check_fresh(&workbench.recipe, locked).is_err() {
            say("the recipe has changed since the lock was made\n")?;
        }
        say(&render(name, locked.packages.len(), &changes))?;
    }
    Ok(if behind == 0 { EXIT_DONE } else { EXIT_FAILED })
}

/// Whether the lock lacks something that is offered; a version above all that
/// is offered is none.
fn is_behind(change: &Outdated) -> bool {
    change.change != ChangeKind::Downgraded
}

fn render(recipe: &str, packages: usize, changes: &[Outdated]) -> String {
    if changes.is_empty() {
        return format!(
            "{recipe} is current: no source offers other than the {packages} packages locked\n"
        );
    }
    let mut rows = vec![["PACKAGE", "LOCKED", "OFFERED", "SUITE", ""].map(str::to_owned)];
    rows.extend(changes.iter().map(|change| {
        let version = |version: &Option<String>| version.clone().unwrap_or_else(|| "-".to_owned());
        [
            change.package.clone(),
            version(&change.locked),
            version(&change.offered),
            change.suite.clone(),
            remark(change.change).to_owned(),
        ]
    }));
    let mut text = String::new();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [0, 1, 2, 3].map(width);
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths.iter().chain(&[0])) {
            let _ = write!(line, "{cell:<width$}  ");
        }
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let behind: Vec<&Outdated> = changes.iter().filter(|change| is_behind(change)).collect();
    let security = behind.iter().filter(|change| change.security).count();
    let _ = match behind.len() {
        0 => writeln!(text, "{recipe} is behind in nothing"),
        1 => writeln!(
            text,
            "1 change to {recipe}, security updates: {security}; `mailimg lock {recipe}` takes it"
        ),
        many => writeln!(
            text,
            "{many} changes to {recipe}, security updates: {security}; \
             `mailimg lock {recipe}` takes them"
        ),
    };
    text
}

/// What the versions do not say by themselves.
fn remark(change: ChangeKind) -> &'static str {
    match change {
        ChangeKind::Upgraded => "",
        ChangeKind::Downgraded => "the locked version is higher",
        ChangeKind::Rebuilt => "same version, other content",
        ChangeKind::Added => "would be added",
        ChangeKind::Removed => "would be removed",
    }
}

#[cfg(test)]
mod tests {
    use super::{ChangeKind, Outdated, render};

    #[test]
    fn a_table_tells_what_would_change() {
        let change = |package: &str, change, locked: &str, offered: &str, suite: &str| Outdated {
            change,
            package: package.to_owned(),
            locked: (!locked.is_empty()).then(|| locked.to_owned()),
            offered: (!offered.is_empty()).then(|| offered.to_owned()),
            suite: suite.to_owned(),
            security: suite.ends_with("-security"),
        };
        let changes = [
            change(
                "openssl",
                ChangeKind::Upgraded,
                "3.5.1",
                "3.5.1+u2",
                "trixie-security",
            ),
            change("a", ChangeKind::Removed, "1", "", "trixie"),
            change("b", ChangeKind::Downgraded, "2", "1", "trixie"),
        ];
        assert_eq!(
            render("mail", 3, &changes),
            "PACKAGE  LOCKED  OFFERED   SUITE\n\
             openssl  3.5.1   3.5.1+u2  trixie-security\n\
             a        1       -         trixie           would be removed\n\
             b        2       1         trixie           the locked version is higher\n\
             2 changes to mail, security updates: 1; `mailimg lock mail` takes them\n"
        );
        assert_eq!(
            render("mail", 3, &[]),
            "mail is current: no source offers other than the 3 packages locked\n"
        );
    }
}
