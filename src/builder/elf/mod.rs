//! What programs and libraries need at run time, read from their ELF headers.
//!
//! The rules are those of ld.so(8) without a cache: the file's own RUNPATH,
//! then the directories built into Debian's loader. Libraries opened by name
//! at run time are found through their notes:
//! <https://uapi-group.org/specifications/specs/elf_dlopen_metadata/>.
//!
//! Left out: other machines than x86-64 (such files are passed over), RPATH
//! inherited from the program that loads a library, `LD_LIBRARY_PATH`, and
//! the faster variants below `glibc-hwcaps`.

mod check;
mod closure;
mod file;
mod loader;

pub use check::{check_runs_in, check_tree};
pub use closure::closure;

#[cfg(test)]
mod tests;
