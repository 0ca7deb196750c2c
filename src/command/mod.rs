//! (to come)
pub mod lock;
pub mod why;
