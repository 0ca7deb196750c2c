//! Makes small .debs for tests, sound ones and broken ones.

use std::io::Write;

use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

use crate::builder::fetch::Object;

/// A .deb in the making.
pub(crate) struct Fixture {
    name: String,
    control: tar::Builder<Vec<u8>>,
    data: tar::Builder<Vec<u8>>,
    compression: &'static str,
}

impl Fixture {
    /// A package of version 1.0 for amd64, empty but for its paragraph.
    pub(crate) fn new(name: &str) -> Self {
        let paragraph = format!("Package: {name}\nVersion: 1.0\nArchitecture: amd64\n");
        Self::with_control(name, &paragraph)
    }

    /// A package with this control paragraph.
    pub(crate) fn with_control(name: &str, paragraph: &str) -> Self {
        let fixture = Self {
            name: name.to_owned(),
            control: tar::Builder::new(Vec::new()),
            data: tar::Builder::new(Vec::new()),
            compression: "xz",
        };
        fixture.control_file("control", paragraph.as_bytes())
    }

    /// Adds a script, `conffiles` or another file of the control archive.
    pub(crate) fn control_file(mut self, name: &str, text: &[u8]) -> Self {
        let mut header = header(EntryType::Regular, &format!("./{name}"), 0o644);
        header.set_size(text.len() as u64);
        append(&mut self.control, header, text);
        self
    }

    /// Compresses with `xz`, `zst`, `gz` or, when empty, nothing.
    pub(crate) fn compression(mut self, compression: &'static str) -> Self {
        self.compression = compression;
        self
    }

    /// Adds a directory.
    pub(crate) fn directory(self, path: &str) -> Self {
        self.entry(header(EntryType::Directory, path, 0o755), b"")
    }

    /// Adds a regular file.
    pub(crate) fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(header(EntryType::Regular, path, mode), content)
    }

    /// Adds a symbolic link or a hard link.
    pub(crate) fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        let mut header = header(kind, path, 0o777);
        set_bytes(&mut header.as_old_mut().linkname, target.as_bytes());
        self.entry(header, b"")
    }

    /// Adds an entry whose name is too long for its header, as GNU tar does.
    pub(crate) fn long_file(self, path: &str, content: &[u8]) -> Self {
        let long = header(EntryType::GNULongName, "././@LongLink", 0o644);
        let mut name = path.as_bytes().to_vec();
        name.push(0);
        self.entry(long, &name).file(&path[..99], 0o644, content)
    }

    /// Gives the next entry an extended attribute.
    pub(crate) fn xattr(mut self, name: &str, value: &[u8]) -> Self {
        let key = format!("SCHILY.xattr.{name}");
        self.data
            .append_pax_extensions([(key.as_str(), value)])
            .unwrap();
        self
    }

    /// Adds an entry with any header; its size is set to the content's.
    pub(crate) fn entry(mut self, mut header: Header, content: &[u8]) -> Self {
        header.set_size(content.len() as u64);
        append(&mut self.data, header, content);
        self
    }

    /// Adds an entry whose header claims another size than follows.
    pub(crate) fn lying_file(mut self, path: &str, claimed: u64, content: &[u8]) -> Self {
        let mut header = header(EntryType::Regular, path, 0o644);
        header.set_size(claimed);
        append(&mut self.data, header, content);
        self
    }

    /// Adds a header that claims another length of its own than follows.
    pub(crate) fn lying_header(mut self, kind: EntryType, claimed: u64) -> Self {
        let mut header = header(kind, "./long", 0o644);
        header.set_size(claimed);
        append(&mut self.data, header, &[0; 2048]);
        self
    }

    /// The decompressed archives.
    fn archives(self) -> (Vec<u8>, Vec<u8>) {
        (
            self.control.into_inner().unwrap(),
            self.data.into_inner().unwrap(),
        )
    }

    /// The bytes of the .deb.
    pub(crate) fn build(self) -> Vec<u8> {
        let compression = self.compression;
        let (control, data) = self.archives();
        archive(&[
            ("debian-binary", b"2.0\n"),
            (
                &member("control", compression),
                &compress(compression, &control),
            ),
            (&member("data", compression), &compress(compression, &data)),
        ])
    }

    /// The bytes, and the object that pins them.
    pub(crate) fn pinned(self) -> (Object, Vec<u8>) {
        let label = format!("{} 1.0", self.name);
        pin(&label, self.build())
    }
}

/// The object that pins some bytes.
pub(crate) fn pin(label: &str, bytes: Vec<u8>) -> (Object, Vec<u8>) {
    let object = Object {
        snapshots: Vec::new(),
        label: label.to_owned(),
        urls: Vec::new(),
        size: bytes.len() as u64,
        sha256: hex::encode(Sha256::digest(&bytes)),
    };
    (object, bytes)
}

/// A tar header of root's; the path goes in as it is, sound or not.
pub(crate) fn header(kind: EntryType, path: &str, mode: u32) -> Header {
    raw_header(kind, path.as_bytes(), mode)
}

/// A tar header with a name of any bytes.
pub(crate) fn raw_header(kind: EntryType, path: &[u8], mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    set_bytes(&mut header.as_old_mut().name, path);
    header
}

/// The bytes of an `ar` archive.
pub(crate) fn archive(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    for (name, content) in members {
        writeln!(
            bytes,
            "{name:<16}{:<12}{:<6}{:<6}{:<8}{:<10}`",
            0,
            0,
            0,
            "100644",
            content.len()
        )
        .unwrap();
        bytes.extend(*content);
        if content.len() % 2 == 1 {
            bytes.push(b'\n');
        }
    }
    bytes
}

fn append(builder: &mut tar::Builder<Vec<u8>>, mut header: Header, content: &[u8]) {
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn set_bytes(field: &mut [u8], bytes: &[u8]) {
    field[..bytes.len()].copy_from_slice(bytes);
}

fn member(stem: &str, compression: &str) -> String {
    match compression {
        "" => format!("{stem}.tar"),
        _ => format!("{stem}.tar.{compression}"),
    }
}

fn compress(compression: &str, bytes: &[u8]) -> Vec<u8> {
    match compression {
        "xz" => {
            let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 1);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        "zst" => zstd::encode_all(bytes, 1).unwrap(),
        "gz" => {
            let level = flate2::Compression::fast();
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
        _ => bytes.to_vec(),
    }
}
