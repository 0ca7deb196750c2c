//! Licences as SPDX expressions.
//!
//! Debian's machine-readable copyright files
//! (<https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/>) name
//! licences in short; the ones that SPDX has too
//! (<https://spdx.org/licenses/>) become an expression
//! (<https://spdx.github.io/spdx-spec/v2.3/SPDX-license-expressions/>). A file
//! in another format, or with one name that SPDX does not have, gives nothing:
//! half of a package's licences would read as all of them. Left out: guessing
//! from texts, and exceptions that are not in the table below.

use std::collections::BTreeSet;

use spdx::{Expression, ParseMode};

const FORMAT: &str = "www.debian.org/doc/packaging-manuals/copyright-format/1.0";

/// Debian's names that SPDX spells otherwise, in lower case.
const NAMES: [(&str, &str); 16] = [
    ("expat", "MIT"),
    ("apache-2", "Apache-2.0"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("cc0", "CC0-1.0"),
    (
        "gpl-2 with linux-syscall-note exception",
        "GPL-2.0-only WITH Linux-syscall-note",
    ),
    (
        "gpl-2+ with texinfo exception",
        "GPL-2.0-or-later WITH Texinfo-exception",
    ),
    (
        "gpl-3+ with bison exception",
        "GPL-3.0-or-later WITH Bison-exception-2.2",
    ),
];

/// Licences whose number says "only" or "or later" in SPDX.
const WITH_LATER: [&str; 4] = ["GPL", "LGPL", "AGPL", "GFDL"];

/// The expression of all licences that a copyright file names.
pub fn of_copyright(text: &str) -> Option<String> {
    let mut paragraphs = text
        .split("\n\n")
        .map(str::trim)
        .filter(|text| !text.is_empty());
    let header = paragraphs.next()?;
    if !field(header, "Format")?.contains(FORMAT) {
        return None;
    }
    let mut parts = BTreeSet::new();
    for paragraph in paragraphs.filter(|paragraph| field(paragraph, "Files").is_some()) {
        parts.insert(expression(field(paragraph, "License")?)?);
    }
    let joined = match parts.len() {
        0 => return None,
        1 => parts.into_iter().collect(),
        _ => {
            let bracketed = parts.into_iter().map(|part| match part.contains(" OR ") {
                true => format!("({part})"),
                false => part,
            });
            bracketed.collect::<Vec<_>>().join(" AND ")
        }
    };
    is_valid(&joined).then_some(joined)
}

/// The licence of a crate; older ones write `/` for `OR`.
pub fn of_crate(text: &str) -> Option<String> {
    let text = text.replace('/', " OR ");
    is_valid(&text).then_some(text)
}

/// Whether a text is a valid expression of SPDX's own identifiers.
pub fn is_valid(text: &str) -> bool {
    Expression::parse_mode(text, ParseMode::STRICT).is_ok()
}

/// The rest of a field's first line.
fn field<'a>(paragraph: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = paragraph.lines().filter_map(|line| line.split_once(':'));
    fields
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// A licence field: names joined by `and` and `or`, where `and` binds closer.
fn expression(text: &str) -> Option<String> {
    // With a comma the weaker word may come first.
    if text.is_empty() || text.contains(',') {
        return None;
    }
    let choices = text.split(" or ").map(|choice| {
        let names = choice.split(" and ").map(|name| identifier(name.trim()));
        names
            .collect::<Option<Vec<_>>>()
            .map(|all| all.join(" AND "))
    });
    choices
        .collect::<Option<Vec<_>>>()
        .map(|all| all.join(" OR "))
}

fn identifier(name: &str) -> Option<String> {
    let lower = name.to_ascii_lowercase();
    if let Some((_, known)) = NAMES.iter().find(|(debian, _)| *debian == lower) {
        return Some((*known).to_owned());
    }
    let (base, later) = match lower.strip_suffix('+') {
        Some(base) => (base, true),
        None => (lower.as_str(), false),
    };
    let family = base.split('-').next().unwrap_or_default();
    let wanted = if WITH_LATER
        .iter()
        .any(|known| known.eq_ignore_ascii_case(family))
        && !base.contains("-only")
        && !base.contains("-or-later")
    {
        format!("{base}-{}", if later { "or-later" } else { "only" })
    } else if later {
        return None;
    } else {
        base.to_owned()
    };
    spdx::identifiers::LICENSES
        .iter()
        .find(|known| known.name.eq_ignore_ascii_case(&wanted))
        .map(|known| known.name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::{expression, is_valid, of_copyright, of_crate};

    #[test]
    fn names_that_both_have_are_translated() {
        for (debian, spdx) in [
            ("Expat", "MIT"),
            ("GPL-2+", "GPL-2.0-or-later"),
            ("LGPL-2.1", "LGPL-2.1-only"),
            ("GPL-2.0+", "GPL-2.0-or-later"),
            ("BSD-3-clause", "BSD-3-Clause"),
            ("ISC or GPL-3", "ISC OR GPL-3.0-only"),
            (
                "GPL-2 with Linux-syscall-note exception",
                "GPL-2.0-only WITH Linux-syscall-note",
            ),
            (
                "zlib and CC0-1.0 or Apache-2.0",
                "Zlib AND CC0-1.0 OR Apache-2.0",
            ),
        ] {
            assert_eq!(expression(debian).as_deref(), Some(spdx));
            assert!(is_valid(spdx), "{spdx}");
        }
        for unknown in [
            "public-domain",
            "GPL-2+ with OpenSSL exception",
            "ISC+",
            "",
            "a, or b",
        ] {
            assert_eq!(expression(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_file_counts_when_every_licence_in_it_is_known() {
        let format = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/";
        let files =
            |licence: &str| format!("\n\nFiles: *\nCopyright: x\nLicense: {licence}\n text");
        let both = format!("{format}{}{}", files("GPL-2+ or MIT"), files("ISC"));
        assert_eq!(
            of_copyright(&both).unwrap(),
            "(GPL-2.0-or-later OR MIT) AND ISC"
        );
        let half = format!("{format}{}{}", files("GPL-2+"), files("public-domain"));
        assert_eq!(of_copyright(&half), None);
        assert_eq!(
            of_copyright("This package is free.\n\nLicense: MIT\n"),
            None
        );
        assert_eq!(of_copyright(format), None);
    }

    #[test]
    fn crates_may_join_with_a_slash() {
        assert_eq!(of_crate("MIT/Apache-2.0").unwrap(), "MIT OR Apache-2.0");
        assert_eq!(of_crate("see LICENSE"), None);
    }
}
