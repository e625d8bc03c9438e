//! The `nibble` program.
fn main() {}
