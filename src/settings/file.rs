//! The text of settings.env: lines, keys, values, and nothing of their meaning.
//!
//! Docker's env-file syntax: leading white space of a line is skipped, a line
//! that starts with `#` is a comment, everything right of the first `=` is the
//! value, verbatim. Docker also takes `KEY` without `=` and reads the calling
//! environment; an appliance has none, so that is an error here. White space at
//! the end of a line is no part of the value: nobody sees it, and systemd's
//! EnvironmentFile drops it too
//! (<https://www.freedesktop.org/software/systemd/man/latest/systemd.exec.html#EnvironmentFile=>).
//! A byte order mark and CRLF line ends are tolerated, because the file is edited
//! on any operating system.

use super::key::find_key;
use super::problem::{Problem, Problems};
use super::warning::unknown_keys;
use super::written::{Entry, MAXIMUM_BYTES, Written};
use anyhow::{Context, Result};
use std::io::Read;
use std::path::Path;

/// Splits the text of a settings file into its entries; the error has all lines that it
/// cannot read.
pub fn parse_settings(bytes: &[u8]) -> Result<Written, Problems> {
    let whole = |wrong: String, expected: &str| {
        Problems(vec![Problem {
            line: None,
            key: None,
            wrong,
            expected: expected.to_owned(),
        }])
    };
    if bytes.len() > MAXIMUM_BYTES {
        return Err(whole(
            format!("the file has more than {MAXIMUM_BYTES} bytes"),
            "a text file with one KEY=value per line",
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut written = Written::default();
    let mut problems = Problems(Vec::new());
    for (index, raw) in bytes.split(|byte| *byte == b'\n').enumerate() {
        let line = index + 1;
        match parse_line(&raw[..visible_length(raw)]) {
            Ok(None) => {}
            Ok(Some((key, value))) => {
                if let Some(first) = written.entry(&key) {
                    problems.0.push(Problem {
                        line: Some(line),
                        wrong: format!("is set a second time, first in line {}", first.line),
                        key: Some(key),
                        expected: "each key once".to_owned(),
                    });
                } else {
                    written.entries.push(Entry { line, key, value });
                }
            }
            Err((key, wrong, expected)) => problems.0.push(Problem {
                line: Some(line),
                key,
                wrong,
                expected: expected.to_owned(),
            }),
        }
    }
    if !problems.0.is_empty() {
        problems.0.extend(unknown_keys(&written.entries));
    }
    problems.into_result().map(|()| written)
}

/// The length of a line without the white space at its end, line ends included.
pub(super) fn visible_length(line: &[u8]) -> usize {
    let last = line.iter().rposition(|byte| !b" \t\r\n".contains(byte));
    last.map_or(0, |last| last + 1)
}

type LineError = (Option<String>, String, &'static str);

fn parse_line(raw: &[u8]) -> Result<Option<(String, String)>, LineError> {
    let Ok(text) = std::str::from_utf8(raw) else {
        return Err((None, "is not UTF-8".to_owned(), "plain text"));
    };
    let text = text.trim_start_matches([' ', '\t']);
    if text.is_empty() || text.starts_with('#') {
        return Ok(None);
    }
    let Some((key, value)) = text.split_once('=') else {
        return Err((
            None,
            "has no '='".to_owned(),
            "KEY=value, or '#' before a comment",
        ));
    };
    if key.is_empty()
        || !key
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    {
        return Err((
            None,
            format!("'{}' is no key", key.escape_default()),
            "letters, digits and '_' before the '='",
        ));
    }
    let secret = find_key(key).is_some_and(|key| key.secret);
    // Before a value it is as good as invisible; a secret may begin with it.
    let value = if secret {
        value
    } else {
        value.trim_start_matches([' ', '\t'])
    };
    if let Some(control) = value.chars().find(|character| character.is_control()) {
        return Err((
            Some(key.to_owned()),
            format!("holds the control character {}", control.escape_default()),
            "printable text",
        ));
    }
    let quoted = ['"', '\''].iter().any(|quote| {
        let value = value.trim();
        value.len() > 1 && value.starts_with(*quote) && value.ends_with(*quote)
    });
    if quoted && !secret {
        return Err((
            Some(key.to_owned()),
            "is in quotes, which would become part of the value".to_owned(),
            "the bare value",
        ));
    }
    Ok(Some((key.to_owned(), value.to_owned())))
}

/// Reads a settings file, no more than [`MAXIMUM_BYTES`] of it.
pub fn load_settings(path: &Path) -> Result<Written> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAXIMUM_BYTES as u64 + 1).read_to_end(&mut bytes))
        .with_context(|| format!("reading {}", path.display()))?;
    parse_settings(&bytes).with_context(|| format!("checking {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::parse_settings;

    #[test]
    fn values_are_verbatim() {
        let text = "\u{feff}# comment\r\n  DOMAIN=example.org\r\n\r\n\tRELAYHOST_PASSWORD= \"pa$$=word# \n";
        let written = parse_settings(text.as_bytes()).unwrap();
        assert_eq!(written.value("DOMAIN"), Some("example.org"));
        assert_eq!(written.value("RELAYHOST_PASSWORD"), Some(" \"pa$$=word#"));
        assert_eq!(written.entry("RELAYHOST_PASSWORD").unwrap().line, 4);
    }

    #[test]
    fn white_space_at_the_end_of_a_line_is_no_part_of_it() {
        for (line, value) in [
            ("DOMAIN=a.example\t", Some("a.example")),
            ("DOMAIN=a.example  ", Some("a.example")),
            ("DOMAIN=a.example \t \r", Some("a.example")),
            ("DOMAIN=a.example\t\r\r", Some("a.example")),
            ("DOMAIN=\ta.example", Some("a.example")),
            ("DOMAIN= \t a.example\t", Some("a.example")),
            ("DOMAIN=\t", None),
            ("DOMAIN= \t\r", None),
            (
                "ADDITIONAL_DOMAINS=a.example, b.example,\t",
                Some("a.example, b.example,"),
            ),
            ("SSH_AUTHORIZED_KEYS=a b c \t", Some("a b c")),
            ("RELAYHOST_PASSWORD=pass word\t", Some("pass word")),
            ("RELAYHOST_PASSWORD= pass \r", Some(" pass")),
            // In quotes it is not at the end; in secrets they are characters like others.
            ("RELAYHOST_PASSWORD=\"pass \" \t", Some("\"pass \"")),
            ("RELAYHOST_PASSWORD='pass  '\r", Some("'pass  '")),
        ] {
            let key = line.split('=').next().unwrap();
            for end in ["", "\n", "\r\n"] {
                let written = parse_settings(format!("{line}{end}").as_bytes()).unwrap();
                assert_eq!(written.value(key), value, "{line:?}");
            }
        }
        assert!(parse_settings(b" \t\r\n\t\n# x\t\n").unwrap().is_empty());
        for (line, wrong) in [
            ("DOMAIN=a\tb", "holds the control character \\t"),
            (
                "RELAYHOST_PASSWORD=\tpass",
                "holds the control character \\t",
            ),
            (
                "RELAYHOST_PASSWORD=pa\tss\t",
                "holds the control character \\t",
            ),
            ("DOMAIN=\"a.example \"\t", "is in quotes"),
            ("DOMAIN='a.example' \r", "is in quotes"),
            (
                "DOMAIN=a.example\u{b}",
                "holds the control character \\u{b}",
            ),
        ] {
            let error = parse_settings(line.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(wrong), "{line:?}: {error}");
        }
    }

    #[test]
    fn every_bad_line_is_named() {
        let text = b"DOMAIN=a.example\nDOMAIN=b.example\nHOSTNAME\nA B=c\nHOSTNAME=\"x.example\"\nADMIN_USER=a\x00b\nX=\xff\n";
        assert_eq!(
            parse_settings(text).unwrap_err().to_string(),
            "6 problems\n  \
             line 2: DOMAIN: is set a second time, first in line 1; expected each key once\n  \
             line 3: has no '='; expected KEY=value, or '#' before a comment\n  \
             line 4: 'A B' is no key; expected letters, digits and '_' before the '='\n  \
             line 5: HOSTNAME: is in quotes, which would become part of the value; expected the bare value\n  \
             line 6: ADMIN_USER: holds the control character \\u{0}; expected printable text\n  \
             line 7: is not UTF-8; expected plain text"
        );
    }

    #[test]
    fn too_much_is_refused() {
        let error = parse_settings(&vec![b'#'; 64 * 1024 + 1]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the file has more than 65536 bytes; expected a text file with one KEY=value per line"
        );
    }

    #[test]
    fn comments_and_empty_values_are_no_settings() {
        assert!(
            parse_settings(b"# x\nDOMAIN=\n\nHOSTNAME= \n")
                .unwrap()
                .is_empty()
        );
        assert!(!parse_settings(b"METRICS=true\n").unwrap().is_empty());
    }
}
