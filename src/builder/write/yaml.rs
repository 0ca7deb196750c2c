//! YAML as we write it: maps and lists in blocks, and every text quoted or literal.
//!
//! YAML 1.2.2, <https://yaml.org/spec/1.2.2/>, in the part that readers of 1.1 understand
//! the same. A text is never left plain, so no reader takes it for a number, a date or a
//! truth value. Written here instead of by a crate, because files for people to edit need
//! literal blocks, octal modes and the order of keys. Left out: reading, anchors, comments.

use std::fmt::Write;

use serde_json::Value;

/// Spaces of one level.
const INDENTATION: usize = 2;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Yaml {
    /// Keys with their values, in this order.
    Map(Vec<(String, Yaml)>),
    /// Values in their order.
    List(Vec<Yaml>),
    /// Any text.
    Text(String),
    /// What stands as it is: a number, `true`, an octal mode.
    Plain(String),
}

impl Yaml {
    /// A text.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// A map, in the order given.
    pub fn map<'key>(entries: impl IntoIterator<Item = (&'key str, Self)>) -> Self {
        let entries = entries.into_iter();
        Self::Map(
            entries
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
        )
    }

    /// A list of texts.
    pub fn texts<'text>(texts: impl IntoIterator<Item = &'text str>) -> Self {
        Self::List(texts.into_iter().map(Self::text).collect())
    }

    /// One document.
    pub fn to_document(&self) -> String {
        let mut text = String::new();
        self.write(&mut text, 0, true);
        text
    }

    /// Writes the value behind what is in the text already: at its beginning or behind `- `
    /// when it stands at the line's own indentation, else behind `key:`.
    fn write(&self, text: &mut String, depth: usize, begins: bool) {
        let space = if begins { "" } else { " " };
        let pad = " ".repeat(depth * INDENTATION);
        match self {
            Self::Map(entries) if entries.is_empty() => text.push_str(&format!("{space}{{}}\n")),
            Self::List(items) if items.is_empty() => text.push_str(&format!("{space}[]\n")),
            Self::Map(entries) => {
                for (number, (key, value)) in entries.iter().enumerate() {
                    match (number, begins) {
                        (0, true) => {}
                        (0, false) => text.push_str(&format!("\n{pad}")),
                        _ => text.push_str(&pad),
                    }
                    text.push_str(&key_text(key));
                    text.push(':');
                    value.write(text, depth + 1, false);
                }
            }
            Self::List(items) => {
                for (number, item) in items.iter().enumerate() {
                    match (number, begins) {
                        (0, true) => {}
                        (0, false) => text.push_str(&format!("\n{pad}")),
                        _ => text.push_str(&pad),
                    }
                    text.push_str("- ");
                    item.write(text, depth + 1, true);
                }
            }
            Self::Text(value) if is_block(value) => {
                text.push_str(&format!("{space}{}\n", block_header(value)));
                for line in value.strip_suffix('\n').unwrap_or(value).split('\n') {
                    if !line.is_empty() {
                        text.push_str(&pad);
                    }
                    text.push_str(line);
                    text.push('\n');
                }
            }
            Self::Text(value) => text.push_str(&format!("{space}{}\n", quoted(value))),
            Self::Plain(value) => text.push_str(&format!("{space}{value}\n")),
        }
    }
}

impl From<Value> for Yaml {
    /// The same as JSON; keys are in the order of the alphabet there.
    fn from(value: Value) -> Self {
        match value {
            Value::Object(entries) => {
                let entries = entries.into_iter();
                Self::Map(entries.map(|(key, value)| (key, value.into())).collect())
            }
            Value::Array(items) => Self::List(items.into_iter().map(Into::into).collect()),
            Value::String(text) => Self::Text(text),
            other => Self::Plain(other.to_string()),
        }
    }
}

