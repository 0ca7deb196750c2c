//! Who may see the pages: one user with one password.
//!
//! A browser logs in with a form and has a session ([`sessions`]); programs such as Grafana
//! send the password with each question (RFC 7617), which is believed again for a while once it
//! was right. Wrong ones are counted by address ([`failures`]) and reported to the guard
//! ([`report`]), which bans who goes on.

pub mod failures;
pub mod report;
pub mod sessions;

use super::asked::Asked;
use super::pages::configuration::Configuration;
use crate::appliance::users::password::{hash_password, is_password};
use base64::Engine;
use rand::RngExt;
use sha2::{Digest, Sha256};
use std::time::{Duration, Instant};

/// How long a password that was right is believed without computing its hash again.
const BELIEVED: Duration = Duration::from_secs(300);
/// Longest password or name that is looked at.
const LONGEST: usize = 512;

/// What came of a try.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is the user.
    Right,
    /// It is not.
    Wrong,
}

/// A name and a password that somebody gave.
#[derive(Clone)]
pub struct Credentials {
    /// The name.
    pub user: String,
    /// The password.
    pub password: String,
}

impl Credentials {
    /// Those of HTTP's basic authentication.
    pub fn basic(asked: &Asked) -> Option<Self> {
        let text = asked.header("authorization")?;
        let (scheme, encoded) = text.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let decoded = base64::engine::general_purpose::STANDARD
            .decode(encoded.trim())
            .ok()?;
        let text = String::from_utf8(decoded).ok()?;
        let (user, password) = text.split_once(':')?;
        Some(Self {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    /// Whether they are the user's; takes as long for a wrong name.
    pub fn check(&self, configuration: &Configuration) -> Outcome {
        let fits = self.user.len() <= LONGEST && self.password.len() <= LONGEST;
        let Some(hash) = configuration.password.as_deref().filter(|_| fits) else {
            return Outcome::Wrong;
        };
        if is_password(hash, &self.password) && self.user == configuration.user {
            Outcome::Right
        } else {
            Outcome::Wrong
        }
    }
}

/// Remembers what was right a moment ago: a dashboard asks many questions at once.
pub struct Believed {
    salt: [u8; 32],
    held: Option<([u8; 32], Instant)>,
}

impl Default for Believed {
    fn default() -> Self {
        Self {
            salt: random(),
            held: None,
        }
    }
}

impl Believed {
    /// Whether these were right a moment ago, under the same hash.
    pub fn holds(&self, credentials: &Credentials, hash: &str, now: Instant) -> bool {
        self.held.is_some_and(|(digest, since)| {
            now.duration_since(since) < BELIEVED && digest == self.digest(credentials, hash)
        })
    }

    /// Notes that they are right.
    pub fn note(&mut self, credentials: &Credentials, hash: &str, now: Instant) {
        self.held = Some((self.digest(credentials, hash), now));
    }

    fn digest(&self, credentials: &Credentials, hash: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        digest.update(self.salt);
        for part in [&credentials.user, &credentials.password, hash] {
            digest.update(part.len().to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// 256 bits of the kernel's.
pub fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    rand::rng().fill(&mut bytes);
    bytes
}

/// A random text for a cookie or a form.
pub fn token() -> String {
    hex::encode(random())
}

/// Compares in a time that tells nothing about where the difference is.
pub fn same(left: &str, right: &str) -> bool {
    Sha256::digest(left) == Sha256::digest(right)
}

/// A hash that no password has, to spend the time of one.
pub fn nobody() -> Option<String> {
    hash_password(&token()).ok()
}

#[cfg(test)]
mod tests {
    use super::{Believed, Credentials, Outcome};
    use crate::appliance::monitoring::pages::configuration::Configuration;
    use crate::appliance::users::password::hash_password;
    use std::time::{Duration, Instant};

    fn credentials(user: &str, password: &str) -> Credentials {
        Credentials {
            user: user.to_owned(),
            password: password.to_owned(),
        }
    }

    #[test]
    fn only_the_user_with_the_password_is_right() {
        let mut configuration = Configuration {
            hostname: "mail.a.example".to_owned(),
            domains: vec!["a.example".to_owned()],
            path: "/monitoring".to_owned(),
            user: "mail".to_owned(),
            password: Some(hash_password("secret").unwrap()),
        };
        let long = "x".repeat(1000);
        for (user, password, outcome) in [
            ("mail", "secret", Outcome::Right),
            ("Mail", "secret", Outcome::Wrong),
            ("mail", "secret ", Outcome::Wrong),
            ("mail", "", Outcome::Wrong),
            ("mail", &long, Outcome::Wrong),
        ] {
            assert_eq!(credentials(user, password).check(&configuration), outcome);
        }
        configuration.password = None;
        for password in ["", "secret"] {
            let outcome = credentials("mail", password).check(&configuration);
            assert_eq!(outcome, Outcome::Wrong);
        }
    }

    #[test]
    fn what_was_right_is_believed_for_a_while_and_under_its_hash_only() {
        let mut believed = Believed::default();
        let (now, right) = (Instant::now(), credentials("mail", "secret"));
        assert!(!believed.holds(&right, "hash", now));
        believed.note(&right, "hash", now);
        assert!(believed.holds(&right, "hash", now));
        assert!(!believed.holds(&right, "other", now));
        assert!(!believed.holds(&credentials("mails", "ecret"), "hash", now));
        assert!(!believed.holds(&right, "hash", now + Duration::from_secs(301)));
    }
}
