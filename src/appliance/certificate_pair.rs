//! Replacing certificate and key together.
//!
//! Two files cannot be renamed at once, one link can. So pairs lie in folders
//! of their own, a link names the one in use, and the paths that services read
//! are links through it:
//!
//! ```text
//! fullchain.pem ─► current/fullchain.pem     current ─► pairs/DIGEST
//! privkey.pem   ─► current/privkey.pem
//! ```
//!
//! A power cut at any moment leaves the old pair or the new one.

use super::state::{
    Owner, PUBLIC, ensure_folder, read_optional, remove_file, sync_folder, write_file,
};
use anyhow::Context;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// The file of the chain.
pub const CHAIN: &str = "fullchain.pem";
/// The file of the key.
pub const KEY: &str = "privkey.pem";
/// Mode of keys: their group serves TLS.
pub const KEY_MODE: u32 = 0o640;
/// The link to the pair in use.
const CURRENT: &str = "current";
/// The folder of all pairs.
const PAIRS: &str = "pairs";

/// Puts a pair in place; it has been checked.
///
/// # Errors
/// Files that cannot be written; the old pair is then still in use.
pub fn install_pair(folder: &Path, chain: &[u8], key: &[u8], owner: Owner) -> anyhow::Result<()> {
    ensure_folder(folder, 0o755, None)?;
    ensure_links(folder, owner)?;
    let pair = write_pair(folder, chain, key, owner)?;
    let before = fs::read_link(folder.join(CURRENT)).ok();
    point(folder, CURRENT, &pair)?;
    ensure_link(folder, KEY)?;
    ensure_link(folder, CHAIN)?;
    prune(folder, [Some(pair), before].as_slice());
    Ok(())
}

/// Turns plain files into links to the same content, so that nothing is ever mixed.
fn ensure_links(folder: &Path, owner: Owner) -> anyhow::Result<()> {
    let is_linked = |name: &str| folder.join(name).is_symlink();
    if is_linked(KEY) && is_linked(CHAIN) {
        return Ok(());
    }
    let (Some(chain), Some(key)) = (
        read_optional(&folder.join(CHAIN))?,
        read_optional(&folder.join(KEY))?,
    ) else {
        return Ok(());
    };
    let pair = write_pair(folder, &chain, &key, owner)?;
    point(folder, CURRENT, &pair)?;
    ensure_link(folder, KEY)?;
    ensure_link(folder, CHAIN)
}

/// Writes a pair that nobody uses yet, and returns where it lies below the folder.
fn write_pair(folder: &Path, chain: &[u8], key: &[u8], owner: Owner) -> anyhow::Result<PathBuf> {
    let digest = Sha256::new()
        .chain_update(chain)
        .chain_update(key)
        .finalize();
    let pair = Path::new(PAIRS).join(&hex::encode(digest)[..16]);
    let path = folder.join(&pair);
    ensure_folder(&folder.join(PAIRS), 0o755, None)?;
    ensure_folder(&path, 0o755, None)?;
    write_file(&path.join(KEY), key, KEY_MODE, owner)?;
    write_file(&path.join(CHAIN), chain, PUBLIC, None)?;
    sync_folder(&folder.join(PAIRS))?;
    Ok(pair)
}

fn ensure_link(folder: &Path, name: &str) -> anyhow::Result<()> {
    let target = Path::new(CURRENT).join(name);
    if fs::read_link(folder.join(name)).is_ok_and(|old| old == target) {
        return Ok(());
    }
    point(folder, name, &target)
}

/// Makes a link, in place of whatever has its name.
fn point(folder: &Path, name: &str, target: &Path) -> anyhow::Result<()> {
    let link = folder.join(name);
    let aside = folder.join(format!("{name}.{}.new", std::process::id()));
    remove_file(&aside)?;
    symlink(target, &aside)
        .and_then(|()| fs::rename(&aside, &link))
        .with_context(|| format!("linking {}", link.display()))?;
    sync_folder(folder)
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
    use super::{CHAIN, KEY, install_pair};
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
            assert_eq!(fs::read_dir(path.join("pairs")).unwrap().count(), 2);
        }
        let mode = fs::metadata(path.join(KEY)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o640);
        // Twice the same is the same.
        install_pair(path, b"chain 4", b"key 4", None).unwrap();
        assert_eq!(fs::read_to_string(path.join(KEY)).unwrap(), "key 4");
        assert_eq!(fs::read_dir(path).unwrap().count(), 4);
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
