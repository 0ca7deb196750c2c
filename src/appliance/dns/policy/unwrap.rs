//! Takes off a text what belongs to a zone file or a word processor.

/// Marks that some programs make of quotation marks.
const QUOTES: [char; 7] = [
    '"', '\u{201c}', '\u{201d}', '\u{201e}', '\u{201f}', '\u{ab}', '\u{bb}',
];

/// Spaces, and what cannot be seen at all.
fn is_blank(character: char) -> bool {
    character.is_whitespace() || matches!(character, '\u{200b}' | '\u{feff}')
}

/// What a keyboard has for a character that programs make of it.
fn plain(character: char) -> Option<char> {
    match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => Some('-'),
        other if !other.is_ascii() && is_blank(other) => Some(' '),
        _ => None,
    }
}

/// The text alone, and what stood around it, in sentences.
pub fn unwrapped(text: &str, version: &str) -> (String, Vec<String>) {
    let mut slips = Vec::new();
    let mut clean = text.trim_matches(is_blank);
    if let Some(rest) = behind_type(clean) {
        clean = rest;
        slips.push(
            "a whole line of a zone file stands in the value: enter only the text between its quotation marks"
                .to_owned(),
        );
    } else if let Some((before, rest)) = before_version(clean, version) {
        clean = rest;
        if !before.is_empty() {
            slips.push(format!(
                "'{before}' stands before {version}: the value has to begin with {version}"
            ));
        }
    }
    let mut clean = clean.to_owned();
    if clean.contains(QUOTES) {
        clean = without_quotes(&clean);
        if slips.is_empty() {
            slips.push(
                "the text has quotation marks of its own: leave quotes out of the provider's form"
                    .to_owned(),
            );
        }
    }
    for mark in ['\'', '`'] {
        let inner = clean
            .strip_prefix(mark)
            .and_then(|rest| rest.strip_suffix(mark));
        if let Some(inner) = inner {
            clean = inner.trim().to_owned();
            slips.push(
                "the text has quotation marks of its own: leave quotes out of the provider's form"
                    .to_owned(),
            );
        }
    }
    if clean.contains("\\;") {
        clean = clean.replace("\\;", ";");
        slips.push(
            "backslashes stand before its semicolons: leave them out of the provider's form"
                .to_owned(),
        );
    }
    if clean.contains(|character: char| plain(character).is_some()) {
        clean = clean
            .chars()
            .map(|character| plain(character).unwrap_or(character))
            .collect();
        slips.push(
            "a word processor put dashes or spaces of its own into the text: type them anew"
                .to_owned(),
        );
    }
    if slips.is_empty() && clean.len() != text.trim_end().len() {
        slips.push(format!(
            "something stands before {version} that cannot be seen: the value has to begin with {version}"
        ));
    }
    if slips.is_empty() {
        // Spaces at the end are nobody's fault, and harmless.
        return (text.to_owned(), slips);
    }
    (clean, slips)
}

/// What follows the type in a line such as `name 3600 IN TXT "text"`.
fn behind_type(text: &str) -> Option<&str> {
    /// Name, time to live and class, which may change places, and the type.
    const MOST_WORDS: usize = 4;
    let mut rest = text;
    for _ in 0..MOST_WORDS {
        let end = rest.find(is_blank)?;
        let (word, after) = rest.split_at(end);
        if word.contains([';', '=']) || word.contains(QUOTES) {
            return None;
        }
        rest = after.trim_start_matches(is_blank);
        if word.eq_ignore_ascii_case("TXT") {
            let inner = rest
                .strip_prefix('(')
                .map(|rest| rest.trim_end_matches(is_blank).trim_end_matches(')'));
            return Some(inner.unwrap_or(rest).trim_matches(is_blank));
        }
    }
    None
}

/// What stands before the version, and the text from there on.
fn before_version<'a>(text: &'a str, version: &str) -> Option<(&'a str, &'a str)> {
    let lower = text.to_ascii_lowercase();
    let at = lower.find(&version.to_ascii_lowercase())?;
    let (before, rest) = text.split_at(at);
    // Tags before it are a matter of order; letters that lead into it are another word.
    let apart = before
        .chars()
        .next_back()
        .is_some_and(|last| !last.is_alphanumeric() && last != '-' && last != '_');
    if before.contains(';') || !apart {
        return None;
    }
    let before = before.trim_matches(is_blank);
    // Quotes are told by themselves.
    if before.trim_matches(QUOTES).is_empty() || matches!(before, "'" | "`") {
        return None;
    }
    Some((before.trim_end_matches(QUOTES), rest))
}

/// Strings in quotes joined, or quotes taken out where they stand alone.
fn without_quotes(text: &str) -> String {
    let plain = text.replace(QUOTES, "\"");
    let parts: Vec<&str> = plain.split('"').collect();
    let between_blank = parts.iter().step_by(2).all(|part| part.trim().is_empty());
    let clean = if parts.len() % 2 == 1 && between_blank {
        parts.iter().skip(1).step_by(2).copied().collect::<String>()
    } else {
        parts.concat()
    };
    clean.trim_matches(is_blank).to_owned()
}

#[cfg(test)]
mod tests {
    use super::unwrapped;

    #[test]
    fn only_what_is_around_it_goes() {
        let dkim = |text: &str| unwrapped(text, "v=DKIM1").0;
        assert_eq!(dkim("k=rsa; p=AA\"AB\""), "k=rsa; p=AAAB");
        assert_eq!(
            dkim("v=DKIM1; n=my-v=DKIM1; p=A"),
            "v=DKIM1; n=my-v=DKIM1; p=A"
        );
        let (text, slips) = unwrapped("v=spf1 mx -all ", "v=spf1");
        assert_eq!((text.as_str(), slips.len()), ("v=spf1 mx -all ", 0));
        let (text, slips) = unwrapped("\u{feff}v=spf1 mx -all", "v=spf1");
        assert_eq!((text.as_str(), slips.len()), ("v=spf1 mx -all", 1));
        let (text, slips) = unwrapped("v=spf1 mx -all\"", "v=spf1");
        assert_eq!((text.as_str(), slips.len()), ("v=spf1 mx -all", 1));
        let (text, slips) = unwrapped("v=spf1\u{a0}mx \u{2013}all", "v=spf1");
        assert_eq!((text.as_str(), slips.len()), ("v=spf1 mx -all", 1));
        assert_eq!(unwrapped("hello", "v=spf1").1.len(), 0);
    }
}
