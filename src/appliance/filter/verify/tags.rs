//! Lists of `name=value;`, as signatures, keys and policies are written.
//!
//! RFC 6376 (<https://www.rfc-editor.org/rfc/rfc6376>) section 3.2. A name that is there
//! twice makes the list invalid: two readers must not take one tag each.

/// A list that was read.
#[derive(Debug, PartialEq, Eq)]
pub struct Tags<'a>(Vec<(&'a str, &'a str)>);

impl<'a> Tags<'a> {
    /// Reads a list, `None` when it is none.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let mut tags: Vec<(&str, &str)> = Vec::new();
        let mut rest = text;
        while !is_blank(rest) {
            let (tag, after) = rest.split_once(';').unwrap_or((rest, ""));
            let (name, value) = tag.split_once('=')?;
            let (name, value) = (trim(name), trim(value));
            let mut letters = name.bytes();
            let sound = letters
                .next()
                .is_some_and(|first| first.is_ascii_alphabetic())
                && letters.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
                && !value
                    .bytes()
                    .any(|byte| byte.is_ascii_control() && !is_white(byte));
            if !sound || tags.len() >= MOST_TAGS || tags.iter().any(|(known, _)| *known == name) {
                return None;
            }
            tags.push((name, value));
            rest = after;
        }
        Some(Self(tags))
    }

    /// A tag's value without space around it.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        let tag = self.0.iter().find(|(known, _)| *known == name);
        tag.map(|(_, value)| *value)
    }

    /// The first tag.
    pub fn first(&self) -> Option<(&'a str, &'a str)> {
        self.0.first().copied()
    }

    /// A value without any space in it.
    pub fn packed(&self, name: &str) -> Option<String> {
        self.get(name).map(packed)
    }

    /// A value that is a number.
    pub fn number(&self, name: &str) -> Option<Option<u64>> {
        self.get(name).map(|value| {
            let plain = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            // More than fits is later than all times and longer than all messages.
            plain.then(|| value.parse().unwrap_or(u64::MAX))
        })
    }
}

/// Most tags in a list; a signature has about twelve.
const MOST_TAGS: usize = 100;

fn is_white(byte: u8) -> bool {
    b" \t\r\n".contains(&byte)
}

fn is_blank(text: &str) -> bool {
    text.bytes().all(is_white)
}

/// Without spaces and line ends around it.
pub fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Without spaces and line ends.
pub fn packed(text: &str) -> String {
    text.chars()
        .filter(|character| !" \t\r\n".contains(*character))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::Tags;

    #[test]
    fn lists() {
        let tags = Tags::parse(b" v=1; a = rsa-sha256 ;\r\n\tb=ab\r\n cd= ; x=12; t=9a;").unwrap();
        assert_eq!(tags.get("v"), Some("1"));
        assert_eq!(tags.get("a"), Some("rsa-sha256"));
        assert_eq!(tags.packed("b").as_deref(), Some("abcd="));
        assert_eq!(tags.number("x"), Some(Some(12)));
        assert_eq!(tags.number("t"), Some(None));
        assert_eq!(tags.number("l"), None);
        assert_eq!(tags.first(), Some(("v", "1")));
        assert_eq!(Tags::parse(b" \r\n"), Some(Tags(Vec::new())));
    }

    #[test]
    fn no_lists() {
        for text in [
            "v",
            "=1",
            "v=1; v=1",
            "v=1;; a=2",
            "1v=1",
            "v v=1",
            "v=\0",
            "\u{e4}=1",
        ] {
            assert_eq!(Tags::parse(text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(Tags::parse(b"v=\xff"), None);
    }
}
