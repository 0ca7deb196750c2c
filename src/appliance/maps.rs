//! Postfix's lookup tables, made from the accounts and the served domains.
//!
//! Text files in postmap's format (<https://www.postfix.org/postmap.1.html>)
//! under /run, and the LMDB files that postmap makes of them. LMDB replaces
//! its content in one transaction, so running daemons see all of a change or
//! nothing and need no reload (<https://www.postfix.org/LMDB_README.html>).

use super::place::{self, Place};
use super::run::run_program;
use super::state::{PUBLIC, ensure_file};
use super::users::Users;
use crate::settings::Settings;
use std::collections::BTreeMap;

/// Addresses that RFC 2142 (<https://www.rfc-editor.org/rfc/rfc2142>) wants answered.
const ROLES: [&str; 2] = ["abuse", "postmaster"];
/// Whom the machine itself writes to.
const MACHINE_ROLES: [&str; 3] = ["abuse", "postmaster", "root"];

/// Which addresses exist, and who may send as whom: each account as itself.
fn mailboxes(users: &Users) -> BTreeMap<String, String> {
    users
        .hashes
        .keys()
        .map(|address| (address.clone(), address.clone()))
        .collect()
}

/// Where mail to role addresses goes; an account of that name wins.
fn aliases(settings: &Settings, users: &Users) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    let admin = settings.admin.to_string();
    for domain in settings.domains() {
        for role in ROLES {
            map.insert(format!("{role}@{domain}"), admin.clone());
        }
    }
    for role in MACHINE_ROLES {
        map.entry(format!("{role}@{}", settings.hostname))
            .or_insert_with(|| admin.clone());
    }
    map.retain(|address, _| !users.hashes.contains_key(address));
    map
}

fn render(map: &BTreeMap<String, String>) -> String {
    map.iter()
        .map(|(key, value)| format!("{key} {value}\n"))
        .collect()
}

/// Brings both tables up to date. The caller holds the accounts' lock.
///
/// # Errors
/// A table that cannot be written, or postmap's failure.
pub fn ensure_maps(place: &Place, settings: &Settings, users: &Users) -> anyhow::Result<()> {
    let folder = place.path(place::RENDERED).join("postfix");
    for (name, map) in [
        ("mailboxes", mailboxes(users)),
        ("aliases", aliases(settings, users)),
        ("senders", mailboxes(users)),
    ] {
        let path = folder.join(name);
        ensure_file(&path, render(&map).as_bytes(), PUBLIC, None)?;
        if place.is_machine() {
            // Always: a run that was cut short may have left the text newer than the table.
            let table = format!("lmdb:{}", path.display());
            run_program(
                "/usr/sbin/postmap",
                &["-c", &folder.display().to_string(), &table],
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{aliases, mailboxes, render};
    use crate::appliance::users::Users;
    use crate::settings::{parse_settings, resolve_settings};

    #[test]
    fn roles_reach_the_admin_unless_they_are_accounts() {
        let written = parse_settings(
            b"DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=jens\nADDITIONAL_DOMAINS=b.example\n",
        )
        .unwrap();
        let settings = resolve_settings(&written).unwrap().settings;
        let users = Users::parse("abuse@b.example:x::::::\njens@a.example:x::::::\n");
        assert_eq!(
            render(&aliases(&settings, &users)),
            "abuse@a.example jens@a.example\n\
             abuse@mail.a.example jens@a.example\n\
             postmaster@a.example jens@a.example\n\
             postmaster@b.example jens@a.example\n\
             postmaster@mail.a.example jens@a.example\n\
             root@mail.a.example jens@a.example\n"
        );
        assert_eq!(
            render(&mailboxes(&users)),
            "abuse@b.example abuse@b.example\njens@a.example jens@a.example\n"
        );
    }
}
