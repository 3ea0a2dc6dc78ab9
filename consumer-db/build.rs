//! The migrations are embedded into the binary: a changed or added file makes it again.

fn main() {
    println!("cargo:rerun-if-changed=migrations");
}
