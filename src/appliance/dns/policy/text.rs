//! Text records by what they are for, also where they are spoilt on their way
//! into a zone.
//!
//! A provider's form is fed with quotes, with whole lines of a zone file, or
//! with strings that lack a space where they are joined. What was meant is
//! read nevertheless, so that advice keeps it.

use super::super::data::Data;
use super::super::expected::Purpose;
use super::spf_term::parse_term;
use super::tags::Tags;
use super::unwrap::unwrapped;

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Who may send (RFC 7208).
    Spf,
    /// A signing key (RFC 6376).
    Key,
    /// What to do with unsigned mail (RFC 7489, RFC 9989).
    Dmarc,
    /// That there is an MTA-STS policy (RFC 8461).
    Sts,
    /// Where reports about TLS go (RFC 8460).
    TlsReports,
}

/// One text of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// What was meant.
    pub text: String,
    /// How it was spoilt, in sentences.
    pub slips: Vec<String>,
    /// Whether others take the text for one of this kind as it is.
    pub counts: bool,
}

/// What a record set has of a kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Those that others see; only without any, those that they do not.
    pub readings: Vec<Reading>,
    /// Records that are something else.
    pub others: Vec<Data>,
}

impl Found {
    /// Looks through a record set.
    pub fn among(kind: Kind, records: &[Data]) -> Self {
        let read: Vec<(&Data, Option<Reading>)> = records
            .iter()
            .map(|record| (record, read(kind, record)))
            .collect();
        let any_counts = read
            .iter()
            .any(|(_, reading)| reading.as_ref().is_some_and(|reading| reading.counts));
        let mut found = Self::default();
        for (record, reading) in read {
            match reading {
                Some(reading) if reading.counts || !any_counts => found.readings.push(reading),
                _ => found.others.push(record.clone()),
            }
        }
        found
    }

    /// How all of them are spoilt.
    pub fn slips(&self) -> Vec<String> {
        let mut slips: Vec<String> = self
            .readings
            .iter()
            .flat_map(|reading| reading.slips.iter().cloned())
            .collect();
        slips.dedup();
        slips
    }
}

impl Kind {
    /// The kind of a purpose's texts.
    pub fn of(purpose: Purpose) -> Option<Self> {
        match purpose {
            Purpose::Spf => Some(Self::Spf),
            Purpose::Dkim => Some(Self::Key),
            Purpose::Dmarc | Purpose::DmarcReports => Some(Self::Dmarc),
            Purpose::StsPolicy => Some(Self::Sts),
            Purpose::TlsReports => Some(Self::TlsReports),
            _ => None,
        }
    }

    /// What it begins with.
    pub fn version(self) -> &'static str {
        match self {
            Self::Spf => "v=spf1",
            Self::Key => "v=DKIM1",
            Self::Dmarc => "v=DMARC1",
            Self::Sts => "v=STSv1",
            Self::TlsReports => "v=TLSRPTv1",
        }
    }

    /// What it is, to be put behind "none is".
    pub fn what(self) -> &'static str {
        match self {
            Self::Spf => "for SPF (v=spf1)",
            Self::Key => "a signing key",
            Self::Dmarc => "a DMARC policy",
            Self::Sts => "about MTA-STS",
            Self::TlsReports => "about TLS reports",
        }
    }

    /// Tags that only this kind has, for where a semicolon is missing before them.
    fn tags(self) -> &'static [&'static str] {
        match self {
            Self::Spf | Self::Key => &[],
            Self::Dmarc => &[
                "v", "p", "sp", "np", "psd", "t", "pct", "adkim", "aspf", "fo", "rf", "ri", "rua",
                "ruf",
            ],
            Self::Sts => &["id"],
            Self::TlsReports => &["rua"],
        }
    }

    /// Whether others take a text for one of this kind.
    pub fn is(self, text: &str) -> bool {
        let version = self.version();
        let (name, value) = version.split_once('=').unwrap_or_default();
        match self {
            // RFC 7208 section 4.5.
            Self::Spf => {
                let first = text.split(' ').next().unwrap_or_default();
                first.eq_ignore_ascii_case(version)
            }
            // RFC 6376 section 3.6.1; the version may be left out.
            Self::Key => Tags::parse(text).get("p").is_some() && !Self::Dmarc.is(text),
            // RFC 7489 section 6.4.
            Self::Dmarc => text
                .split(';')
                .next()
                .and_then(|first| first.split_once('='))
                .is_some_and(|(known, version)| {
                    known.trim_end().eq_ignore_ascii_case(name) && version.trim() == value
                }),
            // RFC 8461 section 3.1, RFC 8460 section 3.
            Self::Sts | Self::TlsReports => text
                .split(';')
                .next()
                .is_some_and(|first| first.trim_end() == version),
        }
    }

    /// The tag without which a text of this kind says nothing.
    fn main_tag(self) -> &'static str {
        match self {
            Self::Spf => "",
            Self::Key | Self::Dmarc => "p",
            Self::Sts => "id",
            Self::TlsReports => "rua",
        }
    }

    /// Whether the value of the main tag tells the kind, even without a version.
    fn is_told_by(self, value: &str) -> bool {
        let value = value.to_ascii_lowercase();
        match self {
            Self::Dmarc => matches!(value.as_str(), "none" | "quarantine" | "reject"),
            Self::TlsReports => value.starts_with("mailto:") || value.starts_with("https:"),
            Self::Spf | Self::Key | Self::Sts => false,
        }
    }
}

