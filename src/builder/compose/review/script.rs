//! What a script means: its known blocks, and the rest that a person reads.

use sha2::{Digest, Sha256};

use super::block::{Command, Rules};
use super::shell::{Line, read_lines};
use crate::builder::deb::Script;

/// A larger script is not taken apart, in bytes: the largest of Debian 13 has
/// some 100 KiB.
const LARGEST_SCRIPT: usize = 256 << 10;

const BLOCK_BEGINS: &str = "# Automatically added by ";
const BLOCK_ENDS: &str = "# End automatically added section";

/// What a script may consist of without doing anything.
const EMPTY_FORMS: [&str; 8] = [
    "#!/bin/sh",
    "#! /bin/sh",
    "#!/bin/sh -e",
    "#! /bin/sh -e",
    "#!/bin/bash",
    "set -e",
    "exit 0",
    ":",
];

/// A script, read.
#[derive(Clone, Debug)]
pub struct Meaning<'a> {
    /// The commands of its known blocks.
    pub commands: Vec<Command<'a>>,
    /// What is left to read; nothing when only empty forms are.
    pub rest: Option<Rest>,
}

/// The part of a script that is known by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rest {
    /// The text to show, without blocks, comments, empty lines and characters
    /// that a terminal would act on.
    pub text: String,
    /// SHA-256 of the text, hexadecimal; of the whole script where that could
    /// not be taken apart.
    pub sha256: String,
    /// Why it is the whole script.
    pub whole: Option<String>,
}

impl Meaning<'_> {
    /// What the blocks do, one line each, sorted.
    pub fn does(&self) -> Vec<String> {
        let covered = |command: &Command| {
            self.commands.iter().any(|other| {
                command.kind.part_of.as_ref() == Some(&other.kind.name)
                    && command.parameters == other.parameters
            })
        };
        let told = |command: &&Command| !command.parameters.is_empty() && !covered(command);
        let mut lines: Vec<String> = self
            .commands
            .iter()
            .filter(told)
            .map(Command::text)
            .collect();
        lines.sort();
        lines.dedup();
        lines
    }
}

/// Reads a preinst or postinst.
pub fn read_script<'a>(script: &Script, rules: &Rules<'a>) -> Meaning<'a> {
    let taken_apart = check_form(&script.text).and_then(|text| take_apart(text, rules));
    match taken_apart {
        Ok((commands, lines)) => {
            let empty = lines.iter().all(|line| EMPTY_FORMS.contains(&line.trim()));
            let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
            let rest = (!empty).then(|| Rest {
                sha256: hex::encode(Sha256::digest(text.as_bytes())),
                text: printable(text.as_bytes()),
                whole: None,
            });
            Meaning { commands, rest }
        }
        Err(reason) => Meaning {
            commands: Vec::new(),
            rest: Some(Rest {
                text: printable(&script.text),
                sha256: script.sha256.clone(),
                whole: Some(reason),
            }),
        },
    }
}

/// The script as text, if it is one for the shell.
fn check_form(script: &[u8]) -> Result<&str, String> {
    if script.len() > LARGEST_SCRIPT {
        return Err(format!("it is larger than {LARGEST_SCRIPT} bytes"));
    }
    let text = std::str::from_utf8(script).map_err(|_| "it is not UTF-8".to_owned())?;
    for (letter, name) in [('\0', "a NUL"), ('\r', "a carriage return")] {
        if text.contains(letter) {
            return Err(format!("it has {name} in it"));
        }
    }
    let interpreter = text.lines().next().and_then(|line| line.strip_prefix("#!"));
    let interpreter = interpreter.unwrap_or("").split_whitespace().next();
    match interpreter {
        Some("/bin/sh" | "/bin/bash" | "/bin/dash" | "/usr/bin/sh" | "/usr/bin/bash") => Ok(text),
        Some(other) => Err(format!("it is for {other}")),
        None => Err("it names no interpreter".to_owned()),
    }
}

/// The commands of known blocks, and the other lines that say something.
fn take_apart<'t, 'a>(
    text: &'t str,
    rules: &Rules<'a>,
) -> Result<(Vec<Command<'a>>, Vec<&'t str>), String> {
    let lines = read_lines(text)?;
    let mut commands = Vec::new();
    let mut rest = Vec::new();
    let mut block: Option<(&str, Vec<&str>)> = None;
    for line in &lines {
        let begins = marks(line, BLOCK_BEGINS);
        let ends = marks(line, BLOCK_ENDS);
        match (&mut block, begins, ends) {
            (None, Some(helper), _) => block = Some((helper, Vec::new())),
            (None, None, Some(_)) => return Err("a block ends that never began".to_owned()),
            (Some((helper, _)), Some(_), _) => {
                return Err(format!("the block of {helper} has another one in it"));
            }
            (Some((_, inside)), None, Some(_)) => {
                match rules.read_block(inside) {
                    Some(known) => commands.extend(known),
                    None => rest.append(inside),
                }
                block = None;
            }
            (Some((_, inside)), None, None) if !line.is_silent() => inside.push(line.text),
            (None, None, None) if !line.is_silent() => rest.push(line.text),
            _ => {}
        }
    }
    match block {
        Some((helper, _)) => Err(format!("the block of {helper} has no end")),
        None => Ok((commands, rest)),
    }
}

/// What follows a marker, on a line that the shell takes for a comment.
fn marks<'t>(line: &Line<'t>, marker: &str) -> Option<&'t str> {
    line.outside
        .then(|| line.text.trim().strip_prefix(marker))
        .flatten()
}

/// A text that a terminal can show.
fn printable(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let shown = |letter: char| !letter.is_control() || letter == '\n' || letter == '\t';
    text.chars()
        .map(|letter| {
            if shown(letter) {
                letter
            } else {
                char::REPLACEMENT_CHARACTER
            }
        })
        .collect()
}
