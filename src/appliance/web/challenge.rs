//! Answers to a certificate authority that came to see whether a name is ours.
//!
//! HTTP-01 of RFC 8555 (<https://www.rfc-editor.org/rfc/rfc8555#section-8.3>).
//! The agent that ordered the certificate leaves a file for each token.

use crate::appliance::machine::place::{self, Place};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// Where authorities ask.
pub const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";
/// Longest token.
const LONGEST_TOKEN: usize = 128;
/// Longest answer: token, dot and digest of a key are about a hundred bytes.
const LONGEST_ANSWER: u64 = 4096;

/// The answer for a token, `None` when nobody expects it.
pub fn load_answer(place: &Place, token: &str) -> Option<Vec<u8>> {
    let good = (1..=LONGEST_TOKEN).contains(&token.len())
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    if !good {
        return None;
    }
    read_limited(
        &place.path(place::HTTP_CHALLENGES).join(token),
        LONGEST_ANSWER,
    )
}

/// A plain file that is no longer than it should be.
pub fn read_limited(path: &Path, longest: u64) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    if !file.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= longest).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::load_answer;
    use crate::appliance::machine::place::{self, Place};

    #[test]
    fn only_tokens_are_looked_up() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(Some(folder.path()));
        let challenges = place.path(place::HTTP_CHALLENGES);
        std::fs::create_dir_all(challenges.join("folder")).unwrap();
        std::fs::write(challenges.join("tok_en-1"), "tok_en-1.key").unwrap();
        std::fs::write(challenges.join("long"), vec![b'x'; 5000]).unwrap();
        assert_eq!(load_answer(&place, "tok_en-1").unwrap(), b"tok_en-1.key");
        let long = "a".repeat(129);
        for token in [
            "",
            ".",
            "..",
            "../http/tok_en-1",
            "tok\0",
            "folder",
            "long",
            "none",
            &long,
        ] {
            assert!(load_answer(&place, token).is_none(), "{token}");
        }
    }
}
