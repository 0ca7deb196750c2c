//! What was counted of the journal, and up to where: kept as one file, replaced whole.

use super::counters::Counters;
use super::exposition::{Samples, number};
use super::own::{self, Bans};
use super::postfix::{self, Memory};
use crate::appliance::machine::files::{SECRET, read_optional, write_file};
use crate::appliance::machine::place::{self, Place};
use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Most accounts whose use of the sending limit is shown.
const MOST_SENDERS: usize = 10;

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Record {
    /// The last line that was counted.
    pub cursor: Option<String>,
    pub counters: Counters,
    memory: Memory,
    bans: Bans,
}

impl Record {
    /// Reads what a former process left; what cannot be read is begun anew.
    pub fn load(place: &Place) -> Self {
        let path = place.path(place::METRICS_RECORD);
        let load = || -> Result<Self> {
            let bytes = read_optional(&path)?;
            let record = bytes
                .map(|bytes| serde_json::from_slice(&bytes))
                .transpose();
            Ok(record
                .with_context(|| format!("reading {}", path.display()))?
                .unwrap_or_default())
        };
        load().unwrap_or_else(|error| {
            tell!("beginning to count anew: {error:#}");
            Self::default()
        })
    }

    /// Whether nothing was ever counted.
    pub fn is_new(&self) -> bool {
        self.counters == Counters::default()
    }

    /// Keeps it.
    pub fn save(&self, place: &Place) -> Result<()> {
        let mut text = serde_json::to_string(self).context("writing JSON")?;
        text.push('\n');
        write_file(
            &place.path(place::METRICS_RECORD),
            text.as_bytes(),
            SECRET,
            None,
        )
    }

    /// Counts a line of a unit, written at this second.
    pub fn take(&mut self, unit: &str, identifier: &str, message: &str, second: u64) {
        let Self {
            counters,
            memory,
            bans,
            ..
        } = self;
        match unit {
            "postfix.service" => {
                postfix::read_line(identifier, message, second, memory, counters);
            }
            "mailimg-guard.service" => own::read_guard(message, second, bans, counters),
            "mailimg-filter.service" => own::read_filter(message, counters),
            _ => {}
        }
    }

    /// Adds what was counted.
    pub fn show(&mut self, now: u64, samples: &mut Samples) {
        self.counters.show(samples);
        self.bans.show(now, samples);
        for (user, recipients) in self.memory.sent(now / 60).into_iter().take(MOST_SENDERS) {
            samples.add("mailimg_sending_limit_used", &[user], number(recipients));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Record;
    use crate::appliance::machine::place::{self, Place};

    #[test]
    fn what_was_counted_is_there_again() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let path = place.path(place::METRICS_RECORD);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        assert_eq!(Record::load(&place), Record::default());
        let mut record = Record {
            cursor: Some("s=1".to_owned()),
            ..Record::default()
        };
        for line in [
            "4jc8bT3Vrnz1xpp: client=a[192.0.2.1], sasl_method=PLAIN, sasl_username=a@b.example",
            "disconnect from a[192.0.2.1] ehlo=1 auth=0/1 commands=1/2",
        ] {
            record.take("postfix.service", "postfix/smtpd", line, 60);
        }
        let line = "ban address=192.0.2.1 seconds=3600 failures=6 account=\"x\"";
        record.take("mailimg-guard.service", "mailctl", line, 60);
        record.save(&place).unwrap();
        assert_eq!(Record::load(&place), record);
        std::fs::write(&path, "{").unwrap();
        assert_eq!(Record::load(&place), Record::default());
    }
}
