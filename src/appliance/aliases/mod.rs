//! The aliases file as a person wrote it, and changes that leave the rest alone.
//!
//! Postfix's own notation (<https://www.postfix.org/virtual.5.html>): `ALIAS
//! TARGET[, TARGET...]`, a line that starts with white space continues the one
//! before, `#` starts a comment; here one may follow an entry too. What the
//! entries mean, and whether they are right, is asked in `alias_check`.

pub mod check;
pub mod graph;
pub mod name;

use super::machine::files::{PUBLIC, ensure_file, read_optional};
use super::machine::place::{self, Place};
use crate::error::Hint;
use anyhow::{Context, Result, bail};
use std::ops::Range;

/// Largest file read, in bytes: some ten thousand aliases.
const FILE_BYTES_MAX: usize = 4 << 20;

/// One line of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// Without its line feed.
    text: String,
    /// Where the alias stands; absent in comments and continuations.
    alias: Option<Range<usize>>,
    /// Where the targets stand.
    targets: Vec<Range<usize>>,
}

impl Line {
    fn parse(text: &str, continues: bool) -> Self {
        let mut words = words(text);
        let alias = (!continues && !words.is_empty()).then(|| words.remove(0));
        Self {
            text: text.to_owned(),
            alias,
            targets: words,
        }
    }

    fn words(&self, ranges: &[Range<usize>]) -> Vec<String> {
        ranges
            .iter()
            .map(|range| self.text[range.clone()].to_owned())
            .collect()
    }
}

/// White space, commas between targets, and the mark that Windows puts at the start of a file.
fn separates(character: char) -> bool {
    character.is_whitespace() || character == ',' || character == '\u{feff}'
}

/// Where the words of a line stand, up to a comment.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut start = None;
    let ends = std::iter::once((text.len(), ' '));
    for (at, character) in text.char_indices().chain(ends) {
        match (start, separates(character)) {
            (None, false) if character == '#' => break,
            (None, false) => start = Some(at),
            (Some(from), true) => {
                words.push(from..at);
                start = None;
            }
            _ => {}
        }
    }
    words
}

/// One alias as written, with the line of every part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Line number from 1.
    pub line: usize,
    /// What stands on the left.
    pub alias: String,
    /// What stands on the right, each with its line.
    pub targets: Vec<(usize, String)>,
}

/// The whole file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AliasText {
    lines: Vec<Line>,
}

impl AliasText {
    /// Splits a text into its lines; nothing is an error here.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<Line> = Vec::new();
        let mut open = false;
        let text = text.strip_suffix('\n').unwrap_or(text);
        for raw in text.split('\n').take_while(|_| !text.is_empty()) {
            let line = Line::parse(raw, open && raw.starts_with([' ', '\t']));
            open |= line.alias.is_some();
            lines.push(line);
        }
        Self { lines }
    }

    /// The text, byte for byte where nothing was changed.
    pub fn render(&self) -> String {
        self.lines
            .iter()
            .map(|line| format!("{}\n", line.text))
            .collect()
    }

    /// How many lines there are.
    pub fn line_count(&self) -> usize {
        self.lines.len()
    }

    /// All aliases in the order of the file.
    pub fn entries(&self) -> Vec<Entry> {
        let mut entries: Vec<Entry> = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            let number = index + 1;
            if let Some(alias) = &line.alias {
                entries.push(Entry {
                    line: number,
                    alias: line.text[alias.clone()].to_owned(),
                    targets: Vec::new(),
                });
            }
            if let Some(entry) = entries.last_mut() {
                let targets = line.words(&line.targets);
                entry
                    .targets
                    .extend(targets.into_iter().map(|target| (number, target)));
            }
        }
        entries
    }

    /// Adds targets behind the last one of an alias, or a new line at the end.
    pub fn add(&mut self, same_alias: impl Fn(&str) -> bool, alias: &str, targets: &[String]) {
        let targets = targets.join(", ");
        let last = self
            .owned_lines(same_alias)
            .into_iter()
            .rfind(|index| !self.lines[*index].targets.is_empty());
        let Some(index) = last else {
            self.push(&format!("{alias} {targets}"));
            return;
        };
        let line = &self.lines[index];
        let at = line
            .targets
            .last()
            .map_or(line.text.len(), |range| range.end);
        let text = format!("{}, {targets}{}", &line.text[..at], &line.text[at..]);
        self.lines[index] = Line::parse(&text, line.alias.is_none());
    }

    /// Adds a line at the end.
    pub fn push(&mut self, text: &str) {
        self.lines.push(Line::parse(text, false));
    }

    /// Removes some targets of an alias; lines that are left without any go too.
    pub fn remove(&mut self, same_alias: impl Fn(&str) -> bool, unwanted: impl Fn(&str) -> bool) {
        let owned = self.owned_lines(&same_alias);
        for index in &owned {
            let line = &mut self.lines[*index];
            // From the end, so that the places before stay true.
            while let Some(at) = line
                .targets
                .iter()
                .rposition(|range| unwanted(&line.text[range.clone()]))
            {
                let range = match (at, line.targets.get(at + 1)) {
                    (0, Some(next)) => line.targets[0].start..next.start,
                    (0, None) => line.targets[0].clone(),
                    _ => line.targets[at - 1].end..line.targets[at].end,
                };
                line.text.replace_range(range, "");
                *line = Line::parse(&line.text, line.alias.is_none());
            }
        }
        // A continuation needs the line it continues, even if all targets of that one are gone.
        let mut gone = Vec::new();
        for (position, index) in owned.iter().enumerate() {
            let line = &self.lines[*index];
            let continued = owned[position + 1..]
                .iter()
                .take_while(|next| self.lines[**next].alias.is_none())
                .any(|next| !self.lines[*next].targets.is_empty());
            if line.targets.is_empty() && !(line.alias.is_some() && continued) {
                gone.push(*index);
            }
        }
        for index in gone.into_iter().rev() {
            self.lines.remove(index);
        }
    }

    /// Lines that name an alias or continue one, without comments between them.
    fn owned_lines(&self, same_alias: impl Fn(&str) -> bool) -> Vec<usize> {
        let mut ours = false;
        let mut found = Vec::new();
        for (index, line) in self.lines.iter().enumerate() {
            if let Some(alias) = &line.alias {
                ours = same_alias(&line.text[alias.clone()]);
            }
            if ours && (line.alias.is_some() || !line.targets.is_empty()) {
                found.push(index);
            }
        }
        found
    }
}

