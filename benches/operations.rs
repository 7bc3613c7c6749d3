//! Criterion benches of every operation on the CPU.

fn main() {}
