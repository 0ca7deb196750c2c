//! Publishing by dynamic update.
