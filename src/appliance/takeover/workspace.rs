//! A workspace of t-lo/mailserver (`_server_workspace_`), read and never written.
//!
//! Layout, by that project's scripts (<https://github.com/t-lo/mailserver>):
//! `etc/dovecot/passwd` has the password hashes, `etc/postfix/vuser` the
//! addresses that get mail, `etc/postfix/valias` the aliases; mail lies in
//! `mail/inboxes/DOMAIN/ADDRESS`, whatever home the passwd-file names;
//! `etc/opendkim/keytable` tells which key signed for which domain.

use crate::error::{Hint, hinted};
use crate::settings::{MailAddress, parse_mail_address};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// What the seed calls the folder when nobody renamed it.
const USUAL_NAME: &str = "_server_workspace_";
/// Scheme of a hash that names none: Dovecot's default at the time.
const UNNAMED_SCHEME: &str = "{CRYPT}";

/// The folder.
#[derive(Debug)]
pub struct Workspace {
    root: PathBuf,
}

/// One account of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OldAccount {
    /// In our form.
    pub address: MailAddress,
    /// `{SCHEME}hash`.
    pub hash: String,
}

/// One folder of mail and scripts, whether it has an account or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// Whose it is by its name, in our form; or what is wrong with the name.
    pub address: Result<MailAddress, String>,
    /// Where it lies.
    pub path: PathBuf,
}

/// One signing key of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct OldKey {
    /// The domain it signed for.
    pub domain: String,
    /// Its selector.
    pub selector: String,
    /// The private key, PEM.
    pub path: PathBuf,
}

impl Workspace {
    /// Looks whether the folder is one.
    pub fn open(root: &Path) -> Result<Self> {
        if root.join("etc/dovecot/passwd").is_file() {
            return Ok(Self {
                root: root.to_path_buf(),
            });
        }
        let hint = if root.join(USUAL_NAME).is_dir() {
            format!("mailctl import {}", root.join(USUAL_NAME).display())
        } else {
            format!("it is the folder {USUAL_NAME} beside t-lo/mailserver's scripts")
        };
        Err(hinted(
            format!(
                "{} is no workspace: it has no etc/dovecot/passwd",
                root.display()
            ),
            hint,
        ))
    }

    fn read(&self, relative: &str) -> Result<Option<String>> {
        let path = self.root.join(relative);
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error)
                .with_context(|| format!("reading {}", path.display()))
                .hint("run as root: the files belong to several accounts"),
        }
    }

    /// Accounts with a password, and what is odd about the others.
    pub fn accounts(&self) -> Result<(Vec<OldAccount>, Vec<String>)> {
        let passwords = self.read("etc/dovecot/passwd")?.unwrap_or_default();
        let mut accounts: BTreeMap<String, OldAccount> = BTreeMap::new();
        let mut notes = Vec::new();
        for (index, line) in passwords.lines().enumerate() {
            let mut fields = line.split(':');
            let (Some(written), Some(hash)) = (fields.next(), fields.next()) else {
                continue;
            };
            if written.starts_with('#') || written.is_empty() {
                continue;
            }
            let place = format!("line {} of etc/dovecot/passwd", index + 1);
            match parse_account(written, hash) {
                // Dovecot took the first of two.
                Ok(account) if accounts.contains_key(&account.address.to_string()) => {
                    notes.push(format!("{place}: '{}' a second time", account.address));
                }
                Ok(account) => {
                    accounts.insert(account.address.to_string(), account);
                }
                Err(wrong) => notes.push(format!("{place}: {wrong}")),
            }
        }
        Ok((accounts.into_values().collect(), notes))
    }

    /// Addresses that get mail there.
    pub fn receivers(&self) -> Result<Vec<String>> {
        let text = self.read("etc/postfix/vuser")?.unwrap_or_default();
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(words
            .filter(|word| !word.starts_with('#'))
            .map(str::to_ascii_lowercase)
            .collect())
    }

    /// All folders of mail, and what else lies between them.
    ///
    /// The seed's `user.sh del` keeps them, and whoever made them by hand may have kept the
    /// case of names.
    pub fn inboxes(&self) -> Result<(Vec<Inbox>, Vec<PathBuf>)> {
        let mail = self.root.join("mail");
        let mut inboxes = Vec::new();
        let root = mail.join("inboxes");
        let mut others = list(&mail)?;
        others.retain(|path| *path != root || !path.is_dir());
        for domain in list(&root)? {
            if !domain.is_dir() {
                others.push(domain);
                continue;
            }
            for path in list(&domain)? {
                if path.is_dir() {
                    let address = owner_of(&path, &domain);
                    inboxes.push(Inbox { address, path });
                } else {
                    others.push(path);
                }
            }
        }
        Ok((inboxes, others))
    }

    /// A path as its owner knows it, fit for a terminal.
    pub fn shown(&self, path: &Path) -> String {
        let path = path.strip_prefix(&self.root).unwrap_or(path);
        let text = path.to_string_lossy();
        let shown = text.chars().map(|character| {
            if character.is_control() {
                '?'
            } else {
                character
            }
        });
        shown.collect()
    }

    /// The aliases file.
    pub fn aliases(&self) -> Result<String> {
        Ok(self.read("etc/postfix/valias")?.unwrap_or_default())
    }

    /// Keys that signed, by domain.
    pub fn signing_keys(&self) -> Result<BTreeSet<OldKey>> {
        let folder = self.root.join("etc/opendkim/keys");
        let Some(table) = self.read("etc/opendkim/keytable")? else {
            return Ok(BTreeSet::new());
        };
        // SELECTOR._domainkey.DOMAIN DOMAIN:SELECTOR:PATH, the path one of the container.
        Ok(table
            .lines()
            .filter_map(|line| {
                let mut fields = line.split_whitespace().nth(1)?.split(':');
                let (domain, selector) = (fields.next()?, fields.next()?);
                let name = Path::new(fields.next()?).file_name()?;
                Some(OldKey {
                    domain: domain.to_ascii_lowercase(),
                    selector: selector.to_ascii_lowercase(),
                    path: folder.join(name),
                })
            })
            .collect())
    }

    /// Chain and key of a host, PEM.
    pub fn certificate(&self, hostname: &str) -> Result<Option<(String, String)>> {
        let folder = format!("etc/letsencrypt/live/{hostname}");
        let chain = self.read(&format!("{folder}/fullchain.pem"))?;
        let key = self.read(&format!("{folder}/privkey.pem"))?;
        Ok(chain.zip(key))
    }
}

