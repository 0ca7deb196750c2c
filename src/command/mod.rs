//! (to come)
pub mod boot;
