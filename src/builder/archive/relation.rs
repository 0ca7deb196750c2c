//! Relations between packages: `libc6 (>= 2.38), awk | mawk, perl:any`.
//!
//! Specification: Debian Policy 7.1,
//! <https://www.debian.org/doc/debian-policy/ch-relationships.html#syntax-of-relationship-fields>.
//! Left out: architecture and build-profile restrictions, which only source
//! packages carry.

use std::cmp::Ordering;
use std::fmt;

use anyhow::{Result, bail, ensure};

use super::version::compare_versions;

/// How a version must stand to the one named.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operator {
    /// `<<`
    Earlier,
    /// `<=`, also written `<`
    EarlierOrEqual,
    /// `=`
    Equal,
    /// `>=`, also written `>`
    LaterOrEqual,
    /// `>>`
    Later,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "<<" => Self::Earlier,
            // Policy: `<` and `>` are obsolete spellings of `<=` and `>=`.
            "<=" | "<" => Self::EarlierOrEqual,
            "=" => Self::Equal,
            ">=" | ">" => Self::LaterOrEqual,
            ">>" => Self::Later,
            _ => return None,
        })
    }

    fn admits(self, ordering: Ordering) -> bool {
        match self {
            Self::Earlier => ordering == Ordering::Less,
            Self::EarlierOrEqual => ordering != Ordering::Greater,
            Self::Equal => ordering == Ordering::Equal,
            Self::LaterOrEqual => ordering != Ordering::Less,
            Self::Later => ordering == Ordering::Greater,
        }
    }
}

impl fmt::Display for Operator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Earlier => "<<",
            Self::EarlierOrEqual => "<=",
            Self::Equal => "=",
            Self::LaterOrEqual => ">=",
            Self::Later => ">>",
        })
    }
}

/// One package that a relation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Relation<'a> {
    /// Package or virtual package.
    pub name: &'a str,
    /// What follows the colon: `any` or an architecture.
    pub qualifier: Option<&'a str>,
    /// Restriction on the version.
    pub version: Option<(Operator, &'a str)>,
}

impl Relation<'_> {
    /// Whether a package of this version satisfies the restriction.
    pub fn admits(&self, version: &str) -> Result<bool> {
        match self.version {
            None => Ok(true),
            Some((operator, wanted)) => Ok(operator.admits(compare_versions(version, wanted)?)),
        }
    }

    /// Whether a `Provides` of this name satisfies the restriction: one
    /// without a version satisfies only relations without one.
    pub fn admits_provided(&self, version: Option<&str>) -> Result<bool> {
        match (self.version, version) {
            (None, _) => Ok(true),
            (Some(_), None) => Ok(false),
            (Some(_), Some(version)) => self.admits(version),
        }
    }
}

impl fmt::Display for Relation<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)?;
        if let Some(qualifier) = self.qualifier {
            write!(formatter, ":{qualifier}")?;
        }
        if let Some((operator, version)) = self.version {
            write!(formatter, " ({operator} {version})")?;
        }
        Ok(())
    }
}

/// Alternatives of which one is enough, in order of preference.
pub type Alternatives<'a> = Vec<Relation<'a>>;

/// Parses a `Depends`-like field: every element must hold.
pub fn parse_relations(field: &str) -> Result<Vec<Alternatives<'_>>> {
    field
        .split(',')
        .map(str::trim)
        .filter(|group| !group.is_empty())
        .map(|group| group.split('|').map(parse_relation).collect())
        .collect()
}

fn parse_relation(text: &str) -> Result<Relation<'_>> {
    let text = text.trim();
    let (name, version) = match text.split_once('(') {
        None => (text, None),
        Some((name, rest)) => {
            let Some(inner) = rest.trim_end().strip_suffix(')') else {
                bail!("the relation '{text}' lacks its closing parenthesis");
            };
            let inner = inner.trim();
            let end = inner
                .find(|letter| !matches!(letter, '<' | '=' | '>'))
                .unwrap_or(inner.len());
            let Some(operator) = Operator::parse(&inner[..end]) else {
                bail!("the relation '{text}' has an unknown operator");
            };
            (name.trim_end(), Some((operator, inner[end..].trim_start())))
        }
    };
    let (name, qualifier) = match name.split_once(':') {
        Some((name, qualifier)) => (name, Some(qualifier)),
        None => (name, None),
    };
    ensure!(
        is_package_name(name),
        "the relation '{text}' names no package"
    );
    Ok(Relation {
        name,
        qualifier,
        version,
    })
}

/// Whether this may be a package name: letters, digits, `+`, `-`, `.`
/// (Policy 5.6.1; old archives hold upper case and underscores).
pub fn is_package_name(name: &str) -> bool {
    name.starts_with(|letter: char| letter.is_ascii_alphanumeric())
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || "+-._".contains(letter))
}

#[cfg(test)]
mod tests {
    use super::parse_relations;

    fn written(field: &str) -> String {
        parse_relations(field)
            .unwrap()
            .iter()
            .map(|group| {
                let names: Vec<String> = group.iter().map(ToString::to_string).collect();
                names.join(" | ")
            })
            .collect::<Vec<_>>()
            .join("\n")
    }

    #[test]
    fn a_field_is_split_into_groups_and_alternatives() {
        assert_eq!(
            written("libc6 (>= 2.38),perl:any,  debconf (>=0.5)|debconf-2.0 , g++ (<< 4:15),"),
            "libc6 (>= 2.38)\nperl:any\ndebconf (>= 0.5) | debconf-2.0\ng++ (<< 4:15)"
        );
        assert_eq!(written("old (< 1), new (> 2)"), "old (<= 1)\nnew (>= 2)");
    }

    #[test]
    fn broken_relations_are_named() {
        for broken in ["a (>= 1", "a (~ 1)", "| b", "(>= 1)", "a b"] {
            let error = parse_relations(broken).unwrap_err().to_string();
            assert!(error.starts_with("the relation '"), "{broken}: {error}");
        }
    }

    #[test]
    fn versions_are_compared_and_unversioned_provides_meet_only_bare_names() {
        let groups = parse_relations("a (>= 1.0), b").unwrap();
        let (versioned, bare) = (groups[0][0], groups[1][0]);
        assert!(versioned.admits("1.0-1").unwrap());
        assert!(!versioned.admits("1.0~rc1").unwrap());
        assert!(!versioned.admits_provided(None).unwrap());
        assert!(versioned.admits_provided(Some("2")).unwrap());
        assert!(bare.admits_provided(None).unwrap());
    }
}
