//! (to come)

pub mod configure;
