//! What is wrong with a settings file: every finding at once, each with its line.

use std::fmt;

/// One finding: where, what is wrong, what is expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Line number from 1, absent when a key is missing altogether.
    pub line: Option<usize>,
    /// The key concerned, absent when the line has none.
    pub key: Option<String>,
    /// What is wrong, without the value of a secret.
    pub wrong: String,
    /// What would be right; may be empty.
    pub expected: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(formatter, "line {line}: ")?;
        }
        if let Some(key) = &self.key {
            write!(formatter, "{key}: ")?;
        }
        write!(formatter, "{}", self.wrong)?;
        if !self.expected.is_empty() {
            write!(formatter, "; expected {}", self.expected)?;
        }
        Ok(())
    }
}

/// All findings of one reading, in the order of their lines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl fmt::Display for Problems {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(formatter, "{only}"),
            all => {
                write!(formatter, "{} problems", all.len())?;
                for problem in all {
                    write!(formatter, "\n  {problem}")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Problems {}

impl Problems {
    /// Sorts by line, findings without a line last, and returns them if there are any.
    pub(super) fn into_result(mut self) -> Result<(), Self> {
        if self.0.is_empty() {
            return Ok(());
        }
        self.0
            .sort_by_key(|problem| problem.line.unwrap_or(usize::MAX));
        Err(self)
    }
}
