//! Lines that every server takes: 998 characters at most (RFC 5322, section 2.1.1,
//! <https://www.rfc-editor.org/rfc/rfc5322#section-2.1.1>).
//!
//! A user's message with longer ones gets through to some servers, is refused by others, and
//! broken by those that cut it up, for then its signature does not hold. So it is written anew
//! before it is signed (RFC 6376, section 5.3): such parts as quoted-printable, which every mail
//! program reads as what they were. What is signed byte for byte already (RFC 1847) and
//! encodings that nobody knows are left alone.

pub mod draft;
mod part;
mod quoted;

use part::{Content, Encoding};
use quoted::{quote, requote, rewrap};
use std::io::{self, Write};

/// The longest line, without its end.
const LINE_BYTES_MAX: usize = 998;
/// How deep messages in messages and parts in parts are followed.
const DEPTH_MAX: usize = 30;
/// What a part is called that was written anew.
pub const QUOTED_PRINTABLE: &str = "quoted-printable";

/// Measures lines of a body that comes in pieces.
#[derive(Debug, Default)]
pub struct LineMeter {
    length: usize,
    too_long: bool,
}

impl LineMeter {
    /// Measures the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        if self.too_long {
            return;
        }
        let mut lines = piece.split(|byte| *byte == b'\n');
        self.length += lines.next().map_or(0, <[u8]>::len);
        for line in lines {
            self.too_long |= self.length > LINE_BYTES_MAX + 1;
            self.length = line.len();
        }
        // The line's end has two bytes, one of which is counted.
        self.too_long |= self.length > LINE_BYTES_MAX + 1;
    }

    /// Whether one was too long.
    pub fn is_too_long(&self) -> bool {
        self.too_long
    }
}

/// Writes a body anew where its lines are too long, by what the message's header says of it, and
/// says whether the message itself is [`QUOTED_PRINTABLE`] now.
pub fn shorten(
    content_type: &[u8],
    encoding: &[u8],
    body: &[u8],
    output: &mut dyn Write,
) -> io::Result<bool> {
    let (content, encoding) = (Content::parse(content_type), Encoding::parse(encoding));
    write_content(&content, encoding, body, output, 0)?;
    Ok(becomes_quoted(&content, encoding, body))
}

/// Whether the content is written as quoted-printable, which it was not.
fn becomes_quoted(content: &Content, encoding: Encoding, body: &[u8]) -> bool {
    *content == Content::Leaf && encoding == Encoding::Plain && is_too_long(body)
}

fn is_too_long(body: &[u8]) -> bool {
    lines(body).any(|(line, _)| line.len() > LINE_BYTES_MAX)
}

fn write_content(
    content: &Content,
    encoding: Encoding,
    body: &[u8],
    output: &mut dyn Write,
    depth: usize,
) -> io::Result<()> {
    match content {
        Content::Parts(boundary) if depth < DEPTH_MAX => write_parts(boundary, body, output, depth),
        Content::Message if depth < DEPTH_MAX => write_entity(body, output, depth + 1),
        Content::Leaf if is_too_long(body) => write_leaf(encoding, body, output),
        _ => output.write_all(body),
    }
}

fn write_leaf(encoding: Encoding, body: &[u8], output: &mut dyn Write) -> io::Result<()> {
    let write = match encoding {
        Encoding::Plain => quote,
        Encoding::QuotedPrintable => requote,
        Encoding::Base64 => rewrap,
        Encoding::Unknown => return output.write_all(body),
    };
    for (line, ended) in lines(body) {
        write(line, output)?;
        // The last line's end belongs to the boundary behind it.
        if ended {
            output.write_all(b"\r\n")?;
        }
    }
    Ok(())
}

/// Parts between boundaries; what stands before and behind them is nobody's to read.
fn write_parts(
    boundary: &[u8],
    body: &[u8],
    output: &mut dyn Write,
    depth: usize,
) -> io::Result<()> {
    let mut start = 0;
    let mut position = 0;
    let mut inside = false;
    for (line, ended) in lines(body) {
        let next = position + line.len() + end_length(body, position + line.len(), ended);
        let Some(closes) = delimits(line, boundary) else {
            position = next;
            continue;
        };
        write_between(&body[start..position], inside, output, depth)?;
        output.write_all(&body[position..next])?;
        (start, position, inside) = (next, next, !closes);
        if closes {
            break;
        }
    }
    write_between(&body[start..], inside, output, depth)
}

/// A part with the line end that belongs to the boundary behind it.
fn write_between(
    bytes: &[u8],
    inside: bool,
    output: &mut dyn Write,
    depth: usize,
) -> io::Result<()> {
    if !inside {
        return output.write_all(bytes);
    }
    let part = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let part = part.strip_suffix(b"\r").unwrap_or(part);
    write_entity(part, output, depth + 1)?;
    output.write_all(&bytes[part.len()..])
}

