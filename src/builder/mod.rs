//! `mailimg`: from a recipe to a disk.
//!
//! One data flow, one module per noun; imports point left along it and never
//! to [`command`]:
//!
//! ```text
//! recipe ─► lock ─► fetch ─► deb ─► compose (tree) ─► seal ─► write
//! ```
//!
//! [`archive`] reads what a Debian mirror says of itself, for `lock`. [`elf`] and
//! [`kmod`] read programs and kernel modules, for `compose` and `seal`. [`bill`]
//! lists what a composed image holds, before it is sealed. [`registry`] brings images
//! to registries and back.

pub mod archive;
pub mod bill;
pub mod command;
pub mod compose;
pub mod deb;
pub mod elf;
pub mod fetch;
pub mod kmod;
pub mod lock;
pub mod progress;
pub mod recipe;
pub mod registry;
pub mod seal;
pub mod tree;
pub mod write;