/// Reads a record as a text of a kind, if it is or was meant as one.
pub fn read(kind: Kind, record: &Data) -> Option<Reading> {
    let Data::Txt(strings) = record else {
        return None;
    };
    let joined = strings.concat();
    let counts = kind.is(&joined);
    if kind == Kind::Spf
        && let Some(text) = spaced(strings)
    {
        let slip = format!(
            "its strings are joined without spaces between them, as {joined}: a space has to stand before a closing quotation mark"
        );
        return Some(Reading {
            text,
            slips: vec![slip],
            counts,
        });
    }
    let (mut text, mut slips) = unwrapped(&joined, kind.version());
    let (parted, missing) = with_semicolons(&text, kind.tags());
    if missing {
        text = parted;
        slips.push("a semicolon is missing between its parts".to_owned());
    }
    if !kind.is(&text) {
        let (mended, slip) = with_version(kind, &text)?;
        text = mended;
        slips.push(slip);
    }
    Some(Reading {
        text,
        slips,
        counts,
    })
}

/// SPF strings joined by spaces, where a term ends and another begins without one.
fn spaced(strings: &[String]) -> Option<String> {
    /// Strings as long as this one are cut by a program, wherever that is.
    const CUT: usize = 250;
    /// Longer than any term, which is a name and a few words.
    const TERM_BYTES_MAX: usize = 600;
    let whole = |term: &str| {
        term.len() <= TERM_BYTES_MAX && (Kind::Spf.is(term) || parse_term(term).is_some())
    };
    let mut text = strings.first()?.clone();
    let mut missing = false;
    // Where its last word begins.
    let mut word = text.rfind(' ').map_or(0, |space| space + 1);
    for pair in strings.windows(2) {
        let (before, string) = (&pair[0], &pair[1]);
        let last = &text[word..];
        let first = string.split(' ').next().unwrap_or_default();
        // The rest of a name may look like a short mechanism.
        let tells = before.len() < CUT || first.contains([':', '=', '/', '+', '-', '~', '?']);
        if tells && whole(last) && whole(first) {
            text.push(' ');
            word = text.len();
            missing = true;
        }
        if let Some(space) = string.rfind(' ') {
            word = text.len() + space + 1;
        }
        text.push_str(string);
    }
    (missing && Kind::Spf.is(&text)).then_some(text)
}

/// Puts a semicolon before each known tag that has none; says whether one was missing.
fn with_semicolons(text: &str, names: &[&str]) -> (String, bool) {
    let is_tag = |rest: &str| {
        names.iter().any(|name| {
            rest.get(..name.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(name))
                && rest[name.len()..].trim_start().starts_with('=')
        })
    };
    let mut parted = String::new();
    let mut missing = false;
    // How much of it is not blank at its end, where the next word begins, and whether that is a
    // tag: looked for once in a gap, however wide.
    let mut before = 0;
    let mut word = (0, false);
    for (index, character) in text.char_indices() {
        let gap = matches!(character, ' ' | '\t' | ',');
        let after = index + character.len_utf8();
        if word.0 < after {
            let rest = text[after..].trim_start();
            word = (text.len() - rest.len(), is_tag(rest));
        }
        if gap && before > 0 && word.1 && !parted[..before].ends_with([';', '=']) {
            before = parted[..before].trim_end_matches(',').len();
            parted.truncate(before);
            parted.push(';');
            before += 1;
            missing = true;
        }
        if !(missing && gap && character == ',' && parted.ends_with(';')) {
            parted.push(character);
            if !character.is_whitespace() {
                before = parted.len();
            }
        }
    }
    (parted, missing)
}

