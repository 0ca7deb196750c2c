//! Speaking with others: lines of a conversation, questions to the resolver, sockets.

pub mod authenticator;
pub mod dns;
pub mod http;
pub mod internet;
pub mod line;
pub mod notice;
pub mod serve;
pub mod smtp;
