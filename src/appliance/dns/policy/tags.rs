//! Lists of tags, `name=value` between semicolons, as DKIM, DMARC, MTA-STS and
//! TLS-RPT have them (RFC 6376 section 3.2).

use std::fmt;

/// A list in the order in which it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tags(Vec<(String, String)>);

impl Tags {
    /// Reads a list; what is no tag is left out.
    pub fn parse(text: &str) -> Self {
        Self(
            text.split(';')
                .filter_map(|tag| tag.split_once('='))
                .map(|(name, value)| (name.trim().to_owned(), value.trim().to_owned()))
                .collect(),
        )
    }

    /// The value of a tag, the first if it is there several times.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }

    /// Names and values.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// Sets a tag where it stands, or at the end.
    pub fn set(&mut self, name: &str, value: impl Into<String>) {
        let value = value.into();
        match self
            .0
            .iter_mut()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            Some((_, known)) => *known = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    /// Takes a tag out.
    pub fn remove(&mut self, name: &str) {
        self.0
            .retain(|(known, _)| !known.eq_ignore_ascii_case(name));
    }

    /// Puts these tags first, as far as they are there.
    pub fn lead_with(&mut self, names: &[&str]) {
        self.0.sort_by_key(|(known, _)| {
            names
                .iter()
                .position(|name| known.eq_ignore_ascii_case(name))
                .unwrap_or(names.len())
        });
    }

    /// The list as text: as it was written, if it says just that.
    pub fn text(&self, written: Option<&str>) -> String {
        match written {
            Some(written) if Self::parse(written) == *self => written.to_owned(),
            _ => self.to_string(),
        }
    }

    /// Names that are there more than once.
    pub fn repeated(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .0
            .iter()
            .map(|(name, _)| name.to_ascii_lowercase())
            .collect();
        names.sort();
        let mut repeated: Vec<String> = names
            .windows(2)
            .filter(|pair| pair[0] == pair[1])
            .map(|pair| pair[0].clone())
            .collect();
        repeated.dedup();
        repeated
    }
}

impl fmt::Display for Tags {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tags: Vec<String> = self
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        formatter.write_str(&tags.join("; "))
    }
}

#[cfg(test)]
mod tests {
    use super::Tags;

    #[test]
    fn lists_keep_what_nobody_knows() {
        let mut tags = Tags::parse("V = DMARC1;x-Own=1;p=none ; p=reject;;junk");
        assert_eq!(
            (tags.get("v"), tags.get("P")),
            (Some("DMARC1"), Some("none"))
        );
        assert_eq!(tags.repeated(), ["p"]);
        tags.set("p", "reject");
        tags.set("fo", "1");
        tags.lead_with(&["v", "p"]);
        assert_eq!(
            tags.to_string(),
            "V=DMARC1; p=reject; p=reject; x-Own=1; fo=1"
        );
        tags.remove("p");
        assert_eq!(tags.text(Some("a=b")), "V=DMARC1; x-Own=1; fo=1");
        let written = "V=DMARC1;x-Own=1;fo=1;";
        assert_eq!(tags.text(Some(written)), written);
    }
}
