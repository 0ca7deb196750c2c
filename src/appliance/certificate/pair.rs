//! Replacing certificate and key together.
//!
//! Two files cannot be renamed at once, one link can. So pairs lie in folders
//! of their own, a link names the one in use, and the paths that services read
//! are links through it:
//!
//! ```text
//! fullchain.pem     ─► current/fullchain.pem     current ─► pairs/DIGEST
//! privkey.pem       ─► current/privkey.pem
//! key-and-chain.pem ─► current/key-and-chain.pem
//! ```
//!
//! A power cut at any moment leaves the old pair or the new one. The third file
//! is both of the others, for who opens them at any time: between opening one
//! and the other the link may move.

use crate::appliance::machine::aside::replace_link;
use crate::appliance::machine::files::{
    Owner, PUBLIC, ensure_file, ensure_folder, read_linked, remove_unfinished, sync_folder,
};
use crate::appliance::machine::folder::Folder;
use anyhow::{Context, Result};
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// The file of the chain.
pub const CHAIN: &str = "fullchain.pem";
/// The file of the key.
pub const KEY: &str = "privkey.pem";
/// The file of both, as Postfix reads it: the key comes first.
pub const BOTH: &str = "key-and-chain.pem";
/// All names that lead to the pair in use.
const NAMES: [&str; 3] = [BOTH, KEY, CHAIN];
/// Mode of keys: their group serves TLS.
pub const KEY_MODE: u32 = 0o640;
/// The link to the pair in use.
const CURRENT: &str = "current";
/// The folder of all pairs.
const PAIRS: &str = "pairs";

/// Puts a pair in place; it has been checked. When that fails, the old one stays in use.
pub fn install_pair(folder: &Path, chain: &[u8], key: &[u8], owner: Owner) -> Result<()> {
    ensure_folder(folder, 0o755, None)?;
    remove_unfinished(folder);
    link_pair(folder, owner)?;
    let before = fs::read_link(folder.join(CURRENT)).ok();
    let pair = use_pair(folder, chain, key, owner)?;
    prune(folder, [Some(pair), before].as_slice());
    Ok(())
}

/// Makes links of plain files, so that nothing is ever mixed, and of what they hold the
/// file of both, which older releases did not have and nobody writes by hand. Owner and mode
/// are corrected.
pub fn link_pair(folder: &Path, owner: Owner) -> Result<()> {
    let (Some(chain), Some(key)) = (
        read_linked(&folder.join(CHAIN))?,
        read_linked(&folder.join(KEY))?,
    ) else {
        return Ok(());
    };
    let linked = NAMES.iter().all(|name| leads(folder, name));
    if linked && read_linked(&folder.join(BOTH))? == Some(join(&chain, &key)) {
        let pair = folder.join(fs::read_link(folder.join(CURRENT))?);
        return write_files(&pair, &chain, &key, owner);
    }
    use_pair(folder, &chain, &key, owner).map(|_| ())
}

/// PEM ends with a line's end, but for files that people made.
fn join(chain: &[u8], key: &[u8]) -> Vec<u8> {
    [key.trim_ascii_end(), b"\n", chain].concat()
}

fn use_pair(folder: &Path, chain: &[u8], key: &[u8], owner: Owner) -> Result<PathBuf> {
    let pair = write_pair(folder, chain, key, owner)?;
    point(folder, CURRENT, &pair)?;
    for name in NAMES {
        if !leads(folder, name) {
            point(folder, name, &Path::new(CURRENT).join(name))?;
        }
    }
    Ok(pair)
}

/// Whether a name leads to a file by way of the link that moves.
fn leads(folder: &Path, name: &str) -> bool {
    fs::read_link(folder.join(name)).ok() == Some(Path::new(CURRENT).join(name))
}

/// Writes a pair that nobody uses yet, and returns where it lies below the folder.
fn write_pair(folder: &Path, chain: &[u8], key: &[u8], owner: Owner) -> Result<PathBuf> {
    let digest = Sha256::new()
        .chain_update(chain)
        .chain_update(key)
        .finalize();
    let pair = Path::new(PAIRS).join(&hex::encode(digest)[..16]);
    let path = folder.join(&pair);
    ensure_folder(&folder.join(PAIRS), 0o755, None)?;
    ensure_folder(&path, 0o755, None)?;
    write_files(&path, chain, key, owner)?;
    sync_folder(&folder.join(PAIRS))?;
    Ok(pair)
}

