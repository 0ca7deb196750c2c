//! What a run tells while it works: bars on a terminal, plain lines otherwise, JSON lines on request.

/// Reports what a run does; cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Progress {}

/// One stage of a run, counted in bytes or in items.
#[derive(Debug)]
pub struct Stage {}

impl Progress {
    /// Says nothing; for tests and libraries.
    pub fn hidden() -> Self {
        Self {}
    }

    /// Begins a stage of a known total, counted in bytes.
    pub fn bytes(&self, _name: &str, _total: u64) -> Stage {
        Stage {}
    }

    /// Begins a stage of a known number of items.
    pub fn items(&self, _name: &str, _total: u64) -> Stage {
        Stage {}
    }

    /// Tells one line.
    pub fn note(&self, _text: &str) {}
}

impl Stage {
    /// Counts more of it as done.
    pub fn add(&self, _amount: u64) {}

    /// Ends the stage and tells what came of it.
    pub fn finish(self, _summary: &str) {}
}