/// A key, quoted unless no reader could take it for anything else.
fn key_text(key: &str) -> String {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./".contains(&byte);
    let plain = key.starts_with(|first: char| first.is_ascii_alphabetic())
        && key.bytes().all(letter)
        && !["y", "n", "yes", "no", "on", "off", "true", "false", "null"]
            .contains(&key.to_ascii_lowercase().as_str());
    if plain { key.to_owned() } else { quoted(key) }
}

/// Whether a text of several lines means the same as a literal block: its first line shows
/// the indentation, and no letter is one that needs an escape.
fn is_block(text: &str) -> bool {
    text.trim_end_matches('\n').contains('\n')
        && !text.starts_with([' ', '\t', '\n'])
        && text
            .chars()
            .all(|letter| letter == '\n' || is_literal(letter))
}

/// Stands for itself in every version of YAML.
fn is_literal(letter: char) -> bool {
    // Line breaks for some readers, a mark of byte order, and no letters at all.
    const SPECIAL: [char; 5] = ['\u{2028}', '\u{2029}', '\u{feff}', '\u{fffe}', '\u{ffff}'];
    letter == '\t' || !letter.is_control() && !SPECIAL.contains(&letter)
}

/// `|` with what becomes of line ends at the end of the text.
fn block_header(text: &str) -> &'static str {
    match text.len() - text.trim_end_matches('\n').len() {
        0 => "|-",
        1 => "|",
        _ => "|+",
    }
}

fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => quoted.extend(['\\', letter]),
            '\n' => quoted.push_str("\\n"),
            '\t' => quoted.push_str("\\t"),
            letter if is_literal(letter) => quoted.push(letter),
            letter => {
                // All of them lie in the first plane.
                let _ = write!(quoted, "\\u{:04x}", u32::from(letter));
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::Yaml;

    #[test]
    fn a_document_reads_as_one_expects() {
        let document = Yaml::map([
            ("version", Yaml::text("1.4.0")),
            ("mode", Yaml::Plain("0600".to_owned())),
            ("none", Yaml::Map(Vec::new())),
            ("nothing", Yaml::List(Vec::new())),
            (
                "files",
                Yaml::List(vec![
                    Yaml::map([
                        ("path", Yaml::text("/etc/a b")),
                        (
                            "contents",
                            Yaml::map([("inline", Yaml::text("[a]\n\n  b=\"c\"\n"))]),
                        ),
                    ]),
                    Yaml::List(vec![Yaml::text("x"), Yaml::text("y")]),
                ]),
            ),
            ("3306", Yaml::text("no")),
            ("on", Yaml::text("")),
        ]);
        insta::assert_snapshot!(document.to_document(), @r#"
        version: "1.4.0"
        mode: 0600
        none: {}
        nothing: []
        files:
          - path: "/etc/a b"
            contents:
              inline: |
                [a]

                  b="c"
          - - "x"
            - "y"
        "3306": "no"
        "on": ""
        "#);
    }

    #[test]
    fn texts_that_no_block_can_hold_are_quoted() {
        let one = |text: &str| Yaml::map([("a", Yaml::text(text))]).to_document();
        for (text, expected) in [
            ("x\ny", "a: |-\n  x\n  y\n"),
            ("x\ny\n", "a: |\n  x\n  y\n"),
            ("x\ny\n\n\n", "a: |+\n  x\n  y\n\n\n"),
            ("x\n", "a: \"x\\n\"\n"),
            ("\n", "a: \"\\n\"\n"),
            (" x\ny\n", "a: \" x\\ny\\n\"\n"),
            ("\nx\ny\n", "a: \"\\nx\\ny\\n\"\n"),
            ("x\r\ny\r\n", "a: \"x\\u000d\\ny\\u000d\\n\"\n"),
            ("x\n\u{85}y", "a: \"x\\n\\u0085y\"\n"),
            ("\u{feff}x\u{7f}\0", "a: \"\\ufeffx\\u007f\\u0000\"\n"),
            ("x\\\"y", "a: \"x\\\\\\\"y\"\n"),
            ("ä: #€ 😀", "a: \"ä: #€ 😀\"\n"),
        ] {
            assert_eq!(one(text), expected, "{text:?}");
        }
    }
}
