//! (to come)

pub mod uki;
