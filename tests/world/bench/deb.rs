//! Small .debs made by hand.

use std::io::Write;

use tar::{EntryType, Header};

/// A package in the making.
#[derive(Clone, Debug)]
pub struct Deb {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    files: Vec<(String, u32, Vec<u8>)>,
    scripts: Vec<(String, String)>,
    control: Option<String>,
}

impl Deb {
    /// An empty package of version 1.0 for amd64.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            version: "1.0".to_owned(),
            files: Vec::new(),
            scripts: Vec::new(),
            control: None,
        }
    }

    /// Gives it another version.
    pub fn version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// Adds a file.
    pub fn file(mut self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.files.push((path.to_owned(), mode, content.to_vec()));
        self
    }

    /// Adds a maintainer script.
    pub fn script(mut self, kind: &str, text: &str) -> Self {
        self.scripts.push((kind.to_owned(), text.to_owned()));
        self
    }

    /// Gives it a control file that is not what the index says.
    pub fn control(mut self, text: &str) -> Self {
        self.control = Some(text.to_owned());
        self
    }

    /// Its paragraph, as the index has it.
    pub fn paragraph(&self) -> String {
        format!(
            "Package: {}\nVersion: {}\nArchitecture: amd64\nMaintainer: Test <test@example.org>\n\
             Description: made by hand\n",
            self.name, self.version
        )
    }

    /// Where it lies below the archive's base address.
    pub fn path(&self) -> String {
        format!("pool/main/{}_{}_amd64.deb", self.name, self.version)
    }

    /// The bytes of the .deb.
    pub fn build(&self) -> Vec<u8> {
        let (control, data) = self.archives();
        deb(&[
            ("control.tar.xz", &xz(&control)),
            ("data.tar.xz", &xz(&data)),
        ])
    }

    /// The same without compression, where damage reaches the headers inside.
    pub fn build_unpacked(&self) -> Vec<u8> {
        let (control, data) = self.archives();
        deb(&[("control.tar", &control), ("data.tar", &data)])
    }

    /// Its inner archives.
    fn archives(&self) -> (Vec<u8>, Vec<u8>) {
        let mut control = tar::Builder::new(Vec::new());
        append(
            &mut control,
            "./control",
            0o644,
            self.control
                .clone()
                .unwrap_or_else(|| self.paragraph())
                .as_bytes(),
        );
        for (kind, text) in &self.scripts {
            append(&mut control, &format!("./{kind}"), 0o755, text.as_bytes());
        }
        let mut data = tar::Builder::new(Vec::new());
        for (path, mode, content) in &self.files {
            append(&mut data, &format!("./{path}"), *mode, content);
        }
        (control.into_inner().unwrap(), data.into_inner().unwrap())
    }
}

fn deb(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = b"!<arch>\n".to_vec();
    member(&mut bytes, "debian-binary", b"2.0\n");
    for (name, content) in members {
        member(&mut bytes, name, content);
    }
    bytes
}

/// Compresses as a .deb's members and an index are.
pub fn xz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 0);
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn append(builder: &mut tar::Builder<Vec<u8>>, path: &str, mode: u32, content: &[u8]) {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path(path).unwrap();
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(content.len() as u64);
    header.set_cksum();
    builder.append(&header, content).unwrap();
}

fn member(archive: &mut Vec<u8>, name: &str, content: &[u8]) {
    let size = content.len();
    writeln!(
        archive,
        "{name:<16}{:<12}{:<6}{:<6}{:<8}{size:<10}`",
        0, 0, 0, "100644"
    )
    .unwrap();
    archive.extend(content);
    if size % 2 == 1 {
        archive.push(b'\n');
    }
}
