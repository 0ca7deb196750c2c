//! Judging mail that comes in: DKIM, ARC and DMARC, from the message itself.
//!
//! Nothing here trusts a header that says what somebody else found, and nothing is kept of a
//! body but its hashes. Signatures are read and checked here, with `ring` for what is
//! cryptography: the crate `mail-auth` wants the whole message in memory, takes
//! signatures that do not cover `From`, and knows other empty lines at the end of a body than
//! RFC 6376. Tests hold one against the other.

mod arc;
mod author;
pub mod body;
mod canonical;
#[cfg(test)]
pub mod compared;
mod dkim;
mod dmarc;
pub mod headers;
pub mod judge;
mod key;
pub mod organisation;
mod policy;
mod report;
mod signature;
mod tags;
#[cfg(test)]
mod tests;