/// What is in a folder, sorted; nothing when it is absent.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || -> std::io::Result<Vec<PathBuf>> {
        std::fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    };
    let mut paths = match read() {
        Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
            Vec::new()
        }
        result => result
            .with_context(|| format!("reading {}", folder.display()))
            .hint("run as root: the files belong to several accounts")?,
    };
    paths.sort();
    Ok(paths)
}

/// Whose mail lies in a folder: it has the address for its name, and its domain around it.
fn owner_of(path: &Path, domain: &Path) -> Result<MailAddress, String> {
    let name = |path: &Path| {
        let name = path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    let address = parse_mail_address(&name(path))
        .map_err(|(wrong, expected)| format!("{wrong}; expected {expected}"))?;
    if name(domain).eq_ignore_ascii_case(&address.domain) {
        Ok(address)
    } else {
        Err(format!("it lies in the folder of '{}'", name(domain)))
    }
}

fn parse_account(written: &str, hash: &str) -> Result<OldAccount, String> {
    let address = parse_mail_address(written)
        .map_err(|(wrong, expected)| format!("{wrong}; expected {expected}"))?;
    if hash.is_empty() {
        return Err(format!("'{address}' has no password"));
    }
    Ok(OldAccount {
        address,
        hash: if hash.starts_with('{') {
            hash.to_owned()
        } else {
            format!("{UNNAMED_SCHEME}{hash}")
        },
    })
}

#[cfg(test)]
mod tests {
    use super::Workspace;

    #[test]
    fn the_layout_is_that_of_the_scripts() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("_server_workspace_");
        let error = Workspace::open(folder.path()).unwrap_err();
        assert!(
            error
                .to_string()
                .ends_with("is no workspace: it has no etc/dovecot/passwd")
        );
        for folder in [
            "etc/dovecot",
            "etc/postfix",
            "etc/opendkim/keys",
            "mail/inboxes/a.example/jens@a.example",
        ] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write(
            "etc/dovecot/passwd",
            "jens@a.example:{SSHA256}abc:2001:2001:/host/mail/inboxes/jens@a.example::\n\
             Anna@B.example:$6$x$y:2001:2001:::\njens@a.example:{SSHA256}other:::::\n\
             odd+x@a.example:{SSHA256}abc:::::\nnone@a.example::::::\n",
        );
        write(
            "etc/postfix/vuser",
            "jens@a.example mail/user/Maildir/\nlost@a.example x\n",
        );
        write(
            "etc/opendkim/keytable",
            "mailserver._domainkey.a.example a.example:mailserver:/etc/opendkim/keys/mailserver.private\n",
        );
        let workspace = Workspace::open(&root).unwrap();
        let (accounts, notes) = workspace.accounts().unwrap();
        assert_eq!(accounts[0].address.to_string(), "anna@b.example");
        assert_eq!(accounts[0].hash, "{CRYPT}$6$x$y");
        assert_eq!(accounts[1].hash, "{SSHA256}abc");
        assert_eq!(notes.len(), 3, "{notes:?}");
        assert_eq!(
            workspace.receivers().unwrap(),
            ["jens@a.example", "lost@a.example"]
        );
        assert!(notes[1].starts_with("line 4 of etc/dovecot/passwd: 'odd+x' is no user name"));
        for (name, owner) in [
            ("a.example/Gone@A.example", Ok("gone@a.example")),
            (
                "a.example/jens",
                Err("'jens' has no '@'; expected an address such as jens@example.org"),
            ),
            ("a.example/jens@a.example", Ok("jens@a.example")),
            (
                "a.example/jens@b.example",
                Err("it lies in the folder of 'a.example'"),
            ),
        ] {
            let path = root.join("mail/inboxes").join(name);
            std::fs::create_dir_all(&path).unwrap();
            let (inboxes, _) = workspace.inboxes().unwrap();
            let inbox = inboxes.iter().find(|inbox| inbox.path == path).unwrap();
            let found = inbox.address.as_ref().map(ToString::to_string);
            assert_eq!(
                found.as_deref().map_err(|wrong| wrong.as_str()),
                owner,
                "{name}"
            );
        }
        write("mail/inboxes/a.example/file", "");
        write("mail/inboxes/file", "");
        write("mail/fi\nle", "");
        let (inboxes, others) = workspace.inboxes().unwrap();
        let others: Vec<String> = others.iter().map(|path| workspace.shown(path)).collect();
        assert_eq!(inboxes.len(), 4);
        assert_eq!(
            others,
            [
                "mail/fi?le",
                "mail/inboxes/a.example/file",
                "mail/inboxes/file"
            ]
        );
        let key = workspace.signing_keys().unwrap().pop_first().unwrap();
        assert_eq!(
            (key.domain.as_str(), key.selector.as_str()),
            ("a.example", "mailserver")
        );
        assert_eq!(key.path, root.join("etc/opendkim/keys/mailserver.private"));
        assert_eq!(workspace.certificate("mail.a.example").unwrap(), None);
    }
}
