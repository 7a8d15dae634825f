//! The program's entry; everything is in the library.
fn main() {}
