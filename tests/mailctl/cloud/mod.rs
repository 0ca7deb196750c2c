//! `mailctl cloud` against each provider's metadata as it is served, and
//! against servers that serve something else.

mod answers;
mod providers;
mod server;
mod sources;