/// The text with its version as it has to be, and what was wrong with it.
fn with_version(kind: Kind, text: &str) -> Option<(String, String)> {
    let version = kind.version();
    let (name, value) = version.split_once('=')?;
    if kind == Kind::Spf {
        // Anything but a space behind it.
        let rest = text
            .get(version.len()..)
            .filter(|_| text[..version.len()].eq_ignore_ascii_case(version))?;
        let rest = rest
            .strip_prefix(|character: char| !character.is_alphanumeric())?
            .trim_start();
        return Some((
            format!("{version} {rest}"),
            format!("a space has to follow {version}"),
        ));
    }
    if kind == Kind::Key {
        return None;
    }
    let mut tags = Tags::parse(text);
    let main = tags.get(kind.main_tag())?;
    let told = kind.is_told_by(main);
    let found: Option<String> = tags
        .get(name)
        .map(|version| version.split_whitespace().collect());
    let slip = match found {
        Some(found) if !found.eq_ignore_ascii_case(value) => return None,
        Some(_) => {
            let first = tags.iter().next().map(|(first, _)| first);
            if first.is_some_and(|first| first.eq_ignore_ascii_case(name)) {
                format!("its version has to be written {version}, in these very letters")
            } else {
                format!("{version} has to stand first")
            }
        }
        None if !told => return None,
        None => format!("{version} is missing at its beginning"),
    };
    tags.remove(name);
    Some((format!("{version}; {tags}"), slip))
}

#[cfg(test)]
mod tests {
    use super::{Data, Found, Kind, read};

    fn reading(kind: Kind, strings: &[&str]) -> Option<(String, usize, bool)> {
        let record = Data::Txt(strings.iter().map(|&string| string.to_owned()).collect());
        read(kind, &record).map(|reading| (reading.text, reading.slips.len(), reading.counts))
    }

    #[test]
    fn versions_as_their_standards_have_them() {
        assert!(Kind::Spf.is("v=spf1") && Kind::Spf.is("V=SPF1 -all"));
        assert!(!Kind::Spf.is("v=spf10 -all") && !Kind::Spf.is(" v=spf1"));
        assert!(Kind::Dmarc.is("V = DMARC1 ;p=none") && Kind::Dmarc.is("v=DMARC1"));
        assert!(!Kind::Dmarc.is("v=dmarc1; p=none") && !Kind::Dmarc.is("p=none; v=DMARC1"));
        assert!(Kind::Sts.is("v=STSv1 ; id=1") && !Kind::Sts.is("v = STSv1; id=1"));
        assert!(Kind::TlsReports.is("v=TLSRPTv1;rua=mailto:a@b"));
        assert!(!Kind::TlsReports.is("v=tlsrptv1;rua=mailto:a@b"));
        assert!(Kind::Key.is("p=") && !Kind::Key.is("v=DMARC1; p=none"));
    }

