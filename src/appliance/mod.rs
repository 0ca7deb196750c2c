//! x
/// m
pub const VERSION_MARKER: &str = concat!("mailctl ", env!("CARGO_PKG_VERSION"));
