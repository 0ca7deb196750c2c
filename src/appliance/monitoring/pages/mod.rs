//! The pages, made on this side: each is complete without a script, which adds charts.
//!
//! Whatever strangers wrote, be it an address, a reason or a record, comes out of templates that
//! escape all they are given.

pub mod assets;
pub mod bans;
pub mod charts;
pub mod configuration;
pub mod dns;
pub mod frame;
pub mod overview;
pub mod queue;
pub mod templates;
pub mod todo;
pub mod users;
