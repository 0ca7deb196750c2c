//! `mailctl user`: accounts, with the texts that t-lo/mailserver prints.

use super::maps::ensure_maps;
use super::password::{check_password, generate_password, hash_password};
use super::place::{self, Place};
use super::settings_command::load_stored;
use super::state::{check_state, remove_file};
use super::users::{LockedUsers, inbox_name, inbox_path, inbox_size, load_users};
use crate::error::{Hint, hinted};
use crate::settings::{MailAddress, Settings, parse_mail_address};
use anyhow::Context;
use serde::Serialize;
use std::io::{ErrorKind, Read};

/// Longest password line read from standard input, in bytes.
const MAXIMUM_INPUT: u64 = 4096;

fn parse_address(text: &str) -> anyhow::Result<MailAddress> {
    parse_mail_address(text)
        .map_err(|(wrong, expected)| hinted(wrong, format!("expected {expected}")))
        .usage()
}

fn served_address(settings: &Settings, text: &str) -> anyhow::Result<MailAddress> {
    let address = parse_address(text)?;
    if settings.domains().any(|domain| domain == address.domain) {
        return Ok(address);
    }
    let served: Vec<&str> = settings.domains().collect();
    Err(hinted(
        format!("'{}' is no domain of this machine", address.domain),
        format!(
            "it serves {}; more go into ADDITIONAL_DOMAINS of {}, then mailctl settings apply",
            served.join(", "),
            place::SETTINGS
        ),
    ))
}

/// A password from the arguments or standard input, `None` when one must be made.
fn given_password(argument: Option<&str>, stdin: bool) -> anyhow::Result<Option<String>> {
    let password = if stdin {
        let mut text = String::new();
        std::io::stdin()
            .take(MAXIMUM_INPUT)
            .read_to_string(&mut text)
            .context("reading the password from standard input")?;
        Some(text.lines().next().unwrap_or_default().to_owned())
    } else {
        argument.map(str::to_owned)
    };
    if let Some(password) = &password {
        check_password(password).usage()?;
    }
    Ok(password)
}

/// Makes an account and returns what to say.
///
/// # Errors
/// A bad, foreign or taken address; state that cannot be written.
pub fn add_user(
    place: &Place,
    text: &str,
    password: Option<&str>,
    stdin: bool,
) -> anyhow::Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let address = served_address(&settings, text)?;
    let given = given_password(password, stdin)?;
    let password = given.clone().unwrap_or_else(generate_password);
    // Hashing takes its time; nobody else should wait for it.
    let hash = hash_password(&password)?;
    let mut locked = LockedUsers::open(place)?;
    if locked.users.hashes.contains_key(&address.to_string()) {
        return Err(hinted(
            format!("'{address}' exists already"),
            format!("mailctl user passwd {address} sets a new password"),
        ));
    }
    locked.users.hashes.insert(address.to_string(), hash);
    locked.store()?;
    take_into_use(place, &settings, &locked)?;
    Ok(match given {
        Some(_) => format!("Created user '{address}' with password provided."),
        None => format!("Created user '{address}', generated password is:'{password}'."),
    })
}

/// Sets a new password and returns what to say.
///
/// # Errors
/// An unknown address; state that cannot be written.
pub fn change_password(
    place: &Place,
    text: &str,
    password: Option<&str>,
    stdin: bool,
) -> anyhow::Result<String> {
    check_state(place)?;
    let address = parse_address(text)?;
    let given = given_password(password, stdin)?;
    let password = given.clone().unwrap_or_else(generate_password);
    let hash = hash_password(&password)?;
    let mut locked = LockedUsers::open(place)?;
    let Some(stored) = locked.users.hashes.get_mut(&address.to_string()) else {
        return Err(unknown(&address));
    };
    *stored = hash;
    locked.store()?;
    forget_first_password(place, &address)?;
    Ok(match given {
        Some(_) => format!("Changed password of '{address}' to the one provided."),
        None => format!("Changed password of '{address}', generated password is:'{password}'."),
    })
}

