//! The lines of a shell script, and which of them say nothing.
//!
//! A comment says nothing only where the shell takes it for one: a line that
//! begins with `#` may as well lie in a quoted text or in a here-document. The
//! reader below follows quoting as POSIX has it
//! (<https://pubs.opengroup.org/onlinepubs/9799919799/utilities/V3_chap02.html>)
//! and gives up, rather than guess, where it cannot be sure. Left out: meaning
//! of any kind; nothing is expanded and nothing is run.

/// A physical line of a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// The text, without the line feed.
    pub text: &'a str,
    /// Whether it begins outside of quotes, parentheses, here-documents and
    /// of a line that goes on.
    pub outside: bool,
}

impl Line<'_> {
    /// Whether the shell passes over it: empty, or a comment.
    pub fn is_silent(&self) -> bool {
        let text = self.text.trim_start_matches([' ', '\t']);
        self.outside && (text.is_empty() || (text.starts_with('#') && !text.starts_with("#!")))
    }
}

/// Where the shell is inside of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Single,
    Double,
    Backquote,
    Parenthesis,
    Arithmetic,
}

/// A here-document that begins on the next line.
struct Document<'a> {
    delimiter: String,
    indented: bool,
    begun: &'a str,
}

/// The lines of a script; an error says why they cannot be told apart.
pub fn read_lines(script: &str) -> Result<Vec<Line<'_>>, String> {
    let mut lines = Vec::new();
    let mut inside: Vec<Inside> = Vec::new();
    let mut documents: Vec<Document<'_>> = Vec::new();
    let mut goes_on = false;
    let mut physical = script.lines();
    while let Some(text) = physical.next() {
        let outside = inside.is_empty() && !goes_on;
        lines.push(Line { text, outside });
        goes_on = read_line(text, &mut inside, &mut documents)?;
        for document in documents.drain(..) {
            loop {
                let Some(text) = physical.next() else {
                    return Err(format!("the text after `{}` has no end", document.begun));
                };
                lines.push(Line {
                    text,
                    outside: false,
                });
                let line = match document.indented {
                    true => text.trim_start_matches('\t'),
                    false => text,
                };
                if line == document.delimiter {
                    break;
                }
            }
        }
    }
    match inside.is_empty() {
        true => Ok(lines),
        false => Err("a quote or a parenthesis is never closed".to_owned()),
    }
}

/// Follows one line; whether the next one belongs to it.
fn read_line<'a>(
    text: &'a str,
    inside: &mut Vec<Inside>,
    documents: &mut Vec<Document<'a>>,
) -> Result<bool, String> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let rest = &text[at..];
        let step = match inside.last() {
            Some(Inside::Single) => match bytes[at] {
                b'\'' => leave(inside),
                _ => 1,
            },
            Some(Inside::Arithmetic) if rest.starts_with("))") => leave(inside) + 1,
            Some(Inside::Arithmetic) => 1,
            Some(Inside::Double) => match bytes[at] {
                b'"' => leave(inside),
                _ => match read_escape_or_substitution(rest, inside)? {
                    Some(Step::GoesOn) => return Ok(true),
                    Some(Step::Bytes(count)) => count,
                    None => 1,
                },
            },
            Some(Inside::Backquote | Inside::Parenthesis) | None => {
                let starts_word = at == 0 || b" \t;&|()`".contains(&bytes[at - 1]);
                if bytes[at] == b'#' && starts_word {
                    return Ok(false);
                }
                match read_code(rest, starts_word, inside, documents)? {
                    Step::GoesOn => return Ok(true),
                    Step::Bytes(count) => count,
                }
            }
        };
        at += step;
    }
    Ok(false)
}

/// How far one reading came.
enum Step {
    /// So many bytes were taken.
    Bytes(usize),
    /// The line ends in a backslash.
    GoesOn,
}

fn leave(inside: &mut Vec<Inside>) -> usize {
    inside.pop();
    1
}

fn enter(inside: &mut Vec<Inside>, what: Inside, length: usize) -> Step {
    inside.push(what);
    Step::Bytes(length)
}

/// What means the same in double quotes and outside of them.
fn read_escape_or_substitution(
    rest: &str,
    inside: &mut Vec<Inside>,
) -> Result<Option<Step>, String> {
    if let Some(escaped) = rest.strip_prefix('\\') {
        return Ok(Some(match escaped.chars().next() {
            Some(letter) => Step::Bytes(1 + letter.len_utf8()),
            None => Step::GoesOn,
        }));
    }
    if rest.starts_with('`') {
        if inside.last() == Some(&Inside::Backquote) {
            return Ok(Some(Step::Bytes(leave(inside))));
        }
        if inside.contains(&Inside::Backquote) {
            return Err("backquotes lie inside of backquotes".to_owned());
        }
        return Ok(Some(enter(inside, Inside::Backquote, 1)));
    }
    if rest.starts_with("$((") {
        return Ok(Some(enter(inside, Inside::Arithmetic, 3)));
    }
    if rest.starts_with("$(") {
        return Ok(Some(enter(inside, Inside::Parenthesis, 2)));
    }
    Ok(None)
}

