//! A Debian archive in a folder: index, signed Release and packages.
//!
//! Specification: <https://wiki.debian.org/DebianRepository/Format>.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use mailimg::builder::archive::date::format_date;
use sha2::{Digest, Sha256};

use super::deb::{Deb, xz};
use super::keys::{Signing, now, sign};
use super::packages;
use super::server::{Reply, Server};

const SUITE: &str = "test";
const INDEXES: &str = "main/binary-amd64";

/// An archive of one suite.
pub struct Archive {
    folder: PathBuf,
    /// When it was begun. What is published again has the same dates, whatever second
    /// it is by then: another date would be told by whoever compares.
    begun: i64,
    /// Its packages.
    pub packages: Vec<Deb>,
    /// How the Release is signed.
    pub signing: Signing,
    /// How many seconds before that it was made.
    pub age: i64,
    /// Seconds from then until it expires.
    pub valid_for: Option<i64>,
}

impl Archive {
    /// An archive of the packages of the tiny image, not published yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            begun: now(),
            packages: packages::all(),
            signing: Signing::default(),
            age: 60,
            valid_for: None,
        }
    }

    /// Its address as a folder.
    pub fn url(&self) -> String {
        format!("file://{}", self.folder.display())
    }

    /// A file of the archive.
    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.join(path)
    }

    /// The signed Release.
    pub fn inrelease(&self) -> PathBuf {
        self.path(&format!("dists/{SUITE}/InRelease"))
    }

    /// All files of an index, under both names.
    pub fn indexes(&self) -> Vec<PathBuf> {
        let folder = self.path(&format!("dists/{SUITE}/{INDEXES}"));
        walkdir::WalkDir::new(folder)
            .into_iter()
            .flatten()
            .filter(|entry| entry.file_type().is_file())
            .map(walkdir::DirEntry::into_path)
            .collect()
    }

    /// The file of a package.
    pub fn deb(&self, name: &str) -> PathBuf {
        let package = self.packages.iter().find(|package| package.name == name);
        self.path(&package.unwrap().path())
    }

    /// Writes all of it; packages that are no longer in it are removed.
    pub fn publish(&self) {
        let _ = fs::remove_dir_all(&self.folder);
        let mut index = String::new();
        for package in &self.packages {
            let bytes = package.build();
            let digest = hex::encode(Sha256::digest(&bytes));
            let path = package.path();
            let _ = writeln!(
                index,
                "{}Filename: {path}\nSize: {}\nSHA256: {digest}\n",
                package.paragraph(),
                bytes.len()
            );
            self.write(&path, &bytes);
        }
        let release = self.release(&index);
        let suite = format!("dists/{SUITE}");
        self.write(&format!("{suite}/InRelease"), &sign(&release, self.signing));
    }

    /// Writes the indexes and returns the Release that lists them.
    fn release(&self, index: &str) -> String {
        let made = self.begun - self.age;
        let mut release = format!(
            "Origin: Test\nSuite: {SUITE}\nCodename: {SUITE}\nDate: {}\n",
            release_date(made)
        );
        if let Some(seconds) = self.valid_for {
            let _ = writeln!(
                release,
                "Valid-Until: {}",
                release_date(self.begun + seconds)
            );
        }
        release.push_str("Acquire-By-Hash: yes\nArchitectures: amd64\nSHA256:\n");
        let packed = xz(index.as_bytes());
        for (name, bytes) in [("Packages", index.as_bytes()), ("Packages.xz", &packed)] {
            let digest = hex::encode(Sha256::digest(bytes));
            let _ = writeln!(release, " {digest} {} {INDEXES}/{name}", bytes.len());
            let folder = format!("dists/{SUITE}/{INDEXES}");
            self.write(&format!("{folder}/{name}"), bytes);
            self.write(&format!("{folder}/by-hash/SHA256/{digest}"), bytes);
        }
        release
    }

    fn write(&self, path: &str, bytes: &[u8]) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Serves the archive over HTTP; `answer` may say something else about a path.
    pub fn serve(
        &self,
        answer: impl Fn(&str, &[u8]) -> Option<Reply> + Send + Sync + 'static,
    ) -> Server {
        let folder = self.folder.clone();
        Server::start(move |path, _| {
            let bytes = fs::read(folder.join(path.trim_start_matches('/')));
            let otherwise = answer(path, bytes.as_deref().unwrap_or_default());
            match (otherwise, bytes) {
                (Some(reply), _) => reply,
                (None, Ok(bytes)) => Reply::File(bytes),
                (None, Err(_)) => Reply::Status(404, "not found"),
            }
        })
    }
}

/// A moment as a Release writes it.
fn release_date(seconds: i64) -> String {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let date = format_date(seconds);
    let month = MONTHS[date[5..7].parse::<usize>().unwrap() - 1];
    // The weekday is not looked at.
    format!(
        "Sun, {} {month} {} {} UTC",
        &date[8..10],
        &date[..4],
        &date[11..19]
    )
}
