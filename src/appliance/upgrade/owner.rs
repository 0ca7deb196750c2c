//! Mail to ADMIN_EMAIL about what became of an upgrade.

use anyhow::{Context, Result};

use crate::appliance::machine::place::{self, Place};
use crate::appliance::machine::settings::load_checked;
use crate::appliance::wire::notice::{Notice, send_notice};
use crate::appliance::wire::smtp::Door;

/// Tells the owner: the subject goes on behind the machine's name.
pub fn tell_owner(place: &Place, what: &str, paragraphs: &[String]) -> Result<()> {
    let Some(resolved) = load_checked(place, place::SETTINGS)? else {
        return Ok(());
    };
    let settings = resolved.settings;
    let notice = Notice {
        hostname: &settings.hostname,
        sender: &settings.admin.to_string(),
        recipient: &settings.admin_email.to_string(),
        subject: &format!("{} {what}", settings.hostname),
        paragraphs,
    };
    if place.is_machine() {
        send_notice(&Door::default(), &notice).context("telling the owner")?;
    }
    Ok(())
}