/// Whether a line is a boundary, and if so whether the last.
fn delimits(line: &[u8], boundary: &[u8]) -> Option<bool> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary)?;
    match rest.trim_ascii_end() {
        b"" => Some(false),
        b"--" => Some(true),
        _ => None,
    }
}

/// Header, empty line, content.
fn write_entity(entity: &[u8], output: &mut dyn Write, depth: usize) -> io::Result<()> {
    let mut head = 0;
    let mut fields: Vec<&[u8]> = Vec::new();
    let mut empty: &[u8] = b"";
    for (line, ended) in lines(entity) {
        let next = head + line.len() + end_length(entity, head + line.len(), ended);
        if line.is_empty() {
            empty = &entity[head..next];
            head = next;
            break;
        }
        let folded = line.starts_with(b" ") || line.starts_with(b"\t");
        match fields.last_mut() {
            Some(last) if folded => *last = &entity[head - last.len()..next],
            _ => fields.push(&entity[head..next]),
        }
        head = next;
    }
    let value = |name: &str| {
        let mut found = fields.iter().filter_map(|field| field_value(field, name));
        found.next().unwrap_or_default()
    };
    let content = Content::parse(value("Content-Type"));
    let encoding = Encoding::parse(value(ENCODING));
    let body = &entity[head..];
    let quoted = becomes_quoted(&content, encoding, body);
    for field in &fields {
        if !quoted || field_value(field, ENCODING).is_none() {
            output.write_all(field)?;
        }
    }
    if quoted {
        write!(output, "{ENCODING}: {QUOTED_PRINTABLE}\r\n")?;
    }
    output.write_all(empty)?;
    write_content(&content, encoding, body, output, depth)
}

/// The header that says how a part is encoded.
pub const ENCODING: &str = "Content-Transfer-Encoding";

fn field_value<'a>(field: &'a [u8], name: &str) -> Option<&'a [u8]> {
    let colon = field.iter().position(|byte| *byte == b':')?;
    let (found, value) = field.split_at(colon);
    found
        .trim_ascii()
        .eq_ignore_ascii_case(name.as_bytes())
        .then_some(&value[1..])
}

/// Lines without their ends, and whether they have one.
fn lines(bytes: &[u8]) -> impl Iterator<Item = (&[u8], bool)> {
    bytes
        .split_inclusive(|byte| *byte == b'\n')
        .map(|line| match line.strip_suffix(b"\n") {
            Some(line) => (line.strip_suffix(b"\r").unwrap_or(line), true),
            None => (line, false),
        })
}

