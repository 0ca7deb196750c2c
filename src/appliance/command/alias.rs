//! `mailctl alias` and `mailctl update-aliases`: the aliases file, by command or by hand.

use crate::appliance::aliases::check::{Aliases, check_aliases};
use crate::appliance::aliases::name::{parse_alias, parse_target, written_aliases};
use crate::appliance::aliases::{AliasText, load_aliases, load_aliases_to_change, store_aliases};
use crate::appliance::boot::console::refresh_console;
use crate::appliance::machine::files::check_state;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_stored;
use crate::appliance::postfix::maps::take_into_use;
use crate::appliance::users::{LockedUsers, load_users};
use crate::error::{Hint, hinted};
use crate::settings::{Problem, Problems, Settings};
use anyhow::{Context, Result};
use clap::Subcommand;
use serde::Serialize;
use std::collections::BTreeMap;

/// What can be done about aliases.
#[derive(Debug, Subcommand)]
pub enum AliasVerb {
    /// Add an alias, or targets to one that is there.
    Add {
        /// An address in a served domain, or @DOMAIN for all of it.
        alias: String,
        /// Full addresses, here or elsewhere, or user names of the first domain.
        #[arg(required = true)]
        targets: Vec<String>,
    },
    /// Delete an alias, or only some of its targets.
    Del {
        /// The alias.
        alias: String,
        /// The targets to delete; all when absent.
        targets: Vec<String>,
    },
    /// List aliases.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &AliasVerb) -> Result<String> {
    match verb {
        AliasVerb::Add { alias, targets } => add_alias(place, alias, targets),
        AliasVerb::Del { alias, targets } => delete_alias(place, alias, targets),
        AliasVerb::List { json } => list_aliases(place, *json),
    }
}

fn wanted<T>(parsed: Result<T, (String, String)>) -> Result<T> {
    parsed
        .map_err(|(wrong, expected)| hinted(wrong, format!("expected {expected}")))
        .usage()
}

fn quoted(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
    names.join(", ")
}

/// A word that a shell takes as it is.
fn shell_word(word: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"@._+-".contains(&byte);
    if word.bytes().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// Whether a word of the file stands for an alias.
fn same_alias<'a>(settings: &'a Settings, alias: &'a str) -> impl Fn(&str) -> bool + 'a {
    move |word| parse_alias(settings, word).is_ok_and(|found| found == alias)
}

/// Targets of an alias as the file has them, right or wrong.
fn written_targets(settings: &Settings, text: &AliasText, alias: &str) -> Option<Vec<String>> {
    let same = same_alias(settings, alias);
    let entries: Vec<_> = text
        .entries()
        .into_iter()
        .filter(|entry| same(&entry.alias))
        .collect();
    (!entries.is_empty()).then(|| {
        entries
            .into_iter()
            .flat_map(|entry| entry.targets)
            .map(|(_, target)| parse_target(settings, &target).unwrap_or(target))
            .collect()
    })
}

/// Adds targets to an alias, which may be new, and returns what to say.
fn add_alias(place: &Place, alias: &str, targets: &[String]) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let alias = wanted(parse_alias(&settings, alias))?;
    let mut added: Vec<String> = Vec::new();
    for target in targets {
        let target = wanted(parse_target(&settings, target))?;
        if !added.contains(&target) {
            added.push(target);
        }
    }
    let locked = LockedUsers::open(place)?;
    if locked.users.contains(&alias) {
        return Err(hinted(
            format!("'{alias}' is an account"),
            "the account can forward with a sieve script, or be deleted with mailctl user del",
        ));
    }
    let mut text = load_aliases_to_change(place)?;
    let there = written_targets(&settings, &text, &alias).unwrap_or_default();
    if let Some(double) = added.iter().find(|target| there.contains(target)) {
        return Err(hinted(
            format!("'{alias}' leads to '{double}' already"),
            "mailctl alias list shows all aliases",
        ));
    }
    let before = check_aliases(&settings, &locked.users, &text).problems;
    text.add(same_alias(&settings, &alias), &alias, &added);
    let after = check_aliases(&settings, &locked.users, &text).problems;
    refuse_new(&before, after)?;
    store_aliases(place, &text)?;
    take_into_use(place, &settings, &locked)?;
    refresh_console(place)?;
    Ok(format!("Added alias '{alias}' for {}.", quoted(&added)))
}

/// An old mistake must not stop a change, a new one must.
fn refuse_new(before: &[Problem], after: Vec<Problem>) -> Result<()> {
    let new: Vec<Problem> = after
        .into_iter()
        .filter(|problem| !before.contains(problem))
        .map(|problem| Problem {
            // Of a line that is never written.
            line: None,
            ..problem
        })
        .collect();
    if new.is_empty() {
        return Ok(());
    }
    Err(Problems(new)).hint("nothing was changed; mailctl alias list shows all aliases")
}

