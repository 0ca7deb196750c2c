//! When a name is tried again after a failure.
//!
//! Times are seconds since 1970, kept across reboots. What was noted while the
//! clock was ahead must not hold a name up once it is right: a time that lies
//! further away than anything we would choose counts as come.

use serde::{Deserialize, Serialize};

/// The pause after the first failure.
const FIRST_PAUSE: i64 = 300;
/// The longest pause of our own choice.
const PAUSE_MAX: i64 = 24 * 3600;
/// The longest that a CA may ask for; the widest limits count by the week.
const ASKED_PAUSE_MAX: i64 = 7 * 24 * 3600;
/// How far the clock may go back by itself.
const CLOCK_DRIFT_MAX: i64 = 300;

/// A pause and its reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pause {
    /// When it began.
    pub since: i64,
    /// When it ends.
    pub until: i64,
    /// Whether the CA asked for it.
    pub asked: bool,
}

impl Pause {
    /// The pause after so many failures in a row, lengthened or shortened by chance (0 to 1).
    pub fn after(failures: u32, now: i64, chance: f64) -> Self {
        let doubled = FIRST_PAUSE.saturating_mul(1_i64 << failures.saturating_sub(1).min(20));
        let seconds = doubled.min(PAUSE_MAX);
        // Machines that fail together do not come back together.
        let spread = (seconds as f64 * 0.2 * chance) as i64;
        Self {
            since: now,
            until: now + seconds - seconds / 10 + spread,
            asked: false,
        }
    }

    /// The pause that a CA asks for.
    pub fn asked(until: i64, now: i64) -> Self {
        Self {
            since: now,
            until: until.clamp(now + 1, now + ASKED_PAUSE_MAX),
            asked: true,
        }
    }

    /// A pause of this many seconds.
    pub fn of(seconds: i64, now: i64) -> Self {
        Self {
            since: now,
            until: now + seconds,
            asked: false,
        }
    }

    /// Whether it is over.
    pub fn is_over(&self, now: i64) -> bool {
        let moved_back = now < self.since - CLOCK_DRIFT_MAX;
        let longest = if self.asked {
            ASKED_PAUSE_MAX
        } else {
            PAUSE_MAX
        };
        moved_back || now >= self.until || self.until - now > longest + PAUSE_MAX / 10
    }
}

#[cfg(test)]
mod tests {
    use super::{PAUSE_MAX, Pause};

    #[test]
    fn doubles_up_to_a_day() {
        let length = |failures| Pause::after(failures, 1000, 0.5).until - 1000;
        assert_eq!([length(1), length(2), length(3)], [300, 600, 1200]);
        assert_eq!(length(9), 76_800);
        assert_eq!(length(10), PAUSE_MAX);
        assert_eq!(length(u32::MAX), PAUSE_MAX);
        assert_eq!(Pause::after(1, 0, 0.0).until, 270);
        assert_eq!(Pause::after(1, 0, 1.0).until, 330);
    }

    #[test]
    fn what_the_authority_asks_for_counts_within_reason() {
        let pause = Pause::asked(5000, 1000);
        assert!(!pause.is_over(4999) && pause.is_over(5000));
        assert_eq!(Pause::asked(i64::MAX, 0).until, 7 * 86_400);
        assert_eq!(Pause::asked(-5, 10).until, 11);
    }

    #[test]
    fn a_clock_that_goes_back_holds_nothing_up() {
        let pause = Pause::after(1, 2_000_000_000, 0.5);
        assert!(!pause.is_over(2_000_000_000));
        assert!(!pause.is_over(1_999_999_999));
        assert!(pause.is_over(1_800_000_000));
        let torn = Pause {
            since: 0,
            until: i64::MAX,
            asked: true,
        };
        assert!(torn.is_over(1_800_000_000));
    }
}
