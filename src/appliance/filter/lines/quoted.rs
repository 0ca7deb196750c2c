//! Quoted-printable and base64 in lines of 76 characters (RFC 2045, sections 6.7 and 6.8,
//! <https://www.rfc-editor.org/rfc/rfc2045#section-6.7>).

use std::io::{self, Write};

/// The longest encoded line.
const LINE_CHARACTERS_MAX: usize = 76;

/// A line that goes on in the next.
const SOFT_BREAK: &[u8] = b"=\r\n";
/// The digits of an escaped byte.
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// Writes one line, without its end, as quoted-printable.
pub(super) fn quote(line: &[u8], output: &mut dyn Write) -> io::Result<()> {
    let mut column = 0;
    for (index, &byte) in line.iter().enumerate() {
        let last = index + 1 == line.len();
        let plain = match byte {
            b'=' => false,
            // At a line's end they get lost on the way.
            b' ' | b'\t' => !last,
            _ => byte.is_ascii_graphic(),
        };
        let width = if plain { 1 } else { 3 };
        // The last character of a line needs no room for the sign that it goes on.
        let room = LINE_CHARACTERS_MAX - usize::from(!last);
        if column + width > room {
            output.write_all(SOFT_BREAK)?;
            column = 0;
        }
        if plain {
            output.write_all(&[byte])?;
        } else {
            let digit = |value: u8| DIGITS[usize::from(value)];
            output.write_all(&[b'=', digit(byte >> 4), digit(byte & 15)])?;
        }
        column += width;
    }
    Ok(())
}

/// Writes one line of quoted-printable anew, in shorter ones.
pub(super) fn requote(line: &[u8], output: &mut dyn Write) -> io::Result<()> {
    let mut column = 0;
    let mut rest = line;
    while !rest.is_empty() {
        let escaped = rest[0] == b'=' && rest.len() > 2;
        let (piece, after) = rest.split_at(if escaped { 3 } else { 1 });
        if column + piece.len() > LINE_CHARACTERS_MAX - 1 && !after.is_empty() {
            output.write_all(SOFT_BREAK)?;
            column = 0;
        }
        output.write_all(piece)?;
        column += piece.len();
        rest = after;
    }
    Ok(())
}

/// Writes one line of base64 anew, in shorter ones; whoever reads it skips line ends.
pub(super) fn rewrap(line: &[u8], output: &mut dyn Write) -> io::Result<()> {
    for (number, piece) in line.chunks(LINE_CHARACTERS_MAX).enumerate() {
        if number > 0 {
            output.write_all(b"\r\n")?;
        }
        output.write_all(piece)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{quote, requote, rewrap};
    use proptest::prelude::{any, prop};

    /// As RFC 2045 has it read.
    fn unquote(text: &[u8]) -> Vec<u8> {
        let text = String::from_utf8(text.to_vec())
            .unwrap()
            .replace("=\r\n", "");
        let mut bytes = text.bytes();
        let mut output = Vec::new();
        while let Some(byte) = bytes.next() {
            if byte == b'=' {
                let digits = [bytes.next().unwrap(), bytes.next().unwrap()];
                let digits = std::str::from_utf8(&digits).unwrap();
                output.push(u8::from_str_radix(digits, 16).unwrap());
            } else {
                output.push(byte);
            }
        }
        output
    }

    fn assert_short(text: &[u8]) {
        for line in text.split(|byte| *byte == b'\n') {
            assert!(line.len() <= 77, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn lines_of_every_length() {
        for length in 0..300 {
            for byte in [b'x', b'=', b' ', 0xc3] {
                let mut output = Vec::new();
                let line = vec![byte; length];
                quote(&line, &mut output).unwrap();
                assert_eq!(unquote(&output), line);
                assert_short(&output);
                assert!(!output.ends_with(b" "));
                let mut again = Vec::new();
                for line in output.split(|byte| *byte == b'\n') {
                    requote(line.trim_ascii_end(), &mut again).unwrap();
                    again.extend_from_slice(b"\r\n");
                }
                assert_eq!(unquote(&again[..again.len() - 2]), line);
                assert_short(&again);
            }
        }
        let mut output = Vec::new();
        rewrap(&[b'A'; 1000], &mut output).unwrap();
        assert_short(&output);
        assert_eq!(output.iter().filter(|byte| **byte == b'A').count(), 1000);
    }

    proptest::proptest! {
        #[test]
        fn what_is_quoted_is_read_as_it_was(line in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut output = Vec::new();
            quote(&line, &mut output).unwrap();
            assert_short(&output);
            assert_eq!(unquote(&output), line);
        }
    }
}
