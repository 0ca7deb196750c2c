//! Registries of container images, in what both halves read of them: how an image is named,
//! the documents that say what it is made of, and how a registry asks who one is.

mod address;
mod challenge;
mod document;
mod reference;

pub use address::{encoded, is_loopback, is_same_server, join, with_parameter};
pub use challenge::{Challenge, parse_challenges};
pub use document::{
    Annotations, CONFIG_TYPE, CREATED, DOCKER_LIST_TYPE, DOCKER_MANIFEST_TYPE, DOCUMENT_BYTES_MAX,
    Descriptor, EMPTY, EMPTY_TYPE, INDEX_TYPE, Index, LAYER_TYPE, MANIFEST_TYPE, Manifest,
    Platform, TITLE, VERSION, to_json,
};
pub use reference::{DOCKER_HUB, Reference, SCHEME, parse_oci_reference, parse_reference};
