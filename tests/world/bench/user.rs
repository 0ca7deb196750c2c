//! Running the program as somebody who is not root.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// An account without rights of its own, `nobody` on most systems.
pub const NOBODY: u32 = 65534;

/// Whether this test runs as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Drops a command's rights when the test runs as root.
///
/// A program that is none of the system's is copied to that folder, which
/// everybody may enter: a checkout in root's home is closed to others.
pub fn ordinary(command: Command, folder: &Path) -> Command {
    if !is_root() {
        return command;
    }
    let mut program = Path::new(command.get_program()).to_owned();
    if !program.starts_with("/usr") && !program.starts_with("/bin") {
        let copy = folder.join("program");
        if !copy.exists() {
            fs::copy(&program, &copy).unwrap();
        }
        program = copy;
    }
    let mut dropped = Command::new(program);
    dropped.args(command.get_args()).uid(NOBODY).gid(NOBODY);
    if let Some(folder) = command.get_current_dir() {
        dropped.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => dropped.env(name, value),
            None => dropped.env_remove(name),
        };
    }
    dropped
}

/// Makes an ordinary user the owner of a folder and all below, when run as root.
pub fn open(folder: &Path) {
    if !is_root() {
        return;
    }
    for entry in walkdir::WalkDir::new(folder).into_iter().flatten() {
        chown(entry.path(), Some(NOBODY), Some(NOBODY)).unwrap();
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}
