//! What the consoles say before anybody logs in.
//!
//! agetty shows every file of /run/issue.d
//! (<https://man7.org/linux/man-pages/man8/agetty.8.html>, ISSUE FILES) on all
//! consoles. A generated first password goes into a file of its own that only
//! the first console's agetty is told to show: providers keep the serial log.

use super::hardware::describe_driverless;
use crate::appliance::aliases::check::check_aliases;
use crate::appliance::aliases::load_aliases;
use crate::appliance::machine::files::{
    PUBLIC, SECRET, ensure_file, ensure_folder, read_optional, remove_file,
};
use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::upgrade::machine::running_root_hash;
use crate::appliance::upgrade::record::Record;
use crate::appliance::users::load_users;
use crate::error::render as render_error;
use crate::settings::{KEPT_SECRET, KEYS, Settings, load_settings};
use anyhow::Result;

/// Shown on all consoles.
const ISSUE: &str = "/run/issue.d/50-mailimg.issue";
/// Shown on the first console alone.
const FIRST_CONSOLE_ISSUE: &str = "/run/mailimg/console/tty1.issue";

/// How settings come to a container.
const CONTAINER_WAYS: &str = "\
Supply settings in one of these ways, with a new container on the same volume:
  - the environment: --env-file settings.env
  - a file: -v ./settings.env:/run/secrets/settings.env:ro
  - a secret of the engine named settings.env
";

/// Brings what the consoles show up to date and returns it.
pub fn refresh_console(place: &Place) -> Result<String> {
    let text = console_text(place);
    let issue = place.path(ISSUE);
    ensure_folder(&place.path("/run/issue.d"), 0o755, None)?;
    ensure_file(&issue, escape_issue(&text).as_bytes(), PUBLIC, None)?;
    let first = place.path(FIRST_CONSOLE_ISSUE);
    match read_optional(&place.path(place::ADMIN_PASSWORD))? {
        None => remove_file(&first)?,
        Some(password) => {
            ensure_folder(&place.path("/run/mailimg/console"), 0o700, None)?;
            let admin =
                std::fs::read_to_string(place.path(place::ADMIN_CREATED)).unwrap_or_default();
            let secret = format!(
                "{text}\nFirst password of {}: {}\nIt is shown here until it is changed: \
                 mailctl user passwd {}\n",
                admin.trim(),
                String::from_utf8_lossy(&password).trim_end(),
                admin.trim()
            );
            ensure_file(&first, escape_issue(&secret).as_bytes(), SECRET, None)?;
        }
    }
    Ok(text)
}

/// agetty reads a backslash as the start of an escape.
fn escape_issue(text: &str) -> String {
    // \4 and \6 are agetty's own: the addresses at the time of showing.
    format!("{}Addresses: \\4 \\6\n\n", text.replace('\\', "\\\\"))
}

fn console_text(place: &Place) -> String {
    let problems = std::fs::read_to_string(place.path(place::IMPORT_PROBLEMS)).unwrap_or_default();
    let mut text = match load_checked(place, place::SETTINGS) {
        Ok(Some(resolved)) => {
            let settings = resolved.settings;
            let domains: Vec<&str> = settings.domains().collect();
            format!(
                "Mail server {} for {}\n\
                 Publish the DKIM record that 'mailctl dkim show' prints; \
                 'mailctl status' shows the rest.\n{}",
                settings.hostname,
                domains.join(", "),
                alias_mistakes(place, &settings)
            )
        }
        Ok(None) => unprovisioned_text(place) + &cloud_problems(place),
        Err(error) => format!(
            "This mail server cannot read its settings.\n{}\n",
            render_error(&error)
        ),
    };
    for more in [problems, describe_driverless(place), upgrade(place)] {
        if !more.is_empty() {
            text.push('\n');
            text.push_str(&more);
        }
    }
    text
}

/// How the last upgrade stands, when there is something to say.
fn upgrade(place: &Place) -> String {
    let describe = || {
        let record = Record::load(place).ok()??;
        record.describe(place, &running_root_hash(place).ok()?)
    };
    describe().map_or_else(String::new, |line| format!("Upgrade: {line}\n"))
}

/// What is wrong with the cloud of a machine without settings.
fn cloud_problems(place: &Place) -> String {
    read_optional(&place.path(place::CLOUD_PROBLEMS))
        .ok()
        .flatten()
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default()
}

/// A line about the aliases file, when there is something to say.
fn alias_mistakes(place: &Place, settings: &Settings) -> String {
    let (Ok(text), Ok(users)) = (load_aliases(place), load_users(place)) else {
        return String::new();
    };
    match check_aliases(settings, &users, &text).problems.len() {
        0 => String::new(),
        number => format!(
            "{} has {number} mistakes, named by 'mailctl update-aliases'; the rest is in use.\n",
            place::ALIASES
        ),
    }
}

fn unprovisioned_text(place: &Place) -> String {
    // A file without required keys was refused before it came here; all of them are missing.
    let written = load_settings(&place.path(place::SETTINGS)).unwrap_or_default();
    let mut text = String::from("This mail server waits for its settings. Missing:\n");
    for key in KEYS {
        if key.required && written.value(key.name).is_none() {
            text.push_str(&format!("  {:10} {}\n", key.name, key.about));
        }
    }
    if place.is_container() {
        text.push_str(&format!(
            "\n{CONTAINER_WAYS}  - {}, then 'mailctl settings apply', from a shell in it\n",
            place::SETTINGS
        ));
        return text;
    }
    text.push_str(&format!(
        "\nSupply a settings.env in one of these ways, then start the machine again:\n  \
         - the file settings.env on the EFI system partition of this disk, from any system,\n    \
           or 'mailimg configure IMAGE --settings settings.env' on the image\n  \
         - the systemd credential 'settings.env', from the hypervisor (SMBIOS type 11)\n  \
         - user-data of the cloud that runs this machine, or a drive labelled cidata with the\n    \
           file user-data\n  \
         - {}, then 'mailctl settings apply', from a shell on this machine\n\
         In a file that was taken before, '{KEPT_SECRET}' stands for a stored secret.\n",
        place::SETTINGS
    ));
    text
}

#[cfg(test)]
mod tests {
    use super::{console_text, refresh_console};
    use crate::appliance::machine::place::Place;

    #[test]
    fn an_empty_machine_says_what_it_needs() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        insta::assert_snapshot!(console_text(&place), @r"
        This mail server waits for its settings. Missing:
          DOMAIN     The mail domain: addresses are NAME@DOMAIN. Required.
          HOSTNAME   The machine's full name in DNS, as in mail.example.org. Required; need not lie inside DOMAIN.

        Supply a settings.env in one of these ways, then start the machine again:
          - the file settings.env on the EFI system partition of this disk, from any system,
            or 'mailimg configure IMAGE --settings settings.env' on the image
          - the systemd credential 'settings.env', from the hypervisor (SMBIOS type 11)
          - user-data of the cloud that runs this machine, or a drive labelled cidata with the
            file user-data
          - /var/lib/mailimg/settings.env, then 'mailctl settings apply', from a shell on this machine
        In a file that was taken before, '__KEPT_ON_THE_MACHINE__' stands for a stored secret.
        ");
        refresh_console(&place).unwrap();
        assert!(folder.path().join("run/issue.d/50-mailimg.issue").exists());
    }
}
