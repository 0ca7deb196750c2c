//! Blocks of packaging helpers: what their commands do, and when.
//!
//! A block is known when each of its lines is in the recipe's table
//! ([`Blocks`]), and it is nothing but commands and `if`. Which commands run at
//! a first installation follows from what is known of the conditions; what runs
//! on upgrades only is noted as such. Anything else is no block and stays in
//! the script's rest, to be read by a person.

use anyhow::{Context, Result};

use super::pattern::Pattern;
use crate::builder::recipe::{BlockKind, Blocks, Condition, Holds};

/// A command of a block.
#[derive(Clone, Debug)]
pub struct Command<'a> {
    /// What it is for.
    pub kind: &'a BlockKind,
    /// Its parameters, versions left out.
    pub parameters: Vec<String>,
    /// Whether it runs on upgrades alone.
    pub on_upgrade: bool,
}

impl Command<'_> {
    /// What it does, in one line.
    pub fn text(&self) -> String {
        let when = if self.on_upgrade { "upgrade: " } else { "" };
        format!("{when}{} {}", self.kind.name, self.parameters.join(" "))
    }
}

/// The recipe's table, ready to compare with.
pub struct Rules<'a> {
    kinds: Vec<(Pattern, &'a BlockKind)>,
    conditions: Vec<(Pattern, &'a Condition)>,
}

impl<'a> Rules<'a> {
    /// Reads the table's lines.
    pub fn new(blocks: &'a Blocks) -> Result<Self> {
        let mut kinds = Vec::new();
        for kind in &blocks.kind {
            for line in &kind.lines {
                let pattern = Pattern::parse(line);
                kinds.push((
                    pattern.with_context(|| format!("reading {}", kind.name))?,
                    kind,
                ));
            }
        }
        let mut conditions = Vec::new();
        for condition in &blocks.condition {
            for line in &condition.lines {
                conditions.push((Pattern::parse(line)?, condition));
            }
        }
        Ok(Self { kinds, conditions })
    }

    /// The commands of a block; nothing when a line of it is not known.
    ///
    /// `lines` are those that say something, without the markers.
    pub fn read_block(&self, lines: &[&str]) -> Option<Vec<Command<'a>>> {
        let joined = join_continued(lines);
        let mut reader = Reader {
            rules: self,
            rest: joined.iter().map(String::as_str),
            commands: Vec::new(),
            asked: Vec::new(),
        };
        match reader.read_until_end(Holds::Yes)? {
            End::Block => {}
            End::Else | End::Fi => return None,
        }
        let Reader {
            commands, asked, ..
        } = reader;
        let repeats = |kind: &str, parameters: &[String]| {
            commands
                .iter()
                .any(|one: &Command| one.kind.name == kind && one.parameters == parameters)
        };
        // A question about something else than what is then done is not known.
        asked
            .iter()
            .all(|(kind, parameters)| repeats(kind, parameters))
            .then_some(commands)
    }

    fn condition(&self, words: &[&str]) -> Option<(Holds, Option<Asked<'a>>)> {
        let (negated, words) = match words {
            ["!", rest @ ..] => (true, rest),
            all => (false, all),
        };
        let found = self.conditions.iter().find_map(|(pattern, condition)| {
            pattern.match_words(words).map(|found| (condition, found))
        });
        let (condition, parameters) = found?;
        let holds = match (condition.holds, negated) {
            (Holds::Yes, true) => Holds::No,
            (Holds::No, true) => Holds::Yes,
            (holds, _) => holds,
        };
        let asked = condition.part_of.as_deref().map(|kind| (kind, parameters));
        Some((holds, asked))
    }
}

/// The kind that a condition belongs to, and the parameters it names.
type Asked<'a> = (&'a str, Vec<String>);

/// What ended a run of lines.
#[derive(PartialEq, Eq)]
enum End {
    Block,
    Else,
    Fi,
}

struct Reader<'r, 'a, Lines> {
    rules: &'r Rules<'a>,
    rest: Lines,
    commands: Vec<Command<'a>>,
    asked: Vec<Asked<'a>>,
}

impl<'a, 't, Lines: Iterator<Item = &'t str>> Reader<'_, 'a, Lines> {
    fn read_until_end(&mut self, when: Holds) -> Option<End> {
        loop {
            let Some(line) = self.rest.next() else {
                return Some(End::Block);
            };
            match line {
                "else" => return Some(End::Else),
                "fi" => return Some(End::Fi),
                _ => {}
            }
            match line
                .strip_prefix("if ")
                .and_then(|rest| rest.strip_suffix("then"))
            {
                Some(condition) => {
                    let condition = condition.trim_end().strip_suffix(';')?;
                    self.read_if(condition, when)?;
                }
                None => self.read_command(line, when)?,
            }
        }
    }

    fn read_if(&mut self, condition: &str, when: Holds) -> Option<()> {
        let holds = self.read_condition(condition)?;
        match self.read_until_end(both(when, holds))? {
            End::Fi => Some(()),
            End::Else => {
                let end = self.read_until_end(both(when, not(holds)))?;
                (end == End::Fi).then_some(())
            }
            End::Block => None,
        }
    }

    /// Conditions joined by `&&` and `||`, which bind alike and from the left.
    fn read_condition(&mut self, text: &str) -> Option<Holds> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut rest = words.as_slice();
        let mut holds = None;
        let mut operator = "";
        loop {
            let end = rest.iter().position(|word| ["&&", "||"].contains(word));
            let (one, asked) = self.rules.condition(&rest[..end.unwrap_or(rest.len())])?;
            self.asked.extend(asked);
            holds = Some(match (holds, operator) {
                (Some(before), "&&") => both(before, one),
                (Some(before), _) => not(both(not(before), not(one))),
                (None, _) => one,
            });
            let Some(end) = end else {
                return holds;
            };
            operator = rest[end];
            rest = &rest[end + 1..];
        }
    }

    fn read_command(&mut self, line: &str, when: Holds) -> Option<()> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (kind, parameters) =
            self.rules.kinds.iter().find_map(|(pattern, kind)| {
                pattern.match_words(&words).map(|found| (*kind, found))
            })?;
        self.commands.push(Command {
            kind,
            parameters,
            on_upgrade: when == Holds::No,
        });
        Some(())
    }
}

fn both(left: Holds, right: Holds) -> Holds {
    match (left, right) {
        (Holds::No, _) | (_, Holds::No) => Holds::No,
        (Holds::Yes, Holds::Yes) => Holds::Yes,
        _ => Holds::Maybe,
    }
}

fn not(holds: Holds) -> Holds {
    match holds {
        Holds::Yes => Holds::No,
        Holds::No => Holds::Yes,
        Holds::Maybe => Holds::Maybe,
    }
}

/// Lines that end in a backslash go on in the next.
fn join_continued(lines: &[&str]) -> Vec<String> {
    let mut joined: Vec<String> = Vec::new();
    let mut goes_on = false;
    for line in lines {
        let text = line.trim();
        let (text, continued) = match text.strip_suffix('\\') {
            Some(text) => (text, true),
            None => (text, false),
        };
        match joined.last_mut() {
            Some(last) if goes_on => last.push_str(text),
            _ => joined.push(text.to_owned()),
        }
        goes_on = continued;
    }
    joined
}
