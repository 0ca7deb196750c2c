//! mailimg: builds an immutable operating-system image whose only job is mail.
//!
//! Two halves on one ground, which never import each other:
//!
//! - [`builder`] is `mailimg`: from a recipe to a disk.
//! - [`appliance`] is `mailctl`, which lives in the image: from power-on to mail.
//! - Both stand on [`settings`], [`mod@format`], [`error`], [`mod@print`], [`manual`] and [`version`].
//!   [`any_certificate`] is there for the health gate and for tests.
//!
//! Imports run downwards and never in a circle; `tests/house` reads them.

// Tests may.
#![cfg_attr(
    not(test),
    deny(
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "they panic when nobody reads on: print::say and tell!"
    )
)]

// First, for its macro.
#[macro_use]
pub mod print;

pub mod any_certificate;
pub mod appliance;
pub mod builder;
pub mod error;
pub mod format;
pub mod manual;
pub mod settings;
pub mod version;
