//! Reading .deb archives: control data and the file entries of the data archive.

use crate::tree::Node;

/// An unpacked package; contents lie in the cache and are held by reference.
#[derive(Clone, Debug)]
pub struct Package {
    /// Package name.
    pub name: String,
    /// Debian version.
    pub version: String,
    /// Debian architecture, or `all`.
    pub architecture: String,
    /// SHA-256 of the .deb, hexadecimal.
    pub sha256: String,
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
#[derive(Clone, Debug)]
pub struct Script {
    /// `preinst`, `postinst`, `prerm`, `postrm`, `config` or `triggers`.
    pub kind: String,
    /// SHA-256 of the text, hexadecimal.
    pub sha256: String,
    /// The script itself.
    pub text: Vec<u8>,
}
