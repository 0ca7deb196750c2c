//! Numbers of system accounts, by name, from the image's own tables.
//!
//! Format: passwd(5) and group(5). Only files are read: the image has no other
//! source of accounts.

use super::files::Owner;
use super::place::Place;
use crate::error::Hint;
use anyhow::{Context, Result};

/// A system account of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SystemAccount {
    /// User number.
    pub user: u32,
    /// Number of its primary group.
    pub group: u32,
}

/// Looks an account up in `/etc/passwd`.
pub fn find_account(place: &Place, name: &str) -> Result<SystemAccount> {
    let fields = find_line(place, "/etc/passwd", name)?;
    let number = |index: usize| fields.get(index).and_then(|field| field.parse().ok());
    match (number(2), number(3)) {
        (Some(user), Some(group)) => Ok(SystemAccount { user, group }),
        _ => anyhow::bail!("the line of '{name}' in /etc/passwd is damaged"),
    }
}

/// Looks a group up in `/etc/group`.
pub fn find_group(place: &Place, name: &str) -> Result<u32> {
    find_line(place, "/etc/group", name)?
        .get(2)
        .and_then(|field| field.parse().ok())
        .with_context(|| format!("the line of '{name}' in /etc/group is damaged"))
}

fn find_line(place: &Place, table: &str, name: &str) -> Result<Vec<String>> {
    let path = place.path(table);
    let text =
        std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .map(|line| line.split(':').map(str::to_owned).collect::<Vec<_>>())
        .find(|fields| fields.first().is_some_and(|first| first == name))
        .with_context(|| format!("{table} has no '{name}'"))
        .hint("the image is incomplete: its recipe must declare this account")
}

/// Owner to give to a path: by name on the machine, nobody's business in a test folder.
pub fn owner(place: &Place, user: &str, group: &str) -> Result<Owner> {
    if !place.is_machine() {
        return Ok(None);
    }
    let user = if user == "root" {
        0
    } else {
        find_account(place, user)?.user
    };
    let group = if group == "root" {
        0
    } else {
        find_group(place, group)?
    };
    Ok(Some((user, group)))
}
