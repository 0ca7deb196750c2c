//! Digests of files, on all threads, and SPDX's digest over those of a package.
//!
//! Specification:
//! <https://spdx.github.io/spdx-spec/v2.3/package-information/#79-package-verification-code-field>.

use anyhow::{Context, Result};
use rayon::iter::{IndexedParallelIterator, IntoParallelRefIterator, ParallelIterator};
use sha1::Sha1;
use sha2::{Digest, Sha256};

use crate::builder::tree::Content;

/// How much of a file is read at once: what the processor's cache holds.
const PIECE: usize = 128 << 10;

/// Digests of one file.
#[derive(Clone, Debug)]
pub(super) struct Digests {
    pub sha1: [u8; 20],
    pub sha256: [u8; 32],
}

/// The digests of files, in their order.
pub(super) fn of_files(files: &[(&str, &Content)]) -> Result<Vec<Digests>> {
    files
        .par_iter()
        .with_max_len(1)
        .map(|(path, content)| of_content(content).with_context(|| format!("reading /{path}")))
        .collect()
}

fn of_content(content: &Content) -> Result<Digests> {
    let mut sha1 = Sha1::default();
    let mut sha256 = Sha256::default();
    let mut buffer = vec![0; PIECE.min(content.len() as usize)];
    let mut offset = 0;
    while offset < content.len() {
        let length = (PIECE as u64).min(content.len() - offset) as usize;
        let piece = &mut buffer[..length];
        content.read_exact_at(piece, offset)?;
        sha1::Digest::update(&mut sha1, &*piece);
        sha256.update(&*piece);
        offset += length as u64;
    }
    Ok(Digests {
        sha1: sha1::Digest::finalize(sha1).into(),
        sha256: sha256.finalize().into(),
    })
}

/// SHA-1 over the sorted hexadecimal SHA-1s, hexadecimal.
pub(super) fn verification_code<'a>(files: impl Iterator<Item = &'a Digests>) -> String {
    let mut all: Vec<String> = files.map(|digests| hex::encode(digests.sha1)).collect();
    all.sort();
    hex::encode(<Sha1 as sha1::Digest>::digest(all.concat()))
}

#[cfg(test)]
mod tests {
    use super::{of_files, verification_code};
    use crate::builder::tree::Content;

    #[test]
    fn digests_are_those_of_the_usual_programs() {
        let long = Content::from(vec![b'x'; 300_000]);
        let (empty, abc) = (Content::from(""), Content::from("abc"));
        let digests = of_files(&[("a", &abc), ("b", &empty), ("c", &long)]).unwrap();
        // sha1sum and sha256sum of "abc", of nothing, of 300000 times x.
        let sha1 = digests.iter().map(|one| hex::encode(one.sha1));
        assert_eq!(
            sha1.collect::<Vec<_>>(),
            [
                "a9993e364706816aba3e25717850c26c9cd0d89d",
                "da39a3ee5e6b4b0d3255bfef95601890afd80709",
                "9fcc3bd0c4872c1739fcb8c7a47da338fa7b8109",
            ]
        );
        assert_eq!(
            hex::encode(digests[2].sha256),
            "29927e273accc68286005017f7fa6e4f27bddb4db3083ff8b8d4c3667905b7fa"
        );
        assert_eq!(
            verification_code(digests.iter()),
            "9dfd33a476286d7c1f7b9164c1a88055f8b9b580"
        );
    }
}
