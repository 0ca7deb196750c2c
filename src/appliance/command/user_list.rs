//! `mailctl user list`: the table of t-lo/mailserver, and JSON.

use crate::appliance::aliases::load_aliases;
use crate::appliance::aliases::name::written_aliases;
use crate::appliance::guard::logins::load_logins;
use crate::appliance::machine::accounts::find_account;
use crate::appliance::machine::place::Place;
use crate::appliance::machine::settings::load_stored;
use crate::appliance::users::mailbox::{human_size, inbox_path, inbox_use};
use crate::appliance::users::{Account, Quota, load_users};
use crate::settings::{MailAddress, Settings, parse_mail_address};
use anyhow::{Context, Result};
use serde::Serialize;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

/// What an account without a mailbox has in the column of sizes.
const NO_MAILBOX: &str = "<empty>";
/// What an account has that lacks nothing.
const SANE: &str = "OK";

/// One account.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    /// Bytes on disk; absent before the first mail.
    mailbox_bytes: Option<u64>,
    /// Messages in all folders.
    mailbox_messages: Option<u64>,
    /// The limit in bytes; absent when there is none.
    quota_bytes: Option<u64>,
    /// `OK`, or what is wrong.
    sanity: String,
}

/// The accounts as a value, each with its last login.
pub fn facts(place: &Place) -> Result<serde_json::Value> {
    let logins = load_logins(place).unwrap_or_default();
    let mut values = serde_json::to_value(rows(place)?).context("writing JSON")?;
    for value in values.as_array_mut().into_iter().flatten() {
        let last = value["user"].as_str().and_then(|user| logins.get(user));
        value["last_login"] = last.copied().into();
    }
    Ok(values)
}

fn rows(place: &Place) -> Result<Vec<Row>> {
    let settings = load_stored(place)?.settings;
    let aliases = written_aliases(&settings, &load_aliases(place)?);
    Ok(load_users(place)?
        .accounts
        .iter()
        .map(|(user, account)| row(place, &settings, &aliases, user, account))
        .collect())
}

/// Lists the accounts as text or JSON.
pub fn list_users(place: &Place, json: bool) -> Result<String> {
    let rows = rows(place)?;
    if json {
        return serde_json::to_string_pretty(&rows).context("writing JSON");
    }
    let mut lines = vec![
        line("user", '|', "mbox size", "sanity checks"),
        line("--------------------", '+', "----------", "------------"),
    ];
    for row in &rows {
        let size = row
            .mailbox_bytes
            .map_or_else(|| NO_MAILBOX.to_owned(), human_size);
        lines.push(line(&row.user, '|', &size, &row.sanity));
    }
    Ok(lines.join("\n"))
}

fn line(user: &str, mark: char, size: &str, sanity: &str) -> String {
    format!("{user:>40.40} {mark} {size:>10.10} {mark} {sanity}")
}

fn row(
    place: &Place,
    settings: &Settings,
    aliases: &BTreeSet<String>,
    user: &str,
    account: &Account,
) -> Row {
    let address = parse_mail_address(user).ok();
    let mut wrong: Vec<&str> = Vec::new();
    match &address {
        None => wrong.push("[no valid address]"),
        Some(address) if !settings.domains().any(|domain| domain == address.domain) => {
            wrong.push("[domain is not served: add it to ADDITIONAL_DOMAINS]");
        }
        Some(_) => {}
    }
    if !account.hash.starts_with('{') {
        wrong.push("[no password set: user cannot log in]");
    }
    if aliases.contains(user) {
        wrong.push("[an alias of the same name has no effect]");
    }
    if address
        .as_ref()
        .is_some_and(|address| has_wrong_owner(place, address))
    {
        wrong.push("[mailbox does not belong to vmail]");
    }
    let found = address.and_then(|address| inbox_use(place, &address));
    Row {
        user: user.to_owned(),
        mailbox_bytes: found.map(|found| found.bytes),
        mailbox_messages: found.map(|found| found.messages),
        quota_bytes: match account.quota() {
            Quota::Default => settings.mailbox_quota,
            Quota::Unlimited => None,
            Quota::Bytes(bytes) => Some(bytes),
        },
        sanity: if wrong.is_empty() {
            SANE.to_owned()
        } else {
            wrong.join(" ")
        },
    }
}

fn has_wrong_owner(place: &Place, address: &MailAddress) -> bool {
    place.is_machine()
        && match (
            find_account(place, "vmail"),
            inbox_path(place, address).metadata(),
        ) {
            (Ok(vmail), Ok(inbox)) => inbox.uid() != vmail.user,
            _ => false,
        }
}
