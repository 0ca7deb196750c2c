//! Images that stay current: versions that rise, locks that outlive mirrors,
//! and what is behind.

mod outdated;
mod snapshots;
mod version;
