//! A Debian archive as it lies on a mirror: signed InRelease, indexes, relations between packages.
//!
//! Specification: <https://wiki.debian.org/DebianRepository/Format> and Debian
//! Policy chapter 7, <https://www.debian.org/doc/debian-policy/ch-relationships.html>.
//! Left out: flat repositories, detached `Release.gpg`, pdiffs, sources and
//! translations. Nothing here decides what to install; see [`super::lock`].

pub mod date;
pub mod index;
pub mod keys;
pub mod openpgp;
pub mod relation;
pub mod release;
pub mod suite;
pub mod version;

#[cfg(test)]
pub(crate) mod fixture;
