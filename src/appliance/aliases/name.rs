//! Aliases and targets as words: which are well formed, and which address each means.
//!
//! An alias lies in a served domain or is a whole one (`@domain`); a target is
//! any address, or a bare name in the first domain.

use super::AliasText;
use crate::settings::{Settings, parse_host_name, parse_local_part};
use std::collections::BTreeSet;

/// RFC 5321 section 4.5.3.1.1.
const LONGEST_LOCAL_PART: usize = 64;
/// What the name of an alias may hold beside that of an account: names of people and firms do.
///
/// An alias is no account: it is a key of Postfix's tables and nothing else, no file, no shell
/// word and no field of a passwd-file. `!` and `%` are left out, since Postfix takes them for
/// routes and refuses them (<https://www.postfix.org/postconf.5.html#allow_untrusted_routing>),
/// and `#`, `*` and others, which mean something to whoever reads or writes the file.
const ALIAS_PUNCTUATION: [char; 2] = ['\'', '&'];

/// Addresses that RFC 2142 (<https://www.rfc-editor.org/rfc/rfc2142>) wants answered.
const ROLES: [&str; 2] = ["abuse", "postmaster"];
/// Whom the machine itself writes to.
const MACHINE_ROLES: [&str; 3] = ["abuse", "postmaster", "root"];

/// What is wrong, and what is expected.
pub type Wrong = (String, String);

/// Role addresses that are neither account nor alias: they lead to the admin.
pub fn role_addresses(settings: &Settings) -> BTreeSet<String> {
    let served = settings
        .domains()
        .flat_map(|domain| ROLES.map(|role| format!("{role}@{domain}")));
    let machine = MACHINE_ROLES.map(|role| format!("{role}@{}", settings.hostname));
    let mut roles: BTreeSet<String> = served.chain(machine).collect();
    // An admin named postmaster is no alias of itself.
    roles.remove(&settings.admin.to_string());
    roles
}

/// Aliases of the file that lead anywhere but to themselves, right or wrong.
pub fn written_aliases(settings: &Settings, text: &AliasText) -> BTreeSet<String> {
    text.entries()
        .into_iter()
        .filter_map(|entry| {
            let alias = parse_alias(settings, &entry.alias).ok()?;
            let elsewhere = entry
                .targets
                .iter()
                .any(|(_, target)| parse_target(settings, target).as_ref() != Ok(&alias));
            elsewhere.then_some(alias)
        })
        .collect()
}

/// Checks the left side: an address in a served domain, or the whole domain.
pub fn parse_alias(settings: &Settings, text: &str) -> Result<String, Wrong> {
    let Some((local, domain)) = text.rsplit_once('@') else {
        return Err((
            format!("'{}' has no '@'", printable(text)),
            format!("NAME@{0}, or @{0} for all of the domain", settings.domain),
        ));
    };
    let domain = parse_host_name(domain).map_err(owned)?;
    if !settings.domains().any(|served| served == domain) {
        let served: Vec<&str> = settings.domains().collect();
        return Err((
            format!("'{domain}' is no domain of this machine"),
            format!("one of {}", served.join(", ")),
        ));
    }
    if local.is_empty() {
        return Ok(format!("@{domain}"));
    }
    if let Some((name, _)) = local.split_once('+') {
        return Err((
            format!("'{}' has a tag", printable(text)),
            format!("{name}@{domain}, which takes mail with every tag"),
        ));
    }
    // Between other characters, as dots: at an end they are quotes that were left over.
    if parse_local_part(&local.replace(ALIAS_PUNCTUATION, ".")).is_err() {
        return Err((
            format!("'{}' is no name of an alias", printable(local)),
            "letters, digits and any of . _ - ' & between them".to_owned(),
        ));
    }
    Ok(format!("{}@{domain}", local.to_ascii_lowercase()))
}

/// Without control characters, and with quotes as they are.
fn printable(text: &str) -> String {
    text.escape_default().to_string().replace("\\'", "'")
}

