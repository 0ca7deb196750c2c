//! Units of what is shown: how a number is written.
//!
//! The same names are known to the script that draws charts, which writes them on axes.

use jiff::Timestamp;
use serde::Serialize;

/// What a number counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Things.
    Count,
    /// Things in a minute.
    PerMinute,
    /// Bytes, in powers of 1024.
    Bytes,
    /// Bytes in a second.
    BytesPerSecond,
    /// A span of time.
    Seconds,
    /// A part of 1.
    Share,
}

impl Unit {
    /// What stands beside the axis.
    pub fn words(self) -> &'static str {
        match self {
            Self::Count => "",
            Self::PerMinute => "per minute",
            Self::Bytes => "bytes",
            Self::BytesPerSecond => "bytes per second",
            Self::Seconds => "time",
            Self::Share => "per cent",
        }
    }

    /// A number with its unit.
    pub fn write(self, value: f64) -> String {
        if !value.is_finite() {
            return "–".to_owned();
        }
        match self {
            Self::Count => plain(value),
            Self::PerMinute => format!("{}/min", plain(value)),
            Self::Bytes => bytes(value),
            Self::BytesPerSecond => format!("{}/s", bytes(value)),
            Self::Seconds => span(value),
            Self::Share => format!("{} %", plain(value * 100.0)),
        }
    }
}

/// Three digits that matter, thousands set apart.
fn plain(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 {
        return "0".to_owned();
    }
    if size >= 1000.0 || value.fract() == 0.0 && size >= 1.0 {
        return grouped(&format!("{value:.0}"));
    }
    let places = match size {
        100.0.. => 0,
        10.0.. => 1,
        0.1.. => 2,
        _ => 3,
    };
    let text = format!("{value:.places$}");
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A narrow no-break space between thousands.
fn grouped(text: &str) -> String {
    let (sign, digits) = text
        .strip_prefix('-')
        .map_or(("", text), |rest| ("-", rest));
    let mut grouped = sign.to_owned();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

fn bytes(value: f64) -> String {
    let mut value = value;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value.abs() < 1024.0 {
            return format!("{} {unit}", plain(value));
        }
        value /= 1024.0;
    }
    format!("{} TiB", plain(value))
}

fn span(value: f64) -> String {
    let size = value.abs();
    let (divisor, unit) = match size {
        0.0 => (1.0, "s"),
        ..0.001 => (0.000_001, "µs"),
        ..1.0 => (0.001, "ms"),
        ..120.0 => (1.0, "s"),
        ..7200.0 => (60.0, "min"),
        ..172_800.0 => (3600.0, "h"),
        _ => (86_400.0, "d"),
    };
    format!("{} {unit}", plain(value / divisor))
}

/// A time as people read it; the machine's clock is UTC.
pub fn time(seconds: i64) -> String {
    Timestamp::from_second(seconds).map_or_else(
        |_| String::new(),
        |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::Unit;

    #[test]
    fn numbers_are_short_and_say_what_they_count() {
        for (unit, value, text) in [
            (Unit::Count, 0.0, "0"),
            (Unit::Count, 1_234_567.0, "1\u{202f}234\u{202f}567"),
            (Unit::Count, -1000.0, "-1\u{202f}000"),
            (Unit::Count, 0.5, "0.5"),
            (Unit::PerMinute, 12.345, "12.3/min"),
            (Unit::PerMinute, 0.01234, "0.012/min"),
            (Unit::Bytes, 1536.0, "1.5 KiB"),
            (Unit::Bytes, 5e15, "4\u{202f}547 TiB"),
            (Unit::BytesPerSecond, 10.0, "10 B/s"),
            (Unit::Seconds, 0.0123, "12.3 ms"),
            (Unit::Seconds, 90.0, "90 s"),
            (Unit::Seconds, 86_400.0, "24 h"),
            (Unit::Share, 0.251, "25.1 %"),
            (Unit::Count, f64::NAN, "–"),
        ] {
            assert_eq!(unit.write(value), text);
        }
    }
}
