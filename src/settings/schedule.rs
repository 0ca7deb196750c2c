//! When a machine takes updates by itself: calendar events as systemd.time(7) writes them,
//! <https://www.freedesktop.org/software/systemd/man/257/systemd.time.html>.
//!
//! `[WEEKDAYS] [*-*-DAYS] [HOUR:MINUTE[:SECOND]] [UTC]`, or `daily`, `weekly`, `monthly`. All
//! times are in UTC, which is the machine's zone. Left out: single years and months,
//! repetitions, several times a day, other zones.

use super::value::Wrong;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;

/// A day has so many seconds.
const DAY: i64 = 86_400;
/// What is taken.
const EXPECTED: &str = "daily, weekly, monthly, or a time in UTC such as 03:00, Sun 03:00, \
                        Mon..Fri 02:30 or *-*-01 04:00";
/// As they are written; longer names are taken, too.
const WEEKDAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];
const LONG_WEEKDAYS: [&str; 7] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
];

/// Days and a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Monday first.
    weekdays: [bool; 7],
    /// Days of the month, from 1; none is all of them.
    days: Vec<i8>,
    hour: i8,
    minute: i8,
}

impl Schedule {
    /// The event whose window is open at a time, both in seconds since 1970.
    pub fn open_since(&self, now: i64, window: i64) -> Option<i64> {
        let today = now.div_euclid(DAY);
        // A window is shorter than a day.
        let starts = [today, today - 1].map(|day| {
            let start = day * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60;
            self.is_on(start).then_some(start)
        });
        let mut open = starts.into_iter().flatten();
        open.find(|start| (*start..start + window).contains(&now))
    }

    /// The same every week: its days as systemd shortens them, and `HOUR:MINUTE`. `None` when
    /// it looks at days of the month.
    pub fn weekly(&self) -> Option<(Vec<&'static str>, String)> {
        if !self.days.is_empty() {
            return None;
        }
        let days = WEEKDAYS.iter().zip(self.weekdays);
        let days = days.filter(|(_, is_on)| *is_on).map(|(day, _)| *day);
        let time = format!("{:02}:{:02}", self.hour, self.minute);
        Some((days.collect(), time))
    }

    /// Whether a day is one of its days.
    fn is_on(&self, seconds: i64) -> bool {
        let Ok(time) = Timestamp::from_second(seconds) else {
            return false;
        };
        let date: DateTime = TimeZone::UTC.to_datetime(time);
        let weekday = date.weekday().to_monday_zero_offset();
        self.weekdays[weekday as usize] && (self.days.is_empty() || self.days.contains(&date.day()))
    }
}

/// Reads one; the error says what is wrong, and what is expected.
pub fn parse_schedule(text: &str) -> Result<Schedule, Wrong> {
    let wrong = || (format!("'{text}' is no time to upgrade at"), EXPECTED);
    let mut schedule = Schedule {
        weekdays: [true; 7],
        days: Vec::new(),
        hour: 0,
        minute: 0,
    };
    match text.to_ascii_lowercase().as_str() {
        "daily" => return Ok(schedule),
        "weekly" => {
            schedule.weekdays = std::array::from_fn(|day| day == 0);
            return Ok(schedule);
        }
        "monthly" => {
            schedule.days = vec![1];
            return Ok(schedule);
        }
        _ => {}
    }
    let mut words: Vec<&str> = text.split_ascii_whitespace().collect();
    if words
        .last()
        .is_some_and(|word| word.eq_ignore_ascii_case("utc"))
    {
        words.pop();
    }
    let mut words = words.into_iter().peekable();
    if words.peek().is_none() {
        return Err(wrong());
    }
    if let Some(weekdays) = words.peek().and_then(|word| parse_weekdays(word)) {
        schedule.weekdays = weekdays;
        words.next();
    }
    if let Some(days) = words.peek().and_then(|word| word.strip_prefix("*-*-")) {
        schedule.days = parse_days(days).ok_or_else(wrong)?;
        words.next();
    }
    if let Some(time) = words.next() {
        (schedule.hour, schedule.minute) = parse_time(time).ok_or_else(wrong)?;
    }
    match words.next() {
        None => Ok(schedule),
        Some(_) => Err(wrong()),
    }
}