    #[test]
    fn spoilt_texts_are_read_as_they_were_meant() {
        let dmarc = "v=DMARC1; p=reject";
        for spoilt in [
            "\"v=DMARC1; p=reject\"",
            "\u{201c}v=DMARC1; p=reject\u{201d}",
            "'v=DMARC1; p=reject'",
            "v=DMARC1\\; p=reject",
            " v=DMARC1; p=reject",
            "_dmarc.a.example. 3600 IN TXT \"v=DMARC1; p=reject\"",
            "_dmarc TXT v=DMARC1; p=reject",
            "_dmarc IN TXT ( \"v=DMARC1; \" \"p=reject\" )",
            "TXT \"v=DMARC1; p=reject\"",
            "_dmarc: v=DMARC1; p=reject",
            "p=reject; v=DMARC1",
            "v=dmarc1; p=reject",
            "p=reject",
            "v=DMARC1 p=reject",
            "v=DMARC1, p=reject",
        ] {
            let (text, slips, counts) = reading(Kind::Dmarc, &[spoilt]).expect(spoilt);
            assert_eq!((text.as_str(), counts), (dmarc, false), "{spoilt}");
            assert!(slips > 0, "{spoilt}");
        }
        for other in ["v=spf1 -all", "v=DMARC2; p=reject", "p=MIIB", "hello", ""] {
            assert_eq!(reading(Kind::Dmarc, &[other]), None, "{other}");
        }
        // Others see a policy here, though not the one that was meant.
        assert_eq!(
            reading(
                Kind::Dmarc,
                &["v=DMARC1; p=reject, rua=mailto:a@b,mailto:c@d"]
            ),
            Some((
                "v=DMARC1; p=reject; rua=mailto:a@b,mailto:c@d".to_owned(),
                1,
                true
            ))
        );
        assert_eq!(
            reading(
                Kind::Dmarc,
                &["v=DMARC1; p=reject; rua=mailto:a@b, mailto:c@d"]
            ),
            Some((
                "v=DMARC1; p=reject; rua=mailto:a@b, mailto:c@d".to_owned(),
                0,
                true
            ))
        );
        assert_eq!(
            reading(Kind::Sts, &["v=stsv1; id=1"]),
            Some(("v=STSv1; id=1".to_owned(), 1, false))
        );
    }

    #[test]
    fn keys_in_lines_and_quotes() {
        for spoilt in [
            "s._domainkey IN TXT ( \"v=DKIM1; k=rsa; \" \"p=AAAB\" )",
            "\"v=DKIM1; k=rsa; p=AAAB\"",
            "s._domainkey.a.example. 60 IN TXT \"v=DKIM1; k=rsa; p=AA\" \"AB\"",
        ] {
            let (text, slips, _) = reading(Kind::Key, &[spoilt]).expect(spoilt);
            assert_eq!(text, "v=DKIM1; k=rsa; p=AAAB", "{spoilt}");
            assert_eq!(slips, 1, "{spoilt}");
        }
    }

    #[test]
    fn strings_that_lack_a_space() {
        let spf = |strings: &[&str]| reading(Kind::Spf, strings);
        for (strings, meant) in [
            (&["v=spf1", "mx -all"][..], "v=spf1 mx -all"),
            (
                &["v=spf1 include:a.example", "include:b.example -all"],
                "v=spf1 include:a.example include:b.example -all",
            ),
            (&["v=spf1 a", "-all"], "v=spf1 a -all"),
            (
                &["v=spf1 ip4:192.0.2.1", "ip4:192.0.2.2 ~all"],
                "v=spf1 ip4:192.0.2.1 ip4:192.0.2.2 ~all",
            ),
        ] {
            let (text, slips, _) = spf(strings).expect(meant);
            assert_eq!((text.as_str(), slips), (meant, 1));
        }
        for (strings, text) in [
            (&["v=spf1 mx ", "-all"][..], "v=spf1 mx -all"),
            (
                &["v=spf1 include:_spf.exam", "ple.com -all"],
                "v=spf1 include:_spf.example.com -all",
            ),
            (
                &["v=spf1 include:x.exa", "mple -all"],
                "v=spf1 include:x.example -all",
            ),
        ] {
            assert_eq!(spf(strings), Some((text.to_owned(), 0, true)));
        }
        assert_eq!(
            spf(&["v=spf1; mx -all"]),
            Some(("v=spf1 mx -all".to_owned(), 1, false))
        );
        assert_eq!(
            spf(&["@ IN TXT \"v=spf1 mx -all\""]),
            Some(("v=spf1 mx -all".to_owned(), 1, false))
        );
        assert_eq!(spf(&["v=spf10 mx"]), None);
    }

    #[test]
    fn a_text_that_counts_hides_spoilt_ones() {
        let found = Found::among(
            Kind::Spf,
            &[
                Data::text("\"v=spf1 -all\""),
                Data::text("v=spf1 mx -all"),
                Data::text("x"),
            ],
        );
        assert_eq!((found.readings.len(), found.others.len()), (1, 2));
        assert_eq!(found.readings[0].text, "v=spf1 mx -all");
    }
}
