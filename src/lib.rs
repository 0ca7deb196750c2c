//! mailimg: builds an immutable operating-system image whose only job is mail.
//!
//! One data flow, one module per noun; imports point left along it and never
//! to [`command`]:
//!
//! ```text
//! recipe ─► lock ─► fetch ─► deb ─► compose (tree) ─► seal ─► write
//! ```
//!
//! [`bill`] lists what a composed image holds, before it is sealed.
//!
//! [`appliance`] is the other program, `mailctl`, which lives in the image. It
//! shares [`settings`] and [`error`] with the builder and imports nothing else
//! of it; both print with [`print`]. [`unvouched`] is there for both programs' tests and the health gate.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "they panic when nobody reads on: print::say and tell!"
)]

// First, for its macro.
#[macro_use]
pub mod print;

pub mod appliance;
pub mod archive;
pub mod bill;
pub mod command;
pub mod compose;
pub mod deb;
pub mod error;
pub mod fetch;
pub mod lock;
pub mod progress;
pub mod recipe;
pub mod seal;
pub mod settings;
pub mod tree;
pub mod unvouched;
pub mod write;
