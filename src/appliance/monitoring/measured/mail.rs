//! `mailctl measure-mail`: how large mailboxes are.
//!
//! Folders and files are only looked at from outside, as du(1) does. Flags of a message stand in
//! its name (<https://cr.yp.to/proto/maildir.html>): one in `new`, or without `S`, is unread.

use super::Measure;
use crate::appliance::machine::place::{self, Place};
use crate::appliance::monitoring::configuration;
use crate::appliance::monitoring::metrics::exposition::{Samples, number};
use crate::appliance::users::mailbox::{MailboxUse, inbox_use, mailbox_use};
use anyhow::Result;
use serde::{Deserialize, Serialize};
use std::fs::read_dir;
use std::path::{Path, PathBuf};

/// Most mailboxes that are shown by name, the largest.
const MOST_SHOWN: usize = 20;
/// The name of all others together.
const OTHERS: &str = "(others)";

/// How it is measured.
pub const MAIL: Measure = Measure {
    name: "mail",
    longest_age: 3600,
};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mailboxes {
    number: u64,
    /// The largest first, then all others together.
    largest: Vec<Mailbox>,
    administrator: Option<(String, u64)>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Mailbox {
    user: String,
    bytes: u64,
    messages: u64,
}

/// Measures them.
pub fn measure_mail(place: &Place) -> Result<String> {
    MAIL.run(place, || Ok(look(place)))
}

/// Adds what was measured, and says whether it is recent.
pub fn show_mail(place: &Place, samples: &mut Samples) -> bool {
    let Some(measured) = MAIL.recent::<Mailboxes>(place) else {
        return false;
    };
    let found = measured.found;
    samples.add("dovecot_users", &[], number(found.number));
    for mailbox in &found.largest {
        let user = [mailbox.user.as_str()];
        samples.add("dovecot_mailbox_bytes", &user, number(mailbox.bytes));
        samples.add("dovecot_mailbox_messages", &user, number(mailbox.messages));
    }
    if let Some((user, unread)) = &found.administrator {
        samples.add("dovecot_unread_messages", &[user], number(*unread));
    }
    true
}

fn look(place: &Place) -> Mailboxes {
    let mut all = Vec::new();
    for domain in folders(&place.path(place::MAIL).join("mail/inboxes")) {
        for inbox in folders(&domain) {
            let user = inbox.file_name().unwrap_or_default().to_string_lossy();
            let MailboxUse {
                bytes, messages, ..
            } = mailbox_use(&inbox.join("Maildir"));
            let user = user.into_owned();
            all.push(Mailbox {
                user,
                bytes,
                messages,
            });
        }
    }
    all.sort_by(|left, right| (right.bytes, &left.user).cmp(&(left.bytes, &right.user)));
    let count = u64::try_from(all.len()).unwrap_or_default();
    let rest = all.split_off(all.len().min(MOST_SHOWN));
    if !rest.is_empty() {
        all.push(Mailbox {
            user: OTHERS.to_owned(),
            bytes: rest.iter().map(|one| one.bytes).sum(),
            messages: rest.iter().map(|one| one.messages).sum(),
        });
    }
    let administrator = configuration::load(place).map(|settings| {
        let found = inbox_use(place, &settings.admin).unwrap_or_default();
        (settings.admin.to_string(), found.unread)
    });
    Mailboxes {
        number: count,
        largest: all,
        administrator,
    }
}

/// Folders in a folder, links not followed.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

#[cfg(test)]
mod tests {
    use super::{measure_mail, show_mail};
    use crate::appliance::machine::place::{self, Place};
    use crate::appliance::monitoring::metrics::exposition::Samples;

    #[test]
    fn the_largest_are_named_and_the_rest_is_one() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let write = |path: &str, bytes: usize| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, vec![b'x'; bytes]).unwrap();
        };
        let settings = "DOMAIN=a.example\nHOSTNAME=mail.a.example\nADMIN_USER=root\n";
        write(place::METRICS_CONFIGURATION.trim_start_matches('/'), 0);
        std::fs::write(place.path(place::METRICS_CONFIGURATION), settings).unwrap();
        let inboxes = "var/vmail/mail/inboxes/a.example";
        for number in 0..25 {
            let size = 4096 * (1 + number);
            write(
                &format!("{inboxes}/u{number:02}@a.example/Maildir/cur/1:2,S"),
                size,
            );
        }
        let own = format!("{inboxes}/root@a.example/Maildir");
        for name in [
            "new/1",
            "cur/2:2,",
            "cur/3:2,S",
            "cur/4:2,RS",
            ".Junk/new/5",
        ] {
            write(&format!("{own}/{name}"), 1);
        }
        measure_mail(&place).unwrap();
        let mut samples = Samples::default();
        assert!(show_mail(&place, &mut samples));
        let text = samples.text();
        for line in [
            "dovecot_users 26",
            "dovecot_unread_messages{user=\"root@a.example\"} 2",
            "dovecot_mailbox_messages{user=\"u24@a.example\"} 1",
            "dovecot_mailbox_messages{user=\"root@a.example\"} 5",
            "dovecot_mailbox_messages{user=\"(others)\"} 6",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}: {text}");
        }
        assert_eq!(text.matches("dovecot_mailbox_bytes{").count(), 21);
    }
}
