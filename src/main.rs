//! The `rir` command.
fn main() {}
