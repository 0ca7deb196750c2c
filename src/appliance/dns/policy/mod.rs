//! What owners of zones published: read as it was meant, and completed.
//!
//! Completing never weakens a policy and never drops what somebody else wrote
//! into it: addresses of reports, other senders, other authorities, tags that
//! this program does not know.

pub mod dkim;
pub mod dmarc;
pub mod issue;
pub mod reports;
pub mod spf;
pub mod spf_repair;
pub mod spf_term;
pub mod tags;
pub mod target;
pub mod text;
mod unwrap;
