//! `mailctl user`: accounts, with the texts that t-lo/mailserver prints.

use super::alias;
use super::user_list::list_users;
use crate::appliance::aliases::{self, check, name};
use crate::appliance::machine::files::{check_state, remove_file};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_stored;
use crate::appliance::postfix::maps::take_into_use;
use crate::appliance::users::mailbox::{has_inbox, inbox_name, remove_set_aside, set_inbox_aside};
use crate::appliance::users::password::{check_password, generate_password, hash_password};
use crate::appliance::users::sessions::{await_next_look, end_sessions};
use crate::appliance::users::{Account, LockedUsers, Quota};
use crate::error::{Hint, hinted};
use crate::settings::{MailAddress, Settings, parse_mail_address, parse_quota};
use anyhow::{Context, Result};
use clap::Subcommand;
use std::io::Read;

/// Longest password line read from standard input, in bytes.
const MAXIMUM_INPUT: u64 = 4096;

/// What can be done about accounts.
#[derive(Debug, Subcommand)]
pub enum UserVerb {
    /// Make an account; without a password one is generated.
    Add {
        /// The full address.
        address: String,
        /// The password; other people on this machine may see it in the process list.
        #[arg(conflicts_with = "password_stdin", allow_hyphen_values = true)]
        password: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Delete an account; its mail stays unless purged.
    Del {
        /// Remove the mailbox too.
        #[arg(long)]
        purge_inbox: bool,
        /// The full address.
        address: String,
    },
    /// Set a new password; without one it is generated.
    Passwd {
        /// The full address.
        address: String,
        /// The password; other people on this machine may see it in the process list.
        #[arg(conflicts_with = "password_stdin", allow_hyphen_values = true)]
        password: Option<String>,
        /// Read the password from the first line of standard input.
        #[arg(long)]
        password_stdin: bool,
    },
    /// Give an account a quota of its own.
    Quota {
        /// The full address.
        address: String,
        /// A size such as 500M or 2G, none for no limit, default for that of MAILBOX_QUOTA.
        size: String,
    },
    /// List accounts with the size of their mailboxes.
    List {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Take an edited aliases file into use.
    UpdateAliases,
}

/// Does what was asked, and returns what to say.
pub fn run_verb(place: &Place, verb: &UserVerb) -> Result<String> {
    match verb {
        UserVerb::Add {
            address,
            password,
            password_stdin,
        } => add_user(place, address, password.as_deref(), *password_stdin),
        UserVerb::Del {
            purge_inbox,
            address,
        } => delete_user(place, address, *purge_inbox),
        UserVerb::Passwd {
            address,
            password,
            password_stdin,
        } => change_password(place, address, password.as_deref(), *password_stdin),
        UserVerb::Quota { address, size } => change_quota(place, address, size),
        UserVerb::List { json } => list_users(place, *json),
        UserVerb::UpdateAliases => alias::update_aliases(place),
    }
}

fn parse_address(text: &str) -> Result<MailAddress> {
    parse_mail_address(text)
        .map_err(|(wrong, expected)| hinted(wrong, format!("expected {expected}")))
        .usage()
}

fn served_address(settings: &Settings, text: &str) -> Result<MailAddress> {
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
fn given_password(argument: Option<&str>, stdin: bool) -> Result<Option<String>> {
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
fn add_user(place: &Place, text: &str, password: Option<&str>, stdin: bool) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let address = served_address(&settings, text)?;
    let given = given_password(password, stdin)?;
    let password = given.clone().unwrap_or_else(generate_password);
    // Hashing takes its time; nobody else should wait for it.
    let hash = hash_password(&password)?;
    let mut locked = LockedUsers::open(place)?;
    if locked.users.contains(&address.to_string()) {
        return Err(hinted(
            format!("'{address}' exists already"),
            format!("mailctl user passwd {address} sets a new password"),
        ));
    }
    refuse_alias(place, &settings, &address)?;
    locked
        .users
        .accounts
        .insert(address.to_string(), Account::new(hash));
    locked.store()?;
    take_into_use(place, &settings, &locked)?;
    drop(locked);
    await_next_look(place);
    Ok(match given {
        Some(_) => format!("Created user '{address}' with password provided."),
        None => format!("Created user '{address}', generated password is:'{password}'."),
    })
}

/// Mail goes to the alias first: an account of the same name would never get any.
fn refuse_alias(place: &Place, settings: &Settings, address: &MailAddress) -> Result<()> {
    let text = aliases::load_aliases(place)?;
    if name::written_aliases(settings, &text).contains(&address.to_string()) {
        return Err(hinted(
            format!("'{address}' is an alias already"),
            format!("mailctl alias del {address} makes room for an account"),
        ));
    }
    Ok(())
}

/// Sets a new password and returns what to say.
fn change_password(
    place: &Place,
    text: &str,
    password: Option<&str>,
    stdin: bool,
) -> Result<String> {
    check_state(place)?;
    let address = parse_address(text)?;
    let given = given_password(password, stdin)?;
    let password = given.clone().unwrap_or_else(generate_password);
    let hash = hash_password(&password)?;
    let mut locked = LockedUsers::open(place)?;
    let Some(account) = locked.users.accounts.get_mut(&address.to_string()) else {
        return Err(hinted(
            format!("User '{address}' does not exist. Please create the user first."),
            format!("mailctl user add {address} creates it"),
        ));
    };
    account.hash = hash;
    locked.store()?;
    drop(locked);
    warn(&end_sessions(place, &address.to_string()));
    forget_first_password(place, &address)?;
    Ok(match given {
        Some(_) => format!("Updated password for user '{address}'"),
        None => {
            format!("Updated password for user '{address}', generated password is:'{password}'.")
        }
    })
}

/// Gives an account its own quota, or takes it away, and returns what to say.
fn change_quota(place: &Place, text: &str, size: &str) -> Result<String> {
    check_state(place)?;
    let address = parse_address(text)?;
    let quota = parse_own_quota(size)?;
    let mut locked = LockedUsers::open(place)?;
    let Some(account) = locked.users.accounts.get_mut(&address.to_string()) else {
        return Err(unknown(&address));
    };
    account.set_quota(quota);
    locked.store()?;
    Ok(match quota {
        Quota::Default => format!("Mailbox of '{address}' has the quota of MAILBOX_QUOTA."),
        Quota::Unlimited => format!("Mailbox of '{address}' has no quota."),
        Quota::Bytes(bytes) => format!("Mailbox of '{address}' has a quota of {bytes} bytes."),
    })
}

fn parse_own_quota(text: &str) -> Result<Quota> {
    if text.eq_ignore_ascii_case("default") {
        return Ok(Quota::Default);
    }
    parse_quota(text)
        .map(|bytes| bytes.map_or(Quota::Unlimited, Quota::Bytes))
        .map_err(|(wrong, expected)| hinted(wrong, format!("expected {expected}, or default")))
        .usage()
}

/// Deletes an account, its mail only on request, and returns what to say.
///
/// First nobody can log in and no mail arrives, then open sessions end, then
/// the mail goes: nothing can write what is about to be removed.
fn delete_user(place: &Place, text: &str, purge: bool) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let address = parse_address(text)?;
    let name = address.to_string();
    let mut locked = LockedUsers::open(place)?;
    let known = locked.users.accounts.remove(&name).is_some();
    // A purge that was cut short after the account was gone can be run again.
    let unfinished = purge && has_inbox(place, &address);
    if !known && !unfinished {
        return Err(unknown(&address));
    }
    if known {
        locked.store()?;
    }
    let taken = take_into_use(place, &settings, &locked);
    drop(locked);
    // Even if mail still arrives for a while: whoever is logged in must go.
    warn(&end_sessions(place, &name));
    if let Some(aliases) = taken? {
        warn(&left_behind(&aliases, &name));
        if address == settings.admin {
            warn(&[format!(
                "mail to postmaster reaches nobody until '{name}' is an account or an alias again"
            )]);
        }
    }
    forget_first_password(place, &address)?;
    if !purge {
        return Ok(format!("Deleted '{address}'."));
    }
    const HINT: &str = "the account is gone already; run the same command again";
    let locked = LockedUsers::open(place)?;
    if locked.users.contains(&name) {
        return Err(hinted(
            format!("'{address}' was created again meanwhile: its mail is kept"),
            format!("mailctl user del --purge-inbox {address} deletes both"),
        ));
    }
    set_inbox_aside(place, &address).hint(HINT)?;
    drop(locked);
    remove_set_aside(place, &address).hint(HINT)?;
    Ok(format!(
        "Deleted '{address}' and purged {}.",
        inbox_name(&address)
    ))
}

/// Lines of the aliases file that still name an address which is gone.
fn left_behind(aliases: &check::Aliases, name: &str) -> Vec<String> {
    let missing = format!("'{name}' is neither");
    aliases
        .problems
        .iter()
        .filter(|problem| problem.wrong.starts_with(&missing))
        .filter_map(|problem| problem.line)
        .map(|line| format!("line {line} of {} still leads to '{name}'", place::ALIASES))
        .collect()
}

/// Prints what went wrong beside a change that is done.
fn warn(lines: &[String]) {
    for line in lines {
        tell!("warning: {line}");
    }
}

fn unknown(address: &MailAddress) -> anyhow::Error {
    hinted(
        format!("'{address}' does not exist"),
        "mailctl user list shows all accounts",
    )
}

/// The first password is shown on the console until it is no longer true.
fn forget_first_password(place: &Place, address: &MailAddress) -> Result<()> {
    let created = std::fs::read_to_string(place.path(place::ADMIN_CREATED)).unwrap_or_default();
    if created.trim() == address.to_string() {
        remove_file(&place.path(place::ADMIN_PASSWORD))?;
        crate::appliance::boot::console::refresh_console(place)?;
    }
    Ok(())
}
