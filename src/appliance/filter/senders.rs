//! Which accounts may write as which address.
//!
//! The text of Postfix's `smtpd_sender_login_maps`
//! (<https://www.postfix.org/postconf.5.html#smtpd_sender_login_maps>), which
//! Postfix itself checks for the envelope; here it is held against the From
//! header, which is what people see.

use anyhow::Result;
use std::collections::HashMap;

/// Separates the extension of a local part, `recipient_delimiter`.
const DELIMITER: char = '+';

/// Owners by address or `@domain`.
#[derive(Debug, Default)]
pub struct Senders(HashMap<String, Vec<String>>);

impl Senders {
    /// Reads `KEY owner,owner` lines. Never fails: the signature is that of other parsers.
    pub fn parse(text: &str) -> Result<Self> {
        let table = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.trim().split_once(char::is_whitespace))
            .map(|(key, owners)| {
                let owners = owners
                    .split([',', ' ', '\t'])
                    .filter(|owner| !owner.is_empty())
                    .map(str::to_lowercase)
                    .collect();
                (key.to_lowercase(), owners)
            })
            .collect();
        Ok(Self(table))
    }

    /// Whether the account owns the address, both in lower case.
    pub fn owns(&self, account: &str, address: &str) -> bool {
        self.find(address)
            .is_some_and(|owners| owners.iter().any(|owner| owner == account))
    }

    /// Who owns the address, in lower case; first the account of this name.
    pub fn owners(&self, address: &str) -> Vec<String> {
        let mut owners = self.find(address).unwrap_or_default().to_vec();
        let plain = plain_address(address);
        owners.sort_by_key(|owner| Some(owner) != plain.as_ref() && owner != address);
        owners
    }

    /// The first key that is there decides.
    fn find(&self, address: &str) -> Option<&[String]> {
        let (_, domain) = address.rsplit_once('@')?;
        let keys = [
            Some(address.to_owned()),
            plain_address(address),
            Some(format!("@{domain}")),
        ];
        keys.into_iter()
            .flatten()
            .find_map(|key| self.0.get(&key))
            .map(Vec::as_slice)
    }
}

/// The address without its extension, if it has one.
fn plain_address(address: &str) -> Option<String> {
    let (local, domain) = address.rsplit_once('@')?;
    local
        .split_once(DELIMITER)
        .filter(|(user, _)| !user.is_empty())
        .map(|(user, _)| format!("{user}@{domain}"))
}

#[cfg(test)]
mod tests {
    use super::Senders;

    #[test]
    fn the_first_key_decides() {
        let text = "jens@a.example jens@a.example\nsales@a.example jens@a.example,Eva@a.example\n\
                    @b.example eva@a.example\ninfo@b.example jens@a.example\n";
        let senders = Senders::parse(text).unwrap();
        for (account, address, expected) in [
            ("jens@a.example", "jens@a.example", true),
            ("jens@a.example", "jens+shop@a.example", true),
            ("eva@a.example", "jens+shop@a.example", false),
            ("eva@a.example", "sales@a.example", true),
            ("eva@a.example", "anything@b.example", true),
            ("jens@a.example", "anything@b.example", false),
            // Given to somebody else explicitly, so the catch-all's owner has no say.
            ("eva@a.example", "info@b.example", false),
            ("jens@a.example", "ceo@c.example", false),
            ("jens@a.example", "+x@a.example", false),
        ] {
            assert_eq!(
                senders.owns(account, address),
                expected,
                "{account} {address}"
            );
        }
    }
}
