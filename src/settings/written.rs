//! settings.env as a person wrote it: lines, and nothing of their meaning.

/// Largest file accepted, in bytes.
pub const MAXIMUM_BYTES: usize = 64 * 1024;

/// The value that stands for a secret already kept on the machine.
pub const KEPT_SECRET: &str = "__KEPT_ON_THE_MACHINE__";

/// One `KEY=value` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line number from 1.
    pub line: usize,
    /// The name left of `=`.
    pub key: String,
    /// The rest of the line, without white space at its end.
    pub value: String,
}

/// A settings file as a person wrote it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Written {
    /// The lines that set something, in their order, each key once.
    pub entries: Vec<Entry>,
}

impl Written {
    /// The entry of a key, if the file has one.
    #[must_use]
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key, `None` when absent or empty.
    #[must_use]
    pub fn value(&self, key: &str) -> Option<&str> {
        self.entry(key)
            .map(|entry| entry.value.as_str())
            .filter(|value| !value.trim().is_empty())
    }

    /// Whether nothing is set: only comments and empty values, as in the template.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries
            .iter()
            .all(|entry| entry.value.trim().is_empty())
    }
}
