//! The crates compiled into `mailctl`, as the build script found them.
//!
//! `mailctl` and `mailimg` are made from one library; these are the crates that
//! it may link. What the linker then leaves out of `mailctl` is still listed.

use super::licence;

/// Written by the build script, `src/build.rs`.
const LINKED: &str = include_str!(concat!(env!("OUT_DIR"), "/crates"));

/// A crate of the library.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crate {
    pub name: &'static str,
    pub version: &'static str,
    /// SHA-256 of its archive, hexadecimal; nothing for one without an archive.
    pub sha256: Option<&'static str>,
    /// A valid licence expression, if it names one.
    pub licence: Option<String>,
}

/// All of them, sorted by name and version.
pub(super) fn linked() -> Vec<Crate> {
    let lines = LINKED.lines().map(|line| line.split('\t'));
    lines
        .map(|mut words| {
            let mut next = || words.next().unwrap_or_default();
            Crate {
                name: next(),
                version: next(),
                sha256: Some(next()).filter(|digest| !digest.is_empty()),
                licence: licence::of_crate(next()),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::linked;

    #[test]
    fn crates_are_those_of_the_program_with_digest_and_licence() {
        let crates = linked();
        for name in ["anyhow", "rustls", "ring", "tokio"] {
            assert!(crates.iter().any(|one| one.name == name), "{name}");
        }
        // For tests, for the compiler, and for another system.
        for name in ["insta", "serde_derive", "windows-sys"] {
            assert!(!crates.iter().any(|one| one.name == name), "{name}");
        }
        for one in crates {
            assert!(
                one.sha256.is_some_and(|digest| digest.len() == 64),
                "{one:?}"
            );
            assert!(one.licence.is_some(), "{one:?}");
        }
    }
}
