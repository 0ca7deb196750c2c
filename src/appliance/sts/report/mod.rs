//! Reports to other domains of how TLS fared with mail to them.
//!
//! RFC 8460 (<https://www.rfc-editor.org/rfc/rfc8460>). Postfix tells the outcome
//! of each handshake with a domain that publishes where to report to
//! (`_smtp._tls.D`), by libtlsrpt, as a datagram. The service counts them by day
//! and domain; [`send`], which a timer starts, makes a report of each day that
//! is over and sends it.
//!
//! Reports by mail carry `TLS-Required: No` (RFC 8689): they arrive even if TLS is
//! what is broken, and Postfix reports nothing about such mail, so that two
//! machines do not report to each other about their reports for ever. Left out:
//! asking the certificate of an `https:` endpoint less than any other.

mod day;
mod document;
pub mod event;
mod message;
mod receive;
mod send;

pub use receive::receive;
pub use send::{ReportOptions, send_reports};
