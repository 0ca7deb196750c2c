//! What a copy did, what it left and what is worth saying of it.

use std::path::{Path, PathBuf};

/// Remarks kept of one home; thousands would hide each other.
const MOST_REMARKS: usize = 20;

/// Something that a person should know of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// Over there.
    pub path: PathBuf,
    /// What it is, as the rest of a sentence.
    pub text: String,
}

/// What a copy did, or would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages that are new here.
    pub messages: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that were here already.
    pub known: usize,
    /// Sieve scripts that are new here.
    pub scripts: usize,
    /// Files that Dovecot makes again by itself.
    pub remade: usize,
    /// Files that are left out for another reason.
    pub left: usize,
    /// What is worth saying.
    pub remarks: Vec<Remark>,
    /// How many remarks were too many.
    pub unsaid: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.bytes += other.bytes;
        self.known += other.known;
        self.scripts += other.scripts;
        self.remade += other.remade;
        self.left += other.left;
        self.remarks.extend(other.remarks);
        self.unsaid += other.unsaid;
    }
}

impl Tally {
    /// Says something of what is taken.
    pub fn remark(&mut self, path: &Path, text: impl Into<String>) {
        if self.remarks.len() < MOST_REMARKS {
            self.remarks.push(Remark {
                path: path.to_path_buf(),
                text: text.into(),
            });
        } else {
            self.unsaid += 1;
        }
    }

    /// Leaves a file out, or a folder with all its files; one without any is nothing.
    pub fn leave(&mut self, path: &Path, text: &str) {
        let is_folder = path.symlink_metadata().is_ok_and(|found| found.is_dir());
        if !is_folder {
            self.left += 1;
            self.remark(path, format!("{text}, and is left out"));
            return;
        }
        let files = count_files(path);
        if files > 0 {
            self.left += files;
            self.remark(path, format!("{text}, and is left out with {files} files"));
        }
    }

    /// Leaves out what cannot be read.
    pub fn leave_unreadable(&mut self, path: &Path, error: &std::io::Error) {
        let text = match error.kind() {
            std::io::ErrorKind::NotADirectory => "is no folder".to_owned(),
            _ => format!("cannot be read ({error})"),
        };
        self.left += 1;
        self.remark(path, format!("{text}, and is left out"));
    }
}

fn count_files(folder: &Path) -> usize {
    walkdir::WalkDir::new(folder)
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| !entry.file_type().is_dir())
        .count()
}
