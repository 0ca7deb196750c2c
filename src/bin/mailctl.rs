//! x
fn main() { println!("{}", mailimg::appliance::VERSION_MARKER); }
