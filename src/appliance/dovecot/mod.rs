//! Dovecot: so far its Diffie-Hellman group.

pub mod dh;
