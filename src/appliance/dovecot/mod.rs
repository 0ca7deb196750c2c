//! Dovecot: its configuration, its Diffie-Hellman group, its reload, and who gets how many sessions.

pub mod dh;
pub mod reload;
pub mod share;

use super::certificate;
use super::machine::accounts::find_account;
use super::machine::place::{self, Place};
use super::machine::template::ensure_rendered;
use super::postfix::DELIVERIES_PER_USER;
use super::probe::PROBE_NAME;
use crate::settings::Settings;
use anyhow::Result;
use serde::Serialize;

/// Its unit.
pub const UNIT: &str = "dovecot.service";
/// Stands on the disk before a character that a folder's name may not have there: DEL, which
/// is in no name of before, since IMAP writes names with printable characters (RFC 9051,
/// section 5.1).
const FOLDER_ESCAPE: char = '\u{7f}';

#[derive(Serialize)]
struct Values<'a> {
    hostname: &'a str,
    certificate: String,
    private_key: String,
    dh_file: String,
    users: &'a str,
    mail: &'a str,
    vmail_user: u32,
    rendered: &'a str,
    sieve: &'a str,
    probe: &'a str,
    probe_name: &'a str,
    guard_port: u16,
    mailbox_quota: Option<u64>,
    deliveries_per_user: u32,
    folder_escape: char,
    filters_port: u16,
    figures: bool,
}

/// Writes its configuration.
pub fn configure(place: &Place, settings: &Settings) -> Result<()> {
    let values = Values {
        hostname: &settings.hostname,
        certificate: certificate::chain_path().display().to_string(),
        private_key: certificate::key_path().display().to_string(),
        dh_file: dh::group_path(settings).display().to_string(),
        users: place::USERS,
        mail: place::MAIL,
        vmail_user: find_account(place, "vmail")?.user,
        rendered: place::RENDERED,
        sieve: place::SIEVE,
        probe: place::PROBE,
        probe_name: PROBE_NAME,
        guard_port: place::GUARD_PORT,
        mailbox_quota: settings.mailbox_quota,
        deliveries_per_user: DELIVERIES_PER_USER,
        folder_escape: FOLDER_ESCAPE,
        filters_port: place::FILTERS_MAIL_PORT,
        figures: settings.monitoring.enabled,
    };
    for name in ["dovecot/dovecot.conf", "dovecot/junk.sieve"] {
        ensure_rendered(place, name, &values)?;
    }
    Ok(())
}
