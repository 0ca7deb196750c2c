//! Mail addresses as this machine serves them: lower-case, unquoted, ASCII.
//!
//! A subset of RFC 5321 section 4.1.2 (<https://www.rfc-editor.org/rfc/rfc5321#section-4.1.2>):
//! a dot-string without quotes, and without the characters that mean something
//! to the maps, file names and passwd-file lines an address ends up in.

use super::host::parse_host_name;
use std::fmt;

/// One checked mail address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct MailAddress {
    /// What stands left of `@`.
    pub local: String,
    /// The domain.
    pub domain: String,
}

impl fmt::Display for MailAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}@{}", self.local, self.domain)
    }
}

/// Checks and lower-cases the part left of `@`.
///
/// `+` is refused because it separates the tag of an address; `/`, `:` and
/// white space because they separate fields and path components; `'`, `&` and
/// others because such a name is a folder, and a word that people write in shells.
///
/// The error says what is wrong, and what is expected.
pub fn parse_local_part(text: &str) -> Result<String, (String, &'static str)> {
    const EXPECTED: &str = "letters, digits and any of . _ - between them";
    // RFC 5321 section 4.5.3.1.1.
    const LOCAL_PART_BYTES_MAX: usize = 64;
    let local = text.to_ascii_lowercase();
    let good = !local.is_empty()
        && local.len() <= LOCAL_PART_BYTES_MAX
        && local
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        && !local.starts_with(['.', '-'])
        && !local.ends_with('.')
        && !local.contains("..");
    if good {
        Ok(local)
    } else {
        Err((format!("'{}' is no user name", printable(text)), EXPECTED))
    }
}

/// Without control characters, and with quotes as they are.
fn printable(text: &str) -> String {
    text.escape_default().to_string().replace("\\'", "'")
}

/// Checks and lower-cases a whole address. The error says what is wrong, and what is expected.
pub fn parse_mail_address(text: &str) -> Result<MailAddress, (String, &'static str)> {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err((
            format!("'{}' has no '@'", printable(text)),
            "an address such as jens@example.org",
        ));
    };
    Ok(MailAddress {
        local: parse_local_part(local)?,
        domain: parse_host_name(domain)?,
    })
}

#[cfg(test)]
mod tests {
    use super::parse_mail_address;

    #[test]
    fn addresses() {
        let address = parse_mail_address("Jens.X_1@WombatHub.de").unwrap();
        assert_eq!(address.to_string(), "jens.x_1@wombathub.de");
        for bad in [
            "jens",
            "@a.b",
            "a@",
            "a@b",
            "a b@c.d",
            "a:b@c.d",
            "../a@b.c",
            "a/b@c.d",
            "a\nb@c.d",
            "a+b@c.d",
            "-a@b.c",
            ".a@b.c",
            "a..b@c.d",
            "a.@b.c",
            "\"a\"@b.c",
            "a$(id)@b.c",
            "a@b@c.d",
            "ä@b.c",
            "*@b.c",
            "a%b@c.d",
            "o'neil@c.d",
            "r&d@c.d",
        ] {
            assert!(parse_mail_address(bad).is_err(), "{bad}");
        }
        let (wrong, _) = parse_mail_address("o'neil@c.d").unwrap_err();
        assert_eq!(wrong, "'o'neil' is no user name");
    }
}
