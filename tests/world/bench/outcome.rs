//! What a run of the program came to, in words that do not change between runs.

use std::process::Output;

/// How a run ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Takes an ended run; each place's first text is replaced by its second.
    pub fn new(output: &Output, places: &[(&str, &str)]) -> Self {
        let text = |bytes: &[u8]| {
            let mut text = String::from_utf8_lossy(bytes).into_owned();
            for (from, to) in places {
                text = text.replace(from, to);
            }
            mask(&text)
        };
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }

    /// Asserts that it failed as an error should, and returns the error's lines.
    ///
    /// That is one line `error:`, hints after it, and nothing behind them.
    pub fn error(&self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "{}", self.stderr);
        let lines: Vec<&str> = self.stderr.lines().collect();
        let first = lines
            .iter()
            .position(|line| line.starts_with("error: "))
            .unwrap_or_else(|| panic!("no error in\n{}", self.stderr));
        let errors = lines.iter().filter(|line| line.starts_with("error:"));
        assert_eq!(errors.count(), 1, "{}", self.stderr);
        let hint = |line: &&str| line.starts_with("hint: ");
        assert!(lines[first..].iter().any(hint), "no hint: {}", self.stderr);
        assert!(lines.last().is_some_and(hint), "{}", self.stderr);
        lines[first..].join("\n")
    }

    /// What it said, without the lines that merely tell how far it came.
    pub fn notes(&self) -> String {
        const PROGRESS: [&str; 6] = [
            "indexes:",
            "fetch:",
            "unpack:",
            "root hash",
            "wrote",
            "done",
        ];
        let lines = self.stderr.lines();
        let told = lines.filter(|line| !PROGRESS.iter().any(|start| line.starts_with(start)));
        told.collect::<Vec<_>>().join("\n")
    }

    /// Asserts that it was done.
    pub fn done(&self) -> &Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }
}

/// How long what a build adds to the recipe's version is: `-202611261432-1a2b3c4d`.
const ADDED: usize = 22;

/// Whether a text begins with what a build adds to the recipe's version.
pub fn is_added(text: &str) -> bool {
    text.get(..ADDED).is_some_and(|added| {
        added.bytes().enumerate().all(|(at, byte)| match at {
            0 | 13 => byte == b'-',
            1..13 => byte.is_ascii_digit(),
            _ => byte.is_ascii_hexdigit(),
        })
    })
}

/// Replaces digests, moments, ports and what a build adds to versions.
fn mask(text: &str) -> String {
    const MOMENT: &str = "2026-11-22 12:00:00";
    let mut masked = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if rest
            .get(MOMENT.len()..)
            .is_some_and(|after| after.starts_with(" UTC"))
        {
            masked.push_str("MOMENT");
            rest = &rest[MOMENT.len() + " UTC".len()..];
            continue;
        }
        if is_added(rest) {
            masked.push_str("-ADDED");
            rest = &rest[ADDED..];
            continue;
        }
        let digits = rest.chars().take_while(char::is_ascii_hexdigit).count();
        if digits == 64 || digits == 40 {
            masked.push_str("DIGEST");
            rest = &rest[digits..];
        } else if let Some(after) = rest.strip_prefix("127.0.0.1:") {
            masked.push_str("MIRROR");
            rest = after.trim_start_matches(|letter: char| letter.is_ascii_digit());
        } else if digits > 0 {
            masked.push_str(&rest[..digits]);
            rest = &rest[digits..];
        } else {
            masked.push(letter);
            rest = &rest[letter.len_utf8()..];
        }
    }
    masked
}