/// Deletes an account, its mail only on request, and returns what to say.
///
/// # Errors
/// An unknown address; state that cannot be written; mail that cannot be removed.
pub fn delete_user(place: &Place, text: &str, purge: bool) -> anyhow::Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let address = parse_address(text)?;
    let mut locked = LockedUsers::open(place)?;
    let inbox = inbox_path(place, &address);
    let known = locked.users.hashes.remove(&address.to_string()).is_some();
    // A purge that was cut short after the account was gone can be run again.
    let unfinished = purge && inbox.exists();
    if !known && !unfinished {
        return Err(unknown(&address));
    }
    locked.store()?;
    take_into_use(place, &settings, &locked)?;
    forget_first_password(place, &address)?;
    if !purge {
        return Ok(format!("Deleted '{address}'."));
    }
    match std::fs::remove_dir_all(&inbox) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(error)
                .with_context(|| format!("removing {}", inbox.display()))
                .hint("the account is gone already; run the same command again");
        }
        _ => {}
    }
    Ok(format!(
        "Deleted '{address}' and purged {}.",
        inbox_name(&address)
    ))
}

fn unknown(address: &MailAddress) -> anyhow::Error {
    hinted(
        format!("'{address}' does not exist"),
        "mailctl user list shows all accounts",
    )
}

fn take_into_use(
    place: &Place,
    settings: &Settings,
    locked: &LockedUsers<'_>,
) -> anyhow::Result<()> {
    // Before the first render there is nothing to bring up to date.
    if !place.path(place::CONFIGURED).exists() {
        return Ok(());
    }
    ensure_maps(place, settings, &locked.users)
        .hint("the accounts are stored; mailctl render takes them into use")
}

/// The first password is shown on the console until it is no longer true.
fn forget_first_password(place: &Place, address: &MailAddress) -> anyhow::Result<()> {
    let created = std::fs::read_to_string(place.path(place::ADMIN_CREATED)).unwrap_or_default();
    if created.trim() == address.to_string() {
        remove_file(&place.path(place::ADMIN_PASSWORD))?;
        super::console::refresh_console(place)?;
    }
    Ok(())
}

/// One row of `mailctl user list`.
#[derive(Debug, Serialize)]
struct Row {
    user: String,
    /// Bytes; absent before the first mail.
    mailbox_bytes: Option<u64>,
    sanity: &'static str,
}

/// Lists the accounts as text or JSON.
///
/// # Errors
/// Unreadable state.
pub fn list_users(place: &Place, json: bool) -> anyhow::Result<String> {
    let settings = load_stored(place)?.settings;
    let rows: Vec<Row> = load_users(place)?
        .hashes
        .iter()
        .map(|(user, hash)| row(place, &settings, user, hash))
        .collect();
    if json {
        return serde_json::to_string_pretty(&rows).context("writing JSON");
    }
    let width = rows
        .iter()
        .map(|row| row.user.len())
        .max()
        .unwrap_or(0)
        .max(4);
    let mut lines = vec![format!("{:width$}  {:>10}  SANITY", "USER", "MAILBOX")];
    for row in &rows {
        let size = row
            .mailbox_bytes
            .map_or_else(|| "-".to_owned(), readable_size);
        lines.push(format!("{:width$}  {size:>10}  {}", row.user, row.sanity));
    }
    Ok(lines.join("\n"))
}

fn row(place: &Place, settings: &Settings, user: &str, hash: &str) -> Row {
    let address = parse_mail_address(user).ok();
    let sanity = match &address {
        None => "no valid address",
        Some(address) if !settings.domains().any(|domain| domain == address.domain) => {
            "domain not served"
        }
        Some(_) if !hash.starts_with('{') => "no password",
        Some(_) => "ok",
    };
    Row {
        user: user.to_owned(),
        mailbox_bytes: address.and_then(|address| inbox_size(place, &address)),
        sanity,
    }
}

/// Bytes in the largest unit that keeps the number above one.
pub fn readable_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut scaled = bytes;
    let mut rest = 0;
    while scaled >= 1024 && unit + 1 < UNITS.len() {
        rest = scaled % 1024;
        scaled /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{scaled} {}", UNITS[unit])
    } else {
        format!("{scaled}.{} {}", rest * 10 / 1024, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::readable_size;

    #[test]
    fn sizes() {
        assert_eq!(readable_size(1023), "1023 B");
        assert_eq!(readable_size(1536), "1.5 KiB");
        assert_eq!(readable_size(5 << 30), "5.0 GiB");
    }
}
