//! Postfix's lookup tables, made from the accounts and the served domains.
//!
//! Text files in postmap's format (<https://www.postfix.org/postmap.1.html>)
//! under /run, and the LMDB files that postmap makes of them. LMDB replaces
//! its content in one transaction, so running daemons see all of a change or
//! nothing and need no reload (<https://www.postfix.org/LMDB_README.html>).

use crate::appliance::aliases::check::{Aliases, check_aliases};
use crate::appliance::aliases::{AliasText, load_aliases};
use crate::appliance::machine::files::{
    PUBLIC, ensure_file, read_optional, remove_file, write_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::program::run_program;
use crate::appliance::users::{LockedUsers, Users};
use crate::error::Hint;
use crate::settings::{Problem, Settings};
use anyhow::Result;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

type Table = BTreeMap<String, String>;

/// Which addresses exist.
fn mailboxes(users: &Users) -> Table {
    users
        .accounts
        .keys()
        .map(|address| (address.clone(), address.clone()))
        .collect()
}

/// Domains whose unknown addresses go somewhere.
fn whole_domains(aliases: &Aliases) -> BTreeSet<&str> {
    aliases
        .targets
        .keys()
        .filter_map(|alias| alias.strip_prefix('@'))
        .collect()
}

/// Where mail to aliases and role addresses goes.
fn alias_table(users: &Users, aliases: &Aliases) -> Table {
    let whole = whole_domains(aliases);
    let mut table: Table = aliases
        .targets
        .iter()
        .map(|(alias, targets)| (alias.clone(), targets.join(",")))
        .collect();
    // Postfix looks here before it looks for mailboxes: without a line of its own an account
    // would lose its mail to `@domain`.
    for address in users.accounts.keys() {
        if address
            .rsplit_once('@')
            .is_some_and(|(_, domain)| whole.contains(domain))
        {
            table.insert(address.clone(), address.clone());
        }
    }
    table
}

/// Who may send as whom: each account as itself and as the aliases that reach it.
///
/// Nobody sends in the name of a domain that is served no more: nothing would sign it.
fn senders(settings: &Settings, users: &Users, aliases: &Aliases) -> Table {
    let whole = whole_domains(aliases);
    let mut table = mailboxes(users);
    table.retain(|address, _| {
        let domain = address.rsplit_once('@').map_or("", |(_, domain)| domain);
        settings.domains().any(|served| served == domain)
    });
    for alias in aliases.targets.keys() {
        let owners: Vec<String> = aliases.owners(users, alias).into_iter().collect();
        if !owners.is_empty() {
            table.insert(alias.clone(), owners.join(","));
        } else if alias
            .split_once('@')
            .is_some_and(|(local, domain)| !local.is_empty() && whole.contains(domain))
        {
            // Nobody's here, so not the owner's of `@domain` either: nobody can log in as an alias.
            table.insert(alias.clone(), alias.clone());
        }
    }
    table
}

fn render(table: &Table) -> String {
    table
        .iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect()
}

/// Brings all tables up to date and returns the aliases in use.
///
/// The caller holds the accounts' lock. Bad lines of the aliases file are left
/// out: an old mistake must not stop a new account.
pub fn ensure_maps(place: &Place, settings: &Settings, users: &Users) -> Result<Aliases> {
    let folder = place.path(place::RENDERED).join("postfix");
    // Mail for accounts is better than none, and aliases in use better than none too.
    let (text, unreadable) = match load_aliases(place) {
        Ok(text) => (text, None),
        Err(error) => (AliasText::default(), Some(error)),
    };
    let keep = unreadable.is_some() && folder.join("aliases").exists();
    let mut aliases = check_aliases(settings, users, &text);
    aliases.problems.extend(unreadable.map(|error| Problem {
        line: None,
        key: None,
        wrong: format!("{error:#}"),
        expected: String::new(),
    }));
    for (name, table) in [
        ("mailboxes", mailboxes(users)),
        ("aliases", alias_table(users, &aliases)),
        ("senders", senders(settings, users, &aliases)),
    ] {
        if keep && name != "mailboxes" {
            continue;
        }
        let path = folder.join(name);
        let text = render(&table);
        ensure_file(&path, text.as_bytes(), PUBLIC, None)?;
        if place.is_machine() {
            ensure_compiled(&path, &text, |path| {
                let table = format!("lmdb:{}", path.display());
                let arguments = ["-c", &folder.display().to_string(), &table];
                run_program("/usr/sbin/postmap", &arguments).map(|_| ())
            })?;
        }
    }
    Ok(aliases)
}

/// Runs postmap unless the table was made of this very text.
///
/// Not by times: postmap that was killed leaves a table that is new and holds the old content.
fn ensure_compiled(path: &Path, text: &str, compile: impl Fn(&Path) -> Result<()>) -> Result<()> {
    let digest = hex::encode(Sha256::digest(text));
    let made = path.with_extension("made");
    if path.with_extension("lmdb").exists() && read_optional(&made)? == Some(digest.clone().into())
    {
        return Ok(());
    }
    remove_file(&made)?;
    compile(path)?;
    write_file(&made, digest.as_bytes(), PUBLIC, None)
}

/// Brings Postfix's tables up to date.
pub fn take_into_use(
    place: &Place,
    settings: &Settings,
    locked: &LockedUsers<'_>,
) -> Result<Option<Aliases>> {
    // Before the first render there is nothing to bring up to date.
    if !place.path(place::CONFIGURED).exists() {
        return Ok(None);
    }
    ensure_maps(place, settings, &locked.users)
        .map(Some)
        .hint("the change is stored; mailctl render takes it into use")
}

#[cfg(test)]
mod tests {
    use super::{alias_table, ensure_compiled, mailboxes, render, senders};
    use crate::appliance::aliases::AliasText;
    use crate::appliance::aliases::check::check_aliases;
    use crate::appliance::users::Users;

    use crate::settings::{Settings, parse_settings, resolve_settings};
    use std::cell::Cell;

    fn settings() -> Settings {
        let written = parse_settings(
            b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=jens\nADDITIONAL_DOMAINS=b.example\n",
        )
        .unwrap();
        resolve_settings(&written).unwrap().settings
    }

    #[test]
    fn roles_reach_the_admin_unless_they_are_accounts() {
        let users = Users::parse("abuse@b.example:x::::::\njens@a.example:x::::::\n");
        let aliases = check_aliases(&settings(), &users, &AliasText::default());
        let roles = "abuse@a.example jens@a.example\n\
                     abuse@mail.a.example jens@a.example\n\
                     postmaster@a.example jens@a.example\n\
                     postmaster@b.example jens@a.example\n\
                     postmaster@mail.a.example jens@a.example\n\
                     root@mail.a.example jens@a.example\n";
        assert_eq!(render(&alias_table(&users, &aliases)), roles);
        assert_eq!(
            render(&mailboxes(&users)),
            "abuse@b.example abuse@b.example\njens@a.example jens@a.example\n"
        );
        let senders = render(&senders(&settings(), &users, &aliases));
        assert!(senders.contains("root@mail.a.example jens@a.example\n"));
        assert!(senders.contains("abuse@b.example abuse@b.example\n"));
    }

    #[test]
    fn a_whole_domain_never_takes_what_has_an_owner() {
        let users = Users::parse("anna@b.example:x::::::\njens@a.example:x::::::\n");
        let text = "@b.example jens, anna@b.example\nout@b.example x@else.example\n\
                    postmaster@b.example anna@b.example\n";
        let aliases = check_aliases(&settings(), &users, &AliasText::parse(text));
        let table = alias_table(&users, &aliases);
        assert_eq!(table["@b.example"], "jens@a.example,anna@b.example");
        assert_eq!(table["anna@b.example"], "anna@b.example");
        assert_eq!(table["abuse@b.example"], "jens@a.example");
        assert_eq!(table["postmaster@b.example"], "anna@b.example");
        assert!(!table.contains_key("jens@a.example"));
        let senders = senders(&settings(), &users, &aliases);
        assert_eq!(senders["@b.example"], "anna@b.example,jens@a.example");
        assert_eq!(senders["anna@b.example"], "anna@b.example");
        assert_eq!(senders["postmaster@b.example"], "anna@b.example");
        assert_eq!(senders["out@b.example"], "out@b.example");
    }

    #[test]
    fn tables_are_compiled_only_when_they_must_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("aliases");
        let runs = Cell::new(0);
        let compile = |works: bool, text: &str| {
            ensure_compiled(&path, text, |path| {
                runs.set(runs.get() + 1);
                std::fs::write(path.with_extension("lmdb"), text)?;
                if works {
                    Ok(())
                } else {
                    anyhow::bail!("killed")
                }
            })
        };
        compile(true, "one").unwrap();
        compile(true, "one").unwrap();
        assert_eq!(runs.get(), 1);
        compile(false, "two").unwrap_err();
        compile(true, "two").unwrap();
        compile(true, "two").unwrap();
        assert_eq!(runs.get(), 3);
        std::fs::remove_file(path.with_extension("lmdb")).unwrap();
        compile(true, "two").unwrap();
        assert_eq!(runs.get(), 4);
    }
}
