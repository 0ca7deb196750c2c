//! Speaking with others: lines of a conversation, and questions to the resolver.

pub mod authenticator;
pub mod dns_text;
pub mod line;
