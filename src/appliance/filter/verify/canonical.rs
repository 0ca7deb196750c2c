//! What of a message is hashed: canonicalization, RFC 6376 section 3.4.
//!
//! Bodies are hashed as they arrive and not kept.

use ring::digest::{Context, SHA256};

/// Bytes put together before they are hashed.
const BUFFER: usize = 4 << 10;

/// How much a message may change on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Canonicalization {
    Simple,
    Relaxed,
}

/// One header as it was received: its value begins after the colon, has no line end behind it,
/// and CR LF where it is folded.
pub fn push_header(into: &mut Vec<u8>, kind: Canonicalization, name: &[u8], value: &[u8]) {
    match kind {
        Canonicalization::Simple => {
            into.extend_from_slice(name);
            into.push(b':');
            into.extend_from_slice(value);
        }
        Canonicalization::Relaxed => {
            into.extend(name.trim_ascii_end().to_ascii_lowercase());
            into.push(b':');
            let start = into.len();
            let mut space = false;
            let mut bytes = value.iter().peekable();
            while let Some(byte) = bytes.next() {
                // Folding goes; a CR without LF is no folding.
                if *byte == b'\r' && bytes.next_if_eq(&&b'\n').is_some() {
                    continue;
                }
                if b" \t".contains(byte) {
                    space = true;
                    continue;
                }
                if space && into.len() > start {
                    into.push(b' ');
                }
                space = false;
                into.push(*byte);
            }
        }
    }
}

/// A body's hash and how much of it was hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashed {
    pub digest: Vec<u8>,
    pub length: u64,
}

/// Hashes a body that comes in pieces.
pub struct BodyHasher {
    kind: Canonicalization,
    context: Context,
    buffer: Vec<u8>,
    length: u64,
    /// A CR that may be half a line end.
    half: bool,
    /// Line ends that count only when something follows.
    ends: u64,
    /// White space that counts only when something follows in its line.
    space: bool,
}

impl BodyHasher {
    /// For a body that begins.
    pub fn new(kind: Canonicalization) -> Self {
        Self {
            kind,
            context: Context::new(&SHA256),
            buffer: Vec::with_capacity(BUFFER + 2),
            length: 0,
            half: false,
            ends: 0,
            space: false,
        }
    }

    /// Takes the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        let mut rest = piece;
        while let Some((first, after)) = rest.split_first() {
            if std::mem::take(&mut self.half) {
                if *first == b'\n' {
                    self.ends += 1;
                    self.space = false;
                    rest = after;
                    continue;
                }
                self.push(b"\r");
            }
            match first {
                b'\r' => self.half = true,
                b' ' | b'\t' if self.kind == Canonicalization::Relaxed => self.space = true,
                _ => {
                    let run = rest.iter().position(|byte| b"\r \t".contains(byte));
                    // A space where spaces count begins a run and ends none.
                    let (run, after) = rest.split_at(run.unwrap_or(rest.len()).max(1));
                    self.push(run);
                    rest = after;
                    continue;
                }
            }
            rest = after;
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        for _ in 0..std::mem::take(&mut self.ends) {
            self.write(b"\r\n");
        }
        if std::mem::take(&mut self.space) {
            self.write(b" ");
        }
        self.write(bytes);
    }

    fn write(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= BUFFER {
            self.context.update(&self.buffer);
            self.buffer.clear();
        }
    }

    /// The hash of all that came.
    pub fn finish(mut self) -> Hashed {
        if self.half {
            self.push(b"\r");
        }
        // Of empty lines at the end none is left, and the last line is ended.
        if self.length > 0 || self.kind == Canonicalization::Simple {
            self.write(b"\r\n");
        }
        self.context.update(&self.buffer);
        Hashed {
            digest: self.context.finish().as_ref().to_vec(),
            length: self.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BodyHasher, Canonicalization, push_header};
    use ring::digest::{SHA256, digest};

    fn header(kind: Canonicalization, name: &str, value: &str) -> String {
        let mut text = Vec::new();
        push_header(&mut text, kind, name.as_bytes(), value.as_bytes());
        String::from_utf8(text).unwrap()
    }

    /// The example of RFC 6376 section 3.4.5, and more.
    #[test]
    fn headers() {
        for (name, value, expected) in [
            ("A", " X", "a:X"),
            ("B ", " Y\t\r\n\tZ  ", "b:Y Z"),
            ("C", "", "c:"),
            ("C", " \t ", "c:"),
            ("D", "x", "d:x"),
            ("E", "a\rb\r", "e:a\rb\r"),
        ] {
            assert_eq!(header(Canonicalization::Relaxed, name, value), expected);
        }
        assert_eq!(
            header(Canonicalization::Simple, "B", " Y\t\r\n\tZ  "),
            "B: Y\t\r\n\tZ  "
        );
    }

    #[test]
    fn bodies() {
        use Canonicalization::{Relaxed, Simple};
        for (kind, body, expected) in [
            (Relaxed, " C \r\nD \t E\r\n\r\n\r\n", " C\r\nD E\r\n"),
            (Simple, " C \r\nD \t E\r\n\r\n\r\n", " C \r\nD \t E\r\n"),
            (Relaxed, "", ""),
            (Simple, "", "\r\n"),
            (Relaxed, "\r\n\r\n", ""),
            (Simple, "\r\n\r\n", "\r\n"),
            // Lines of white space at the end are empty lines, too.
            (Relaxed, "a\r\n \r\n\t\r\n", "a\r\n"),
            (Relaxed, " \r\n", ""),
            (Simple, "a\r\n \r\n", "a\r\n \r\n"),
            (Relaxed, "a\r\n\r\n \tb", "a\r\n\r\n b\r\n"),
            (Relaxed, "a  ", "a\r\n"),
            (Simple, "a", "a\r\n"),
            (Simple, "a\rb\r", "a\rb\r\r\n"),
            (Relaxed, "a\nb\r\n", "a\nb\r\n"),
        ] {
            let expected_hash = digest(&SHA256, expected.as_bytes());
            for size in [1, 2, 3, 1000] {
                let mut hasher = BodyHasher::new(kind);
                for piece in body.as_bytes().chunks(size) {
                    hasher.update(piece);
                }
                let hashed = hasher.finish();
                assert_eq!(hashed.digest, expected_hash.as_ref(), "{kind:?} {body:?}");
                assert_eq!(hashed.length, expected.len() as u64);
            }
        }
    }
}
