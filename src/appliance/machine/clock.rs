//! What time it is, whether that can be believed, and how long the machine has been on.
//!
//! Every clock is wrong now and then: hypervisors keep local time, batteries fail, a
//! snapshot is woken a day later. So nothing here takes a time of others for false
//! because it lies some minutes off ([`CLOCK_SKEW`]), and what looks wrong by more is
//! looked at again soon.

use super::place::{self, Place};
use jiff::Timestamp;
use rustix::time::{ClockId, clock_gettime};
use std::os::unix::fs::MetadataExt;

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// How far our clock and that of others may lie apart without anything coming of it, in seconds.
///
/// The same five minutes as for DNS updates (RFC 8945, section 10,
/// <https://www.rfc-editor.org/rfc/rfc8945#section-10>).
pub const CLOCK_SKEW: i64 = 300;

/// Exists once timesyncd has set the clock, until the machine is off (systemd-timesyncd.service(8)).
pub const SYNCHRONIZED: &str = "/run/systemd/timesync/synchronized";

/// Seconds since 1970.
pub fn now() -> i64 {
    Timestamp::now().as_second()
}

/// The same where nothing before 1970 can be meant.
pub fn unsigned_now() -> u64 {
    u64::try_from(now()).unwrap_or(0)
}

/// Whether the clock was set by others' since power-on.
pub fn is_synchronized(place: &Place) -> bool {
    place.path(SYNCHRONIZED).exists()
}

/// How long after power-on it is waited for NTP, in seconds. Where it never comes, most clocks
/// are good enough all the same.
pub const NTP_LIMIT: i64 = 3600;

/// Whether the clock may still be set by hours or years: it was not yet, and the machine has
/// not been on for long.
pub fn may_be_set(place: &Place) -> bool {
    !is_synchronized(place) && uptime(place).is_none_or(|uptime| uptime < NTP_LIMIT)
}

/// A span of time for people: `3 s`, `40 minutes`, `13 hours`, `7305 days`.
pub fn describe_span(seconds: i64) -> String {
    let seconds = seconds.unsigned_abs();
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// Nanoseconds since power-on: a clock that nobody sets, the same for all processes, and
/// worth nothing beyond /run.
pub fn ticks() -> u128 {
    let time = clock_gettime(ClockId::Boottime);
    let seconds = u128::from(time.tv_sec.unsigned_abs());
    seconds * 1_000_000_000 + u128::from(time.tv_nsec.unsigned_abs())
}

/// What the clock would have shown at power-on, in seconds since 1970, by what it shows now:
/// the same until somebody sets the clock.
pub fn seconds_at_power_on() -> i64 {
    now() - clock_gettime(ClockId::Boottime).tv_sec
}

/// Seconds since power-on, absent for another root than the machine's own.
///
/// By the clock: /proc/uptime is hidden from confined services (`ProcSubset=pid`, systemd.exec(5)).
pub fn uptime(place: &Place) -> Option<i64> {
    let since_power_on = clock_gettime(ClockId::Boottime).tv_sec;
    match std::fs::metadata(place.path(place::CONTAINER)) {
        _ if !place.is_machine() => None,
        // The host may run for years.
        Ok(start) => Some((now() - start.mtime()).max(0)),
        Err(_) => Some(since_power_on),
    }
}
