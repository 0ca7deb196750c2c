//! What leaves in a user's name: by login, or by the user's own filter (Sieve).
//!
//! Both are held to the same rules: nobody writes as somebody else, and SENDING_LIMIT counts.
//! Dovecot hands in what filters send at a port of its own (`FILTERS_MAIL_PORT`), with the
//! user's address as the sender of the envelope; a script has no say in that.
//! A redirect (RFC 5228 section 4.2, <https://www.rfc-editor.org/rfc/rfc5228#section-4.2>) is
//! still its author's mail: it is never signed here. An answer (vacation, RFC 5230) is the
//! user's own.

use super::from::judge_from;
use super::senders::Senders;
use crate::appliance::dkim::configuration::UNSIGNED;
use crate::appliance::machine::place::FILTERS_DAEMON;

/// The account that logged in, as Postfix calls it.
pub const ACCOUNT_MACRO: &str = "{auth_authen}";
/// The port that a message came in at, as master.cf calls it.
pub const DAEMON_MACRO: &str = "{daemon_name}";

/// Dovecot writes it on top of what is redirected.
const REDIRECTED: &str = "X-Sieve-Redirected-From";
/// Headers that name who sends, beside From (RFC 5322 sections 3.6.2 and 3.6.6).
const SENDERS: [&str; 3] = ["Sender", "Resent-From", "Resent-Sender"];
/// Most of those that are looked at; mail that was sent again more often is no user's.
const MOST_SENDERS: usize = 50;

/// Whose a message is.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody's here: it is judged.
    #[default]
    Stranger,
    /// The account's that logged in.
    Account(String),
    /// Some account's, whose filter sends it.
    Filter,
}

impl Origin {
    /// Reads the macros that come with the sender of the envelope.
    pub fn read(pairs: &[(&[u8], &[u8])]) -> Self {
        let value = |wanted: &str| {
            let found = pairs.iter().find(|(name, _)| *name == wanted.as_bytes());
            found.map(|(_, value)| String::from_utf8_lossy(value))
        };
        match value(ACCOUNT_MACRO) {
            Some(account) if !account.is_empty() => Self::Account(account.to_lowercase()),
            _ if value(DAEMON_MACRO).as_deref() == Some(FILTERS_DAEMON) => Self::Filter,
            _ => Self::Stranger,
        }
    }
}

/// What a message says about who sends it.
#[derive(Debug, Default)]
pub struct Claims {
    from_count: u32,
    from: Vec<u8>,
    /// Name, how many of this name came before and value.
    senders: Vec<(&'static str, u32, Vec<u8>)>,
    /// How many there are of each of [`SENDERS`].
    counts: [u32; SENDERS.len()],
    unsigned_count: u32,
    redirected: Option<String>,
}

impl Claims {
    /// Looks at a header.
    pub fn note_header(&mut self, name: &[u8], value: &[u8]) {
        if name.eq_ignore_ascii_case(b"From") {
            self.from_count += 1;
            if self.from_count == 1 {
                self.from = value.to_vec();
            }
        } else if name.eq_ignore_ascii_case(UNSIGNED.as_bytes()) {
            self.unsigned_count += 1;
        } else if name.eq_ignore_ascii_case(REDIRECTED.as_bytes()) {
            let address = String::from_utf8_lossy(value).trim().to_lowercase();
            self.redirected.get_or_insert(address);
        } else if let Some(index) = SENDERS
            .iter()
            .position(|known| name.eq_ignore_ascii_case(known.as_bytes()))
        {
            self.counts[index] += 1;
            if self.senders.len() < MOST_SENDERS {
                let sender = (SENDERS[index], self.counts[index], value.to_vec());
                self.senders.push(sender);
            }
        }
    }

    /// The value of the first From header.
    pub fn from(&self) -> &[u8] {
        &self.from
    }

    /// Why no message of this form is taken, whoever sends it.
    pub fn malformed(&self, origin: &Origin) -> Option<String> {
        // What is redirected was taken as it is.
        if *origin == Origin::Filter && self.redirected.is_some() {
            return None;
        }
        if self.from_count != 1 {
            return Some(format!(
                "550 5.7.1 The message has {} From headers instead of one (RFC 5322 section 3.6)",
                self.from_count
            ));
        }
        let [senders, ..] = self.counts;
        let own = *origin != Origin::Stranger;
        if own && senders > 1 {
            return Some(format!(
                "550 5.7.1 The message has {senders} Sender headers instead of one (RFC 5322 \
                 section 3.6)"
            ));
        }
        let all: u32 = self.counts.iter().sum();
        (own && usize::try_from(all).is_ok_and(|all| all > MOST_SENDERS)).then(|| {
            format!("550 5.7.1 The message was sent again {all} times (RFC 5322 section 3.6.6)")
        })
    }

    /// Whose filter sends it: the redirect says so itself, which the sender of a bounce cannot.
    fn filter_of<'a>(&'a self, sender: &'a str) -> &'a str {
        match &self.redirected {
            Some(address) if sender.is_empty() => address,
            _ => sender,
        }
    }

