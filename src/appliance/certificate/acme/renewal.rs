//! When a certificate is due.
//!
//! The CA says so by ARI (RFC 9773, <https://www.rfc-editor.org/rfc/rfc9773>):
//! a window, in which a moment is chosen by chance and kept while it lies
//! inside. Without that it is at two thirds of the lifetime, and at half of a
//! short one.

use crate::appliance::certificate::chain::CertificateFacts;
use crate::appliance::machine::clock::DAY;
use serde::{Deserialize, Serialize};

/// Lifetimes below this are short, in seconds.
const SHORT_LIFETIME: i64 = 10 * DAY;
/// Bounds of how often the CA is asked, section 4.3.2.
const ASK_BOUNDS: (i64, i64) = (60, DAY);
/// When it is asked again after it did not answer, section 4.3.3.
const ASK_AFTER_FAILURE: i64 = 6 * 3600;

/// Why it is due then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reason {
    /// The CA suggests it.
    Ari,
    /// Most of its lifetime is over.
    Lifetime,
}

/// When a certificate is due.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renewal {
    /// The certificate's serial number.
    pub serial: String,
    /// When to renew.
    pub at: i64,
    /// Why then.
    pub reason: Reason,
    /// The CA's window.
    #[serde(default)]
    pub window: Option<(i64, i64)>,
    /// When to ask the CA again.
    #[serde(default)]
    pub ask_at: i64,
}

impl Renewal {
    /// Before the CA said anything.
    pub fn by_lifetime(facts: &CertificateFacts) -> Self {
        let lifetime = facts.not_after - facts.not_before;
        let part = if lifetime < SHORT_LIFETIME {
            lifetime / 2
        } else {
            lifetime / 3 * 2
        };
        Self {
            serial: facts.serial.clone(),
            at: facts.not_before + part,
            reason: Reason::Lifetime,
            window: None,
            ask_at: 0,
        }
    }

    /// Takes the CA's window over; `chance` (0 to 1) chooses a moment in it.
    pub fn take_window(&mut self, window: (i64, i64), ask_in: i64, now: i64, chance: f64) {
        let (start, end) = window;
        self.ask_at = now + ask_in.clamp(ASK_BOUNDS.0, ASK_BOUNDS.1);
        if end < start {
            // Section 4.2 calls this no answer at all.
            return;
        }
        let kept = self.reason == Reason::Ari && (start..=end).contains(&self.at);
        if !kept {
            self.at = start + ((end - start) as f64 * chance) as i64;
        }
        self.reason = Reason::Ari;
        self.window = Some(window);
    }

    /// The CA did not answer.
    pub fn miss_window(&mut self, now: i64) {
        self.ask_at = now + ASK_AFTER_FAILURE;
    }

    /// Whether the CA is to be asked; a clock that went back is no reason not to.
    pub fn is_to_be_asked(&self, now: i64) -> bool {
        now >= self.ask_at || self.ask_at - now > ASK_BOUNDS.1
    }
}

#[cfg(test)]
mod tests {
    use super::{DAY, Reason, Renewal};
    use crate::appliance::certificate::chain::CertificateFacts;

    fn facts(days: i64) -> CertificateFacts {
        CertificateFacts {
            serial: "17".to_owned(),
            issuer: String::new(),
            self_signed: false,
            not_before: 0,
            not_after: days * DAY,
            names: Vec::new(),
            key_digest: String::new(),
        }
    }

    #[test]
    fn two_thirds_or_half() {
        assert_eq!(Renewal::by_lifetime(&facts(90)).at, 60 * DAY);
        assert_eq!(Renewal::by_lifetime(&facts(6)).at, 3 * DAY);
    }

    #[test]
    fn the_chosen_moment_stays_while_it_lies_in_the_window() {
        let mut renewal = Renewal::by_lifetime(&facts(90));
        assert!(renewal.is_to_be_asked(DAY));
        renewal.take_window((50 * DAY, 54 * DAY), 6 * 3600, DAY, 0.25);
        assert_eq!((renewal.at, renewal.reason), (51 * DAY, Reason::Ari));
        assert!(!renewal.is_to_be_asked(DAY + 3600));
        assert!(renewal.is_to_be_asked(DAY + 6 * 3600));
        renewal.take_window((50 * DAY, 54 * DAY), 0, DAY, 0.9);
        assert_eq!(renewal.at, 51 * DAY);
        assert_eq!(renewal.ask_at, DAY + 60);
        // Moved up: revoked, for instance.
        renewal.take_window((2 * DAY, 3 * DAY), i64::MAX - DAY, DAY, 1.0);
        assert_eq!(renewal.at, 3 * DAY);
        assert_eq!(renewal.ask_at, 2 * DAY);
        // No window at all.
        renewal.take_window((9 * DAY, 8 * DAY), 60, DAY, 0.5);
        assert_eq!(renewal.at, 3 * DAY);
        renewal.miss_window(DAY);
        assert_eq!(renewal.ask_at, DAY + 6 * 3600);
        // Noted while the clock was years ahead.
        renewal.ask_at = 9000 * DAY;
        assert!(renewal.is_to_be_asked(DAY));
    }
}
