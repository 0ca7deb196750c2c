//! What time it is, and how long the machine has been on.

use super::place::Place;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// Seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The same where nothing before 1970 can be meant.
pub fn unsigned_now() -> u64 {
    u64::try_from(now()).unwrap_or(0)
}

/// Seconds since power-on, absent for another root than the machine's own.
///
/// By the clock: /proc/uptime is hidden from confined services (`ProcSubset=pid`, systemd.exec(5)).
pub fn uptime(place: &Place) -> Option<i64> {
    place
        .is_machine()
        .then(|| clock_gettime(ClockId::Boottime).tv_sec)
}
