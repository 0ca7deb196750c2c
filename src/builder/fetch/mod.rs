//! Fetching: signed indexes and pinned packages into a content-addressed cache.
//!
//! [`Mirror`] is the real thing: HTTP, HTTPS and `file:` on a few threads. What
//! it brings home is checked against the pinned size and SHA-256 before it gets
//! its name in the [`Cache`], so plain HTTP mirrors are fine. Left out: FTP,
//! proxies other than those of `http_proxy` and friends, mirror lists.

mod cache;
mod caching_resolver;
mod client;
mod mirror;
mod object;
mod opener;
mod options;
mod own_folder;
mod problem;
mod storage;
#[cfg(test)]
mod tests;
mod transfer;

pub use cache::{Cache, Claim};
pub use mirror::Mirror;
pub use object::{Check, Fetch, Object};
pub use options::FetchOptions;
pub use problem::{Gone, Missing};

pub(crate) use client::make_client;
pub(crate) use opener::{Advice, Open, Opened};
pub(crate) use problem::Problem;
pub(crate) use storage::storage_error;
