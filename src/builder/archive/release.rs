//! The Release file of a suite: what it is, until when it holds, digests of its indexes.
//!
//! Specification: <https://wiki.debian.org/DebianRepository/Format#A.22Release.22_files>.
//! Left out: MD5Sum and SHA1 lists, and the pinning fields `NotAutomatic` and
//! `ButAutomaticUpgrades` (a recipe names a source because it wants it).

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow, ensure};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;

use super::date::{CLOCK_TOLERANCE, format_date};
use crate::error::{Hint, hinted};

/// Seconds of a day.
const DAY: i64 = 86_400;
/// Debian's stable suites change every two months or so, and say no end.
const FRESH_DAYS: i64 = 100;

/// A file that a Release lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Size in bytes.
    pub size: u64,
    /// SHA-256, hexadecimal.
    pub sha256: String,
}

/// A parsed Release file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `stable`, `stable-security`.
    pub suite: String,
    /// `trixie`, `trixie-security`.
    pub codename: String,
    /// When it was made, seconds since 1970.
    pub date: i64,
    /// When it ceases to hold, seconds since 1970.
    pub valid_until: Option<i64>,
    /// Whether indexes are found under their digest as well.
    pub by_hash: bool,
    /// Whether packages of architecture `all` have an index of their own.
    pub separate_all: bool,
    /// Files by their path below the suite's folder.
    pub files: BTreeMap<String, Listed>,
}

fn parse_date(text: &str) -> Result<i64> {
    // RFC 2822 knows GMT; Debian writes UTC.
    let written = match text.strip_suffix("UTC") {
        Some(start) => format!("{start}+0000"),
        None => text.to_owned(),
    };
    // The weekday is decoration: some archives get it wrong.
    DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(&written)
        .map(Timestamp::as_second)
        .map_err(|_| anyhow!("'{text}' is no date"))
}

/// Parses the text of a Release file.
pub fn parse_release(text: &str) -> Result<Release> {
    let mut fields: BTreeMap<String, &str> = BTreeMap::new();
    let mut files = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some(entry) = line.strip_prefix(' ') {
            if current == "sha256" {
                let (path, listed) = parse_listed(entry)?;
                files.insert(path, listed);
            }
            continue;
        }
        let Some((name, value)) = line.split_once(':') else {
            ensure!(line.trim().is_empty(), "the line '{line}' is no field");
            continue;
        };
        current = name.to_ascii_lowercase();
        fields.insert(current.clone(), value.trim());
    }
    let field = |name: &str| fields.get(name).copied();
    let date = field("date").context("it has no Date")?;
    let architectures = field("architectures").unwrap_or_default();
    let merged = field("no-support-for-architecture-all").unwrap_or_default();
    ensure!(!files.is_empty(), "it lists no file with a SHA-256");
    Ok(Release {
        suite: field("suite").unwrap_or_default().to_owned(),
        codename: field("codename").unwrap_or_default().to_owned(),
        date: parse_date(date).context("reading Date")?,
        valid_until: field("valid-until")
            .map(parse_date)
            .transpose()
            .context("reading Valid-Until")?,
        by_hash: field("acquire-by-hash") == Some("yes"),
        separate_all: architectures.split_whitespace().any(|name| name == "all")
            && !merged.split_whitespace().any(|name| name == "Packages"),
        files,
    })
}

fn parse_listed(entry: &str) -> Result<(String, Listed)> {
    let mut words = entry.split_whitespace();
    let (Some(sha256), Some(size), Some(path), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(anyhow!("'{entry}' is no entry of a file list"));
    };
    ensure!(is_sha256(sha256), "'{sha256}' is no SHA-256");
    let size = size
        .parse()
        .with_context(|| format!("reading the size of {path}"))?;
    Ok((
        path.to_owned(),
        Listed {
            size,
            sha256: sha256.to_ascii_lowercase(),
        },
    ))
}

/// Whether this is a SHA-256 in hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Checks that a Release is the one asked for, and of our days.
///
/// `previous` is the `Date` of the Release that the last lock came from; both
/// moments are in seconds since 1970.
pub fn check_release(
    release: &Release,
    asked: &str,
    now: i64,
    previous: Option<i64>,
) -> Result<()> {
    ensure_named(release, asked)?;
    if release.date > now + CLOCK_TOLERANCE {
        return Err(hinted(
            format!(
                "it was made in the future, on {}",
                format_date(release.date)
            ),
            format!(
                "this machine's clock says {}; is it right?",
                format_date(now)
            ),
        ));
    }
    if let Some(end) = release.valid_until
        && end < now
    {
        return Err(hinted(
            format!("it expired on {}", format_date(end)),
            format!(
                "the mirror has not been updated since {}: name another one in 'mirrors'; \
                 or this machine's clock, {}, is wrong",
                format_date(release.date),
                format_date(now)
            ),
        ));
    }
    if let Some(last) = previous
        && release.date < last
    {
        return Err(hinted(
            format!(
                "it is older ({}) than the one the lock came from ({})",
                format_date(release.date),
                format_date(last)
            ),
            "the mirror lags behind or replays old files: try again later or name another mirror; \
             to go back on purpose, delete the lock",
        ));
    }
    Ok(())
}