/// Checks a target: a full address, or a name in the first domain.
pub fn parse_target(settings: &Settings, text: &str) -> Result<String, Wrong> {
    const EXPECTED: &str = "a full address, or a user name of the first domain";
    if text.starts_with('@') {
        return Err((
            format!("'{}' is a whole domain", printable(text)),
            "an address in it".to_owned(),
        ));
    }
    let (local, domain) = text
        .rsplit_once('@')
        .unwrap_or((text, settings.domain.as_str()));
    let atom = |character: char| {
        character.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(character)
    };
    let good = local.len() <= LONGEST_LOCAL_PART
        && !local.starts_with('-')
        && local
            .split('.')
            .all(|part| !part.is_empty() && part.chars().all(atom));
    if !good {
        return Err((
            format!("'{}' is no address", printable(text)),
            EXPECTED.to_owned(),
        ));
    }
    let domain = parse_host_name(domain).map_err(owned)?;
    if is_local(settings, &domain) {
        Ok(format!("{}@{domain}", local.to_ascii_lowercase()))
    } else {
        // Only the other side knows whether case matters there (RFC 5321 section 2.4).
        Ok(format!("{local}@{domain}"))
    }
}

fn owned((wrong, expected): (String, &'static str)) -> Wrong {
    (wrong, expected.to_owned())
}

/// Whether mail to a domain ends on this machine.
pub fn is_local(settings: &Settings, domain: &str) -> bool {
    domain == settings.hostname || settings.domains().any(|served| served == domain)
}

/// The address without its tag.
pub fn untagged(address: &str) -> String {
    match address.split_once('@') {
        Some((local, domain)) => {
            let name = local.split('+').next().unwrap_or_default();
            format!("{name}@{domain}")
        }
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{parse_alias, parse_target};
    use crate::settings::{Settings, parse_settings, resolve_settings};

    fn settings() -> Settings {
        let written = parse_settings(b"DOMAIN=a.example\nHOSTNAME=mail.a.example\n").unwrap();
        resolve_settings(&written).unwrap().settings
    }

    #[test]
    fn names_of_people_and_firms_are_aliases() {
        let settings = settings();
        for (text, alias) in [
            ("Info@A.example", "info@a.example"),
            ("O'Neil@a.example", "o'neil@a.example"),
            ("r&d@a.example", "r&d@a.example"),
            ("c&a.o'neil_1-x@a.example", "c&a.o'neil_1-x@a.example"),
            ("@a.example", "@a.example"),
        ] {
            assert_eq!(parse_alias(&settings, text), Ok(alias.to_owned()));
            if !alias.starts_with('@') {
                assert_eq!(parse_target(&settings, text), Ok(alias.to_owned()));
            }
        }
        assert_eq!(
            parse_target(&settings, "o'neil"),
            Ok("o'neil@a.example".to_owned())
        );
        for name in [
            "'info", "info'", "'info'", "&", "a''b", "a&&b", "a'.b", "-a", ".a", "a..b", "a b",
            "a!b", "a%b", "a#b", "#a", "*", "a*b", "a/b", "a|b", "a$b", "${a}", "`a`", "a=b",
            "a~b", "\"a\"", "a\\b", "a:b", "a;b", "a<b", "(a)", "ä", "a\tb",
        ] {
            let (wrong, expected) =
                parse_alias(&settings, &format!("{name}@a.example")).unwrap_err();
            assert!(wrong.ends_with("is no name of an alias"), "{wrong}");
            assert_eq!(
                expected,
                "letters, digits and any of . _ - ' & between them"
            );
        }
        let wrong = |text: &str| parse_alias(&settings, text).unwrap_err().0;
        assert_eq!(wrong("o'neil"), "'o'neil' has no '@'");
        assert_eq!(wrong("'a'@a.example"), "''a'' is no name of an alias");
        assert_eq!(
            parse_target(&settings, "@a.example"),
            Err((
                "'@a.example' is a whole domain".to_owned(),
                "an address in it".to_owned()
            ))
        );
    }
}
