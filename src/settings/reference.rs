//! What each key means, for people: one key, or all of them.

use super::key::{KEYS, Key, find_key, nearest_key};
use crate::error::{Hint, hinted};
use anyhow::Result;

impl Key {
    /// What holds when it is not set.
    fn otherwise(&self) -> &'static str {
        match (self.required, self.default) {
            (true, _) => "required",
            (false, "") => "none",
            (false, default) => default,
        }
    }
}

/// A key with all that is known of it, or all keys in a line or two each.
///
/// Fails with the key that was probably meant.
pub fn describe_settings(name: Option<&str>) -> Result<String> {
    let Some(name) = name else {
        let all = KEYS.iter().map(|key| {
            let secret = if key.secret { ", secret" } else { "" };
            format!(
                "{} [{}{secret}]\n    {}\n",
                key.name,
                key.otherwise(),
                key.about
            )
        });
        return Ok(all.collect());
    };
    let name = name.to_ascii_uppercase();
    let Some(key) = find_key(&name) else {
        let error = hinted(
            format!("{name} is no key of settings.env"),
            "`settings` without a key lists all of them",
        );
        return match nearest_key(&name) {
            Some(nearest) => Err(error).hint(format!("did you mean {nearest}?")).usage(),
            None => Err(error).usage(),
        };
    };
    let secret = if key.secret {
        "It is a secret: taken as it is, never shown, and blanked on the boot partition once \
         it is taken.\n"
    } else {
        ""
    };
    Ok(format!(
        "{}\n{}\nDefault: {}\n{secret}",
        key.name,
        key.about,
        key.otherwise()
    ))
}

#[cfg(test)]
mod tests {
    use super::{KEYS, describe_settings};
    use crate::error::render;

    #[test]
    fn all_keys_are_listed_and_each_is_told() {
        let all = describe_settings(None).unwrap();
        for key in KEYS {
            assert!(all.contains(&format!("{} [", key.name)), "{}", key.name);
            let one = describe_settings(Some(&key.name.to_ascii_lowercase())).unwrap();
            assert!(
                one.starts_with(key.name) && one.contains(key.about),
                "{one}"
            );
            assert_eq!(one.contains("secret"), key.secret, "{one}");
        }
    }

    #[test]
    fn a_wrong_key_leads_to_the_right_one() {
        let error = render(&describe_settings(Some("MAILBOX_QOTA")).unwrap_err());
        assert!(error.contains("MAILBOX_QOTA is no key"), "{error}");
        assert!(error.contains("MAILBOX_QUOTA"), "{error}");
    }

    /// The manual's table is kept by hand, and this keeps it true.
    #[test]
    fn the_manual_has_a_row_for_each_key_and_for_no_other() {
        const PAGE: &str = include_str!("../../overlay/usr/share/mailimg/manual/settings.md");
        let rows: Vec<Vec<&str>> = PAGE
            .lines()
            .filter(|line| line.starts_with("| `"))
            .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
            .collect();
        let names = |cell: &str| -> Vec<String> {
            let quoted = cell.split('`').skip(1).step_by(2);
            quoted.map(str::to_owned).collect()
        };
        let told: Vec<String> = rows.iter().flat_map(|row| names(row[0])).collect();
        for name in &told {
            assert!(KEYS.iter().any(|key| key.name == name), "{name} is no key");
        }
        for key in KEYS {
            let row = rows
                .iter()
                .find(|row| names(row[0]).iter().any(|name| name == key.name))
                .unwrap_or_else(|| panic!("the manual does not tell of {}", key.name));
            assert_eq!(row[0].contains("(secret)"), key.secret, "{row:?}");
            assert_eq!(row[1] == "required", key.required, "{row:?}");
        }
    }
}
