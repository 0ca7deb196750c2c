//! How many recipients an account wrote to within the last hour.
//!
//! Kept in memory only, in minutes instead of single events, so that it stays
//! small; a restart of the filter begins anew.

use std::collections::{HashMap, VecDeque};

/// The window, in minutes.
const WINDOW_MINUTES: u64 = 60;
/// Most accounts remembered; only those that logged in come here.
const MOST_ACCOUNTS: usize = 100_000;

/// Counts per account and minute.
#[derive(Debug, Default)]
pub struct SendingLimit {
    accounts: HashMap<String, VecDeque<(u64, u32)>>,
}

impl SendingLimit {
    /// Counts one recipient at this second of a steady clock.
    ///
    /// Over the limit nothing is counted, and the error is the minutes to wait.
    pub fn take(&mut self, account: &str, limit: u32, second: u64) -> Result<(), u64> {
        let minute = second / 60;
        if !self.accounts.contains_key(account) && self.accounts.len() >= MOST_ACCOUNTS {
            self.accounts.retain(|_, counts| {
                counts
                    .back()
                    .is_some_and(|(last, _)| last + WINDOW_MINUTES > minute)
            });
        }
        let counts = self.accounts.entry(account.to_owned()).or_default();
        while counts
            .front()
            .is_some_and(|(first, _)| first + WINDOW_MINUTES <= minute)
        {
            counts.pop_front();
        }
        let sum: u64 = counts.iter().map(|(_, count)| u64::from(*count)).sum();
        if sum >= u64::from(limit) {
            let oldest = counts.front().map_or(minute, |(first, _)| *first);
            return Err((oldest + WINDOW_MINUTES - minute).max(1));
        }
        match counts.back_mut() {
            Some((last, count)) if *last == minute => *count += 1,
            _ => counts.push_back((minute, 1)),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::SendingLimit;

    #[test]
    fn the_window_slides() {
        let mut limit = SendingLimit::default();
        assert_eq!(limit.take("a", 3, 0), Ok(()));
        assert_eq!(limit.take("a", 3, 600), Ok(()));
        assert_eq!(limit.take("a", 3, 601), Ok(()));
        assert_eq!(limit.take("b", 3, 601), Ok(()));
        assert_eq!(limit.take("a", 3, 900), Err(45));
        assert_eq!(limit.take("a", 3, 3599), Err(1));
        assert_eq!(limit.take("a", 3, 3600), Ok(()));
        assert_eq!(limit.take("a", 3, 3600), Err(10));
        assert_eq!(limit.take("a", 0, 9_000_000), Err(60));
    }
}
