//! `mailctl web` as authorities, mail servers, mail programs and strangers meet it.

mod apache;
mod certificates;
pub mod client;
mod routes;
pub mod site;
mod strangers;
