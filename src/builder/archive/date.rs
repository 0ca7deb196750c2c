//! Moments of an archive: how they are written for people, and how far a clock may be off.

use jiff::Timestamp;

/// Seconds by which our clock may lag behind the signer's.
pub const CLOCK_TOLERANCE: i64 = 300;

/// Writes a moment as `2026-11-22 13:37:47 UTC`.
pub fn format_date(seconds: i64) -> String {
    match Timestamp::from_second(seconds) {
        Ok(moment) => moment.strftime("%Y-%m-%d %H:%M:%S UTC").to_string(),
        Err(_) => format!("second {seconds}"),
    }
}
