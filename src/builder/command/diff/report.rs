//! What differs, as text for a person and as JSON for a program.

use std::collections::BTreeMap;
use std::fmt;

use indicatif::DecimalBytes;
use serde::Serialize;

use crate::builder::lock::{Change, ChangeKind};

/// A number of things, as in `2 files`.
pub(super) fn count(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// All differences.
#[derive(Debug, Default, Serialize)]
pub(super) struct Report {
    pub sources: Vec<String>,
    pub packages: Vec<Change>,
    pub scripts: Vec<Script>,
    pub units: Vec<Unit>,
    pub settings_added: Vec<String>,
    pub settings_removed: Vec<String>,
    pub files: Vec<FileChange>,
    pub sizes: Vec<Sized>,
    /// What at least one side does not know.
    pub not_compared: Vec<String>,
}

/// A maintainer script that differs.
#[derive(Debug, Serialize)]
pub(super) struct Script {
    pub package: String,
    pub kind: String,
    pub change: &'static str,
}

/// A unit, or a link to one, that differs.
#[derive(Debug, Serialize)]
pub(super) struct Unit {
    pub name: String,
    pub change: &'static str,
}

/// A path that differs.
#[derive(Debug, Serialize)]
pub(super) struct FileChange {
    pub path: String,
    /// A package, or what else brought it; not known for folders and links.
    pub origin: Option<String>,
    pub change: &'static str,
    /// In what, when it is there before and after.
    pub differs: Vec<&'static str>,
    pub old_size: Option<u64>,
    pub new_size: Option<u64>,
}

/// A part of the image whose size differs, in bytes.
#[derive(Debug, Serialize)]
pub(super) struct Sized {
    pub part: &'static str,
    pub old: u64,
    pub new: u64,
}

impl fmt::Display for Report {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sections = [
            ("sources", self.sources.clone()),
            (
                "packages",
                self.packages.iter().map(ToString::to_string).collect(),
            ),
            ("maintainer scripts", self.scripts()),
            ("units", self.units()),
            ("settings", self.settings()),
            ("files", self.files()),
            ("sizes", self.sizes()),
        ];
        // The word `source` is the heading here.
        for line in &mut sections[0].1 {
            *line = line.trim_start_matches("source").trim_start().to_owned();
        }
        if sections.iter().all(|(_, lines)| lines.is_empty()) {
            writeln!(formatter, "nothing differs")?;
        }
        for (heading, lines) in sections.iter().filter(|(_, lines)| !lines.is_empty()) {
            writeln!(formatter, "{heading}")?;
            for line in lines {
                writeln!(formatter, "  {line}")?;
            }
        }
        if !self.not_compared.is_empty() {
            writeln!(formatter, "not compared")?;
            for line in &self.not_compared {
                writeln!(formatter, "  {line}")?;
            }
        }
        Ok(())
    }
}

impl Report {
    fn scripts(&self) -> Vec<String> {
        let lines = self.scripts.iter().map(|script| {
            format!(
                "{:<11} {} of {}",
                script.change, script.kind, script.package
            )
        });
        lines.collect()
    }

    fn units(&self) -> Vec<String> {
        let lines = self.units.iter();
        lines
            .map(|unit| format!("{:<11} {}", unit.change, unit.name))
            .collect()
    }

    fn settings(&self) -> Vec<String> {
        let added = self.settings_added.iter().map(|key| ("added", key));
        let removed = self.settings_removed.iter().map(|key| ("removed", key));
        let both = added.chain(removed);
        both.map(|(verb, key)| format!("{verb:<11} {key}"))
            .collect()
    }

    /// The files by what brought them; those of packages that came or went as a number.
    fn files(&self) -> Vec<String> {
        let mut groups: BTreeMap<&str, Vec<&FileChange>> = BTreeMap::new();
        for file in &self.files {
            let origin = file.origin.as_deref().unwrap_or("folders and links");
            groups.entry(origin).or_default().push(file);
        }
        let mut lines = Vec::new();
        for (origin, files) in groups {
            let mut packages = self.packages.iter();
            let whole = packages.find(|package| package.name == origin);
            if let Some(ChangeKind::Added | ChangeKind::Removed) =
                whole.map(|package| package.change)
            {
                let verb = files[0].change;
                lines.push(format!("{origin}: {verb} {}", count(files.len(), "file")));
                continue;
            }
            lines.push(format!("{origin}:"));
            lines.extend(files.into_iter().map(|file| {
                let mut line = format!("  {:<9} {}", file.change, file.path);
                if !file.differs.is_empty() {
                    line.push_str(&format!("  {}", file.differs.join(", ")));
                }
                match (file.old_size, file.new_size) {
                    (Some(old), Some(new)) if old != new => {
                        line.push_str(&format!(", {old} -> {new} bytes"));
                    }
                    _ => {}
                }
                line
            }));
        }
        lines
    }

    fn sizes(&self) -> Vec<String> {
        let lines = self.sizes.iter().map(|sized| {
            let (old, new) = (DecimalBytes(sized.old), DecimalBytes(sized.new));
            let change = sized.new as i128 - sized.old as i128;
            format!("{:<11} {old} -> {new} ({change:+} bytes)", sized.part)
        });
        lines.collect()
    }
}
