//! Sessions of browsers: a cookie that only the browser knows, and what belongs to it.
//!
//! Cookies by RFC 6265bis (<https://datatracker.ietf.org/doc/draft-ietf-httpbis-rfc6265bis/>):
//! the prefix `__Host-` keeps other names and plain HTTP from setting one. Sessions live in
//! memory only: they end with the process. Times are the monotonic clock's, which no jump moves.

use super::{same, token};
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The cookie of a session.
pub const COOKIE: &str = "__Host-mailimg";
/// The cookie that a login form comes with.
pub const LOGIN_COOKIE: &str = "__Host-mailimg-login";
/// A session nobody used for so long ends; a page that refreshes itself uses it.
const IDLE: Duration = Duration::from_secs(12 * 3600);
/// The longest session.
const LONGEST: Duration = Duration::from_secs(7 * 86_400);
/// Most sessions at once; the one unused for longest goes first.
const MOST: usize = 64;

/// One browser that logged in.
#[derive(Debug, Clone)]
struct Session {
    form_token: String,
    hash: String,
    began: Instant,
    used: Instant,
    /// What is to be said on the next page.
    said: Option<String>,
}

/// All of them, by the digest of their cookie.
#[derive(Debug, Default)]
pub struct Sessions(HashMap<[u8; 32], Session>);

impl Sessions {
    /// Begins one under this hash of the password, and returns its cookie's value.
    pub fn begin(&mut self, hash: &str, now: Instant) -> String {
        self.forget(now);
        if self.0.len() >= MOST {
            let oldest = self.0.iter().min_by_key(|(_, session)| session.used);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                self.0.remove(&key);
            }
        }
        let value = token();
        let session = Session {
            form_token: token(),
            hash: hash.to_owned(),
            began: now,
            used: now,
            said: None,
        };
        self.0.insert(digest(&value), session);
        value
    }

    /// The token that forms of this session carry, `None` when there is no such session.
    pub fn find(&mut self, value: &str, hash: &str, now: Instant) -> Option<String> {
        let key = digest(value);
        let session = self.0.get_mut(&key)?;
        // Under another password it counts no more.
        if !is_alive(session, now) || session.hash != hash {
            self.0.remove(&key);
            return None;
        }
        session.used = now;
        Some(session.form_token.clone())
    }

    /// Keeps what is to be said on the session's next page.
    pub fn say(&mut self, value: &str, said: String) {
        if let Some(session) = self.0.get_mut(&digest(value)) {
            session.said = Some(said);
        }
    }

    /// What is to be said, once.
    pub fn take_said(&mut self, value: &str) -> Option<String> {
        self.0.get_mut(&digest(value))?.said.take()
    }

    /// Ends one.
    pub fn end(&mut self, value: &str) {
        self.0.remove(&digest(value));
    }

    fn forget(&mut self, now: Instant) {
        self.0.retain(|_, session| is_alive(session, now));
    }
}

fn is_alive(session: &Session, now: Instant) -> bool {
    now.duration_since(session.used) < IDLE && now.duration_since(session.began) < LONGEST
}

fn digest(value: &str) -> [u8; 32] {
    Sha256::digest(value).into()
}

/// `Set-Cookie` of a value, or of its end when it is empty.
pub fn set_cookie(name: &str, value: &str) -> String {
    let age = if value.is_empty() { "; Max-Age=0" } else { "" };
    format!("{name}={value}; Path=/; Secure; HttpOnly; SameSite=Strict{age}")
}

/// Whether a posted token is the one that belongs there.
pub fn is_token(posted: Option<&str>, expected: &str) -> bool {
    posted.is_some_and(|posted| !expected.is_empty() && same(posted, expected))
}

#[cfg(test)]
mod tests {
    use super::{IDLE, LONGEST, MOST, Sessions, is_token, set_cookie};
    use std::time::{Duration, Instant};

    #[test]
    fn sessions_end_when_unused_old_logged_out_or_under_another_password() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let value = sessions.begin("hash", start);
        assert_eq!(value.len(), 64);
        let first = sessions.find(&value, "hash", start).unwrap();
        assert_ne!(first, value);
        assert_eq!(sessions.find("", "hash", start), None);
        // Used now and then it lasts a week.
        let mut now = start;
        while now < start + LONGEST - IDLE {
            now += IDLE / 2;
            assert!(sessions.find(&value, "hash", now).is_some());
        }
        assert_eq!(sessions.find(&value, "hash", start + LONGEST), None);
        let value = sessions.begin("hash", start);
        assert_eq!(sessions.find(&value, "hash", start + IDLE), None);
        let value = sessions.begin("hash", start);
        sessions.end(&value);
        assert_eq!(sessions.find(&value, "hash", start), None);
        let value = sessions.begin("hash", start);
        assert_eq!(sessions.find(&value, "other", start), None);
        assert_eq!(sessions.find(&value, "hash", start), None);
    }

    #[test]
    fn there_are_never_more_than_some() {
        let mut sessions = Sessions::default();
        let start = Instant::now();
        let first = sessions.begin("hash", start);
        for number in 0..MOST {
            sessions.begin("hash", start + Duration::from_secs(number as u64 + 1));
        }
        assert_eq!(sessions.0.len(), MOST);
        assert_eq!(sessions.find(&first, "hash", start), None);
    }

    #[test]
    fn an_empty_token_fits_nothing() {
        assert!(is_token(Some("a"), "a"));
        assert!(!is_token(Some(""), "") && !is_token(None, "a") && !is_token(Some("b"), "a"));
        assert!(set_cookie("x", "").ends_with("Max-Age=0"));
    }
}
