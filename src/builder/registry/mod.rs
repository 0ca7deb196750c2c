//! Registries of container images: how an image in one is named, and how it gets there and back.
//!
//! Names and documents are those of [`crate::format::oci`]. [`Client`] speaks with the
//! registry, with what [`find_credentials`] knows of us. [`Push`] sends an image and what is
//! about it, [`find_image`] and [`fetch_blobs`] bring one back.

mod authorization;
mod client;
mod credentials;
mod failure;
mod manifest;
mod message;
mod pull;
mod push;
mod tagged;
#[cfg(test)]
mod tests;
mod upload;

pub use client::Client;
pub use credentials::{Credentials, Lookup, find_credentials};
pub use pull::{Checked, fetch_blobs, find_image};
pub use push::{Artifact, Attachment, Push, Pushed};
pub use upload::{Blob, PIECE_BYTES, Source};