/// Reads the aliases for use: bytes that are no text spoil their own line alone.
pub fn load_aliases(place: &Place) -> Result<AliasText> {
    let bytes = load_bytes(place)?;
    Ok(AliasText::parse(&String::from_utf8_lossy(&bytes)))
}

/// Reads the aliases for a change, which must give back every byte: what is not UTF-8 is refused.
pub fn load_aliases_to_change(place: &Place) -> Result<AliasText> {
    let text = String::from_utf8(load_bytes(place)?)
        .with_context(|| format!("reading {}", place::ALIASES))
        .hint("save the file as UTF-8, then run the command again")?;
    Ok(AliasText::parse(&text))
}

fn load_bytes(place: &Place) -> Result<Vec<u8>> {
    let bytes = read_optional(&place.path(place::ALIASES))?.unwrap_or_default();
    if bytes.len() > FILE_BYTES_MAX {
        bail!("{} has more than {FILE_BYTES_MAX} bytes", place::ALIASES);
    }
    Ok(bytes)
}

/// Replaces the file; when that fails, the old one is still there.
pub fn store_aliases(place: &Place, text: &AliasText) -> Result<()> {
    ensure_file(
        &place.path(place::ALIASES),
        text.render().as_bytes(),
        PUBLIC,
        None,
    )
    .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::AliasText;

    const TEXT: &str = "# ours\n\ninfo@a.example   jens, anna  # both\r\nteam@a.example\tjens\n  \
                        bob,carl\n# between\n  dora\ninfo@a.example x@b.example";

    type Parts = (usize, String, Vec<(usize, String)>);

    fn targets(text: &AliasText) -> Vec<Parts> {
        let entries = text.entries().into_iter();
        entries
            .map(|entry| (entry.line, entry.alias, entry.targets))
            .collect()
    }

    #[test]
    fn entries_carry_their_lines() {
        let named = |list: &[(usize, &str)]| -> Vec<(usize, String)> {
            list.iter()
                .map(|(line, name)| (*line, (*name).to_owned()))
                .collect()
        };
        let text = AliasText::parse(TEXT);
        assert_eq!(text.render(), format!("{TEXT}\n"));
        assert_eq!(
            targets(&text),
            [
                (
                    3,
                    "info@a.example".into(),
                    named(&[(3, "jens"), (3, "anna")])
                ),
                (
                    4,
                    "team@a.example".into(),
                    named(&[(4, "jens"), (5, "bob"), (5, "carl"), (7, "dora")])
                ),
                (8, "info@a.example".into(), named(&[(8, "x@b.example")])),
            ]
        );
        assert!(AliasText::parse("").entries().is_empty());
        assert_eq!(
            AliasText::parse("\u{feff}a@b.c d").entries()[0].alias,
            "a@b.c"
        );
    }

    #[test]
    fn changes_leave_the_rest_alone() {
        let mut text = AliasText::parse(TEXT);
        text.add(|alias| alias == "team@a.example", "", &["emil".into()]);
        text.add(
            |alias| alias == "info@a.example",
            "",
            &["y@b.example".into()],
        );
        text.add(
            |alias| alias == "@a.example",
            "@a.example",
            &["jens".into(), "bob".into()],
        );
        text.remove(|alias| alias == "info@a.example", |target| target == "jens");
        text.remove(|alias| alias == "team@a.example", |target| target == "carl");
        text.remove(|alias| alias == "team@a.example", |target| target == "jens");
        assert_eq!(
            text.render(),
            "# ours\n\ninfo@a.example   anna  # both\r\nteam@a.example\t\n  bob\n# between\n  \
             dora, emil\ninfo@a.example x@b.example, y@b.example\n@a.example jens, bob\n"
        );
        text.remove(|alias| alias == "team@a.example", |_| true);
        text.remove(|alias| alias == "info@a.example", |_| true);
        assert_eq!(text.render(), "# ours\n\n# between\n@a.example jens, bob\n");
    }
}
