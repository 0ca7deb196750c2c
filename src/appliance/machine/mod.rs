//! The machine below everything else: its files, programs, settings and clock.

pub mod accounts;
pub mod clock;
pub mod esp;
pub mod files;
pub mod place;
pub mod program;
pub mod rendered;
pub mod settings;
pub mod template;
pub mod watched;
