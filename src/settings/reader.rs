//! Reads settings key by key and keeps what is wrong with them.

use super::expand::expand_key;
use super::key::find_key;
use super::problem::{Problem, Problems};
use super::value::{Wrong, parse_items};
use super::written::{KEPT_SECRET, Written};

/// Reads one key after the other and keeps what went wrong.
pub(super) struct Reader<'a> {
    /// What was written.
    pub written: &'a Written,
    /// What is wrong with it.
    pub problems: Problems,
}

impl Reader<'_> {
    /// Notes what is wrong with a key.
    pub fn wrong(&mut self, key: &str, (wrong, expected): (String, &str)) {
        // A default is right by itself: what is wrong with it stands in a key it leans on.
        let required = find_key(key).is_some_and(|key| key.required);
        if self.written.value(key).is_none() && !required {
            return;
        }
        self.problems.0.push(Problem {
            line: self.written.entry(key).map(|entry| entry.line),
            key: Some(key.to_owned()),
            wrong,
            expected: expected.to_owned(),
        });
    }

    /// `None` when unset or wrong; what is wrong is noted once.
    pub fn parsed<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Option<T> {
        let text = match expand_key(self.written, key) {
            Ok(text) if text.is_empty() => return None,
            Ok(text) => text,
            Err(wrong) => {
                self.wrong(key, (wrong, ""));
                return None;
            }
        };
        parse(&text).map_err(|wrong| self.wrong(key, wrong)).ok()
    }

    /// The items of a list, those that are right.
    pub fn items<T>(&mut self, key: &str, parse: impl Fn(&str) -> Result<T, Wrong>) -> Vec<T> {
        self.parsed(key, |text| parse_items(text, &parse))
            .unwrap_or_default()
    }

    /// A value that is taken as it is.
    pub fn secret(&mut self, key: &str) -> Option<String> {
        let value = self.written.value(key)?.to_owned();
        if value == KEPT_SECRET {
            self.wrong(
                key,
                (
                    format!("'{KEPT_SECRET}' stands for a stored value and none is stored"),
                    "the value itself, or nothing",
                ),
            );
        }
        Some(value)
    }
}