/// What the shell would run.
fn read_code<'a>(
    rest: &'a str,
    starts_word: bool,
    inside: &mut Vec<Inside>,
    documents: &mut Vec<Document<'a>>,
) -> Result<Step, String> {
    if let Some(step) = read_escape_or_substitution(rest, inside)? {
        return Ok(step);
    }
    if rest.starts_with("$'") {
        return Err("$'…' means one thing to bash and another to sh".to_owned());
    }
    if rest.starts_with("<<<") {
        return Ok(Step::Bytes(3));
    }
    if rest.starts_with("<<") {
        return read_document(rest, documents);
    }
    // A pattern of `case` ends in a parenthesis that was never opened.
    let quoted = inside.iter().any(|one| *one != Inside::Parenthesis);
    let is_word = |word: &str| rest.strip_prefix(word).is_some_and(ends_word);
    if starts_word && quoted && (is_word("case") || is_word("esac")) {
        return Err("a quoted command has a `case`".to_owned());
    }
    Ok(match rest.as_bytes()[0] {
        b'\'' => enter(inside, Inside::Single, 1),
        b'"' => enter(inside, Inside::Double, 1),
        b'(' => enter(inside, Inside::Parenthesis, 1),
        b')' if inside.last() == Some(&Inside::Parenthesis) => Step::Bytes(leave(inside)),
        _ => Step::Bytes(rest.chars().next().map_or(1, char::len_utf8)),
    })
}

fn ends_word(rest: &str) -> bool {
    rest.is_empty() || rest.starts_with([' ', '\t', ';'])
}

/// `<<WORD` or `<<-WORD`, quoted or not.
fn read_document<'a>(rest: &'a str, documents: &mut Vec<Document<'a>>) -> Result<Step, String> {
    let indented = rest.starts_with("<<-");
    let after = &rest[if indented { 3 } else { 2 }..];
    let word = after.trim_start_matches([' ', '\t']);
    let end = word
        .find(|letter: char| letter.is_whitespace() || ";&|<>()".contains(letter))
        .unwrap_or(word.len());
    let delimiter = word[..end].replace(['\'', '"', '\\'], "");
    if delimiter.is_empty() || word[..end].contains(['$', '`']) {
        return Err("a here-document has no name".to_owned());
    }
    let length = rest.len() - word.len() + end;
    documents.push(Document {
        delimiter,
        indented,
        begun: &rest[..length],
    });
    Ok(Step::Bytes(length))
}

#[cfg(test)]
mod tests {
    use super::read_lines;

    /// The lines that say something.
    fn told(script: &str) -> Vec<&str> {
        let lines = read_lines(script).unwrap();
        let told = lines.iter().filter(|line| !line.is_silent());
        told.map(|line| line.text).collect()
    }

    #[test]
    fn comments_and_empty_lines_are_silent_and_the_interpreter_is_not() {
        let script = "#!/bin/sh\n\n  # a 'comment\"\nset -e # kept\n\t\n#\nexit 0";
        assert_eq!(told(script), ["#!/bin/sh", "set -e # kept", "exit 0"]);
    }

    #[test]
    fn a_line_that_only_looks_like_a_comment_counts() {
        for script in [
            "cat <<EOF >/etc/x\n# text\nEOF",
            "cat <<-'EOF' >/etc/x\n\t# text\n\tEOF",
            "cat <<A <<B\n# one\nA\n# two\nB",
            "echo 'a\n# text\n'",
            "echo \"a\n# $(reboot)\n\"",
            "echo \"$(echo \"a\"\n# text\n)\"",
            "echo a\\\n# no comment for a cautious reader",
            "x=`echo\n# text\n`",
            "x=$((1\n# text\n))",
            "echo \\'\\\n# text",
            "cat <<\"E F\"x\n# text\nE",
        ] {
            let Ok(lines) = read_lines(script) else {
                continue;
            };
            let told: Vec<&str> = lines
                .iter()
                .filter(|l| !l.is_silent())
                .map(|l| l.text)
                .collect();
            assert_eq!(told.len(), script.lines().count(), "{script}");
        }
    }

    #[test]
    fn quotes_in_comments_and_hashes_in_words_mislead_nobody() {
        let script = "# don't\nx=${y#pre} # isn't\n# also a comment\ncase $x in\n  a) # one\n  # two\n  ;;\nesac\nf() { :; }\n# three\n[ $# = 1 ] && echo \"it's\"\n# four\n: $((1 << 2))\n# five";
        assert!(
            told(script)
                .iter()
                .all(|line| !line.trim_start().starts_with('#'))
        );
    }

    #[test]
    fn what_cannot_be_told_is_an_error() {
        for script in [
            "echo 'a",
            "cat <<EOF\n# text",
            "echo $'a\\'\n# text'",
            "echo \"$(case x in a) echo '\"' ;; esac)\n# text\"",
            "cat <<$X\n# text",
            "echo `a \"`b`\"`",
        ] {
            read_lines(script).unwrap_err();
        }
    }
}