    /// What is to be done with a message that leaves in a user's name, or in that of this host.
    pub fn judge(
        &self,
        origin: &Origin,
        sender: &str,
        senders: &Senders,
        is_own: impl Fn(&str) -> bool,
    ) -> Outgoing {
        let owners: Vec<String> = match origin {
            Origin::Stranger => return Outgoing::default(),
            Origin::Account(account) => vec![account.clone()],
            Origin::Filter => senders.owners(&self.filter_of(sender).to_lowercase()),
        };
        // A filter that rejects (RFC 5429) has Dovecot write a bounce, in the name of the host.
        let bounce = *origin == Origin::Filter && sender.is_empty() && self.redirected.is_none();
        if bounce {
            let postmaster = |address: &str| {
                let domain = address.strip_prefix("postmaster@");
                domain.is_some_and(&is_own)
            };
            let judged = judge_from(&self.from, postmaster);
            return judged.map_or_else(
                |refusal| Outgoing::refused(refusal.reply("a bounce")),
                |()| Outgoing::default(),
            );
        }
        let Some(account) = owners.first() else {
            let refusal = "550 5.7.1 Nobody here sends this by a filter".to_owned();
            return Outgoing::refused(refusal);
        };
        let owns = |address: &str| owners.iter().any(|owner| senders.owns(owner, address));
        let mut outgoing = Outgoing {
            account: Some(account.clone()),
            ..Outgoing::default()
        };
        // A client of the user's could otherwise choose whose key signs.
        for index in (1..=self.unsigned_count).rev() {
            outgoing.deleted.push((UNSIGNED, index));
        }
        if *origin == Origin::Filter && self.redirected.is_some() {
            outgoing.unsigned = true;
            return outgoing;
        }
        if let Err(refusal) = judge_from(&self.from, owns) {
            return Outgoing::refused(refusal.reply(account));
        }
        // From the last to the first, so that no deletion moves what is still to be deleted.
        for (name, index, value) in self.senders.iter().rev() {
            if judge_from(value, owns).is_err() {
                outgoing.deleted.push((name, *index));
            }
        }
        outgoing
    }
}

/// What is done with a message that leaves.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outgoing {
    /// Why it does not.
    pub refusal: Option<String>,
    /// Whose it is.
    pub account: Option<String>,
    /// Headers that are taken out, by name and number.
    pub deleted: Vec<(&'static str, u32)>,
    /// It is not signed.
    pub unsigned: bool,
}

impl Outgoing {
    fn refused(refusal: String) -> Self {
        Self {
            refusal: Some(refusal),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Claims, Origin, Outgoing, UNSIGNED};
    use crate::appliance::filter::senders::Senders;

    fn senders() -> Senders {
        let text = "anna@a.example anna@a.example\nbert@a.example bert@a.example\n\
                    info@a.example anna@a.example,bert@a.example\n";
        Senders::parse(text).unwrap()
    }

    fn judged(origin: &Origin, sender: &str, headers: &[(&str, &str)]) -> Outgoing {
        let mut claims = Claims::default();
        for (name, value) in headers {
            claims.note_header(name.as_bytes(), value.as_bytes());
        }
        claims.judge(origin, sender, &senders(), |domain| domain == "a.example")
    }

    #[test]
    fn answers_of_filters_are_held_to_the_users_addresses() {
        for (sender, from, taken) in [
            ("anna@a.example", "Anna <anna@a.example>", true),
            ("anna+shop@a.example", "anna+shop@a.example", true),
            ("Anna@A.example", "anna@a.example", true),
            // To an alias of both.
            ("info@a.example", "info@a.example", true),
            ("anna@a.example", "info@a.example", true),
            ("anna@a.example", "bert@a.example", false),
            ("anna@a.example", "boss@b.example", false),
            ("nobody@a.example", "nobody@a.example", false),
            ("", "anna@a.example", false),
            // What a filter that rejects has Dovecot write.
            ("", "Mail Delivery Subsystem <postmaster@a.example>", true),
        ] {
            let outgoing = judged(&Origin::Filter, sender, &[("From", from)]);
            assert_eq!(outgoing.refusal.is_none(), taken, "{sender} {from}");
            assert!(!outgoing.unsigned);
        }
    }

    #[test]
    fn redirected_mail_is_its_authors_and_counts_for_the_user() {
        let redirected = ("X-Sieve-Redirected-From", " anna@a.example");
        let from = ("From", "boss@a.example");
        for sender in ["anna@a.example", "anna+x@a.example", ""] {
            let outgoing = judged(&Origin::Filter, sender, &[redirected, from]);
            assert_eq!(outgoing.refusal, None);
            assert_eq!(outgoing.account.as_deref(), Some("anna@a.example"));
            assert!(outgoing.unsigned, "{sender}");
        }
        // The sender of a bounce cannot choose who pays: Dovecot's own line is the first.
        let other = ("X-Sieve-Redirected-From", "bert@a.example");
        let outgoing = judged(&Origin::Filter, "", &[redirected, other, from]);
        assert_eq!(outgoing.account.as_deref(), Some("anna@a.example"));
        // By login the line means nothing.
        let account = Origin::Account("anna@a.example".to_owned());
        let outgoing = judged(&account, "anna@a.example", &[redirected, from]);
        assert!(outgoing.refusal.is_some());
    }

    #[test]
    fn nobody_chooses_whose_key_signs() {
        let account = Origin::Account("anna@a.example".to_owned());
        let own = ("From", "anna@a.example");
        let outgoing = judged(
            &account,
            "anna@a.example",
            &[(UNSIGNED, "x@b.example"), own, (UNSIGNED, "y@b.example")],
        );
        assert_eq!(outgoing.deleted, [(UNSIGNED, 2), (UNSIGNED, 1)]);
    }

    #[test]
    fn headers_that_name_another_sender_are_taken_out() {
        let account = Origin::Account("anna@a.example".to_owned());
        let outgoing = judged(
            &account,
            "anna@a.example",
            &[
                ("From", "anna@a.example"),
                ("Sender", "boss@a.example"),
                ("Resent-From", "anna@a.example"),
                ("Resent-From", "boss@a.example"),
                ("resent-sender", "info@a.example"),
            ],
        );
        assert_eq!(outgoing.refusal, None);
        assert_eq!(outgoing.deleted, [("Resent-From", 2), ("Sender", 1)]);
    }
}
