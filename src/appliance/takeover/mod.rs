//! `mailctl import`: takes a workspace of t-lo/mailserver over.
//!
//! Accounts with their password hashes, mail, scripts, aliases, signing keys
//! and the certificate. Mail without an account there is taken once there is
//! one here. What exists here is never replaced, so the command can
//! be repeated: after it was cut short, after ADDITIONAL_DOMAINS grew, or once
//! more for the mail that came there meanwhile. Mail goes first: an account
//! that nobody can use yet is one that Dovecot does not write to. A message
//! that was deleted here comes back while it is still there.

pub mod aliases;
pub mod copier;
pub mod folder_name;
pub mod maildir;
pub mod tally;
#[cfg(test)]
mod tests;
pub mod workspace;

use super::aliases::name::{parse_alias, written_aliases};
use super::aliases::{AliasText, load_aliases, load_aliases_to_change, store_aliases};
use super::boot::apply::take_keys_into_use;
use super::certificate::{self, Taken};
use super::dkim::key::{convert_key, ensure_key, key_path, remove_record};
use super::dkim::{LockedKeys, free_selector, is_selector, load_selectors};
use super::machine::clock::now;
use super::machine::files::{
    PUBLIC, SECRET, check_state, lock_file, read_linked, read_optional, rename, write_file,
};
use super::machine::place::{self, Place};
use super::machine::program;
use super::machine::settings::load_stored;
use super::postfix::maps::take_into_use;
use super::services::readers_of_certificate;
use super::users::mailbox::{human_size, inbox_path};
use super::users::sessions::await_next_look;
use super::users::{Account, LockedUsers, Users, load_users};
use crate::settings::Settings;
use aliases::choose_aliases;
use anyhow::{Context, Result};
use maildir::{copy_home, count_messages};
use std::collections::BTreeSet;
use std::path::Path;
use tally::Tally;
use workspace::{Inbox, OldAccount, OldKey, Workspace};

/// Where the seed mounts its workspace.
const HOST: &str = "/host";
/// Exists when that was taken over.
const TAKEN_OVER: &str = "/var/lib/mailimg/taken-over";

struct Takeover<'a> {
    place: &'a Place,
    settings: Settings,
    workspace: Workspace,
    dry_run: bool,
    /// What was done.
    lines: Vec<String>,
    /// What was left out, and why.
    notes: Vec<String>,
}

/// Takes a workspace over, or lists what would be, and returns what to say.
pub fn import_workspace(place: &Place, root: &Path, dry_run: bool) -> Result<String> {
    check_state(place)?;
    let settings = load_stored(place)?.settings;
    let _lock = lock_file(&place.path(place::STATE).join("import.lock"))?;
    let mut takeover = Takeover {
        place,
        settings,
        workspace: Workspace::open(root)?,
        dry_run,
        lines: vec![if dry_run {
            format!("Would import {}; nothing is changed.", root.display())
        } else {
            format!("Imported {}.", root.display())
        }],
        notes: Vec::new(),
    };
    let accounts = takeover.choose_accounts()?;
    takeover.copy_mail(&accounts)?;
    takeover.add_accounts(&accounts)?;
    let keys = takeover.take_keys()?;
    let certificate = takeover.take_certificate()?;
    if keys {
        take_keys_into_use(place)?;
    }
    if certificate && place.is_machine() {
        for unit in readers_of_certificate() {
            program::reload_unit(unit)?;
        }
    }
    let notes = takeover.notes.iter().map(|note| format!("note: {note}"));
    let lines: Vec<String> = takeover.lines.iter().cloned().chain(notes).collect();
    if !dry_run {
        await_next_look(place);
    }
    Ok(lines.join("\n"))
}

/// Takes over what a container has at /host, where t-lo/mailserver has its workspace; once,
/// so that what is deleted here afterwards stays so.
pub fn take_over_host(place: &Place) -> Result<String> {
    let note = place.path(TAKEN_OVER);
    if note.exists() {
        return Ok(format!(
            "{HOST} was taken over before; mailctl import {HOST} does it again."
        ));
    }
    let said = import_workspace(place, &place.path(HOST), false)?;
    write_file(&note, b"", PUBLIC, None)?;
    Ok(said)
}

