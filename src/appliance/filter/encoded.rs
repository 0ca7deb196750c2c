//! What a header reads once its encoded words are decoded.
//!
//! RFC 2047 (<https://www.rfc-editor.org/rfc/rfc2047>). Some programs decode
//! before they look for addresses, and take words that stand in quotes, in the
//! middle of others or with spaces in them: so does this. Only what is ASCII in
//! the end matters here; all else becomes a placeholder.

use super::token::Unreadable;

/// Stands for characters that are not ASCII.
const OTHER: u8 = 0xff;
/// Longest name of a character set, with the language that may follow it.
const LONGEST_CHARSET: usize = 40;

/// How a character set carries ASCII.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Family {
    /// Every ASCII byte is itself.
    Plain,
    /// A high byte may take the next one along.
    Double,
    /// Escape sequences say what the bytes mean (ISO 2022).
    Escapes,
}

/// One encoded word.
struct Word<'a> {
    family: Option<Family>,
    /// Base64, not quoted-printable's kin.
    is_base64: bool,
    text: &'a [u8],
    /// Its length in the header.
    length: usize,
}

/// Whether encoded words begin here, well formed or not.
pub fn has_mark(text: &[u8]) -> bool {
    find(text, b"=?").is_some()
}

/// The value with its encoded words decoded, `None` when it has none.
pub fn decode_words(value: &[u8]) -> Result<Option<Vec<u8>>, Unreadable> {
    let mut decoded = Vec::with_capacity(value.len());
    let mut is_encoded = false;
    // Where the last word ended: white space between two words is none.
    let mut after_word = None;
    // Behind it nothing is looked for: a header full of beginnings takes no time.
    let last_end = value.windows(2).rposition(|part| part == b"?=");
    let mut rest = value;
    while let Some(first) = rest.first() {
        let may_end = last_end.is_some_and(|last| value.len() - rest.len() < last);
        let Some(word) = may_end.then(|| parse_word(rest)).flatten() else {
            decoded.push(*first);
            rest = &rest[1..];
            continue;
        };
        if let Some(end) = after_word
            && decoded[end..].iter().all(u8::is_ascii_whitespace)
        {
            decoded.truncate(end);
        }
        let bytes = if word.is_base64 {
            decode_base64(word.text)
        } else {
            decode_quoted(word.text)
        };
        let ascii = ascii_of(word.family.ok_or(Unreadable::Charset)?, &bytes);
        if ascii
            .iter()
            .any(|byte| byte.is_ascii_control() && *byte != b'\t')
        {
            return Err(Unreadable::Control);
        }
        decoded.extend(ascii);
        after_word = Some(decoded.len());
        is_encoded = true;
        rest = &rest[word.length..];
    }
    Ok(is_encoded.then_some(decoded))
}

fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    text.windows(wanted.len()).position(|part| part == wanted)
}

fn parse_word(text: &[u8]) -> Option<Word<'_>> {
    let after_mark = text.strip_prefix(b"=?")?;
    let charset = after_mark.iter().take(LONGEST_CHARSET + 1);
    let end = charset.clone().position(|byte| *byte == b'?')?;
    let charset = &after_mark[..end];
    if charset.is_empty() || !charset.iter().all(u8::is_ascii_graphic) {
        return None;
    }
    let is_base64 = match after_mark.get(end + 1..end + 3)? {
        b"b?" | b"B?" => true,
        b"q?" | b"Q?" => false,
        _ => return None,
    };
    let text = &after_mark[end + 3..];
    let end_of_text = find(text, b"?=")?;
    Some(Word {
        family: family(charset),
        is_base64,
        text: &text[..end_of_text],
        length: b"=?".len() + end + 3 + end_of_text + b"?=".len(),
    })
}

fn family(charset: &[u8]) -> Option<Family> {
    const PLAIN: [&str; 12] = [
        "utf-8",
        "utf8",
        "us-ascii",
        "ascii",
        "iso-8859-",
        "iso8859-",
        "latin1",
        "windows-125",
        "cp125",
        "koi8-",
        "tis-620",
        "macintosh",
    ];
    const DOUBLE: [&str; 9] = [
        "gb",
        "big5",
        "euc-",
        "shift_jis",
        "shift-jis",
        "sjis",
        "ks_c_5601",
        "windows-31j",
        "windows-9",
    ];
    // A language may follow (RFC 2231, section 5).
    let name = charset.split(|byte| *byte == b'*').next()?;
    let name = String::from_utf8_lossy(name).to_ascii_lowercase();
    let is_one_of = |names: &[&str]| names.iter().any(|start| name.starts_with(start));
    if is_one_of(&PLAIN) {
        Some(Family::Plain)
    } else if is_one_of(&DOUBLE) {
        Some(Family::Double)
    } else if name.starts_with("iso-2022-") {
        Some(Family::Escapes)
    } else {
        None
    }
}

