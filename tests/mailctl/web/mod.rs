//! `mailctl web` as authorities, mail servers, mail programs and strangers meet it.

mod apache;
mod certificates;
mod client;
mod routes;
mod site;
mod strangers;
