//! A workbench for tests of the command line: a folder with a recipe, an empty
//! cache and a small signed archive of hand-made packages.
//!
//! What is built here has everything a bootable image has, and no program in
//! it that could run. Real packages are the business of `recipes/small.toml`.

pub mod archive;
pub mod deb;
pub mod keys;
pub mod outcome;
pub mod packages;
pub mod real;
#[path = "../../../src/builder/fetch/tests/server.rs"]
pub mod server;
pub mod user;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use archive::Archive;
use outcome::Outcome;

/// Environment variables that change what the program does.
const MEANT: [&str; 6] = [
    "MAILIMG_AGENT",
    "RAYON_NUM_THREADS",
    "TZ",
    "LC_ALL",
    "http_proxy",
    "all_proxy",
];

/// A folder to run `mailimg` in, with all that it needs.
pub struct Bench {
    folder: tempfile::TempDir,
    /// The archive that the recipe takes its packages from.
    pub archive: Archive,
}

impl Bench {
    /// A recipe `tiny` and its archive, which is read as a folder.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let archive = Archive::new(&folder.path().join("mirror"));
        let bench = Self { folder, archive };
        fs::create_dir_all(bench.work("units/initrd/etc")).unwrap();
        bench.write("units/initrd/etc/hello", "from the initrd\n");
        bench.write(
            "recipes/accounts.toml",
            "[[users]]\nname = \"root\"\nuid = 0\ngroup = \"root\"\nhome = \"/root\"\n\n\
             [[groups]]\nname = \"root\"\ngid = 0\n",
        );
        bench.write_bytes("recipes/archive.pgp", &keys::public_key(keys::ARCHIVE));
        bench.write_recipe(&bench.archive.url(), "");
        bench.archive.publish();
        bench
    }

    /// One with a lock, an image built from it, and a warm cache.
    pub fn built() -> Self {
        let bench = Self::new();
        let outcome = bench.run(&["build", "tiny"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        bench
    }

    /// The same with its image built in these formats, always as version 1.
    pub fn with_image(self, formats: &str) -> Self {
        let build = ["build", "tiny", "--image-version", "1", "--format", formats];
        self.run(&build).done();
        self
    }

    /// The folder that programs run in.
    pub fn work(&self, path: &str) -> PathBuf {
        self.folder.path().join("work").join(path)
    }

    /// A folder beside it.
    pub fn beside(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    /// The cache's folder.
    pub fn cache(&self) -> PathBuf {
        self.folder.path().join("cache/mailimg")
    }

    /// Writes a text into the working folder.
    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    /// Writes a file into the working folder.
    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.work(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Writes the recipe, with packages from that mirror and further keys.
    pub fn write_recipe(&self, mirror: &str, more: &str) {
        self.write("recipes/tiny.toml", &packages::recipe(mirror, more));
    }

    /// The program, to be run in the working folder.
    pub fn command(&self) -> Command {
        let mut command = Command::new(mailimg());
        command
            .current_dir(self.work(""))
            .env("XDG_CACHE_HOME", self.folder.path().join("cache"));
        for name in MEANT {
            command.env_remove(name);
        }
        command
    }

    /// Runs the program to its end.
    pub fn run(&self, arguments: &[&str]) -> Outcome {
        self.finish(self.command().args(arguments))
    }

    /// Runs a command to its end; paths of this bench are `BENCH` in its texts.
    pub fn finish(&self, command: &mut Command) -> Outcome {
        let output = command.output().unwrap();
        Outcome::new(&output, &[(self.folder.path().to_str().unwrap(), "BENCH")])
    }

    /// Every file of the output folder; none when there is no folder.
    pub fn outputs(&self) -> BTreeMap<String, Vec<u8>> {
        files_below(&self.work("out"))
    }

    /// The file with that ending among what was built, the only one.
    pub fn output(&self, folder: &str, ending: &str) -> PathBuf {
        let entries = fs::read_dir(self.work(folder)).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let found: Vec<PathBuf> = paths
            .filter(|path| path.to_str().unwrap().ends_with(ending))
            .collect();
        assert_eq!(found.len(), 1, "{found:?}");
        found[0].clone()
    }

    /// The bytes of the lock.
    pub fn lock(&self) -> Vec<u8> {
        fs::read(self.work("recipes/tiny.lock")).unwrap()
    }

    /// Lets everything below this folder be read, and where it says so written,
    /// by whoever the program runs as.
    pub fn give_away(&self) {
        user::open(self.folder.path());
    }
}

/// The program under test.
pub fn mailimg() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_mailimg"))
}

/// Path and content of every file below a folder.
pub fn files_below(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        if entry.file_type().is_file() {
            let name = entry.path().strip_prefix(folder).unwrap();
            let bytes = fs::read(entry.path()).unwrap();
            files.insert(name.to_str().unwrap().to_owned(), bytes);
        }
    }
    files
}

/// Flips one bit in the middle of a file.
pub fn flip_bit(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}
