//! `mailctl import`: takes a workspace of t-lo/mailserver over.
//!
//! Accounts with their password hashes, mail, scripts, aliases, signing keys
//! and the certificate. What exists here is never replaced, so the command can
//! be repeated: after it was cut short, after ADDITIONAL_DOMAINS grew, or once
//! more for the mail that came there meanwhile. Mail goes first: an account
//! that nobody can use yet is one that Dovecot does not write to. A message
//! that was deleted here comes back while it is still there.

pub mod maildir;
pub mod workspace;

use super::aliases::check::check_aliases;
use super::aliases::name::{parse_alias, parse_target, written_aliases};
use super::aliases::{AliasText, load_aliases, load_aliases_to_change, store_aliases};
use super::boot::apply::take_keys_into_use;
use super::certificate::{self, Taken};
use super::dkim::key::{convert_key, ensure_key, key_path, remove_record};
use super::dkim::{LockedKeys, free_selector, load_selectors};
use super::machine::clock::now;
use super::machine::files::{SECRET, check_state, lock_file, read_optional, write_file};
use super::machine::place::{self, Place};
use super::machine::program;
use super::machine::settings::load_stored;
use super::postfix::maps::take_into_use;
use super::services::readers_of_certificate;
use super::users::mailbox::{human_size, inbox_path};
use super::users::{Account, LockedUsers, Users, load_users};
use crate::settings::Settings;
use anyhow::{Context, Result};
use maildir::{Copied, copy_home};
use std::path::Path;
use workspace::{OldAccount, OldKey, Workspace};

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
    Ok(lines.join("\n"))
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
        let mut all = Copied::default();
        for account in accounts {
            let Some(home) = &account.home else {
                continue;
            };
            let target = inbox_path(self.place, &account.address);
            let copied = copy_home(self.place, home, &target, self.dry_run)
                .with_context(|| format!("copying the mail of '{}'", account.address))?;
            self.detail(format!("{}: {} messages", account.address, copied.messages));
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
        if all.strange > 0 {
            self.notes.push(format!(
                "{} links and other things among the mail are left out",
                all.strange
            ));
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
        let ours = check_aliases(&self.settings, users, text).targets;
        let mut kept = 0;
        let mut wanted: Vec<(usize, String, String)> = Vec::new();
        for entry in old.entries() {
            let line = entry.line;
            let written = if entry.alias.contains('@') {
                entry.alias
            } else {
                format!("{}@{}", entry.alias, self.settings.domain)
            };
            let alias = match parse_alias(&self.settings, &written) {
                Ok(alias) => alias,
                Err((wrong, expected)) => {
                    self.note_alias(line, &format!("{wrong}; expected {expected}"));
                    continue;
                }
            };
            for (line, target) in entry.targets {
                match parse_target(&self.settings, &target) {
                    // How an account was excepted from an alias for its whole domain.
                    Ok(target) if target == alias && users.contains(&alias) => {}
                    Ok(target)
                        if ours
                            .get(&alias)
                            .is_some_and(|there| there.contains(&target)) =>
                    {
                        kept += 1;
                    }
                    Ok(target) => wanted.push((line, alias.clone(), target)),
                    Err((wrong, expected)) => {
                        self.note_alias(line, &format!("{wrong}; expected {expected}"));
                    }
                }
            }
        }
        self.drop_wrong(users, text, &mut wanted);
        for (_, alias, target) in &wanted {
            let same =
                |word: &str| parse_alias(&self.settings, word).is_ok_and(|found| found == *alias);
            text.add(same, alias, std::slice::from_ref(target));
            self.detail(format!("alias {alias} to {target}"));
        }
        let new = wanted.len();
        self.line("aliases", format!("{new} targets new, {kept} here already"));
        Ok(())
    }

    fn note_alias(&mut self, line: usize, wrong: &str) {
        self.notes
            .push(format!("line {line} of etc/postfix/valias: {wrong}"));
    }

    /// Leaves out what would make a mistake of our file, until nothing does.
    fn drop_wrong(
        &mut self,
        users: &Users,
        text: &AliasText,
        wanted: &mut Vec<(usize, String, String)>,
    ) {
        loop {
            let mut trial = text.clone();
            let before = trial.line_count();
            for (_, alias, target) in wanted.iter() {
                trial.push(&format!("{alias} {target}"));
            }
            let problems = check_aliases(&self.settings, users, &trial).problems;
            let mut wrong: Vec<(usize, String)> = problems
                .into_iter()
                .filter_map(|problem| {
                    let index = problem.line?.checked_sub(before + 1)?;
                    let text = match problem.expected.as_str() {
                        "" => problem.wrong,
                        expected => format!("{}; expected {expected}", problem.wrong),
                    };
                    Some((index, text))
                })
                .collect();
            wrong.dedup_by_key(|(index, _)| *index);
            if wrong.is_empty() {
                return;
            }
            for (index, text) in wrong.into_iter().rev() {
                let (line, ..) = wanted.remove(index);
                self.note_alias(line, &text);
            }
        }
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
            let Some(bytes) = read_optional(&key.path)? else {
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
            std::fs::rename(&path, &aside)
                .with_context(|| format!("setting {} aside", path.display()))?;
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
