//! Bad input to `mailimg`: each ends in one clear error with a hint, and damages nothing.
//!
//! Exit code 2 is for what the command line names and is not there, 1 for
//! everything else.

mod archive;
mod cache;
mod foreign_image;
mod mirror;
mod output;
mod package;
mod recipe;
mod scripts;
mod settings;
mod signals;
mod terminal;
