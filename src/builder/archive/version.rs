//! Order between Debian versions, borrowed from the text they came in.
//!
//! Specification: `deb-version(7)`,
//! <https://manpages.debian.org/trixie/dpkg-dev/deb-version.7.en.html>. The
//! comparison itself is the crate `debversion`'s.

use std::cmp::Ordering;

use anyhow::{Context, Result};
use debversion::Version;

/// Parses a version; an error names the text.
pub fn parse_version(text: &str) -> Result<Version> {
    text.parse::<Version>()
        .map_err(anyhow::Error::new)
        .with_context(|| format!("reading the version '{text}'"))
}

/// Compares two versions as dpkg does.
pub fn compare_versions(left: &str, right: &str) -> Result<Ordering> {
    if left == right {
        return Ok(Ordering::Equal);
    }
    Ok(parse_version(left)?.cmp(&parse_version(right)?))
}

#[cfg(test)]
mod tests {
    use super::{compare_versions, parse_version};
    use std::cmp::Ordering;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "1.0~rc1-1",
            "1.0-1",
            "1.0-1+b1",
            "1.0-1+deb13u1",
            "1.0-1.1",
            "1.0-10",
            "1.0.1-1",
            "1:0.5-1",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(
                compare_versions(pair[0], pair[1]).unwrap(),
                Ordering::Less,
                "{} < {}",
                pair[0],
                pair[1]
            );
        }
        assert_eq!(compare_versions("1.0", "1.0-0").unwrap(), Ordering::Equal);
    }

    #[test]
    fn a_bad_version_is_named() {
        let error = parse_version("1 0").unwrap_err();
        assert!(format!("{error:#}").contains("reading the version '1 0'"));
    }
}
