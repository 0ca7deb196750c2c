//! What a cache that cannot be written to says.

use std::io;
use std::path::Path;

use crate::error::Hint;

/// An error of writing to the cache, with what to do about it.
pub(crate) fn storage_error(error: io::Error, path: &Path) -> anyhow::Error {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            Some("free some space there, or set XDG_CACHE_HOME to a folder on a larger disk")
        }
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::AlreadyExists => {
            Some("set XDG_CACHE_HOME to a folder that you can write to")
        }
        _ => None,
    };
    let error = anyhow::Error::new(error).context(format!("writing {}", path.display()));
    match hint {
        Some(hint) => Err::<(), _>(error).hint(hint).unwrap_err(),
        None => error,
    }
}

#[cfg(test)]
mod tests {
    use super::storage_error;
    use crate::error::render;
    use std::io;
    use std::path::Path;

    #[test]
    fn a_full_disk_has_its_hint() {
        let full = storage_error(io::ErrorKind::StorageFull.into(), Path::new("/x"));
        assert_eq!(
            render(&full),
            "error: writing /x: no storage space\nhint: free some space there, or set \
             XDG_CACHE_HOME to a folder on a larger disk"
        );
    }
}
