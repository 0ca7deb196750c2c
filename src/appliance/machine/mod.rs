//! The machine below everything else: its files, programs, settings and clock.

pub mod accounts;
pub mod aside;
pub mod clock;
pub mod esp;
pub mod files;
pub mod folder;
pub mod place;
pub mod program;
pub mod rendered;
pub mod room;
pub mod settings;
pub mod template;
pub mod watched;
