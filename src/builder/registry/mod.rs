//! Registries of container images: how an image in one is named, and how it gets there and back.
//!
//! [`Reference`] is the name as text, taken apart and checked; [`Client`] speaks with the
//! registry, with what [`find_credentials`] knows of us. [`Push`] sends an image and what is
//! about it, [`find_image`] and [`fetch_blobs`] bring one back. [`Manifest`] and its like are
//! the documents that say what an image is made of.

mod address;
mod authorization;
mod challenge;
mod client;
mod credentials;
mod document;
mod failure;
mod manifest;
mod message;
mod pull;
mod push;
mod reference;
#[cfg(test)]
mod tests;
mod upload;

pub use client::Client;
pub use credentials::{Credentials, Lookup, find_credentials};
pub use document::{
    Annotations, CONFIG_TYPE, DOCUMENT_BYTES_MAX, Descriptor, INDEX_TYPE, Index, LAYER_TYPE,
    MANIFEST_TYPE, Manifest, to_json,
};
pub use pull::{Checked, fetch_blobs, find_image};
pub use push::{Attachment, Image, Push, Pushed};
pub use reference::{Reference, parse_reference};
pub use upload::{Blob, PIECE_BYTES, Source};
