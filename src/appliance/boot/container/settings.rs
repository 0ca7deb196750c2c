//! Settings from a container engine: a file or secret, or the environment.
//!
//! They are handed to systemd as credentials, which is how machines get them from a
//! hypervisor too (<https://systemd.io/CREDENTIALS/>), so there is one way from there on.
//! Engines set HOSTNAME themselves; the environment counts when DOMAIN is in it. It is
//! taken out of what systemd and every service would see.

use std::ffi::OsString;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::appliance::machine::files::{SECRET, ensure_folder, read_linked, write_file};
use crate::appliance::machine::place::{self, Place};
use crate::settings::KEYS;

/// Where engines put secrets, and where a file is mounted.
const SECRETS: &str = "/run/secrets";
/// The file with the settings, the one that `ACME_CA_FILE` names, and another root of DNS.
const FILES: [&str; 3] = ["settings.env", "private-ca.pem", "mailimg.dns"];
/// The key that only a person sets.
const BELIEVED_WITH: &str = "DOMAIN";

/// Makes the folder of credentials, if the engine has settings and gave no such folder itself.
pub fn hand_over(place: &Place) -> Result<Option<PathBuf>> {
    if std::env::var_os("CREDENTIALS_DIRECTORY").is_some() {
        return Ok(None);
    }
    let mut credentials = Vec::new();
    for name in FILES {
        let path = place.path(format!("{SECRETS}/{name}"));
        if let Some(bytes) = read_linked(&path)? {
            credentials.push((name, bytes));
        }
    }
    if !credentials.iter().any(|(name, _)| *name == FILES[0])
        && let Some(text) = from_environment(std::env::vars_os())?
    {
        credentials.push((FILES[0], text.into_bytes()));
    }
    if credentials.is_empty() {
        return Ok(None);
    }
    let folder = place.path(format!("{}/credentials", place::CONTAINER));
    ensure_folder(&folder, 0o700, None)?;
    for (name, bytes) in credentials {
        write_file(&folder.join(name), &bytes, SECRET, None)?;
    }
    Ok(Some(folder))
}

/// The settings among the variables, in the order of the table of settings.
fn from_environment(
    variables: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Option<String>> {
    let variables: Vec<(OsString, OsString)> = variables.collect();
    let value = |name: &str| {
        let found = variables.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value)
    };
    if value(BELIEVED_WITH).is_none() {
        return Ok(None);
    }
    let mut text = String::new();
    for key in KEYS {
        let Some(value) = value(key.name) else {
            continue;
        };
        let value = value
            .to_str()
            .filter(|value| !value.contains('\n'))
            .with_context(|| {
                format!(
                    "reading {} from the environment: it is no line of text",
                    key.name
                )
            })?;
        text.push_str(&format!("{}={value}\n", key.name));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::from_environment;

    fn read(variables: &[(&str, &str)]) -> Option<String> {
        let variables = variables
            .iter()
            .map(|(name, value)| (name.into(), value.into()));
        from_environment(variables).unwrap()
    }

    #[test]
    fn a_host_name_alone_is_the_engines() {
        assert_eq!(read(&[("HOSTNAME", "4f0c"), ("PATH", "/bin")]), None);
    }

    #[test]
    fn with_a_domain_all_settings_count_and_nothing_else() {
        let text = read(&[
            ("PATH", "/bin"),
            ("HOSTNAME", "mail.example.org"),
            ("ADMIN_USER_INITIAL_PASSWORD", "pa$$ word"),
            ("DOMAIN", "example.org"),
        ]);
        let mut lines: Vec<_> = text.as_deref().unwrap().lines().collect();
        lines.sort_unstable();
        assert_eq!(
            lines,
            [
                "ADMIN_USER_INITIAL_PASSWORD=pa$$ word",
                "DOMAIN=example.org",
                "HOSTNAME=mail.example.org"
            ]
        );
    }

    #[test]
    fn a_value_of_two_lines_is_refused() {
        let variables = [("DOMAIN", "a\nHOSTNAME=b")]
            .map(|(name, value)| (name.into(), value.into()))
            .into_iter();
        let error = from_environment(variables).unwrap_err().to_string();
        assert_eq!(
            error,
            "reading DOMAIN from the environment: it is no line of text"
        );
    }
}