/// `Sun`, `Sat,Sun`, `Mon..Fri`.
fn parse_weekdays(text: &str) -> Option<[bool; 7]> {
    let number = |name: &str| {
        let same = |day: usize| {
            name.eq_ignore_ascii_case(WEEKDAYS[day])
                || name.eq_ignore_ascii_case(LONG_WEEKDAYS[day])
        };
        (0..7).find(|day| same(*day))
    };
    let mut weekdays = [false; 7];
    for item in text.split(',') {
        let (first, last) = item.split_once("..").unwrap_or((item, item));
        let (first, last) = (number(first)?, number(last)?);
        // A range over the end of the week is none for systemd either.
        if first > last {
            return None;
        }
        weekdays[first..=last].fill(true);
    }
    Some(weekdays)
}

/// `*`, `01`, `1,15`.
fn parse_days(text: &str) -> Option<Vec<i8>> {
    if text == "*" {
        return Some(Vec::new());
    }
    let days = text.split(',').map(|day| parse_number(day, 31));
    let days: Vec<i8> = days.collect::<Option<_>>()?;
    (!days.contains(&0)).then_some(days)
}

/// `3:00`, `03:00:00`; seconds are no use for this.
fn parse_time(text: &str) -> Option<(i8, i8)> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, second) = rest.split_once(':').unwrap_or((rest, "0"));
    parse_number(second, 0)?;
    Some((parse_number(hour, 23)?, parse_number(minute, 59)?))
}

fn parse_number(text: &str, most: i8) -> Option<i8> {
    let digits = (1..=2).contains(&text.len()) && text.bytes().all(|one| one.is_ascii_digit());
    let number = text.parse().ok().filter(|_| digits)?;
    (number <= most).then_some(number)
}