/// Removes targets of an alias, or all of it, and returns what to say.
fn delete_alias(place: &Place, alias: &str, targets: &[String]) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    // What is in the file may be wrong, and must be removable all the same.
    let alias = parse_alias(&settings, alias).unwrap_or_else(|_| alias.to_owned());
    let unwanted: Vec<String> = targets
        .iter()
        .map(|target| parse_target(&settings, target).unwrap_or_else(|_| target.clone()))
        .collect();
    let locked = LockedUsers::open(place)?;
    let mut text = load_aliases_to_change(place)?;
    let same = |word: &str| {
        word == alias || parse_alias(&settings, word).is_ok_and(|found| found == alias)
    };
    let there: Vec<String> = text
        .entries()
        .into_iter()
        .filter(|entry| same(&entry.alias))
        .flat_map(|entry| entry.targets)
        .map(|(_, target)| parse_target(&settings, &target).unwrap_or(target))
        .collect();
    if !text.entries().iter().any(|entry| same(&entry.alias)) {
        return Err(hinted(
            format!("there is no alias '{alias}'"),
            "mailctl alias list shows all aliases",
        ));
    }
    if let Some(missing) = unwanted.iter().find(|target| !there.contains(target)) {
        return Err(hinted(
            format!("'{alias}' does not lead to '{missing}'"),
            format!("it leads to {}", quoted(&there)),
        ));
    }
    let all = unwanted.is_empty() || there.iter().all(|target| unwanted.contains(target));
    let before = check_aliases(&settings, &locked.users, &text);
    let written = written_aliases(&settings, &text);
    let leading = before.leading_to(&alias);
    let leading = leading
        .into_iter()
        .find(|other| *other != alias && written.contains(*other));
    if let (true, Some(other)) = (all, leading) {
        return Err(hinted(
            format!("alias '{other}' leads to '{alias}'"),
            format!(
                "mailctl alias del {} {} goes first",
                shell_word(other),
                shell_word(&alias)
            ),
        ));
    }
    text.remove(same, |word| {
        let target = parse_target(&settings, word).unwrap_or_else(|_| word.to_owned());
        all || unwanted.contains(&target)
    });
    store_aliases(place, &text)?;
    take_into_use(place, &settings, &locked)?;
    refresh_console(place)?;
    Ok(if all {
        format!("Deleted alias '{alias}'.")
    } else {
        format!("Deleted {} from alias '{alias}'.", quoted(&unwanted))
    })
}

/// Takes the file into use as it is, and returns what to say.
///
/// A mistake anywhere in the file changes nothing.
pub fn update_aliases(place: &Place) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let locked = LockedUsers::open(place)?;
    let text = load_aliases(place)?;
    let checked = check_aliases(&settings, &locked.users, &text);
    if !checked.problems.is_empty() {
        return Err(Problems(checked.problems))
            .with_context(|| format!("checking {}", place::ALIASES))
            .hint("nothing was changed; edit the file, then run mailctl update-aliases again");
    }
    take_into_use(place, &settings, &locked)?;
    refresh_console(place)?;
    let aliases = written(&settings, &text).len();
    Ok(format!("Updated aliases: {aliases} in use."))
}

/// One alias of the file.
#[derive(Debug, Serialize)]
struct Row {
    alias: String,
    /// Those in use.
    targets: Vec<String>,
    /// Line numbers from 1.
    lines: Vec<usize>,
    /// What is wrong with its lines.
    problems: Vec<String>,
}

/// Aliases of the file by name, with the lines they stand on.
fn written(settings: &Settings, text: &AliasText) -> BTreeMap<String, Vec<usize>> {
    let mut lines: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for entry in text.entries() {
        let alias = parse_alias(settings, &entry.alias).unwrap_or(entry.alias);
        let lines = lines.entry(alias).or_default();
        lines.push(entry.line);
        lines.extend(entry.targets.iter().map(|(line, _)| *line));
        lines.dedup();
    }
    lines
}

/// Lists the aliases as text or JSON.
fn list_aliases(place: &Place, json: bool) -> Result<String> {
    let settings = load_stored(place)?.settings;
    let text = load_aliases(place)?;
    let checked = check_aliases(&settings, &load_users(place)?, &text);
    let rows: Vec<Row> = written(&settings, &text)
        .into_iter()
        .map(|(alias, lines)| row(&checked, alias, lines))
        .collect();
    if json {
        return serde_json::to_string_pretty(&rows).context("writing JSON");
    }
    let width = rows.iter().map(|row| row.alias.len()).max().unwrap_or(0);
    let mut out = Vec::new();
    for row in &rows {
        out.push(
            format!("{:width$}  {}", row.alias, row.targets.join(", "))
                .trim_end()
                .to_owned(),
        );
        out.extend(row.problems.iter().map(|problem| format!("  {problem}")));
    }
    if out.is_empty() {
        out.push(format!("No aliases in {}.", place::ALIASES));
    }
    Ok(out.join("\n"))
}

fn row(checked: &Aliases, alias: String, lines: Vec<usize>) -> Row {
    Row {
        targets: checked.targets.get(&alias).cloned().unwrap_or_default(),
        problems: checked
            .problems
            .iter()
            .filter(|problem| problem.line.is_some_and(|line| lines.contains(&line)))
            .map(ToString::to_string)
            .collect(),
        alias,
        lines,
    }
}
