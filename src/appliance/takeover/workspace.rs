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
    /// Where its mail and scripts lie, if it ever had any.
    pub home: Option<PathBuf>,
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
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
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
            match parse_account(&self.root, written, hash) {
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
        for written in self.receivers()? {
            if !accounts.contains_key(&written) {
                notes.push(format!(
                    "'{written}' got mail and has no password: mailctl user add {written} and \
                     import again takes its mail over"
                ));
            }
        }
        Ok((accounts.into_values().collect(), notes))
    }

    /// Addresses that got mail.
    fn receivers(&self) -> Result<Vec<String>> {
        let text = self.read("etc/postfix/vuser")?.unwrap_or_default();
        let words = text
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        Ok(words
            .filter(|word| !word.starts_with('#'))
            .map(str::to_ascii_lowercase)
            .collect())
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

fn parse_account(root: &Path, written: &str, hash: &str) -> Result<OldAccount, String> {
    let address = parse_mail_address(written)
        .map_err(|(wrong, expected)| format!("{wrong}; expected {expected}"))?;
    if hash.is_empty() {
        return Err(format!("'{address}' has no password"));
    }
    let inboxes = root.join("mail/inboxes");
    // Made by an old release of Dovecot or by hand, names may have kept their case.
    let written_domain = written.rsplit_once('@').map_or("", |(_, domain)| domain);
    let home = [
        inboxes.join(&address.domain).join(address.to_string()),
        inboxes.join(written_domain).join(written),
    ]
    .into_iter()
    .find(|home| home.is_dir());
    Ok(OldAccount {
        address,
        hash: if hash.starts_with('{') {
            hash.to_owned()
        } else {
            format!("{UNNAMED_SCHEME}{hash}")
        },
        home,
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
        assert_eq!(
            accounts[1].home,
            Some(root.join("mail/inboxes/a.example/jens@a.example"))
        );
        assert_eq!(notes.len(), 4, "{notes:?}");
        assert!(notes[1].starts_with("line 4 of etc/dovecot/passwd: 'odd+x' is no user name"));
        let key = workspace.signing_keys().unwrap().pop_first().unwrap();
        assert_eq!(
            (key.domain.as_str(), key.selector.as_str()),
            ("a.example", "mailserver")
        );
        assert_eq!(key.path, root.join("etc/opendkim/keys/mailserver.private"));
        assert_eq!(workspace.certificate("mail.a.example").unwrap(), None);
    }
}
