//! Reading .deb archives: control data and the file entries of the data archive.
//!
//! Format: deb(5) <https://manpages.debian.org/trixie/dpkg-dev/deb.5.en.html>,
//! an `ar` archive of `debian-binary`, `control.tar` and `data.tar`, the latter
//! two compressed. Nothing is ever unpacked to paths that an archive names: file
//! contents go one after another into one file of the cache and are referred to
//! from there. Left out: formats before 2.0, signatures inside archives, times.

mod ar;
mod compression;
mod control;
mod data;
#[cfg(test)]
pub(crate) mod fixture;
mod headers;
mod index;
mod members;
#[cfg(test)]
mod tests;
mod unpack;

pub use unpack::{cached_package, unpack_packages};

use super::tree::Node;

/// An unpacked package; contents lie in the cache and are held by reference.
#[derive(Clone, Debug)]
pub struct Package {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture, or `all`.
    pub architecture: String,
    /// The control paragraph, verbatim.
    pub control: String,
    /// Paths of the conffiles, without leading `/`.
    pub conffiles: Vec<String>,
    /// Maintainer scripts, sorted by kind.
    pub scripts: Vec<Script>,
    /// Paths and nodes in the archive's order, `./` stripped.
    pub entries: Vec<(String, Node)>,
}

/// A maintainer script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Script {
    /// `preinst`, `postinst`, `prerm`, `postrm`, `config` or `triggers`.
    pub kind: String,
    /// SHA-256 of the text, hexadecimal.
    pub sha256: String,
    /// The script itself.
    pub text: Vec<u8>,
}
