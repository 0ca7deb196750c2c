//! When a lock was made: a moment that only rises, because versions of images
//! carry it, whatever the clock says.

use super::locked::Lock;

/// Versions tell minutes apart.
const VERSION_STEP: i64 = 60;

/// When a lock was made that replaces another.
///
/// One that names the same sources and packages is the same lock, of the same
/// time. Another one is later than the one before, by a step at least, and no
/// older than its indexes.
pub fn made(lock: &Lock, previous: Option<&Lock>, now: i64) -> Option<i64> {
    let Some(previous) = previous else {
        return Some(now.max(lock.time()));
    };
    if previous.sources == lock.sources && previous.packages == lock.packages {
        return previous.made;
    }
    let next = previous.made().saturating_add(VERSION_STEP);
    Some(now.max(lock.time()).max(next))
}

#[cfg(test)]
mod tests {
    use super::{Lock, made};
    use crate::builder::lock::LockedSource;

    fn lock(date: i64, made: Option<i64>) -> Lock {
        Lock {
            recipe_sha256: "0".repeat(64),
            made,
            sources: vec![LockedSource {
                suite: "tiny".to_owned(),
                mirrors: Vec::new(),
                date,
                inrelease_sha256: "0".repeat(64),
            }],
            packages: Vec::new(),
        }
    }

    #[test]
    fn a_newer_lock_is_later_whatever_the_clock_says() {
        let new = lock(1000, None);
        assert_eq!(made(&new, None, 1500), Some(1500));
        assert_eq!(made(&new, None, 10), Some(1000));
        let old = lock(900, Some(2000));
        assert_eq!(made(&new, Some(&old), 5000), Some(5000));
        assert_eq!(made(&new, Some(&old), 1500), Some(2060));
        assert_eq!(made(&new, Some(&old), 10), Some(2060));
        // One of an older program counts as made when its indexes were.
        assert_eq!(made(&new, Some(&lock(900, None)), 10), Some(1000));
        assert_eq!(made(&new, Some(&lock(990, None)), 10), Some(1050));
    }

    #[test]
    fn one_that_changes_nothing_keeps_its_time() {
        let same = lock(1000, None);
        for before in [None, Some(1200)] {
            assert_eq!(made(&same, Some(&lock(1000, before)), 9000), before);
        }
    }
}