impl Takeover<'_> {
    fn line(&mut self, name: &str, text: String) {
        self.lines.push(format!("  {name:12} {text}"));
    }

    /// One thing that would be done.
    fn detail(&mut self, text: String) {
        if self.dry_run {
            self.lines.push(format!("    {text}"));
        }
    }

    /// Accounts that this machine may have.
    fn choose_accounts(&mut self) -> Result<Vec<OldAccount>> {
        let (accounts, notes) = self.workspace.accounts()?;
        self.notes.extend(notes);
        let aliases = written_aliases(&self.settings, &load_aliases(self.place)?);
        let mut chosen = Vec::new();
        for account in accounts {
            let domain = &account.address.domain;
            if !self.settings.domains().any(|served| served == domain) {
                self.notes.push(format!(
                    "'{}' is left out, since {domain} is not served: add it to \
                     ADDITIONAL_DOMAINS, run mailctl settings apply and import again",
                    account.address
                ));
            } else if aliases.contains(&account.address.to_string()) {
                self.notes.push(format!(
                    "'{0}' is left out, since it is an alias here: mailctl alias del {0}",
                    account.address
                ));
            } else {
                chosen.push(account);
            }
        }
        Ok(chosen)
    }

    fn copy_mail(&mut self, accounts: &[OldAccount]) -> Result<()> {
        let users = load_users(self.place)?;
        let chosen: BTreeSet<String> = accounts
            .iter()
            .map(|account| account.address.to_string())
            .chain(users.accounts.into_keys())
            .collect();
        let (inboxes, others) = self.workspace.inboxes()?;
        let mut all = Tally::default();
        for path in others {
            all.leave(&path, "is no mail");
        }
        let mut abandoned = Vec::new();
        for inbox in &inboxes {
            let owner = inbox.address.as_ref().ok();
            let owner = owner.filter(|address| chosen.contains(&address.to_string()));
            let Some(address) = owner else {
                abandoned.push(inbox);
                continue;
            };
            let target = inbox_path(self.place, address);
            let copied = copy_home(self.place, &inbox.path, &target, self.dry_run)
                .with_context(|| format!("copying the mail of '{address}'"))?;
            self.detail(format!("{address}: {} messages", copied.messages));
            all += copied;
        }
        self.line(
            "mail",
            format!(
                "{} messages ({}), {} here already",
                all.messages,
                human_size(all.bytes),
                all.known
            ),
        );
        self.line("scripts", all.scripts.to_string());
        if all.remade > 0 {
            let text = format!("{} files that Dovecot makes again", all.remade);
            self.line("not needed", text);
        }
        if all.left > 0 {
            self.line("left out", format!("{} files, named below", all.left));
        }
        for remark in &all.remarks {
            let path = self.workspace.shown(&remark.path);
            self.notes.push(format!("{path} {}", remark.text));
        }
        if all.unsaid > 0 {
            let text = format!("{} more of this kind are not named", all.unsaid);
            self.notes.push(text);
        }
        self.note_abandoned(&abandoned, &chosen)
    }

    /// Says whose mail is left, and how it is taken.
    fn note_abandoned(&mut self, inboxes: &[&Inbox], chosen: &BTreeSet<String>) -> Result<()> {
        let aliases = written_aliases(&self.settings, &load_aliases(self.place)?);
        let (accounts, _) = self.workspace.accounts()?;
        // Left out as accounts, with notes of their own.
        let accounts: BTreeSet<String> = accounts
            .into_iter()
            .map(|account| account.address.to_string())
            .collect();
        let mut named = BTreeSet::new();
        for inbox in inboxes {
            let count = count_messages(&inbox.path);
            let path = self.workspace.shown(&inbox.path);
            let address = match &inbox.address {
                Ok(address) => address,
                Err(wrong) => {
                    self.notes.push(format!(
                        "{path} ({count} messages) is left out, since its name is no address of \
                         an account: {wrong}; rename it there, mailctl user add ADDRESS, then \
                         import again"
                    ));
                    continue;
                }
            };
            if accounts.contains(&address.to_string()) {
                continue;
            }
            named.insert(address.to_string());
            let domain = &address.domain;
            let first = if !self.settings.domains().any(|served| served == domain) {
                format!("add {domain} to ADDITIONAL_DOMAINS, mailctl settings apply, ")
            } else if aliases.contains(&address.to_string()) {
                format!("mailctl alias del {address}, ")
            } else {
                String::new()
            };
            self.notes.push(format!(
                "{path} ({count} messages) is left out, since nobody has this account: {first}\
                 mailctl user add {address}, then import again"
            ));
        }
        for address in self.workspace.receivers()? {
            let is_known = [chosen, &accounts, &named]
                .iter()
                .any(|set| set.contains(&address));
            if !is_known {
                self.notes.push(format!(
                    "'{address}' gets mail there and has no password: mailctl user add {address}"
                ));
            }
        }
        Ok(())
    }

    fn add_accounts(&mut self, accounts: &[OldAccount]) -> Result<()> {
        if self.dry_run {
            let mut users = load_users(self.place)?;
            self.insert_accounts(&mut users, accounts);
            let mut text = load_aliases_to_change(self.place)?;
            return self.insert_aliases(&users, &mut text);
        }
        let mut locked = LockedUsers::open(self.place)?;
        if self.insert_accounts(&mut locked.users, accounts) {
            locked.store()?;
        }
        let mut text = load_aliases_to_change(self.place)?;
        self.insert_aliases(&locked.users, &mut text)?;
        store_aliases(self.place, &text)?;
        take_into_use(self.place, &self.settings, &locked).map(|_| ())
    }

    /// Says whether there are new ones.
    fn insert_accounts(&mut self, users: &mut Users, accounts: &[OldAccount]) -> bool {
        let mut made = 0;
        let mut kept = 0;
        for account in accounts {
            let name = account.address.to_string();
            match users.accounts.get(&name) {
                Some(ours) if ours.hash == account.hash => kept += 1,
                Some(_) => {
                    kept += 1;
                    self.notes
                        .push(format!("'{name}' exists and keeps its password"));
                }
                None => {
                    made += 1;
                    self.detail(format!("account {name}"));
                    users
                        .accounts
                        .insert(name, Account::new(account.hash.clone()));
                }
            }
        }
        self.line("accounts", format!("{made} new, {kept} here already"));
        made > 0
    }

    fn insert_aliases(&mut self, users: &Users, text: &mut AliasText) -> Result<()> {
        let old = AliasText::parse(&self.workspace.aliases()?);
        let chosen = choose_aliases(&self.settings, users, text, &old);
        for wanted in &chosen.wanted {
            let (alias, target) = (&wanted.alias, &wanted.target);
            let same =
                |word: &str| parse_alias(&self.settings, word).is_ok_and(|found| found == *alias);
            text.add(same, alias, std::slice::from_ref(target));
            self.detail(format!("alias {alias} to {target}"));
        }
        let notes = chosen.notes.into_iter();
        self.notes
            .extend(notes.map(|(line, text)| format!("line {line} of etc/postfix/valias: {text}")));
        let (new, kept) = (chosen.wanted.len(), chosen.kept);
        self.line("aliases", format!("{new} targets new, {kept} here already"));
        Ok(())
    }

    /// Says whether a key is new.
    fn take_keys(&mut self) -> Result<bool> {
        let locked = LockedKeys::open(self.place)?;
        let mut new = 0;
        let mut kept = 0;
        for key in self.workspace.signing_keys()? {
            if !self.settings.domains().any(|served| served == key.domain) {
                continue;
            }
            if !is_selector(&key.selector) {
                self.notes.push(format!(
                    "{} is left out: {:?} is no selector",
                    key.path.display(),
                    key.selector
                ));
                continue;
            }
            let Some(bytes) = read_linked(&key.path)? else {
                self.notes
                    .push(format!("{} is missing", key.path.display()));
                continue;
            };
            match convert_key(&String::from_utf8_lossy(&bytes)) {
                Ok(pem) if self.has_key(&key, &pem)? => kept += 1,
                Ok(pem) => {
                    new += 1;
                    self.detail(format!("key '{}' of {}", key.selector, key.domain));
                    if !self.dry_run {
                        self.take_key(&locked, &key, &pem)
                            .with_context(|| format!("taking the DKIM key of {}", key.domain))?;
                    }
                }
                Err(error) => self
                    .notes
                    .push(format!("{} is left out: {error:#}", key.path.display())),
            }
        }
        self.line("DKIM keys", format!("{new} new, {kept} here already"));
        Ok(new > 0 && !self.dry_run)
    }

    fn has_key(&self, key: &OldKey, pem: &str) -> Result<bool> {
        let ours = read_optional(&self.place.path(key_path(&key.domain, &key.selector)))?;
        Ok(ours.is_some_and(|ours| ours == pem.as_bytes()))
    }

    fn take_key(&self, locked: &LockedKeys<'_>, key: &OldKey, pem: &str) -> Result<()> {
        let (domain, selector) = (key.domain.as_str(), key.selector.as_str());
        let mut selectors = load_selectors(self.place, &self.settings, domain);
        let path = self.place.path(key_path(domain, selector));
        if path.exists() {
            // A key of ours has the name: its record was never published, or soon is no more.
            let free = free_selector(self.place, selector, domain);
            let aside = self.place.path(key_path(domain, &free));
            rename(&path, &aside)?;
            remove_record(self.place, domain, selector)?;
            ensure_key(self.place, domain, &free, locked.signer)?;
            selectors.retire(free, now());
        }
        locked.ensure_folder(domain)?;
        write_file(&path, pem.as_bytes(), SECRET, locked.signer)?;
        ensure_key(self.place, domain, selector, locked.signer)?;
        selectors.activate(selector, now());
        locked.store(domain, &selectors)
    }

    /// Says whether the certificate is new.
    fn take_certificate(&mut self) -> Result<bool> {
        let hostname = self.settings.hostname.clone();
        let Some((chain, key)) = self.workspace.certificate(&hostname)? else {
            self.line("certificate", format!("none for {hostname} there"));
            return Ok(false);
        };
        match certificate::take_certificate(self.place, &hostname, &chain, &key, self.dry_run) {
            Ok(Taken::New) => {
                self.line("certificate", "new".to_owned());
                Ok(!self.dry_run)
            }
            Ok(Taken::Kept) => {
                self.line("certificate", "here already".to_owned());
                Ok(false)
            }
            Err(error) => {
                self.line("certificate", "left out".to_owned());
                self.notes.push(format!("certificate: {error:#}"));
                Ok(false)
            }
        }
    }
}
