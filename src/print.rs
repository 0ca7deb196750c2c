//! What the programs say, for readers who may have gone away.
//!
//! `println!` and `eprintln!` panic when nobody reads on: `mailimg inspect IMAGE | head`
//! would end so, and a service that warns while the journal starts again. What is
//! asked for goes to standard output with [`say`]; `tell!` is for all the rest.
//!
//! Much of what is said comes from strangers: names in archives, labels of disks, answers
//! of servers. A terminal obeys control characters, so all texts go through [`plain`].

use std::borrow::Cow;
use std::fmt::{Arguments, Write as _};
use std::io::{ErrorKind, Write};

use anyhow::{Context, Result};

/// Tells a line on standard error, formatted as with `eprintln!`.
macro_rules! tell {
    ($($words:tt)*) => {
        $crate::print::tell_line(format_args!($($words)*))
    };
}

/// Prints a text to standard output; that its reader has gone is no error.
pub fn say(text: &str) -> Result<()> {
    say_with(|output| output.write_all(plain(text).as_bytes()))
}

/// The same for what writes itself, as it is.
pub fn say_with(write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>) -> Result<()> {
    let mut output = std::io::stdout().lock();
    match write(&mut output).and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("writing to standard output"),
    }
}

/// What `tell!` does: one write, so that lines of two threads stay whole.
pub fn tell_line(words: Arguments<'_>) {
    // There is nobody left to tell that nobody listens.
    let words = format!("{words}\n");
    let _ = std::io::stderr().write_all(plain(&words).as_bytes());
}

/// A text as a terminal may have it: control characters are spelled out, but for ends of
/// lines, tabs and our own colours.
///
/// They are spelled as in JSON, which so stays JSON.
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_obeyed) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let length = match colour_length(rest) {
            0 => character.len_utf8(),
            length => length,
        };
        let (piece, after) = rest.split_at(length);
        if piece.len() > character.len_utf8() || !is_obeyed(character) {
            shown.push_str(piece);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(shown, "\\u{:04x}", u32::from(character));
        }
        rest = after;
    }
    Cow::Owned(shown)
}

/// Whether a terminal would do something else than show it: what controls it, and what
/// turns the direction of writing, behind which text hides.
fn is_obeyed(character: char) -> bool {
    match character {
        '\n' | '\t' => false,
        '\u{200e}' | '\u{200f}' | '\u{61c}' => true,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        '\u{2028}' | '\u{2029}' => true,
        other => other.is_control(),
    }
}

/// Bytes of a foreground colour, or of its end, that the text begins with.
fn colour_length(text: &str) -> usize {
    match text.as_bytes() {
        [0x1b, b'[', b'0', b'm', ..] => 4,
        [0x1b, b'[', b'3', b'1'..=b'6', b'm', ..] => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn nothing_that_strangers_say_moves_the_cursor() {
        for (said, shown) in [
            (
                "a plain text\n\tof two lines: äöü",
                "a plain text\n\tof two lines: äöü",
            ),
            ("\x1b[2J\x1b[1;1Hroot#", "\\u001b[2J\\u001b[1;1Hroot#"),
            ("\x1b]0;title\x07", "\\u001b]0;title\\u0007"),
            ("all is well\rerror", "all is well\\u000derror"),
            ("\u{9b}31m\u{85}", "\\u009b31m\\u0085"),
            ("a\x08\x7f\0", "a\\u0008\\u007f\\u0000"),
            ("\u{202e}fig.exe\u{2066}", "\\u202efig.exe\\u2066"),
            // Concealed, and our own colours.
            ("\x1b[8mhidden", "\\u001b[8mhidden"),
            ("\x1b[32mgood\x1b[0m", "\x1b[32mgood\x1b[0m"),
        ] {
            assert_eq!(plain(said), shown);
        }
    }

    #[test]
    fn json_stays_json() {
        let said = "\u{202e}\u{9b}\u{7f}\x1b\r\n\"\\";
        let text = serde_json::to_string(said).unwrap();
        let shown = plain(&text);
        assert!(shown.is_ascii());
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), said);
    }
}