/// Refuses a Release that is older than one that this machine has seen, `seen`, in seconds
/// since 1970: also without a lock, nobody takes us back.
pub fn check_not_before(release: &Release, seen: Option<i64>) -> Result<()> {
    match seen.filter(|seen| release.date < *seen) {
        None => Ok(()),
        Some(seen) => Err(hinted(
            format!(
                "it is older ({}) than one that was here before ({})",
                format_date(release.date),
                format_date(seen)
            ),
            "the mirror lags behind or replays old files: try again later or name another mirror; \
             to go back on purpose, remove the folder `documents` of the cache",
        )),
    }
}

/// How old a Release is that does not say until when it holds, in days; nothing when that
/// is no matter.
///
/// Whoever serves it could serve it for ever, and hold back every update.
pub fn stale_days(release: &Release, now: i64) -> Option<i64> {
    let days = (now - release.date) / DAY;
    (release.valid_until.is_none() && days > FRESH_DAYS).then_some(days)
}

fn ensure_named(release: &Release, asked: &str) -> Result<()> {
    if asked == release.codename || asked == release.suite {
        return Ok(());
    }
    Err(anyhow!(
        "it is of suite '{}' (code name '{}'), asked for was '{asked}'",
        release.suite,
        release.codename
    ))
    .hint("the mirror serves another suite under this address: name another mirror")
}

#[cfg(test)]
mod tests {
    use super::{Listed, check_release, format_date, parse_release};
    use crate::error::render;

    const SECURITY: &str = "\
Origin: Debian
Suite: stable-security
Codename: trixie-security
Date: Sat, 21 Nov 2026 00:53:03 UTC
Valid-Until: Sat, 28 Nov 2026 00:53:03 UTC
Acquire-By-Hash: yes
Architectures: all amd64
No-Support-for-Architecture-all: Packages
MD5Sum:
 3e498904a30e240573dac8ddac594e6f 307764 main/binary-amd64/Packages.xz
SHA256:
 3DB357FDC4690CF41E0E9092760602D60FB67ECD019950BDF01F624D57C3C627   307764 main/binary-amd64/Packages.xz
";
    /// 2026-11-21 00:53:03 UTC.
    const MADE: i64 = 1_795_222_383;

    fn refusal(asked: &str, now: i64, previous: Option<i64>) -> String {
        let release = parse_release(SECURITY).unwrap();
        render(&check_release(&release, asked, now, previous).unwrap_err())
    }

    #[test]
    fn a_release_is_read() {
        let release = parse_release(SECURITY).unwrap();
        assert_eq!(release.date, MADE);
        assert_eq!(release.valid_until, Some(MADE + 7 * 86400));
        assert!(release.by_hash && !release.separate_all);
        assert_eq!(
            release.files["main/binary-amd64/Packages.xz"],
            Listed {
                size: 307_764,
                sha256: "3db357fdc4690cf41e0e9092760602d60fb67ecd019950bdf01f624d57c3c627"
                    .to_owned()
            }
        );
        for asked in ["trixie-security", "stable-security"] {
            check_release(&release, asked, MADE + 60, Some(MADE)).unwrap();
        }
        assert_eq!(format_date(MADE), "2026-11-21 00:53:03 UTC");
    }

    #[test]
    fn another_suite_is_refused() {
        assert!(refusal("trixie", MADE, None).starts_with(
            "error: it is of suite 'stable-security' (code name 'trixie-security'), \
                 asked for was 'trixie'\nhint: "
        ));
    }

    #[test]
    fn an_expired_release_is_refused_with_both_dates() {
        let text = refusal("trixie-security", MADE + 8 * 86400, None);
        assert!(text.starts_with("error: it expired on 2026-11-28 00:53:03 UTC\nhint: "));
        assert!(text.contains("since 2026-11-21 00:53:03 UTC"));
    }

    #[test]
    fn a_release_from_the_future_points_at_the_clock() {
        let text = refusal("trixie-security", MADE - 86400, None);
        assert!(text.contains("hint: this machine's clock says 2026-11-20 00:53:03 UTC"));
    }

    #[test]
    fn going_back_in_time_is_refused() {
        let text = refusal("trixie-security", MADE + 60, Some(MADE + 1));
        assert!(text.contains("it is older (2026-11-21 00:53:03 UTC) than the one the lock"));
        assert!(text.contains("delete the lock"));
    }

    #[test]
    fn broken_releases_are_refused() {
        for (broken, expected) in [
            ("Suite: a\n", "it has no Date"),
            ("Date: yesterday\n", "it lists no file with a SHA-256"),
            ("<html>\n", "the line '<html>' is no field"),
            ("SHA256:\n abc 3 x\n", "'abc' is no SHA-256"),
        ] {
            assert_eq!(parse_release(broken).unwrap_err().to_string(), expected);
        }
    }
}