/// Base64 as lenient readers take it: what is no digit is passed over.
fn decode_base64(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                count = 0;
                continue;
            }
            _ => continue,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            decoded.push((bits >> count).to_be_bytes()[3]);
        }
    }
    decoded
}

/// The `Q` encoding: `=` and two digits, and `_` for a space.
fn decode_quoted(text: &[u8]) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let value = match (first, digit(0), digit(1)) {
            (b'=', Some(high), Some(low)) => u8::try_from(high * 16 + low).ok(),
            _ => None,
        };
        rest = if value.is_some() { &after[2..] } else { after };
        decoded.push(match (value, first) {
            (Some(value), _) => value,
            (None, b'_') => b' ',
            (None, first) => *first,
        });
    }
    decoded
}

/// The bytes that mean ASCII in their character set, and a placeholder for others.
fn ascii_of(family: Family, text: &[u8]) -> Vec<u8> {
    match family {
        Family::Plain => text.to_vec(),
        Family::Double => {
            let mut ascii = Vec::with_capacity(text.len());
            let mut bytes = text.iter().peekable();
            while let Some(byte) = bytes.next() {
                if byte.is_ascii() {
                    ascii.push(*byte);
                    continue;
                }
                ascii.push(OTHER);
                // Second bytes begin at '@'.
                bytes.next_if(|second| **second >= b'@');
            }
            ascii
        }
        Family::Escapes => {
            const ESCAPE: u8 = 0x1b;
            const SHIFT_OUT: u8 = 0x0e;
            const SHIFT_IN: u8 = 0x0f;
            let mut ascii = Vec::with_capacity(text.len());
            let mut is_ascii = true;
            let mut bytes = text.iter();
            while let Some(byte) = bytes.next() {
                match *byte {
                    ESCAPE => {
                        let is_middle = |byte: &u8| (b' '..=b'/').contains(byte);
                        let sequence = bytes.as_slice();
                        let middle = sequence.iter().take_while(|byte| is_middle(byte)).count();
                        is_ascii = matches!(sequence.get(..=middle), Some(b"(B" | b"(J"));
                        bytes = sequence.get(middle + 1..).unwrap_or_default().iter();
                    }
                    SHIFT_OUT => is_ascii = false,
                    SHIFT_IN => is_ascii = true,
                    byte if is_ascii => ascii.push(byte),
                    _ => ascii.push(OTHER),
                }
            }
            ascii
        }
    }
}

#[cfg(test)]
mod tests {
    use super::decode_words;
    use crate::appliance::filter::token::Unreadable;

    #[test]
    fn words_are_decoded_wherever_they_stand() {
        for (value, expected) in [
            (&b"=?utf-8?q?J=C3=B6rg_M?="[..], &b"J\xc3\xb6rg M"[..]),
            (b"=?UTF-8?B?Y2VvQGE=?=", b"ceo@a"),
            (b"=?utf-8*en?Q?a=40b?= c", b"a@b c"),
            (b"=?utf-8?q?a=40?= \r\n\t=?iso-8859-1?q?b?= c", b"a@b c"),
            (b"x=?utf-8?q?=40?=y", b"x@y"),
            (b"\"=?utf-8?q?a b?=\"", b"\"a b\""),
            // Sloppy ones that lenient readers take.
            (b"=?utf-8?b?Y2VvQA=Y2Vv?=", b"ceo@ceo"),
            (b"=?utf-8?b?Y2 Vv?=", b"ceo"),
            (b"=?utf-8?q?a=4?=", b"a=4"),
            (b"=?utf-8?q??=", b""),
            // Second bytes that look like '@'.
            (b"=?big5?q?=A4@=40?=", b"\xff@"),
            (b"=?shift_jis?b?g0BhQGI=?=", b"\xffa@b"),
            (b"=?iso-2022-jp?b?GyRCQEAbKEJhQGI=?=", b"\xff\xffa@b"),
        ] {
            assert_eq!(
                decode_words(value),
                Ok(Some(expected.to_vec())),
                "{}",
                value.escape_ascii()
            );
        }
        for value in [
            "",
            "=?",
            "=?utf-8?",
            "=??q?a?=",
            "=?utf-8?x?a?=",
            "=?utf-8?q?a",
            "a =? b",
        ] {
            assert_eq!(decode_words(value.as_bytes()), Ok(None), "{value}");
        }
        for (value, reason) in [
            ("=?utf-7?q?a+AEA-b?=", Unreadable::Charset),
            ("=?utf-16?b?AGEAQABi?=", Unreadable::Charset),
            ("=?x?q?a?=", Unreadable::Charset),
            ("=?utf-8?q?a=00?=", Unreadable::Control),
            ("=?utf-8?b?YQpi?=", Unreadable::Control),
        ] {
            assert_eq!(decode_words(value.as_bytes()), Err(reason), "{value}");
        }
    }
}
