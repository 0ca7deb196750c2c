//! What a program asked of the machine's storage, in order, as strace saw it
//! (<https://man7.org/linux/man-pages/man1/strace.1.html>).
//!
//! Left out: what other threads than the first one do. Those of `mailctl` only compute, and
//! a replay of all requests is compared with what the program left.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

/// One request. Paths are those of the machine, without a leading slash.
#[derive(Debug)]
pub enum Request {
    /// An empty file, in the place of one that was there.
    Create(String),
    Write(String, u64, Vec<u8>),
    Rename(String, String),
    Remove(String),
    /// What is in this file, or the names in this folder, must be kept.
    Sync(String),
    /// The whole file system that this is on.
    SyncAll(String),
}

/// System calls that change something.
const CALLS: &str = "openat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,fsync,\
                     fdatasync,syncfs,ftruncate,writev,pwritev,pwritev2,copy_file_range,sendfile,\
                     fallocate,link,linkat,symlink,symlinkat";

/// Runs a command on the machine in that folder; nothing where nobody may trace.
pub fn record(command: &Command, machine: &Path) -> Option<Vec<Request>> {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut traced = Command::new("strace");
    traced
        .args(["-y", "-xx", "-qq", "-s", "67108864"])
        .arg(format!("--trace={CALLS}"))
        .arg("-o")
        .arg(file.path())
        .arg(command.get_program())
        .args(command.get_args());
    if let Some(folder) = command.get_current_dir() {
        traced.current_dir(folder);
    }
    let output = traced.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("PTRACE") {
        return None;
    }
    assert!(output.status.success(), "{said}");
    let text = fs::read_to_string(file.path()).unwrap();
    let mut reader = Reader {
        machine: format!("{}/", machine.to_str().unwrap()),
        positions: BTreeMap::new(),
    };
    Some(
        text.lines()
            .filter_map(|line| reader.request(line))
            .collect(),
    )
}

struct Reader {
    /// Paths below it are the machine's.
    machine: String,
    /// Where the next bytes go, by the number of the open file.
    positions: BTreeMap<String, u64>,
}

impl Reader {
    fn request(&mut self, line: &str) -> Option<Request> {
        let (call, result) = line.rsplit_once(" = ")?;
        let (name, arguments) = call.trim_end().strip_suffix(')')?.split_once('(')?;
        if result.starts_with('-') {
            return None;
        }
        let arguments: Vec<&str> = arguments.split(", ").collect();
        let text = |at: usize| String::from_utf8(decode(arguments[at])).unwrap();
        let path = |text: &str| text.strip_prefix(&self.machine).map(str::to_owned);
        // Of `7</a/file>` or `"/a/file"`.
        let opened = |at: usize| {
            let text = text(at);
            let (_, rest) = text.split_once('<')?;
            path(rest.trim_end_matches('>'))
        };
        let named = |at: usize| path(text(at).trim_matches('"'));
        // A name in an open folder, or a path.
        let named_in = |folder: usize| {
            let name = text(folder + 1).trim_matches('"').to_owned();
            if name.starts_with('/') {
                return path(&name);
            }
            Some(format!("{}/{name}", opened(folder)?))
        };
        match name {
            "openat" => {
                let number = result.split('<').next()?.to_owned();
                self.positions.insert(number, 0);
                let file = named_in(0)?;
                let new = ["O_TRUNC", "O_EXCL"];
                new.iter()
                    .any(|flag| arguments[2].contains(flag))
                    .then_some(Request::Create(file))
            }
            "write" => {
                let number = arguments[0].split('<').next()?;
                let position = self.positions.entry(number.to_owned()).or_default();
                let at = *position;
                let bytes = content(arguments[1]);
                *position += bytes.len() as u64;
                Some(Request::Write(opened(0)?, at, bytes))
            }
            "pwrite64" => {
                let file = opened(0)?;
                Some(Request::Write(
                    file,
                    arguments[3].parse().unwrap(),
                    content(arguments[1]),
                ))
            }
            "rename" => Some(Request::Rename(named(0)?, named(1)?)),
            "renameat" | "renameat2" => Some(Request::Rename(named_in(0)?, named_in(2)?)),
            "unlink" => Some(Request::Remove(named(0)?)),
            "unlinkat" => Some(Request::Remove(named_in(0)?)),
            "fsync" | "fdatasync" => Some(Request::Sync(opened(0)?)),
            "syncfs" => Some(Request::SyncAll(opened(0)?)),
            _ => {
                let ours =
                    (0..arguments.len()).any(|at| opened(at).or_else(|| named(at)).is_some());
                assert!(!ours, "a call that is not understood: {name} {line:.200}");
                None
            }
        }
    }
}

/// The bytes between quotation marks.
fn content(argument: &str) -> Vec<u8> {
    let inner = argument
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'));
    decode(inner.expect("what is written is shown whole"))
}

/// What `\x61b` stands for.
fn decode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len() / 4);
    let mut rest = text.as_bytes();
    while let Some(first) = rest.first() {
        if let [b'\\', b'x', digits @ ..] = rest {
            bytes.extend(hex::decode(&digits[..2]).unwrap());
            rest = &digits[2..];
        } else {
            bytes.push(*first);
            rest = &rest[1..];
        }
    }
    bytes
}