fn write_files(pair: &Path, chain: &[u8], key: &[u8], owner: Owner) -> Result<()> {
    ensure_file(&pair.join(KEY), key, KEY_MODE, owner)?;
    ensure_file(&pair.join(CHAIN), chain, PUBLIC, None)?;
    ensure_file(&pair.join(BOTH), &join(chain, key), KEY_MODE, owner).map(|_| ())
}

/// Makes a link, in place of whatever has its name.
fn point(folder: &Path, name: &str, target: &Path) -> Result<()> {
    Folder::open(folder)
        .and_then(|folder| {
            replace_link(&folder, target, OsStr::new(name))?;
            folder.sync()
        })
        .with_context(|| format!("linking {}", folder.join(name).display()))
}

/// Removes pairs but these; one that stays harms nobody.
fn prune(folder: &Path, kept: &[Option<PathBuf>]) {
    let kept: Vec<&OsStr> = kept
        .iter()
        .flatten()
        .filter_map(|path| path.file_name())
        .collect();
    let Ok(entries) = fs::read_dir(folder.join(PAIRS)) else {
        return;
    };
    for entry in entries.filter_map(Result::ok) {
        if !kept.contains(&entry.file_name().as_os_str()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BOTH, CHAIN, KEY, install_pair, link_pair};
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn replaces_files_and_links_and_keeps_one_old_pair() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join(CHAIN), "chain 0").unwrap();
        fs::write(path.join(KEY), "key 0").unwrap();
        for number in 1..5 {
            let (chain, key) = (format!("chain {number}"), format!("key {number}"));
            install_pair(path, chain.as_bytes(), key.as_bytes(), None).unwrap();
            assert_eq!(fs::read_to_string(path.join(CHAIN)).unwrap(), chain);
            assert_eq!(fs::read_to_string(path.join(KEY)).unwrap(), key);
            assert_eq!(
                fs::read_to_string(path.join(BOTH)).unwrap(),
                format!("{key}\n{chain}")
            );
            assert_eq!(fs::read_dir(path.join("pairs")).unwrap().count(), 2);
        }
        for name in [KEY, BOTH] {
            let mode = fs::metadata(path.join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o640);
        }
        // Twice the same is the same.
        install_pair(path, b"chain 4", b"key 4", None).unwrap();
        assert_eq!(fs::read_to_string(path.join(KEY)).unwrap(), "key 4");
        assert_eq!(fs::read_dir(path).unwrap().count(), 5);
    }

    #[test]
    fn a_pair_of_an_older_release_gets_what_it_lacks() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        install_pair(path, b"chain", b"key", None).unwrap();
        let both = fs::canonicalize(path.join(BOTH)).unwrap();
        fs::remove_file(path.join(BOTH)).unwrap();
        fs::remove_file(&both).unwrap();
        link_pair(path, None).unwrap();
        assert_eq!(fs::read_to_string(path.join(BOTH)).unwrap(), "key\nchain");
        assert_eq!(fs::canonicalize(path.join(BOTH)).unwrap(), both);
        // Files that somebody wrote in place of ours are what counts.
        fs::write(path.join(CHAIN), "chain 2").unwrap();
        link_pair(path, None).unwrap();
        assert_eq!(fs::read_to_string(path.join(BOTH)).unwrap(), "key\nchain 2");
        // Without a pair there is nothing to link.
        let empty = tempfile::tempdir().unwrap();
        link_pair(empty.path(), None).unwrap();
        assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0);
    }

    #[test]
    fn begins_without_a_pair() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("names/a.example");
        install_pair(&path, b"chain", b"key", None).unwrap();
        assert_eq!(fs::read_to_string(path.join(CHAIN)).unwrap(), "chain");
        // A run that was cut short after the first link.
        fs::remove_file(path.join(CHAIN)).unwrap();
        install_pair(&path, b"chain 2", b"key 2", None).unwrap();
        assert_eq!(fs::read_to_string(path.join(CHAIN)).unwrap(), "chain 2");
    }
}
