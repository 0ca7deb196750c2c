//! A script that nobody reviewed: what it is in a sentence, and as a difference.

use std::fmt;

use similar::TextDiff;
use thiserror::Error;

use crate::builder::recipe::ReviewedScript;

/// How many lines of a rest are shown; a person asks for more with the file itself.
const LINES_SHOWN: usize = 600;
/// Lines around a change.
const CONTEXT_LINES: usize = 3;

/// Scripts that the recipe's tables do not know, which stop a build.
#[derive(Debug, Error)]
pub struct UnreviewedScripts {
    /// One or more.
    pub scripts: Vec<Unreviewed>,
}

impl fmt::Display for UnreviewedScripts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list: Vec<String> = self.scripts.iter().map(Unreviewed::sentence).collect();
        write!(
            formatter,
            "checking maintainer scripts: {}",
            list.join("; ")
        )
    }
}

/// A script that the recipe's tables do not know.
#[derive(Clone, Debug)]
pub struct Unreviewed {
    /// The package's name.
    pub package: String,
    /// Its version.
    pub version: String,
    /// What the table says of earlier scripts of that package and kind.
    pub earlier: Vec<ReviewedScript>,
    /// The entry that the table lacks, without an effect.
    pub entry: ReviewedScript,
    /// Why the script could not be taken apart, if it could not.
    pub whole: Option<String>,
    /// What is left to read.
    pub rest: String,
}

impl Unreviewed {
    /// What is new about it, in a few words.
    pub fn sentence(&self) -> String {
        let Self {
            package,
            version,
            entry,
            ..
        } = self;
        let mut changes = Vec::new();
        match self.earlier.last() {
            None => changes.push("nobody reviewed it yet".to_owned()),
            Some(before) => {
                let new = |one: &&String| !before.does.contains(one);
                let more = entry.does.iter().filter(new);
                let more: Vec<String> = more.map(|one| format!("`{one}`")).collect();
                if !more.is_empty() {
                    changes.push(format!("it also does {}", more.join(", ")));
                }
                let rest_is_known = entry.sha256.is_none()
                    || self.earlier.iter().any(|one| one.sha256 == entry.sha256);
                if self.whole.is_none() && !rest_is_known {
                    changes.push("it differs from the one that was reviewed".to_owned());
                }
            }
        }
        changes.extend(self.whole.clone());
        if changes.is_empty() {
            changes.push("its entry names no effect".to_owned());
        }
        format!("{package} {version} {}: {}", entry.kind, changes.join(", "))
    }

    /// What is left to read, as a difference to the one before, if that is known.
    pub fn difference(&self, before: Option<&Self>) -> String {
        let Some(before) = before else {
            return self.rest.clone();
        };
        let labels = (
            format!(
                "{} {} {}",
                before.package, before.version, before.entry.kind
            ),
            format!("{} {} {}", self.package, self.version, self.entry.kind),
        );
        TextDiff::from_lines(&before.rest, &self.rest)
            .unified_diff()
            .context_radius(CONTEXT_LINES)
            .header(&labels.0, &labels.1)
            .to_string()
    }

    /// The entry to add, and below it what to read.
    pub fn to_text(&self, before: Option<&Self>) -> String {
        let ReviewedScript {
            package,
            kind,
            does,
            sha256,
            ..
        } = &self.entry;
        let mut text = format!("# {}\n", self.sentence());
        for one in self.earlier.iter().filter(|one| !one.effect.is_empty()) {
            text.push_str(&format!("# an earlier {kind}: {}\n", one.effect));
        }
        text.push_str(&format!(
            "[[script]]\npackage = \"{package}\"\nkind = \"{kind}\"\n"
        ));
        if !does.is_empty() {
            text.push_str("does = [\n");
            for one in does {
                text.push_str(&format!("    \"{one}\",\n"));
            }
            text.push_str("]\n");
        }
        if let Some(sha256) = sha256 {
            text.push_str(&format!("sha256 = \"{sha256}\"\neffect = \"\"\n"));
        }
        let difference = self.difference(before);
        for line in difference.lines().take(LINES_SHOWN) {
            text.push_str(format!("#   {line}").trim_end());
            text.push('\n');
        }
        let more = difference.lines().count().saturating_sub(LINES_SHOWN);
        if more > 0 {
            text.push_str(&format!("#   and {more} lines more\n"));
        }
        text
    }
}

impl fmt::Display for Unreviewed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.to_text(None))
    }
}
