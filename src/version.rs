//! By what the builder knows that a program is the `mailctl` of its own version.

/// What the long version text says; the builder looks for it in the program
/// that it is about to put into an image.
pub const VERSION_MARKER: &str = concat!("the agent of mailimg ", env!("CARGO_PKG_VERSION"));
