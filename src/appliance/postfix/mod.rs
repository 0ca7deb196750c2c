//! Postfix: its lookup tables and its queue.

pub mod maps;
pub mod queue;
