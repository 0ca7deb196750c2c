//! A lock as text: TOML in a fixed order, one line a value.
//!
//! Specification: <https://toml.io/en/v1.0.0>. Written by hand so that the
//! bytes never depend on a library's taste; read with the crate `toml`.

use std::fmt::Write;

use anyhow::{Context, Result, ensure};

use super::locked::Lock;
use crate::builder::archive::date::format_date;
use crate::builder::archive::index::is_pool_path;
use crate::builder::archive::relation::is_package_name;
use crate::builder::archive::release::is_sha256;
use crate::builder::recipe::{is_place, parse_toml};
use crate::error::Hint;

/// Whether this is a SHA-256 as we write it: capitals would pass here and name no file later.
fn is_digest(text: &str) -> bool {
    is_sha256(text) && !text.contains(|digit: char| digit.is_ascii_uppercase())
}

const HEADER: &str = "# Written by `mailimg lock`; run it again instead of editing this file.\n";

impl Lock {
    /// Reads a lock and checks that it is one this program may act on.
    pub fn parse(text: &str) -> Result<Self> {
        let lock: Self = parse_toml(text).context("reading the lock").hint(
            "was it written by a newer mailimg? then use that one; otherwise delete it and run \
             'mailimg lock' to write it anew",
        )?;
        lock.check()
            .context("checking the lock")
            .hint("delete it and run 'mailimg lock' to write it anew")?;
        Ok(lock)
    }

    fn check(&self) -> Result<()> {
        ensure!(
            is_digest(&self.recipe_sha256),
            "recipe_sha256 is no SHA-256"
        );
        ensure!(
            jiff::Timestamp::from_second(self.made()).is_ok(),
            "{} is no time that it can have been made",
            self.made()
        );
        for source in &self.sources {
            ensure!(
                is_place(&source.suite),
                "{:?} is no name of a suite",
                source.suite
            );
            ensure!(
                is_digest(&source.inrelease_sha256),
                "the digest of source {} is no SHA-256",
                source.suite
            );
        }
        for pair in self.packages.windows(2) {
            ensure!(
                pair[0].name < pair[1].name,
                "{} and {} are out of order",
                pair[0].name,
                pair[1].name
            );
        }
        for package in &self.packages {
            let name = &package.name;
            ensure!(is_package_name(name), "'{name}' is no name of a package");
            ensure!(is_digest(&package.sha256), "{name} has no SHA-256");
            ensure!(
                is_pool_path(&package.path),
                "the path of {name} leaves the archive"
            );
            ensure!(
                self.sources
                    .iter()
                    .any(|source| source.suite == package.suite),
                "{name} comes from the suite {}, which is no source of this lock",
                package.suite
            );
        }
        Ok(())
    }

    /// Writes the lock; the same lock gives the same bytes.
    pub fn to_text(&self) -> String {
        let mut text = HEADER.to_owned();
        let mut line = |key: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{key} = {value}");
        };
        line("recipe_sha256", quote(&self.recipe_sha256));
        if let Some(made) = self.made {
            line("made", format!("{made} # {}", format_date(made)));
        }
        for source in &self.sources {
            text.push_str("\n[[sources]]\n");
            let mirrors: Vec<String> = source.mirrors.iter().map(|url| quote(url)).collect();
            let mut line = |key: &str, value: String| {
                let _ = writeln!(text, "{key} = {value}");
            };
            line("suite", quote(&source.suite));
            line("mirrors", format!("[{}]", mirrors.join(", ")));
            line(
                "date",
                format!("{} # {}", source.date, format_date(source.date)),
            );
            line("inrelease_sha256", quote(&source.inrelease_sha256));
        }
        for package in &self.packages {
            text.push_str("\n[[packages]]\n");
            let mut line = |key: &str, value: String| {
                let _ = writeln!(text, "{key} = {value}");
            };
            line("name", quote(&package.name));
            line("version", quote(&package.version));
            line("architecture", quote(&package.architecture));
            line("suite", quote(&package.suite));
            line("path", quote(&package.path));
            line("size", package.size.to_string());
            line("sha256", quote(&package.sha256));
            if let Some(held) = &package.held {
                let offered = quote(&held.offered);
                line(
                    "held",
                    format!("{{ offered = {offered}, listed = {} }}", held.listed),
                );
            }
        }
        text
    }
}

/// A TOML basic string.
fn quote(value: &str) -> String {
    let mut quoted = String::with_capacity(value.len() + 2);
    quoted.push('"');
    for letter in value.chars() {
        match letter {
            '"' | '\\' => {
                quoted.push('\\');
                quoted.push(letter);
            }
            control if control.is_control() => {
                let _ = write!(quoted, "\\u{:04X}", u32::from(control));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}
