//! Registries of container images: how an image in one is named.
//!
//! [`Reference`] is the name as text, taken apart and checked. Nothing here asks a
//! registry anything.

mod reference;

pub use reference::{Reference, parse_reference};
