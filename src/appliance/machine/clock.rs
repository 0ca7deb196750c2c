//! What time it is, and how long the machine has been on.

use super::place::Place;
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// Seconds since power-on, absent for another root than the machine's own.
///
/// By the clock: /proc/uptime is hidden from confined services (`ProcSubset=pid`, systemd.exec(5)).
pub fn uptime(place: &Place) -> Option<i64> {
    place
        .is_machine()
        .then(|| clock_gettime(ClockId::Boottime).tv_sec)
}
