//! Migrations are compiled into the program: a new one has to make cargo compile it again.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
