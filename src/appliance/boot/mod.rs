//! From power-on to mail, and edited settings into use: the order of things.

pub mod apply;
pub mod clock;
pub mod cloud;
pub mod console;
pub mod container;
pub mod fallback;
pub mod hardware;
pub mod health;
pub mod import_settings;
pub mod provision;
pub mod render;
pub mod start;