/// How many bytes the line end at this place has.
fn end_length(bytes: &[u8], at: usize, ended: bool) -> usize {
    match (ended, bytes.get(at)) {
        (false, _) => 0,
        (true, Some(b'\r')) => 2,
        (true, _) => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_BYTES_MAX, LineMeter, QUOTED_PRINTABLE};
    use proptest::prelude::{any, prop};

    #[derive(Debug)]
    struct Shortened {
        body: Vec<u8>,
        quoted: bool,
    }

    fn shorten(content_type: &[u8], encoding: &[u8], body: &[u8]) -> Shortened {
        let mut output = Vec::new();
        let quoted = super::shorten(content_type, encoding, body, &mut output).unwrap();
        Shortened {
            body: output,
            quoted,
        }
    }

    fn long() -> String {
        "words of a line ".repeat(200)
    }

    fn longest(bytes: &[u8]) -> usize {
        let lines = bytes.split(|byte| *byte == b'\n');
        lines.map(|line| line.trim_ascii_end().len()).max().unwrap()
    }

    fn run(content_type: &str, encoding: &str, body: &str) -> Shortened {
        let shortened = shorten(
            content_type.as_bytes(),
            encoding.as_bytes(),
            body.as_bytes(),
        );
        // What is short stays as it is.
        let again = shorten(
            content_type.as_bytes(),
            if shortened.quoted {
                QUOTED_PRINTABLE
            } else {
                encoding
            }
            .as_bytes(),
            &shortened.body,
        );
        assert_eq!(again.body, shortened.body);
        assert!(!again.quoted);
        shortened
    }

    /// What a mail program makes of it.
    fn read(head: &str, shortened: &Shortened) -> Vec<Vec<u8>> {
        let encoding = if shortened.quoted {
            "Content-Transfer-Encoding: quoted-printable\r\n"
        } else {
            ""
        };
        let message = [
            head.as_bytes(),
            encoding.as_bytes(),
            b"\r\n",
            &shortened.body,
        ]
        .concat();
        let parsed = mail_parser::MessageParser::default()
            .parse(&message)
            .unwrap();
        parsed
            .parts
            .iter()
            .filter(|part| !part.is_multipart())
            .map(|part| part.contents().to_vec())
            .collect()
    }

    #[test]
    fn a_plain_text() {
        let text = format!("Short.\r\n{}\r\nEnd = \u{fc} \r\n", long());
        let head = "Content-Type: text/plain; charset=utf-8\r\n";
        let shortened = run("text/plain; charset=utf-8", "", &text);
        assert!(shortened.quoted);
        assert!(longest(&shortened.body) <= 76);
        assert_eq!(read(head, &shortened), [text.into_bytes()]);
        // Nothing to do.
        let short = run("text/plain", "7bit", "Short.\r\n");
        assert_eq!((short.body, short.quoted), (b"Short.\r\n".to_vec(), false));
    }

    #[test]
    fn parts_in_parts() {
        let text = long();
        let body = format!(
            "Preamble\r\n--out\r\nContent-Type: multipart/alternative; boundary=\"in ner\"\r\n\r\n\
             --in ner\r\n\r\nshort\r\n--in ner\r\nContent-Type: text/html\r\n\
             Content-Transfer-Encoding:\r\n 8bit\r\nX-Last: 1\r\n\r\n<p>{text}\r\n--in ner--\r\n\r\n\
             --out\r\nContent-Type: application/pdf\r\nContent-Transfer-Encoding: base64\r\n\r\n{}\r\n\
             --out--\r\nEpilogue\r\n",
            "QUFB".repeat(1000)
        );
        let shortened = run("multipart/mixed; boundary=out", "7bit", &body);
        assert!(!shortened.quoted);
        assert!(longest(&shortened.body) <= 76);
        let head = "Content-Type: multipart/mixed; boundary=out\r\n";
        assert_eq!(
            read(head, &shortened),
            [
                b"short".to_vec(),
                format!("<p>{text}").into_bytes(),
                b"A".repeat(3000)
            ]
        );
        let text = String::from_utf8(shortened.body).unwrap();
        assert!(
            text.contains("X-Last: 1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n<p>")
        );
        assert!(!text.contains("8bit"));
        assert!(
            text.starts_with("Preamble\r\n--out\r\n") && text.ends_with("--out--\r\nEpilogue\r\n")
        );
    }

    #[test]
    fn what_others_signed_or_nobody_knows_stays() {
        let inner = format!("--b\r\n\r\n{}\r\n--b--\r\n", long());
        for (content_type, encoding) in [
            ("multipart/signed; boundary=b", ""),
            ("text/plain", "x-uuencode"),
        ] {
            let same = run(content_type, encoding, &inner);
            assert_eq!(
                (same.body, same.quoted),
                (inner.clone().into_bytes(), false)
            );
        }
    }

    #[test]
    fn a_message_in_a_message() {
        let inner = format!("Subject: in\r\nContent-Type: text/plain\r\n\r\n{}", long());
        let shortened = run("message/rfc822", "", &inner);
        assert!(!shortened.quoted);
        let text = String::from_utf8(shortened.body).unwrap();
        assert!(text.starts_with(
            "Subject: in\r\nContent-Type: text/plain\r\n\
             Content-Transfer-Encoding: quoted-printable\r\n\r\nwords"
        ));
        assert!(longest(text.as_bytes()) <= 76);
    }

    #[test]
    fn a_meter_counts_across_pieces() {
        for (length, too_long) in [(LINE_BYTES_MAX, false), (LINE_BYTES_MAX + 2, true)] {
            let body = format!("x\r\n{}\r\nx\r\n", "y".repeat(length));
            for size in [1, 7, 997, 5000] {
                let mut meter = LineMeter::default();
                for piece in body.as_bytes().chunks(size) {
                    meter.update(piece);
                }
                assert_eq!(
                    meter.is_too_long(),
                    too_long,
                    "{length} in pieces of {size}"
                );
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn no_body_is_too_odd(
            pieces in prop::collection::vec(prop::sample::select(vec![
                "--b", "--b--", "\r\n", "\n", "Content-Type: multipart/mixed; boundary=b", " ",
                "Content-Transfer-Encoding: base64", ":", "message/rfc822", "x", "=", "\u{fc}",
            ]), 0..60),
            noise in prop::collection::vec(any::<u8>(), 0..3000),
        ) {
            let mut body = pieces.concat().into_bytes();
            body.extend(&noise);
            body.extend(pieces.concat().into_bytes());
            for content_type in ["multipart/mixed; boundary=b", "message/rfc822", "text/plain"] {
                shorten(content_type.as_bytes(), b"", &body);
            }
        }
    }
}