/// How long it may take: `90min`, `2h`.
pub fn parse_window(text: &str) -> Result<i64, Wrong> {
    let wrong = || {
        (
            format!("'{text}' is no time to restart within"),
            "30min to 23h",
        )
    };
    let (number, unit) = text
        .strip_suffix("min")
        .map(|number| (number, 60))
        .or_else(|| text.strip_suffix('h').map(|number| (number, 3600)))
        .ok_or_else(wrong)?;
    let digits = number.len() <= 4 && number.bytes().all(|one| one.is_ascii_digit());
    let seconds = number
        .parse::<i64>()
        .ok()
        .filter(|_| digits)
        .map(|number| number * unit);
    seconds
        .filter(|seconds| (1800..=23 * 3600).contains(seconds))
        .ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::{parse_schedule, parse_window};
    use jiff::Timestamp;
    use std::process::Command;

    const GOOD: [&str; 12] = [
        "daily",
        "weekly",
        "monthly",
        "03:00",
        "3:05",
        "Sun 03:00",
        "Sunday 03:00:00 UTC",
        "Mon..Fri 02:30",
        "Sat,Sun 04:00",
        "*-*-01 04:00",
        "Mon *-*-1,8 04:00",
        "Mon,Fri *-*-* 23:59",
    ];

    fn seconds(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_second()
    }

    /// What begins after a time, by asking for each minute.
    fn next(schedule: &str, after: &str) -> String {
        let schedule = parse_schedule(schedule).unwrap();
        let begin = seconds(after);
        let mut minutes = (begin..).step_by(60);
        let start = minutes
            .find(|now| schedule.open_since(*now, 60).is_some())
            .unwrap();
        Timestamp::from_second(start).unwrap().to_string()
    }

    #[test]
    fn windows_open_when_systemd_would_start() {
        // A Wednesday.
        let after = "2026-07-01T12:00:00Z";
        let expected = [
            "2026-07-02T00:00:00Z",
            "2026-07-06T00:00:00Z",
            "2026-08-01T00:00:00Z",
            "2026-07-02T03:00:00Z",
            "2026-07-02T03:05:00Z",
            "2026-07-05T03:00:00Z",
            "2026-07-05T03:00:00Z",
            "2026-07-02T02:30:00Z",
            "2026-07-04T04:00:00Z",
            "2026-08-01T04:00:00Z",
            "2027-02-01T04:00:00Z",
            "2026-07-03T23:59:00Z",
        ];
        for (schedule, expected) in GOOD.iter().zip(expected) {
            assert_eq!(next(schedule, after), expected, "{schedule}");
        }
    }

    #[test]
    fn systemd_reads_them_the_same() {
        let analyze = |schedule: &str| {
            let mut command = Command::new("systemd-analyze");
            command.env("TZ", "UTC").env("LC_ALL", "C");
            command.args(["calendar", "--base-time=2026-07-01 12:00:00 UTC", schedule]);
            command.output()
        };
        match analyze("daily") {
            Ok(output) if output.status.success() => {}
            _ => {
                println!("skipped: there is no systemd-analyze that takes --base-time");
                return;
            }
        }
        for schedule in GOOD {
            let output = analyze(schedule).unwrap();
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            let line = text
                .lines()
                .find_map(|line| line.trim().strip_prefix("Next elapse: "));
            let words: Vec<&str> = line.expect(schedule).split(' ').collect();
            let theirs = format!("{}T{}Z", words[1], words[2]);
            assert_eq!(next(schedule, "2026-07-01T12:00:00Z"), theirs, "{schedule}");
        }
    }

    #[test]
    fn a_window_lasts_over_midnight() {
        let schedule = parse_schedule("Sun 23:00").unwrap();
        let open = |at: &str| schedule.open_since(seconds(at), 2 * 3600);
        let start = Some(seconds("2026-07-05T23:00:00Z"));
        assert_eq!(open("2026-07-05T22:59:59Z"), None);
        assert_eq!(open("2026-07-05T23:00:00Z"), start);
        assert_eq!(open("2026-07-06T00:59:59Z"), start);
        assert_eq!(open("2026-07-06T01:00:00Z"), None);
        assert_eq!(open("2026-07-04T23:30:00Z"), None);
    }

    #[test]
    fn a_week_is_told_unless_months_count() {
        let weekly = |text: &str| parse_schedule(text).unwrap().weekly();
        assert_eq!(
            weekly("Sat,Sun 4:05"),
            Some((vec!["Sat", "Sun"], "04:05".to_owned()))
        );
        assert_eq!(weekly("weekly"), Some((vec!["Mon"], "00:00".to_owned())));
        assert_eq!(weekly("daily").unwrap().0.len(), 7);
        assert_eq!(weekly("monthly"), None);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for bad in [
            "",
            "UTC",
            "soon",
            "24:00",
            "03:60",
            "03:00:01",
            "3",
            "03:00 03:00",
            "Sun Mon 03:00",
            "2026-01-01 03:00",
            "*-*-0 03:00",
            "*-*-32 03:00",
            "*:0/15",
            "03:00 Europe/Berlin",
            "Sun..",
            "Fri..Mon 03:00",
            "Tue..Mon 03:00",
            "-1:00",
            "003:00",
            "*-*-",
        ] {
            assert!(parse_schedule(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_window("90min"), Ok(5400));
        assert_eq!(parse_window("23h"), Ok(82_800));
        for bad in [
            "",
            "h",
            "0h",
            "24h",
            "29min",
            "2",
            "2d",
            "-2h",
            "99999999999999h",
            "1.5h",
        ] {
            assert!(parse_window(bad).is_err(), "{bad}");
        }
    }
}
