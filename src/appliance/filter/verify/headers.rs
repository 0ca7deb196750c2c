//! The headers of a message as they were received, in order, within limits.

use std::collections::HashMap;

/// Most bytes of all headers together: what is kept of a message while it is on its way. Mail
/// through many hands and lists has a tenth of it.
const MOST_BYTES: usize = 512 << 10;
/// Most headers.
const MOST_HEADERS: usize = 2000;

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name as it was written.
    pub name: Vec<u8>,
    /// All after the colon, without the last line end; folded with CR LF.
    pub value: Vec<u8>,
}

/// All headers of a message.
#[derive(Debug, Default)]
pub struct Headers {
    all: Vec<Header>,
    /// Positions by name in lower case.
    index: HashMap<Vec<u8>, Vec<usize>>,
    size: usize,
    too_many: bool,
}

impl Headers {
    /// Takes the next one. The mail server folds with a lone LF.
    pub fn push(&mut self, name: &[u8], value: &[u8]) {
        self.size += name.len() + value.len();
        self.too_many |= self.size > MOST_BYTES || self.all.len() >= MOST_HEADERS;
        if self.too_many {
            return;
        }
        let mut folded = Vec::with_capacity(value.len());
        let mut last = 0;
        for byte in value {
            if *byte == b'\n' && last != b'\r' {
                folded.push(b'\r');
            }
            folded.push(*byte);
            last = *byte;
        }
        let positions = self.index.entry(name.trim_ascii_end().to_ascii_lowercase());
        positions.or_default().push(self.all.len());
        self.all.push(Header {
            name: name.to_vec(),
            value: folded,
        });
    }

    /// Whether they are more than anybody judges.
    pub fn too_many(&self) -> bool {
        self.too_many
    }

    /// Those of a name in lower case, from the top.
    pub fn named(&self, name: &str) -> impl DoubleEndedIterator<Item = &Header> {
        let positions = self
            .index
            .get(name.as_bytes())
            .map_or(&[][..], Vec::as_slice);
        positions
            .iter()
            .filter_map(|position| self.all.get(*position))
    }
}

#[cfg(test)]
mod tests {
    use super::Headers;

    #[test]
    fn found_by_name() {
        let mut headers = Headers::default();
        headers.push(b"Received", b" one");
        headers.push(b"RECEIVED ", b" two\n\tfolded\r\n more");
        headers.push(b"From", b" a@b.example");
        let values: Vec<&[u8]> = headers
            .named("received")
            .map(|header| header.value.as_slice())
            .collect();
        assert_eq!(values, [&b" one"[..], b" two\r\n\tfolded\r\n more"]);
        let bottom = headers.named("received").next_back().unwrap();
        assert_eq!(bottom.name, b"RECEIVED ");
        assert!(!headers.too_many());
    }

    #[test]
    fn limits() {
        let mut headers = Headers::default();
        for _ in 0..3000 {
            headers.push(b"X", b"y");
        }
        assert!(headers.too_many());
        let mut headers = Headers::default();
        for _ in 0..6 {
            headers.push(b"X", &[b'y'; 100 << 10]);
        }
        assert!(headers.too_many());
        assert!(headers.named("x").count() < 6);
    }
}
