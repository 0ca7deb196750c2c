//! When a host may restart: a window of every week, for Zincati and for podman's timer.
//!
//! Zincati's periodic strategy
//! (<https://coreos.github.io/zincati/usage/updates-strategy/#periodic-strategy>) knows days
//! of the week, all in UTC. The words are those of `UPDATE_SCHEDULE` and `UPDATE_WINDOW`.

use std::fmt::Write;

use anyhow::{Result, anyhow};

use crate::error::Hint;
use crate::settings::{parse_schedule, parse_window};

/// A time of the week, in UTC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    days: Vec<&'static str>,
    /// `HOUR:MINUTE`.
    start: String,
    minutes: i64,
}

impl Window {
    /// Reads when it begins, such as `Sun 03:00`, and how long it lasts, such as `90min`.
    pub fn parse(schedule: &str, length: &str) -> Result<Self> {
        let wrong = |option: &str, what: String, expected: &str| {
            Err::<(), _>(anyhow!("reading {option}: {what}"))
                .hint(format!("`{option}` takes {expected}"))
                .usage()
                .unwrap_err()
        };
        let parsed = parse_schedule(schedule)
            .map_err(|(what, expected)| wrong("--update-schedule", what, expected))?;
        let (days, start) = parsed.weekly().ok_or_else(|| {
            wrong(
                "--update-schedule",
                format!("'{schedule}' names days of the month"),
                "days of the week, the only ones that hosts know: Sun 03:00, Mon..Fri 02:30",
            )
        })?;
        let seconds = parse_window(length)
            .map_err(|(what, expected)| wrong("--update-window", what, expected))?;
        Ok(Self {
            days,
            start,
            minutes: seconds / 60,
        })
    }

    /// Zincati's configuration, with which it restarts the host only then.
    pub fn zincati(&self) -> String {
        let days: Vec<String> = self.days.iter().map(|day| format!("\"{day}\"")).collect();
        format!(
            "# When this host restarts for updates of its own system. All times are in UTC.\n\
             [updates]\nstrategy = \"periodic\"\n\n\
             [[updates.periodic.window]]\ndays = [{}]\nstart_time = \"{}\"\nlength_minutes = {}\n",
            days.join(", "),
            self.start,
            self.minutes
        )
    }

    /// What podman-auto-update.timer is changed by, to look for another image only then.
    pub fn timer(&self) -> String {
        let mut text = String::from(
            "# When podman takes another image of the mail server. The empty line takes back\n\
             # that it is every day.\n[Timer]\nOnCalendar=\n",
        );
        let _ = writeln!(
            text,
            "OnCalendar={} *-*-* {}:00 UTC",
            self.days.join(","),
            self.start
        );
        text
    }
}

#[cfg(test)]
mod tests {
    use super::Window;
    use crate::error::render;

    #[test]
    fn both_programs_are_told_the_same_time() {
        let window = Window::parse("Sat,Sun 3:05", "90min").unwrap();
        insta::assert_snapshot!(window.zincati(), @r#"
        # When this host restarts for updates of its own system. All times are in UTC.
        [updates]
        strategy = "periodic"

        [[updates.periodic.window]]
        days = ["Sat", "Sun"]
        start_time = "03:05"
        length_minutes = 90
        "#);
        insta::assert_snapshot!(window.timer(), @"
        # When podman takes another image of the mail server. The empty line takes back
        # that it is every day.
        [Timer]
        OnCalendar=
        OnCalendar=Sat,Sun *-*-* 03:05:00 UTC
        ");
    }

    #[test]
    fn what_is_no_time_of_the_week_is_refused() {
        for (schedule, length, option) in [
            ("soon", "1h", "--update-schedule"),
            ("monthly", "1h", "--update-schedule"),
            ("Sun 03:00", "1min", "--update-window"),
        ] {
            let error = render(&Window::parse(schedule, length).unwrap_err());
            assert!(
                error.contains(&format!("error: reading {option}: '")),
                "{error}"
            );
            assert!(
                error.contains(&format!("\nhint: `{option}` takes ")),
                "{error}"
            );
        }
    }
}
